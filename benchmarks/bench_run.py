"""One run from its compressed file to six Fisher-z maps, beside the floor and plain NumPy.

    pytest benchmarks/bench_run.py --benchmark-enable --benchmark-only     each stage by pytest-benchmark
    python benchmarks/bench_run.py [--json FILE]                           interleaved medians and peak memory

The run has 61x73x61 voxels, 230 volumes, int16, 70,000 voxels in the mask, six seeds. Two files of the same shape: one
that gzip shrinks by 1.9 (noise everywhere, as scanners write) and one by 4 (zeros outside the brain).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu.denoise import denoising_operator, denoising_steps
from rsfc_gpu.images.nifti import BoldSource, igzip

SHAPE, N_VOLUMES, N_VOXELS, TR_S = (61, 73, 61), 230, 70_000, 2.0
AFFINE = np.array([[-3.0, 0, 0, 90], [0, 3, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])


def make_run(folder: Path, *, noise_outside: bool) -> rg.Run:
    """Write a synthetic run of the paper's size with masks, motion and seeds; returns it as a `Run`."""
    import nibabel

    rng = np.random.default_rng(20)
    centred = np.indices(SHAPE).transpose(1, 2, 3, 0) - (np.array(SHAPE) - 1) / 2
    radius = ((centred / np.array([25.0, 31.0, 25.0])) ** 2).sum(axis=-1)
    brain = np.zeros(np.prod(SHAPE), dtype=bool)
    brain[np.argsort(radius.ravel(), kind="stable")[:N_VOXELS]] = True
    brain = brain.reshape(SHAPE)
    base = np.where(brain, rng.uniform(600, 1200, SHAPE), 20.0 if noise_outside else 0.0)
    sd = np.where(brain, 28.0 if noise_outside else 12.0, 8.0 if noise_outside else 0.0)
    data = np.empty((*SHAPE, N_VOLUMES), dtype=np.int16, order="F")
    for t in range(N_VOLUMES):
        data[..., t] = base + sd * rng.standard_normal(SHAPE, dtype=np.float32)

    def save(name: str, values: np.ndarray) -> Path:
        image = nibabel.Nifti1Image(values, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        if values.ndim == 4:
            image.header.set_zooms((3, 3, 3, TR_S))
        nibabel.save(image, folder / name)
        return folder / name

    labels = np.zeros(SHAPE, dtype=np.uint8)
    for seed in range(6):
        labels[24 + 2 * seed : 26 + 2 * seed, 34:37, 24:27] = seed + 1
    motion = np.cumsum(rng.normal(0, 0.01, (N_VOLUMES, 6)), axis=0) * [1, 1, 1, 0.02, 0.02, 0.02]
    motion[100] += 0.8
    np.savetxt(folder / "rp.txt", motion)
    save("seeds.nii.gz", labels)
    return rg.Run(
        bold=save("bold.nii.gz", data),
        mask=save("mask.nii.gz", brain.astype(np.uint8)),
        motion=folder / "rp.txt",
        tissues={
            "white_matter": save("wm.nii.gz", (radius < 0.15).astype(np.uint8)),
            "csf": save("csf.nii.gz", ((radius > 0.6) & (radius < 0.68)).astype(np.uint8)),
            "global": folder / "mask.nii.gz",
        },
    )


def decode(run: rg.Run) -> None:
    """The floor: decompress the file and throw the bytes away."""
    with igzip.open(run.bold) as stream:
        buffer = bytearray(1 << 20)
        while stream.readinto(buffer):
            pass


def plain_numpy(run: rg.Run) -> np.ndarray:
    """The same recipe stage by stage as one would write it: float64, the FFT, a matrix of seeds; r (S, V)."""
    import nibabel

    mask = np.asarray(nibabel.load(run.mask).dataobj) > 0
    data = nibabel.load(run.bold).get_fdata()
    series = data[mask].T
    tissues = [data[np.asarray(nibabel.load(path).dataobj) > 0].mean(axis=0) for path in run.tissues.values()]
    motion = np.loadtxt(run.motion)
    t = np.arange(1.0, N_VOLUMES + 1)
    design = np.column_stack([np.ones_like(t), t, t**2, rg.denoise.friston24(motion), *tissues])
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    q, _ = np.linalg.qr(design)
    series = series - q @ (q.T @ series)
    spectrum = np.fft.rfft(series - series.mean(axis=0), n=256, axis=0)
    spectrum[:6], spectrum[52:] = 0, 0
    series = np.fft.irfft(spectrum, n=256, axis=0)[:N_VOLUMES]
    series = series[rg.denoise.kept_volumes(rg.denoise.framewise_displacement(motion))]
    series = series - series.mean(axis=0)
    labels = np.asarray(nibabel.load(run.mask.parent / "seeds.nii.gz").dataobj)[mask]
    seeds = np.column_stack([series[:, labels == seed].mean(axis=1) for seed in range(1, 7)])
    return (seeds.T @ series) / np.outer(np.linalg.norm(seeds, axis=0), np.linalg.norm(series, axis=0))


def ours(run: rg.Run, backend: rg.Backend) -> rg.SeedMaps:
    return rg.seed_maps(run, Path(run.mask).parent / "seeds.nii.gz", rg.DenoiseSettings.preset("dparsf"), backend)


def build_operator(n_volumes: int = 240) -> object:
    """The operator alone, as `seed_maps` builds it."""
    rng = np.random.default_rng(1)
    settings = rg.DenoiseSettings.preset("dparsf")
    kept = np.ones(n_volumes, dtype=bool)
    steps = denoising_steps(
        settings,
        tr_s=TR_S,
        kept=kept,
        motion=rng.normal(0, 0.1, (n_volumes, 6)),
        tissues={name: rng.standard_normal(n_volumes) for name in settings.tissue_signals},
    )
    return denoising_operator(settings, steps, kept)


@pytest.fixture(scope="module", params=["noise outside", "zeros outside"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> rg.Run:
    return make_run(tmp_path_factory.mktemp("run"), noise_outside=request.param == "noise outside")


def test_decode_floor(benchmark, run):
    benchmark(decode, run)


def test_seed_maps(benchmark, run):
    backend = rg.select_backend("cpu")
    maps = benchmark(ours, run, backend)
    assert np.abs(maps.r[:, maps.usable] - plain_numpy(run)).max() < 1e-4


def test_operator(benchmark):
    benchmark(build_operator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        ours(_saved_run(arguments.memory_of), rg.select_backend("cpu"))
        # Not getrusage: its peak is inherited from the process that started this one.
        status = Path("/proc/self/status").read_text()
        print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)
        return
    results = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "numpy": np.__version__}
    for name, outside in (("noise_outside", True), ("zeros_outside", False)):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = _measure(make_run(Path(folder), noise_outside=outside), arguments.repeats)
    results["operator_240_ms"] = 1e3 * statistics.median(_timed(build_operator) for _ in range(21))
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _measure(run: rg.Run, repeats: int) -> dict[str, float]:
    backend = rg.select_backend("cpu")
    maps, expected = ours(run, backend), plain_numpy(run)
    error = float(np.abs(maps.r[:, maps.usable] - expected).max())
    assert error < 1e-4, error
    decoding, mapping, numpy_s = [], [], []
    for repeat in range(repeats):
        decoding.append(_timed(lambda: decode(run)))
        mapping.append(_timed(lambda: ours(run, backend)))
        if repeat % 3 == 0:
            numpy_s.append(_timed(lambda: plain_numpy(run)))
    memory = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(Path(run.mask).parent)],
        check=True,
        capture_output=True,
        text=True,
    )
    floor, median = statistics.median(decoding), statistics.median(mapping)
    return {
        "gzip_ratio": round(np.prod(SHAPE) * N_VOLUMES * 2 / Path(run.bold).stat().st_size, 2),
        "decode_s": round(floor, 4),
        "seed_maps_s": round(median, 4),
        "seed_maps_over_decode": round(median / floor, 3),
        "plain_numpy_s": round(statistics.median(numpy_s), 3),
        "plain_numpy_over_seed_maps": round(statistics.median(numpy_s) / median, 2),
        "max_abs_difference_in_r": error,
        "peak_memory_mib": round(float(memory.stdout), 1),
        "volumes": BoldSource.open(run.bold).n_volumes,
    }


def _saved_run(folder: Path) -> rg.Run:
    tissues = {"white_matter": folder / "wm.nii.gz", "csf": folder / "csf.nii.gz", "global": folder / "mask.nii.gz"}
    return rg.Run(bold=folder / "bold.nii.gz", mask=folder / "mask.nii.gz", motion=folder / "rp.txt", tissues=tissues)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
