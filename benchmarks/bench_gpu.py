"""Each stage on the GPU and on the CPU beside it, written to benchmarks/results/DATE-DEVICE.json.

    PYTHONPATH=src python benchmarks/bench_gpu.py [--results FOLDER] [--small]

Needs a GPU, and python3 with numpy, scipy, numba, pandas and cupy only. Times are medians by CUDA events. Bytes are
those that the stage must move and flops those that it must do; both are given as a share of what the same device
reaches when it copies an array and when it multiplies two large matrices. Transfers and the first call are apart.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.backend import cuda, select_backend
from rsfc_gpu.backend.cpu import CpuBackend
from rsfc_gpu.backend.cuda_limits import device_limits, milliseconds
from rsfc_gpu.backend.linear_model import forward_neighbours
from rsfc_gpu.backend.numba_labels import neighbour_table

COMPONENTS, SEEDS, IMAGES, IMAGES_USED, HEIGHT = 100, 6, 84, 64, 3.09


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", metavar="FOLDER")
    parser.add_argument("--small", action="store_true", help="a tenth of the data: does it run at all?")
    options = parser.parse_args(argv)
    missing = cuda.why_unusable()
    if missing:
        print(missing, file=sys.stderr)
        return 6
    started = time.perf_counter()
    backend = select_backend("cuda")
    cold: dict[str, float] = {"open_device_s": time.perf_counter() - started}
    task = Task(shape=(24, 28, 24) if options.small else (61, 73, 61), n_volumes=60 if options.small else 230)
    started = time.perf_counter()
    backend.correlate(*task.run)
    cold["first_run_with_compilation_s"] = time.perf_counter() - started
    limits = device_limits()
    stages = {name: stage(limits) for name, stage in task.stages(n_maps=50 if options.small else 1000).items()}
    found = {
        "date": datetime.date.today().isoformat(),
        "cuda": cuda.report(),
        "task": {"shape": task.shape, "voxels": task.n_voxels, "volumes": task.n_volumes, "seeds": SEEDS},
        "cold_start": cold,
        "device_limits": limits,
        "stages": stages,
        "whole_operations": whole_operations(backend, task),
    }
    name = re.sub(r"\W+", "-", cuda.device_text().split(",")[0])
    target = options.results / f"{found['date']}-{name}.json"
    options.results.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    print(f"written to {target}")
    return 0


class Task:
    """Data of one size, on the host."""

    def __init__(self, *, shape: tuple[int, int, int], n_volumes: int) -> None:
        rng = np.random.default_rng(0)
        self.shape, self.n_volumes = shape, n_volumes
        centre = [(n - 1) / 2 for n in shape]
        grid = np.indices(shape)
        radii = sum(((axis - c) / (c * 0.85)) ** 2 for axis, c in zip(grid, centre, strict=True))
        self.inside = np.asarray(radii <= np.quantile(radii, 70000 / 271633))  # 70,000 voxels of 61x73x61
        self.n_voxels = int(self.inside.sum())
        samples = rng.integers(200, 3000, (n_volumes, self.n_voxels)).astype(np.int16)
        orthonormal = np.linalg.qr(rng.standard_normal((n_volumes, min(COMPONENTS, n_volumes // 2))))[0].T
        self.run = (samples, samples.mean(axis=0), orthonormal, rng.standard_normal((n_volumes, SEEDS)))
        self.maps = rng.standard_normal((IMAGES, self.n_voxels)).astype(np.float32)

    def stages(self, n_maps: int) -> dict[str, Callable[[dict[str, float]], dict[str, float]]]:
        """What is timed with its data on the device already."""
        return {
            "one run: centre, project, correlate": self.one_run,
            "centre_block": self.centre,
            "finish_correlations": self.finish,
            "scale_to_unit_norm": self.scale,
            "difference_products": self.roughness,
            f"clusters of {n_maps} maps": lambda limits: self.clusters(limits, n_maps),
        }

    def one_run(self, limits: dict[str, float]) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        samples, centre, compressor, _ = self.run
        stored, middle = cupy.asarray(samples), cupy.asarray(centre)
        projection = cupy.asarray(compressor.astype(np.float32))
        unit = cupy.ones((SEEDS, len(compressor)), cupy.float32)
        block, before = cupy.empty(samples.shape, cupy.float32), cupy.empty(self.n_voxels, cupy.float64)
        r, z = (cupy.empty((SEEDS, self.n_voxels), cupy.float32) for _ in range(2))
        retained = cupy.empty(self.n_voxels, cupy.float32)

        def work() -> None:
            cuda_kernels.centre_block(stored, middle, 0, block, before)
            signal = projection @ block
            cuda_kernels.finish_correlations(signal, unit @ signal, before, 0, r, z, retained)

        k = len(compressor)
        n_bytes = self.n_voxels * (self.n_volumes * (2 + 4 + 4) + k * 12 + SEEDS * 16)
        flops = 2 * self.n_voxels * k * (self.n_volumes + SEEDS)
        return compared(milliseconds(work), n_bytes, flops, limits)

    def centre(self, limits: dict[str, float]) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        samples, centre, _, _ = self.run
        stored, middle = cupy.asarray(samples), cupy.asarray(centre)
        block, before = cupy.empty(samples.shape, cupy.float32), cupy.empty(self.n_voxels, cupy.float64)
        ms = milliseconds(lambda: cuda_kernels.centre_block(stored, middle, 0, block, before))
        return compared(ms, self.n_voxels * (self.n_volumes * 6 + 16), 0, limits)

    def finish(self, limits: dict[str, float]) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        k = len(self.run[2])
        signal, dots = cupy.ones((k, self.n_voxels), cupy.float32), cupy.ones((SEEDS, self.n_voxels), cupy.float32)
        before, retained = cupy.ones(self.n_voxels, cupy.float64), cupy.empty(self.n_voxels, cupy.float32)
        r, z = cupy.empty_like(dots), cupy.empty_like(dots)
        ms = milliseconds(lambda: cuda_kernels.finish_correlations(signal, dots, before, 0, r, z, retained))
        return compared(ms, self.n_voxels * (4 * k + 12 * SEEDS + 12), 0, limits)

    def scale(self, limits: dict[str, float]) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        rows, squares = cupy.asarray(self.maps.astype(np.float64)), cupy.empty(self.n_voxels, cupy.float64)
        ms = milliseconds(lambda: cuda_kernels.scale_to_unit_norm(rows, IMAGES, squares))
        return compared(ms, self.n_voxels * (24 * IMAGES + 8), 0, limits)

    def roughness(self, limits: dict[str, float]) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        rows, above = cupy.asarray(self.maps.astype(np.float64)), cupy.empty((IMAGES, 0), cupy.float64)
        neighbours = cupy.asarray(forward_neighbours(self.inside)[0])
        products = cupy.empty((6, self.n_voxels), cupy.float64)

        def work() -> None:
            cuda_kernels.difference_products(rows, above, 0, self.n_voxels, neighbours, IMAGES_USED, products)

        return compared(milliseconds(work), self.n_voxels * (8 * IMAGES_USED + 72), 0, limits)

    def clusters(self, limits: dict[str, float], n_maps: int) -> dict[str, float]:
        import cupy

        from rsfc_gpu.backend import cuda_group

        whole = np.ones(self.shape, dtype=bool)
        values = cupy.random.default_rng(0).standard_normal((n_maps, whole.size), dtype=cupy.float32)
        table = cupy.asarray(neighbour_table(whole, 18))
        ms = milliseconds(lambda: cuda_group.label_maps(values, table, HEIGHT), repeats=5)
        found = compared(ms, 28 * n_maps * whole.size, 0, limits)
        one, on_host = values[0].get(), table.get()
        return {
            **found,
            "cpu_ms_from_one_map": 1000 * seconds(lambda: CpuBackend().label_clusters(one, on_host, HEIGHT)) * n_maps,
        }


def compared(ms: float, n_bytes: float, flops: float, limits: dict[str, float]) -> dict[str, float]:
    """A time beside the bytes and flops of the stage, and their share of what the device reaches."""
    return {
        "ms": ms,
        "bytes": n_bytes,
        "gb_s": n_bytes / ms / 1e6,
        "share_of_copy": n_bytes / ms / 1e6 / limits["copy_gb_s"],
        "flops": flops,
        "share_of_float32": flops / ms / 1e9 / limits["float32_tflop_s"],
    }


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time; the first call is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(statistics.median(times[1:]))


def whole_operations(backend: Any, task: Task) -> dict[str, dict[str, float]]:
    """Operations of the backend from host arrays to host arrays, transfers included, on both devices."""
    cpu = CpuBackend()
    design = np.column_stack([np.repeat([1.0, 0.0], IMAGES // 2), np.repeat([0.0, 1.0], IMAGES // 2)])
    pseudo = np.linalg.pinv(design)
    model = (task.maps, np.eye(IMAGES) - design @ pseudo, pseudo, IMAGES_USED, task.inside)
    volume = np.random.default_rng(1).standard_normal(task.shape).astype(np.float32)
    operations: dict[str, Callable[[Any], object]] = {
        "correlate": lambda one: one.correlate(*task.run),
        "fit_linear_model": lambda one: one.fit_linear_model(*model),
        "smooth, one volume": lambda one: one.smooth(volume, (2.7, 2.7, 2.7)),
    }
    return {
        name: {
            "cuda_ms": 1000 * seconds(lambda work=work: work(backend)),  # type: ignore[misc]
            "cpu_ms": 1000 * seconds(lambda work=work: work(cpu)),  # type: ignore[misc]
            "cpu_threads": len(os.sched_getaffinity(0)),
        }
        for name, work in operations.items()
    }


if __name__ == "__main__":
    sys.exit(main())
