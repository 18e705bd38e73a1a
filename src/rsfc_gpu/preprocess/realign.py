"""Realignment: where the head was in each volume, and the run as if it had not moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import RigidFits, RigidTarget, rigid_matrix, rigid_parameters
from rsfc_gpu.backend.splines import coefficient_filters
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess.volumes import RawRun, to_image, voxel_size_mm

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

FWHM_MM = 5.0  # smoothing of both images for the estimate
STEP_MM = 4.0  # between the samples of the reference
FACE_VOXELS = 2  # no sample nearer to a face: the smoothed border is extrapolated, not measured
LEVERAGE = 0.95  # share of the information about the movement that the samples used must carry
MINIMUM_SAMPLES = 32


@dataclass(frozen=True, eq=False)
class Realignment:
    """A realigned run.

    Attributes
    ----------
    motion : (T, 6) x, y, z in mm and pitch, roll, yaw in rad, relative to the first volume (SPM's signs and order).
    image : the run resampled to the first volume; 0 where any volume lacks data.
    mean : mean image over the volumes that have each voxel.
    converged : (T,) False where the fit of a volume failed; such a run must not be used.
    """

    motion: NDArray[np.float64]
    image: Nifti1Image
    mean: Nifti1Image
    converged: NDArray[np.bool_]


def realign(image: str | Path | SpatialImage, *, backend: Backend) -> Realignment:
    """The run, every volume moved onto the first, with the movement parameters.

    Every volume is registered to the first, then to the mean of that pass, by least squares over a rigid movement
    and an intensity scale; resampling is with fourth-degree B-splines.

    Raises
    ------
    InputError : not 4-D, or the first volume offers fewer than 32 samples (too few slices, or empty).

    References
    ----------
    Friston et al. 1995, Human Brain Mapping 3:165-189; conventions of SPM12, spm_realign and spm_reslice.
    """
    run = RawRun.read(image)
    volumes = run.scaled()
    fits = estimate_motion(volumes, run.affine, backend)
    mean = reslice(volumes, fits.matrices, run.affine, backend, out=volumes)
    return Realignment(
        motion_parameters(fits.matrices),
        to_image(volumes, run.affine, run.tr_s),
        to_image(mean, run.affine),
        fits.converged,
    )


def estimate_motion(volumes: NDArray[np.float32], affine: NDArray[np.float64], backend: Backend) -> RigidFits:
    """Rigid matrices that take mm of the first volume to mm of each volume of a run (T, Z, Y, X).

    Raises
    ------
    InputError : the first volume, or the mean of the first pass, offers fewer than 32 samples.
    """
    # Rotations about the middle of the grid: about a far origin they would be confounded with translations.
    centre = np.eye(4)
    centre[:3, 3] = affine[:3] @ [*(np.array(volumes.shape[:0:-1]) - 1) / 2, 1.0]
    local = np.linalg.inv(centre) @ affine
    start = np.tile(np.eye(4), (len(volumes), 1, 1))
    first = backend.register_rigid(volumes, rigid_target(volumes[0], local, backend), start)
    mean = reslice(volumes, first.matrices, local, backend, degree=2)
    second = backend.register_rigid(volumes, rigid_target(mean, local, backend), first.matrices)
    relative = centre @ second.matrices @ np.linalg.inv(second.matrices[0]) @ np.linalg.inv(centre)
    return RigidFits(relative, first.converged & second.converged, np.minimum(first.samples, second.samples))


def rigid_target(reference: NDArray[np.float32], affine: NDArray[np.float64], backend: Backend) -> RigidTarget:
    """The samples of a reference volume (Z, Y, X) that say most about a movement."""
    voxel_mm = voxel_size_mm(affine)
    filters = coefficient_filters(reference.shape, 2, tuple(FWHM_MM / voxel_mm))
    points = _jittered_grid(reference.shape[::-1], STEP_MM / voxel_mm)
    values, gradient = backend.sample_gradient(reference, filters, points)
    gradient_mm = gradient @ np.linalg.inv(affine[:3, :3])
    position = points @ affine[:3, :3].T + affine[:3, 3]
    # Pitch moves (y, z) by (z, -y), roll (x, z) by (z, -x), yaw (x, y) by (y, -x): SPM's signs.
    turning = np.cross(gradient_mm, position) * (1.0, -1.0, 1.0)
    design = np.column_stack([values, gradient_mm, turning])
    norms = (design[:, 1:] ** 2).sum(axis=0)
    # A flat image still has gradients of a rounding error.
    flat = not (norms > 1e-10 * (values**2).sum()).all()
    if len(points) < MINIMUM_SAMPLES or flat:
        raise InputError(
            f"realignment: the reference volume of {'x'.join(map(str, reference.shape[::-1]))} voxels "
            f"offers {len(points)} samples away from its faces, at least {MINIMUM_SAMPLES} with contrast are needed"
        )
    leverage = (design[:, 1:] ** 2 / norms).sum(axis=1)
    order = np.argsort(-leverage, kind="stable")
    needed = int(np.searchsorted(np.cumsum(leverage[order]), LEVERAGE * leverage.sum())) + 1
    kept = np.sort(order[: max(needed, MINIMUM_SAMPLES)])
    return RigidTarget(points[kept], design[kept], filters, affine)


def reslice(
    volumes: NDArray[np.float32],
    matrices: NDArray[np.float64],
    affine: NDArray[np.float64],
    backend: Backend,
    *,
    degree: int = 4,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Mean (Z, Y, X) of the realigned run; `out`, which may be the run itself, gets the realigned volumes."""
    points = np.moveaxis(np.indices(volumes.shape[1:], dtype=np.float64), 0, -1)[..., ::-1]
    return backend.resample(volumes, points, voxel_maps(matrices, affine), degree=degree, out=out)


def voxel_maps(matrices: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Movements (T, 4, 4) in mm as maps (T, 3, 4) between voxels of the same grid."""
    return np.ascontiguousarray((np.linalg.inv(affine) @ matrices @ affine)[:, :3])


def motion_parameters(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 6) parameters, as SPM writes them, of matrices that take mm of the first volume to mm of each volume."""
    return np.stack([rigid_parameters(np.linalg.inv(matrix)) for matrix in matrices])


def motion_matrices(motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `motion_parameters`."""
    return np.stack([np.linalg.inv(rigid_matrix(row)) for row in motion])


def exclusion_reason(
    motion: NDArray[np.float64], *, maximum_mm: float = 2.0, maximum_degrees: float = 2.0
) -> str | None:
    """Why a run with this motion (T, 6) is left out, or None where no movement is strictly beyond a limit."""
    translation = float(np.abs(motion[:, :3]).max())
    rotation = float(np.degrees(np.abs(motion[:, 3:]).max()))
    found = []
    if translation > maximum_mm:
        found.append(f"translation {translation:.2f} mm > {maximum_mm:g} mm")
    if rotation > maximum_degrees:
        found.append(f"rotation {rotation:.2f} degrees > {maximum_degrees:g} degrees")
    return f"head motion: {' and '.join(found)}" if found else None


def _jittered_grid(shape: tuple[int, ...], step_voxels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions (N, 3) on a grid, each moved by up to half a step, so that no voxel spacing is favoured."""
    axes = [np.arange(FACE_VOXELS, n - FACE_VOXELS, step) for n, step in zip(shape, step_voxels, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    generator = np.random.default_rng(0)  # the same samples for equal input, so that results repeat
    grid = grid + generator.uniform(-0.5, 0.5, grid.shape) * step_voxels
    inside = ((grid >= FACE_VOXELS) & (grid <= np.array(shape) - 1 - FACE_VOXELS)).all(axis=1)
    return np.ascontiguousarray(grid[inside])
