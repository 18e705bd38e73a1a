"""A raw run of the paper's size to a normalised, smoothed one: each step, the whole, and the floor.

    pytest benchmarks/bench_preprocess.py --benchmark-enable --benchmark-only [--benchmark-json FILE]

64 x 64 x 33 voxels, 240 volumes, int16, gzip. The floor decodes the file once and writes the result once, uncompressed.
The chain returns an image in memory; compressing it is the writer's time and is not in the total.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend, select_backend
from rsfc_gpu.backend.rigid import RigidFits
from rsfc_gpu.bench.floor import decode
from rsfc_gpu.bench.inputs import TR_S, make_raw_run
from rsfc_gpu.bench.stages import HEAD_RADIUS_MM, largest_difference
from rsfc_gpu.bench.timing import added_memory_bytes
from rsfc_gpu.preprocess import PreprocessSettings, preprocess, slice_times
from rsfc_gpu.preprocess.normalise import fit_warp
from rsfc_gpu.preprocess.realign import estimate_motion, reslice
from rsfc_gpu.preprocess.slice_timing import shift_slices
from rsfc_gpu.preprocess.template import default_template
from rsfc_gpu.preprocess.volumes import RawRun
from rsfc_gpu.preprocess.warp import Warp, identity_maps
from rsfc_gpu.simulate.raw import SHAPE as RAW_SHAPE

N_VOLUMES = 240
TIMES_S = slice_times("interleaved", RAW_SHAPE[2], TR_S)
SETTINGS = PreprocessSettings(discard_volumes=10)
RESULT_SHAPE = (61, 73, 61, N_VOLUMES - SETTINGS.discard_volumes)
SPM12_UNDER_OCTAVE_S = 307  # the same steps on two cores of an AMD EPYC, measured once
OFTEN = {"rounds": 3, "warmup_rounds": 1}
IN_PLACE = {"rounds": 3}  # a step that overwrites its input gets a copy, whose time is not counted


@dataclass(frozen=True)
class Steps:
    """What goes into each step, in order."""

    path: Path
    motion: NDArray[np.float64]  #: that the run was made with, after the discarded volumes
    run: RawRun
    volumes: NDArray[np.float32]
    fits: RigidFits
    realigned: NDArray[np.float32]
    mean: NDArray[np.float32]
    warp: Warp


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    cpu = select_backend("cpu")
    default_template(cpu)  # made once per machine, not once per run
    path = tmp_path_factory.mktemp("raw") / "bold.nii.gz"
    motion = make_raw_run(path, N_VOLUMES)
    run = RawRun.read(path, discard_volumes=SETTINGS.discard_volumes)
    volumes = shift_slices(run, TIMES_S, TR_S, None, cpu)
    fits = estimate_motion(volumes, run.affine, cpu)
    realigned = volumes.copy()
    mean = reslice(volumes, fits.matrices, run.affine, cpu, out=realigned)
    warp = fit_warp(mean, run.affine, None, stiffness=None, backend=cpu)
    return Steps(path, motion, run, volumes, fits, realigned, mean, warp)


def test_decode_floor(benchmark: Any, steps: Steps) -> None:
    benchmark.pedantic(decode, (steps.path,), **OFTEN)


def test_write_floor(benchmark: Any) -> None:
    result = np.ones(RESULT_SHAPE, dtype=np.float32)

    def write() -> None:
        with tempfile.TemporaryFile() as file:
            file.write(result.data)

    benchmark.pedantic(write, **OFTEN)


def test_slice_timing(benchmark: Any, steps: Steps, backend: Backend) -> None:
    benchmark.pedantic(shift_slices, (steps.run, TIMES_S, TR_S, None, backend), **OFTEN)


def test_realign(benchmark: Any, steps: Steps, backend: Backend) -> None:
    benchmark.pedantic(estimate_motion, (steps.volumes, steps.run.affine, backend), **OFTEN)


def test_reslice(benchmark: Any, steps: Steps, backend: Backend) -> None:
    def copied() -> tuple[Any, dict[str, Any]]:
        volumes = steps.volumes.copy()
        return (volumes, steps.fits.matrices, steps.run.affine, backend), {"out": volumes}

    benchmark.pedantic(reslice, setup=copied, **IN_PLACE)


def test_normalise(benchmark: Any, steps: Steps, backend: Backend) -> None:
    settings = {"stiffness": None, "backend": backend}
    warp = benchmark.pedantic(fit_warp, (steps.mean, steps.run.affine, None), settings, **OFTEN)
    assert warp.dice > SETTINGS.minimum_dice


def test_write_on_template_and_smooth(benchmark: Any, steps: Steps, backend: Backend) -> None:
    points = steps.warp.voxel_positions(steps.run.affine)
    out = np.empty((len(steps.realigned), *points.shape[:3]), dtype=np.float32)
    widths = np.full(3, SETTINGS.fwhm_mm / SETTINGS.voxel_mm)
    options = {"degree": 1, "fwhm_voxels": widths, "out": out}
    maps = identity_maps(len(steps.realigned))
    benchmark.pedantic(backend.resample, (steps.realigned, points, maps), options, **OFTEN)


def test_the_chain(benchmark: Any, steps: Steps, backend: Backend) -> None:
    def work() -> Any:
        return preprocess(steps.path, SETTINGS, backend, slice_times_s=TIMES_S)

    result = benchmark.pedantic(work, **OFTEN)
    benchmark.extra_info["spm12_under_octave_s"] = SPM12_UNDER_OCTAVE_S
    benchmark.extra_info["added_memory_bytes"] = added_memory_bytes(work)
    benchmark.extra_info["process_peak_bytes"] = _process_peak_bytes(steps.path)
    assert result.image is not None
    assert result.image.shape == RESULT_SHAPE
    to_mm = [1.0] * 3 + [HEAD_RADIUS_MM] * 3
    first = steps.motion[SETTINGS.discard_volumes]
    planted = steps.motion[SETTINGS.discard_volumes :] - first  # small movements: their order does not matter
    assert largest_difference(result.motion * to_mm, planted * to_mm) < 0.2


def _process_peak_bytes(path: Path) -> int:
    """Resident memory at its highest of a process that does the chain and nothing else, libraries included."""
    code = f"""
from rsfc_gpu.backend import select_backend
from rsfc_gpu.bench.timing import highest_memory_bytes
from rsfc_gpu.preprocess import PreprocessSettings, preprocess
settings = PreprocessSettings(discard_volumes={SETTINGS.discard_volumes})
preprocess({str(path)!r}, settings, select_backend("cpu"), slice_times_s={np.asarray(TIMES_S).tolist()})
print(highest_memory_bytes())
"""
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
