"""The stages that `rsfc bench` times: what each does, what its result is held against, and what it must cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.bench import inputs, reference
from rsfc_gpu.bench.floor import Cost
from rsfc_gpu.bench.inputs import Size

SMOOTHED_VOLUMES, FWHM_VOXELS = 10, 4 / 3
HEAD_RADIUS_MM = 50.0  # turns a rotation into a movement at the surface of the head
CONTRAST = "MDD - HC"


@dataclass(frozen=True, eq=False)
class Stage:
    """One thing that is timed on every backend.

    Attributes
    ----------
    work : from the backend to a result on the host.
    values : of a result, what is compared.
    expected : the same from an independent computation.
    against, unit : what `expected` is, and the unit of the difference.
    tolerance : the largest difference that counts as agreement.
    cost : what the stage cannot do without.
    """

    name: str
    work: Callable[[Backend], Any]
    values: Callable[[Any], NDArray[Any]]
    expected: NDArray[Any]
    against: str
    unit: str
    tolerance: float
    cost: Cost


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference; infinite for other shapes and for values that are not finite."""
    if found.shape != expected.shape:
        return float("inf")
    if not found.size:
        return 0.0
    largest = float(np.abs(found.astype(np.float64) - expected).max())
    return largest if np.isfinite(largest) else float("inf")


def build_stages(folder: Path, size: Size, cpu: Backend) -> Iterator[Stage]:
    """Each stage with its input, made in `folder`, and its expected result.

    One after the other, so that nothing has run before the first call of a stage but the stages before it.
    """
    yield from _run_stages(folder, size, cpu)
    yield _smoothing(size)
    yield _realignment(folder, size)
    yield from _group_stages(size, cpu)


def _run_stages(folder: Path, size: Size, cpu: Backend) -> Iterator[Stage]:
    from rsfc_gpu.connectivity import Seeds, correlate_seeds
    from rsfc_gpu.study.single_run import map_run, seed_maps

    run, settings = inputs.make_run(folder, size), inputs.run_settings()
    seeds = Seeds.from_labels(folder / "seeds.nii.gz")
    inside = inputs.brain(size)
    shared: dict[str, Any] = {
        "expected": reference.seed_correlations(run),
        "against": "r in plain NumPy, float64, stage by stage",
        "unit": "r",
        "tolerance": 1e-5,
    }
    yield Stage(
        "one run, file to maps",
        work=lambda backend: seed_maps(run, seeds, settings, backend),
        values=lambda found: found.r[:, inside],
        cost=Cost(decodes="decode the run"),
        **shared,
    )
    maps, series, _ = map_run(run, seeds, settings, cpu)
    compressor = inputs.operator_of(run, series, settings).compressor
    stored, written = series.samples.nbytes, 8.0 * size.n_seeds * size.n_voxels
    yield Stage(
        "one run, series in memory to maps",
        work=lambda backend: correlate_seeds(series, seeds, compressor, backend),
        values=lambda found: found[2].put(found[0])[:, inside],
        cost=Cost(stored + written, 2.0 * size.n_voxels * maps.rank * (size.n_volumes + size.n_seeds), stored),
        **shared,
    )


def _smoothing(size: Size) -> Stage:
    volumes = np.random.default_rng(2).normal(800, 100, (SMOOTHED_VOLUMES, *size.shape)).astype(np.float32)
    expected = np.stack([reference.smoothed(volume, FWHM_VOXELS) for volume in volumes])
    return Stage(
        f"smooth {SMOOTHED_VOLUMES} volumes",
        work=lambda backend: np.stack([backend.smooth(volume, (FWHM_VOXELS,) * 3) for volume in volumes]),
        values=lambda found: found,
        expected=expected,
        against="scipy's convolution in float64, intensities of about 800",
        unit="intensity",
        tolerance=1e-2,
        cost=Cost(2.0 * volumes.nbytes, sent_bytes=volumes.nbytes),
    )


def _realignment(folder: Path, size: Size) -> Stage:
    from rsfc_gpu.preprocess import realign
    from rsfc_gpu.simulate.raw import SHAPE as RAW_SHAPE

    path = folder / "raw.nii.gz"
    to_mm = [1.0] * 3 + [HEAD_RADIUS_MM] * 3
    expected = inputs.make_raw_run(path, size.n_raw_volumes) * to_mm
    floats = 4.0 * np.prod(RAW_SHAPE) * size.n_raw_volumes
    return Stage(
        f"realign {size.n_raw_volumes} raw volumes",
        work=lambda backend: realign(path, backend=backend),
        values=lambda found: found.motion * to_mm,
        expected=expected,
        against="the movement that the run was made with, at 50 mm from its middle",
        unit="mm",
        tolerance=0.1,
        cost=Cost(2 * floats, sent_bytes=floats, decodes="decode the raw run"),
    )


def _group_stages(size: Size, cpu: Backend) -> Iterator[Stage]:
    from rsfc_gpu.group import clusters, fit

    maps, inside, design = inputs.make_group_maps(size, 0, cpu), inputs.brain(size), inputs.two_groups(size)
    samples_bytes = 4.0 * size.n_maps * size.n_voxels
    yield Stage(
        f"group, fit and contrast of {size.n_maps} maps",
        work=lambda backend: fit(maps, design, mask=inside, affine=size.affine, backend=backend).t(CONTRAST),
        values=lambda found: found.values[inside],
        expected=reference.two_sample_t(maps, inside, design),
        against="T in plain NumPy, float64",
        unit="T",
        tolerance=1e-3,
        cost=Cost(samples_bytes, 2.0 * size.n_voxels * size.n_maps**2, samples_bytes),
    )
    stat = fit(maps, design, mask=inside, affine=size.affine, backend=cpu).t(CONTRAST)
    yield Stage(
        "group, clusters of one map",
        work=lambda backend: clusters(stat, backend=backend),
        values=lambda found: found["voxels"].to_numpy(),
        expected=reference.cluster_sizes(stat),
        against="cluster sizes by scipy's labels",
        unit="voxels",
        tolerance=0.0,
        cost=Cost(8.0 * size.n_voxels, sent_bytes=4.0 * size.n_voxels),
    )
