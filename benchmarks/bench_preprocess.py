"""A raw run of the paper's size to a normalised, smoothed one: each step, the whole, and the floor.

    pytest benchmarks/bench_preprocess.py --benchmark-enable --benchmark-only     the whole chain by pytest-benchmark
    python benchmarks/bench_preprocess.py [--json FILE] [--repeats N]    the fastest of N, peak memory

64x64x33 voxels, 240 volumes, int16, gzip. The floor decodes the file once and writes the result once, uncompressed.
The chain returns an image in memory; compressing it is the writer's time and is not in the total.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsfc_gpu.backend import Backend, select_backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.preprocess import PreprocessSettings, preprocess, slice_times
from rsfc_gpu.preprocess.normalise import fit_warp
from rsfc_gpu.preprocess.realign import estimate_motion, reslice
from rsfc_gpu.preprocess.slice_timing import shift_slices
from rsfc_gpu.preprocess.template import BOX_MM, TEMPLATE_MM, default_template, make_epi_contrast
from rsfc_gpu.preprocess.volumes import RawRun
from rsfc_gpu.preprocess.warp import identity_maps

SHAPE, N_VOLUMES, TR_S = (64, 64, 33), 240, 2.0
AFFINE = np.array([[-3.44, 0, 0, 108.0], [0, 3.44, 0, -122.0], [0, 0, 4.6, -66.0], [0, 0, 0, 1.0]])
TIMES_S = slice_times("interleaved", SHAPE[2], TR_S)
SETTINGS = PreprocessSettings(discard_volumes=10)


def make_raw_run(path: Path, backend: Backend) -> None:
    """Write a head that drifts by about a millimetre, with noise everywhere, as scanners write it."""
    import nibabel
    from scipy import ndimage

    rng = np.random.default_rng(0)
    contrast = 1200.0 * make_epi_contrast(backend, fwhm_mm=3.0).T
    drift = np.cumsum(rng.normal(size=(N_VOLUMES, 6)), axis=0) * ([0.03] * 3 + [0.0004] * 3)
    run = np.empty((*SHAPE, N_VOLUMES), dtype=np.int16, order="F")
    box = np.diag([TEMPLATE_MM] * 3 + [1.0])
    box[:3, 3] = BOX_MM[0]
    for t in range(N_VOLUMES):
        to_voxel = np.linalg.inv(box) @ rigid_matrix(drift[t]) @ AFFINE
        still = ndimage.affine_transform(contrast, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=SHAPE, order=1)
        run[..., t] = still + 20.0 + 8.0 * rng.standard_normal(SHAPE, dtype=np.float32)
    image = nibabel.Nifti1Image(run, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3.44, 3.44, 4.6, TR_S))
    nibabel.save(image, path)


def time_steps(path: Path, backend: Backend) -> dict[str, float]:
    """Seconds of each step of one run of the chain, taken apart."""
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        seconds[name] = time.perf_counter() - last
        last = time.perf_counter()

    run = RawRun.read(path, discard_volumes=SETTINGS.discard_volumes)
    lap("decode")
    volumes = shift_slices(run, TIMES_S, TR_S, None, backend)
    lap("slice timing")
    fits = estimate_motion(volumes, run.affine, backend)
    lap("realign, two passes and their mean")
    mean = reslice(volumes, fits.matrices, run.affine, backend, out=volumes)
    lap("reslice")
    warp = fit_warp(mean, run.affine, None, stiffness=None, backend=backend)
    lap("normalise, affine and warps")
    points = warp.voxel_positions(run.affine)
    out = np.empty((len(volumes), *points.shape[:3]), dtype=np.float32)
    backend.resample(volumes, points, identity_maps(len(volumes)), degree=1, fwhm_voxels=np.full(3, 4.0 / 3.0), out=out)
    lap("write at 3 mm and smooth")
    with tempfile.TemporaryFile() as file:
        file.write(out.data)
        lap("floor: write the result once")
    return seconds


def measure(path: Path, backend: Backend, repeats: int) -> dict[str, Any]:
    """The fastest of `repeats`, interleaved, after one warm-up that compiles: other work on the machine only adds."""
    preprocess(path, SETTINGS, backend, slice_times_s=TIMES_S)
    steps, whole = [], []
    for _ in range(repeats):
        steps.append(time_steps(path, backend))
        start = time.perf_counter()
        preprocess(path, SETTINGS, backend, slice_times_s=TIMES_S)
        whole.append(time.perf_counter() - start)
    fastest = {name: min(step[name] for step in steps) for name in steps[0]}
    return {
        "steps_s": {name: round(value, 3) for name, value in fastest.items()},
        "whole_s": round(min(whole), 3),
        "floor_s": round(fastest["decode"] + fastest["floor: write the result once"], 3),
        "spm12_under_octave_s": 307,  # the same steps on two cores, measured once
        "device": backend.device,
        "load_average": round(os.getloadavg()[0], 1),  # near the number of threads where nothing else ran
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def peak_memory_mb(path: Path) -> float:
    """Resident memory at its highest in a fresh process that runs the chain once, MB."""
    # Not getrusage: its peak is inherited from the process that started this one.
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import bench_preprocess as b;"
        "b.preprocess(sys.argv[1], b.SETTINGS, b.select_backend('cpu'), slice_times_s=b.TIMES_S);"
        "status = open('/proc/self/status').read().splitlines();"
        "print(int(next(line for line in status if line.startswith('VmHWM')).split()[1]) / 1024)"
    )
    command = [sys.executable, "-c", program, str(path), str(Path(__file__).parent)]
    return round(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout), 1)


@pytest.fixture(scope="session")
def raw_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "bold.nii.gz"
    make_raw_run(path, select_backend("cpu"))
    return path


@pytest.mark.slow
def test_the_chain(raw_run: Path, benchmark: Any) -> None:
    backend = select_backend("cpu")
    result = benchmark.pedantic(
        preprocess, (raw_run, SETTINGS, backend), {"slice_times_s": TIMES_S}, rounds=3, warmup_rounds=1
    )
    assert result.image is not None
    assert result.image.shape == (61, 73, 61, N_VOLUMES - 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    backend = select_backend("cpu")
    default_template(backend)  # made once per machine, not once per run
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bold.nii.gz"
        make_raw_run(path, backend)
        report = measure(path, backend, arguments.repeats) | {"peak_memory_mb": peak_memory_mb(path)}
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
