"""Synthetic inputs of a named size: a run on disk, the maps of a group, a raw run whose movement is known."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import replacing

if TYPE_CHECKING:
    from rsfc_gpu.denoise import DenoiseSettings, TemporalOperator
    from rsfc_gpu.group import Design
    from rsfc_gpu.images.series import Series
    from rsfc_gpu.study.single_run import Run

TR_S = 2.0
PAPER_SHAPE, PAPER_VOXELS = np.array([61, 73, 61]), 70_000  # 3 mm, DPABI's box
SEED_EDGE = 3  # voxels along each side of a seed
BACKGROUND, BACKGROUND_SD, BRAIN_SD = 20.0, 6.0, 24.0
SCALP_SHARE = 0.13  # of the voxels outside the brain that are not 0 where the rest is, as a generous mask leaves them


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the inputs are.

    Attributes
    ----------
    n_volumes, n_voxels, n_seeds : of a run; the grid grows with the voxels.
    n_runs : mapped in one go.
    n_maps : of the group model, in two groups.
    n_raw_volumes : of the raw run, 64 x 64 x 33 voxels.
    outside : of the brain: "noise" makes gzip shrink a run by about 1.9, "zeros" by about 3.6.
    """

    n_volumes: int = 230
    n_voxels: int = PAPER_VOXELS
    n_seeds: int = 6
    n_runs: int = 1
    n_maps: int = 84
    n_raw_volumes: int = 20
    outside: Literal["noise", "zeros"] = "noise"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid (X, Y, Z), of which the brain takes the same share at every size."""
        x, y, z = np.rint(PAPER_SHAPE * (self.n_voxels / PAPER_VOXELS) ** (1 / 3)).astype(int)
        return int(x), int(y), int(z)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel indices to mm; the grid is centred and covers the same head at every size."""
        edge_mm = 3.0 * (PAPER_VOXELS / self.n_voxels) ** (1 / 3)
        affine = np.diag([-edge_mm, edge_mm, edge_mm, 1.0])
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return affine


SIZES = {
    "small": Size(n_volumes=120, n_voxels=30_000, n_maps=24),
    "paper": Size(n_raw_volumes=60),
    "large": Size(n_volumes=490, n_voxels=230_000, n_seeds=100, n_maps=123, n_raw_volumes=240),
}


def brain(size: Size) -> NDArray[np.bool_]:
    """(X, Y, Z): the `n_voxels` of the grid that are nearest to its middle, in an ellipsoid's measure."""
    inside = np.zeros(int(np.prod(size.shape)), dtype=bool)
    inside[np.argsort(_radius(size).ravel(), kind="stable")[: size.n_voxels]] = True
    return inside.reshape(size.shape)


def _radius(size: Size) -> NDArray[np.float64]:
    """Squared distance from the middle, 1 at the surface of an ellipsoid inside the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) / (0.41 * n) for n in size.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2)


def seed_labels(size: Size) -> NDArray[np.int16]:
    """(X, Y, Z): cubes of 3 x 3 x 3 voxels inside the brain, numbered 1 to `n_seeds`, spread over it.

    Raises
    ------
    InputError : the brain holds fewer cubes than seeds.
    """
    blocks = np.array(size.shape) // SEED_EDGE
    x, y, z = blocks * SEED_EDGE
    cut = brain(size)[:x, :y, :z].reshape(blocks[0], SEED_EDGE, blocks[1], SEED_EDGE, blocks[2], SEED_EDGE)
    full = np.argwhere(cut.all(axis=(1, 3, 5)))
    if len(full) < size.n_seeds:
        raise InputError(f"{size.n_voxels} voxels hold {len(full)} seeds, {size.n_seeds} are asked for")
    labels = np.zeros(size.shape, dtype=np.int16)
    for seed, at in enumerate(np.linspace(0, len(full) - 1, size.n_seeds).astype(int)):
        i, j, k = full[at] * SEED_EDGE
        labels[i : i + SEED_EDGE, j : j + SEED_EDGE, k : k + SEED_EDGE] = seed + 1
    return labels


def make_run(folder: Path, size: Size) -> Run:
    """Write bold, mask, wm, csf and seeds (.nii.gz) and rp.txt: int16, with slow signals shared by distant voxels."""
    rng = np.random.default_rng(20)
    inside, radius = brain(size), _radius(size)
    base = np.where(inside, rng.uniform(600, 1200, size.shape), BACKGROUND).astype(np.float32)
    sd = np.where(inside, BRAIN_SD, BACKGROUND_SD).astype(np.float32)
    if size.outside == "zeros":
        air = ~inside & (radius > np.quantile(radius[~inside], SCALP_SHARE))
        base[air] = sd[air] = 0
    patterns, courses = _shared_signals(size, rng)
    patterns *= inside
    header = _header(size.affine, (*size.shape, size.n_volumes), np.int16)
    with replacing(folder / "bold.nii.gz") as path, gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for t in range(size.n_volumes):
            noise = sd * rng.standard_normal(size.shape, dtype=np.float32)
            volume = base + noise + np.tensordot(courses[t], patterns, axes=1)
            stream.write(volume.astype("<i2").tobytes(order="F"))
    motion = np.cumsum(rng.normal(0, 0.01, (size.n_volumes, 6)), axis=0) * [1, 1, 1, 0.02, 0.02, 0.02]
    motion[size.n_volumes // 2] += [0.8] * 3 + [0.0] * 3  # one jolt, for scrubbing
    np.savetxt(folder / "rp.txt", motion)
    volumes = {"mask": inside, "wm": radius < 0.15, "csf": (radius > 0.6) & (radius < 0.68), "seeds": seed_labels(size)}
    for name, values in volumes.items():
        _save(folder / f"{name}.nii.gz", values.astype(np.int16), size.affine)
    return saved_run(folder)


def saved_run(folder: Path) -> Run:
    """The run that `make_run` wrote to `folder`."""
    from rsfc_gpu.study.single_run import Run

    masks = {"white_matter": "wm", "csf": "csf", "global": "mask"}
    return Run(
        bold=folder / "bold.nii.gz",
        mask=folder / "mask.nii.gz",
        motion=folder / "rp.txt",
        tissues={tissue: folder / f"{name}.nii.gz" for tissue, name in masks.items()},
    )


def run_settings() -> DenoiseSettings:
    """The published recipe; short runs are let through, because here only their time matters."""
    from rsfc_gpu.denoise import DenoiseSettings

    return DenoiseSettings.preset("dparsf").replace(minimum_dof=0.0)


def operator_of(run: Run, series: Series, settings: DenoiseSettings) -> TemporalOperator:
    """The operator that cleans a run of `make_run`, as `seed_maps` builds it."""
    from rsfc_gpu.denoise import denoising_operator, denoising_steps, framewise_displacement, kept_volumes

    motion = np.loadtxt(run.motion)  # type: ignore[arg-type]
    kept = kept_volumes(framewise_displacement(motion))
    steps = denoising_steps(settings, tr_s=TR_S, kept=kept, motion=motion, tissues=series.regions)
    return denoising_operator(settings, steps, kept)


def _shared_signals(size: Size, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Four spatial patterns (4, X, Y, Z), and courses (T, 4) that lie between 0.01 and 0.1 Hz."""
    axes = np.meshgrid(*[np.linspace(-np.pi, np.pi, n) for n in size.shape], indexing="ij")
    patterns = np.stack([np.cos(wave * axes[wave % 3] + wave) for wave in range(1, 5)])
    t_s = TR_S * np.arange(size.n_volumes)[:, None, None]
    waves = np.sin(2 * np.pi * t_s * rng.uniform(0.015, 0.09, (4, 5)) + rng.uniform(0, 6, (4, 5)))
    return (8 * patterns).astype(np.float32), waves.mean(axis=2).astype(np.float32)


def make_group_maps(size: Size, seed: int, backend: Backend) -> NDArray[np.float32]:
    """(N, X, Y, Z), NaN outside the brain: smooth noise, more of it in patients, who also differ in one block."""
    rng, inside = np.random.default_rng(seed), brain(size)
    maps = np.empty((size.n_maps, *size.shape), dtype=np.float32)
    middle = tuple(slice(n // 3, n // 3 + max(2, n // 8)) for n in size.shape)
    for n in range(size.n_maps):
        noise = backend.smooth(rng.standard_normal(size.shape, dtype=np.float32), (8 / 3,) * 3)
        patient = n < _n_patients(size)
        maps[n] = np.where(inside, 0.3 + (2.5 if patient else 2.0) * noise, np.nan)
        maps[n][middle] += 0.6 * patient
    return maps


def two_groups(size: Size, *, variances: Literal["equal", "unequal"] = "unequal") -> Design:
    """Patients and controls, with age, sex and displacement."""
    import pandas as pd

    from rsfc_gpu.group import two_sample

    rng = np.random.default_rng(1)
    patients = _n_patients(size)
    table = pd.DataFrame({"group": ["MDD"] * patients + ["HC"] * (size.n_maps - patients)})
    table["age"] = rng.normal(35, 10, size.n_maps)
    table["sex"] = rng.integers(0, 2, size.n_maps)
    table["mean_fd_power_mm"] = rng.gamma(4, 0.02, size.n_maps)
    covariates = ["age", "sex", "mean_fd_power_mm"]
    return two_sample(table, group="group", levels=["MDD", "HC"], covariates=covariates, variances=variances)


def _n_patients(size: Size) -> int:
    return round(size.n_maps * 39 / 84)


def make_raw_run(path: Path, n_volumes: int) -> NDArray[np.float64]:
    """Write a simulated raw run, a head that drifts by about a millimetre; returns its motion (T, 6), SPM's order."""
    from rsfc_gpu.images.mask import Mask
    from rsfc_gpu.images.nifti import save_volume
    from rsfc_gpu.simulate.head import Head
    from rsfc_gpu.simulate.raw import AFFINE, scan_head

    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(size=(n_volumes, 6)), axis=0) * ([0.03] * 3 + [0.0004] * 3)
    motion -= motion[0]
    nowhere = Mask(np.zeros((2, 2, 2), dtype=bool), np.eye(4))  # nothing fluctuates: only the head's place matters
    still = np.zeros((n_volumes, 0), dtype=np.float32)
    run = scan_head(Head.draw(rng), still, nowhere, motion, rng, tr_s=TR_S)
    save_volume(path, run.samples.T, AFFINE, tr_s=TR_S)
    return motion


def _header(affine: NDArray[np.float64], shape: tuple[int, ...], dtype: type) -> Any:
    """A NIfTI header of a file whose data begin at byte 352."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", "sec")
    header.set_zooms((*np.sqrt((affine[:3, :3] ** 2).sum(axis=0)), *[TR_S] * (len(shape) - 3)))
    header["vox_offset"] = 352
    return header


def _save(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values, affine), path)
