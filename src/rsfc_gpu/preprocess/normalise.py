"""Normalisation: an affine and then a smooth warp that make a subject's mean EPI look like an EPI template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.backend.splines import AxisFilters, coefficient_filters
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess.template import (
    TEMPLATE_MM,
    box_affine,
    box_shape,
    brain_mask,
    read_template,
)
from rsfc_gpu.preprocess.volumes import read_volume, voxel_size_mm
from rsfc_gpu.preprocess.warp import Warp, identity_maps, warp_basis

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

CUTOFF_MM = 25.0  # half period of the finest cosine, to the nearest whole number of them
AFFINE_STEPS = 32
RIGID_STEPS = 6
WARP_STEPS = 8
WARP_STOP_MM = 0.01  # root mean square change of the displacement
#: Zooms of the ICBM brain against an average one along x, y, z, and the SD of their logarithms and of shears.
ICBM_ZOOMS, ZOOM_SD, SHEAR_SD = (1.07, 1.05, 1.11), 0.07, 0.03
#: Smoothing of the subject's image, mm, and weight of the squared Laplacian of the displacement, per mm: with a
#: template that is given, such as SPM's EPI.nii, and with the default one. That is made of sharp maps, smoothed 8 mm; a
#: subject's image, with voxels 4 mm wide, is as smooth with less. Its contrast resembles a real EPI less, and bears no
#: warps as free. Simulated heads chose the numbers; on two real runs they lead nearer to what EPI.nii leads to.
FWHM_GIVEN, STIFFNESS_GIVEN = 8.0, 2.0
FWHM_DEFAULT, STIFFNESS_DEFAULT = 6.0, 15.0


def normalise(
    mean_image: str | Path | SpatialImage,
    template: str | Path | SpatialImage | None = None,
    *,
    stiffness: float | None = None,
    backend: Backend,
) -> Warp:
    """The warp between a template and a subject's mean EPI.

    Least squares between the subject's image, smoothed, and the template times a scale: twelve affine parameters
    with a prior on zooms and shears; then, the scale varying linearly over the volume, cosines of half period 25 mm
    and longer with a penalty on the squared Laplacian of the displacement. A fit that missed is not an error here:
    `Warp.dice` says how well the result covers the MNI brain.

    Parameters
    ----------
    mean_image : (X, Y, Z) path or image, with its skull.
    template : EPI-contrast image in MNI space, smoothed 8 mm (SPM's EPI.nii), and the subject's image is smoothed as
        much; None is the default template, and 6 mm.
    stiffness : weight of the penalty, per mm; None is 2 with a template that is given, 15 with the default one.

    Raises
    ------
    InputError : an image that is not 3-D, is empty, or does not overlap the template at all.

    References
    ----------
    Ashburner and Friston 1999, Human Brain Mapping 7:254-266; Ashburner et al. 1997, NeuroImage 6:344-352 (the prior).
    """
    source, source_affine = read_volume(mean_image)
    return fit_warp(source, source_affine, template, stiffness=stiffness, backend=backend)


def fit_warp(
    source: NDArray[np.float32],
    source_affine: NDArray[np.float64],
    template: str | Path | SpatialImage | None,
    *,
    stiffness: float | None,
    backend: Backend,
) -> Warp:
    """As `normalise`, of an image (Z, Y, X)."""
    if stiffness is None:
        stiffness = STIFFNESS_DEFAULT if template is None else STIFFNESS_GIVEN
    if not source.any():
        raise InputError("normalisation: the mean image is empty")
    fwhm_mm = FWHM_DEFAULT if template is None else FWHM_GIVEN
    filters = coefficient_filters(source.shape, 2, tuple(fwhm_mm / voxel_size_mm(source_affine)))
    subject = _Subject(source, filters, source_affine, fwhm_mm, backend)
    target = _on_box(*read_template(template, backend), 2, backend)
    start = np.zeros(12)
    start[:3] = _centre_mm(source, source_affine) - _centre_mm(target.values, target.affine)
    start[6:9] = -np.log(ICBM_ZOOMS)
    coarse = fit_affine(subject, target.thinned(2), start)
    fine = fit_affine(subject, target, coarse, rigid_steps=0)
    affine = affine_matrix(fine)
    coefficients = fit_cosines(subject, target, affine, stiffness)
    without_dice = Warp(affine, coefficients, float("nan"), backend)
    return Warp(affine, coefficients, brain_dice(without_dice, source, source_affine), backend)


@dataclass(frozen=True, eq=False)
class _Subject:
    """The image to be normalised; `at` reads it, smoothed, anywhere."""

    volume: NDArray[np.float32]
    filters: AxisFilters
    affine: NDArray[np.float64]
    fwhm_mm: float
    backend: Backend

    def at(self, points_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values and derivatives per mm; NaN outside the image."""
        to_voxel = np.linalg.inv(self.affine)
        points = points_mm @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        values, gradient = self.backend.sample_gradient(self.volume, self.filters, points)
        return values, gradient @ to_voxel[:3, :3]


@dataclass(frozen=True, eq=False)
class _Target:
    """The template at every `every`-th voxel of the 2-mm box; NaN where it has no data."""

    values: NDArray[np.float32]
    every: int

    def thinned(self, by: int) -> _Target:
        return _Target(self.values[::by, ::by, ::by], self.every * by)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Of the indices x, y, z."""
        matrix = box_affine(TEMPLATE_MM, x_falls=False)
        matrix[:3, :3] *= self.every
        return matrix

    @property
    def points_mm(self) -> NDArray[np.float64]:
        index = np.moveaxis(np.indices(self.values.shape), 0, -1)[..., ::-1]
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def independent_share(self, fwhm_mm: float) -> float:
        """Independent samples per grid point: points closer than the smoothness repeat each other."""
        return float((TEMPLATE_MM * self.every / fwhm_mm) ** 3)


def _on_box(volume: NDArray[np.float32], affine: NDArray[np.float64], every: int, backend: Backend) -> _Target:
    shape = tuple(-(-n // every) for n in box_shape(TEMPLATE_MM))
    empty = _Target(np.empty(shape, dtype=np.float32), every)
    to_voxel = np.linalg.inv(affine)
    points = empty.points_mm @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    backend.resample(volume[None], points, identity_maps(1), degree=1, out=empty.values[None])
    inside = ((points >= -1e-3) & (points <= np.array(volume.shape[::-1]) - 1 + 1e-3)).all(axis=-1)
    return _Target(np.where(inside, empty.values, np.float32(np.nan)), every)


def fit_affine(
    subject: _Subject, target: _Target, start: NDArray[np.float64], rigid_steps: int = RIGID_STEPS
) -> NDArray[np.float64]:
    """Twelve parameters by Gauss-Newton with a Gaussian prior; the first steps move only the rigid six."""
    points = target.points_mm.reshape(-1, 3)
    template = target.values.reshape(-1).astype(np.float64)
    usable = np.isfinite(template)
    points, template = points[usable], template[usable]
    homogeneous = np.column_stack([points, np.ones(len(points))])
    prior_mean = np.concatenate([np.zeros(6), -np.log(ICBM_ZOOMS), np.zeros(3)])
    precision = np.concatenate([np.zeros(6), np.full(3, ZOOM_SD**-2), np.full(3, SHEAR_SD**-2)])
    parameters = start.copy()
    for step in range(rigid_steps + AFFINE_STEPS):
        free = 6 if step < rigid_steps else 12
        matrix = affine_matrix(parameters)
        values, gradient = subject.at(homogeneous @ matrix[:3].T)
        inside = np.isfinite(values)
        if inside.sum() < 32:
            raise InputError(
                "normalisation: the mean image does not overlap the template; check its orientation and origin"
            )
        f, t = values[inside], template[inside]
        # d f / d matrix[i, j] is gradient i times homogeneous coordinate j.
        entries = (gradient[inside][:, :, None] * homogeneous[inside][:, None, :]).reshape(-1, 12)
        design = np.column_stack([entries @ _affine_derivatives(parameters)[:, :free], -t])
        noise = float(np.mean((f - t * (t @ f) / (t @ t)) ** 2))
        weight = target.independent_share(subject.fwhm_mm) / max(noise, 1e-12)
        normal = weight * (design.T @ design)
        right = -weight * (design.T @ f)
        normal[range(free), range(free)] += precision[:free]
        right[:free] -= precision[:free] * (parameters - prior_mean)[:free]
        change = np.linalg.lstsq(normal, right, rcond=None)[0][:free]
        parameters[:free] += change
        if free == 12 and np.abs(change * np.array([1.0] * 3 + [50.0] * 9)).max() < 1e-2:
            break
    return parameters


def fit_cosines(
    subject: _Subject, target: _Target, affine: NDArray[np.float64], stiffness: float
) -> NDArray[np.float64]:
    """Coefficients (3, n_z, n_y, n_x) of the displacement, mm, by Gauss-Newton."""
    from scipy.linalg import solve

    extent = np.array(box_shape(TEMPLATE_MM)) * TEMPLATE_MM
    counts = tuple(int(n) for n in np.maximum(np.rint(extent / CUTOFF_MM), 1))
    basis = warp_basis(counts, target.every)
    penalty = np.tile(stiffness * basis.roughness(np.full(3, TEMPLATE_MM)).ravel(), 3)
    n = len(penalty)
    points = target.points_mm
    templates = _with_gradients(target.values.astype(np.float64))
    coefficients = np.zeros((3, *counts))
    grid_axes: tuple[None, None, None] = (None, None, None)
    for _ in range(WARP_STEPS):
        displaced = points + np.moveaxis(basis.expand(coefficients, grid_axes), 0, -1)
        values, gradient = subject.at(displaced @ affine[:3, :3].T + affine[:3, 3])
        usable = np.isfinite(values) & np.isfinite(templates[0])
        f, t = np.where(usable, values, 0.0), np.where(usable, templates, 0.0)
        slope = np.where(usable[..., None], gradient, 0.0) @ affine[:3, :3]
        normal, right = subject.backend.warp_equations(slope, f, t, basis)
        # What no scaling of the template explains at the present warp: the last rows hold t't and t'f.
        explained = right[n:] @ np.linalg.lstsq(normal[n:, n:], right[n:], rcond=None)[0]
        noise = ((f * f).sum() - explained) / usable.sum()
        weight = target.independent_share(subject.fwhm_mm) / max(noise, 1e-12)
        normal *= weight
        right *= weight
        normal[range(n), range(n)] += penalty
        right[:n] -= penalty * coefficients.ravel()
        change = solve(normal, right, assume_a="pos")[:n].reshape(coefficients.shape)
        coefficients = coefficients + change
        # The cosines are orthonormal over the voxels of the box.
        if np.sqrt((change**2).sum() / np.prod(basis.shape)) < WARP_STOP_MM:
            break
    return coefficients


def _with_gradients(template: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, Z, Y, X) the template, and the template times -1 to 1 along each axis: room for uneven coil sensitivity."""
    ramps = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in template.shape), indexing="ij")
    return np.stack([template, *(template * ramp for ramp in ramps)])


def affine_matrix(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix (4, 4) of shift (mm), rotation (rad), logarithm of zooms, and shears (xy, xz, yz)."""
    shear = np.eye(4)
    shear[0, 1], shear[0, 2], shear[1, 2] = parameters[9:]
    return rigid_matrix(parameters[:6]) @ np.diag([*np.exp(parameters[6:9]), 1.0]) @ shear


def _affine_derivatives(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """(12, 12) derivative of the upper three rows of the matrix, flattened, with each parameter."""
    width = 1e-5
    columns = []
    for step in np.eye(12) * width:
        difference = affine_matrix(parameters + step) - affine_matrix(parameters - step)
        columns.append(difference[:3].ravel() / (2 * width))
    return np.column_stack(columns)


def brain_dice(
    warp: Warp, source: NDArray[np.float32], source_affine: NDArray[np.float64], grid_mm: float = 4.0
) -> float:
    """Dice of the MNI brain with where the warped image is brighter than half its median in that brain.

    Only where the image has data: a slab that leaves out the cerebellum is not a failure.
    """
    points = warp.voxel_positions(source_affine, grid_mm)
    warped = np.empty((1, *points.shape[:3]), dtype=np.float32)
    warp.backend.resample(source[None], points, identity_maps(1), degree=1, out=warped)
    inside = ((points >= 0) & (points <= np.array(source.shape[::-1]) - 1)).all(axis=-1)
    brain = brain_mask(grid_mm)
    if not (brain & inside).any():
        return 0.0
    bright = warped[0] > 0.5 * np.median(warped[0][brain & inside])
    brain, bright = brain & inside, bright & inside
    return float(2.0 * (brain & bright).sum() / (brain.sum() + bright.sum()))


def _centre_mm(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass, mm, of what is brighter than the mean."""
    finite = np.where(np.isfinite(volume), volume, 0.0).astype(np.float64)
    mass = np.where(finite > finite.mean(), finite, 0.0)
    index = [np.arange(n) for n in mass.shape]
    z, y, x = ((mass.sum(axis=tuple({0, 1, 2} - {axis})) * index[axis]).sum() / mass.sum() for axis in range(3))
    return np.asarray(affine[:3, :3] @ [x, y, z] + affine[:3, 3])
