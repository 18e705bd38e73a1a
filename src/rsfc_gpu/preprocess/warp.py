"""A warp: where each point of the template's space lies in a subject's images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.dct import CosineBasis
from rsfc_gpu.images.nifti import load_image
from rsfc_gpu.preprocess.template import TEMPLATE_MM, box_affine, box_shape
from rsfc_gpu.preprocess.volumes import RawRun, read_volume, to_image

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage


@dataclass(frozen=True, eq=False)
class Warp:
    """From template space to a subject: y = affine @ (x + u(x)), all in mm.

    Attributes
    ----------
    affine : (4, 4) mm of the template to mm of the subject.
    coefficients : (3, n_z, n_y, n_x) of u along x, y, z, mm: cosines that are orthonormal over the 2-mm box.
    dice : overlap of the warped image with the MNI brain, 0 to 1.
    """

    affine: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    dice: float
    backend: Backend = field(repr=False)

    def apply(self, image: str | Path | SpatialImage, voxel_mm: float = 3.0) -> Nifti1Image:
        """The image, 3-D or 4-D in the subject's space, in template space; trilinear, 0 outside the image.

        The box of voxel centres [-90 -126 -72; 90 90 108] mm, x falling: 61x73x61 voxels at 3 mm.
        """
        source = load_image(image)
        if len(source.shape) == 4:
            run = RawRun.read(source)
            volumes, affine, tr_s = run.scaled(), run.affine, run.tr_s
        else:
            volume, affine = read_volume(source)
            volumes, tr_s = volume[None], None
        points = self.voxel_positions(affine, voxel_mm)
        out = np.empty((len(volumes), *points.shape[:3]), dtype=np.float32)
        self.backend.resample(volumes, points, identity_maps(len(volumes)), degree=1, out=out)
        return to_image(out if len(source.shape) == 4 else out[0], box_affine(voxel_mm), tr_s)

    def voxel_positions(self, image_affine: NDArray[np.float64], voxel_mm: float = 3.0) -> NDArray[np.float64]:
        """(Z, Y, X, 3) where each voxel of the output box lies in an image of the subject, in its voxels."""
        n_z, n_y, n_x = box_shape(voxel_mm)
        grid = box_affine(voxel_mm)
        axes = [grid[axis, axis] * np.arange(n) + grid[axis, 3] for axis, n in enumerate((n_x, n_y, n_z))]
        to_voxel = np.linalg.inv(image_affine)
        position_mm = self.source_mm(*axes)
        return np.asarray(position_mm @ to_voxel[:3, :3].T + to_voxel[:3, 3])

    def source_mm(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
        """(Z, Y, X, 3) mm in the subject of the grid with these coordinates, mm in the template, along each axis."""
        origin = box_affine(TEMPLATE_MM, x_falls=False)[:3, 3]
        axes = [np.asarray(axis, dtype=np.float64) for axis in (x, y, z)]
        positions = tuple((axis - start) / TEMPLATE_MM for axis, start in zip(axes, origin, strict=True))
        displaced = np.moveaxis(
            warp_basis(self.coefficients.shape[1:]).expand(self.coefficients, positions[::-1]), 0, -1
        )
        displaced = np.ascontiguousarray(displaced)
        displaced[..., 0] += axes[0]
        displaced[..., 1] += axes[1][:, None]
        displaced[..., 2] += axes[2][:, None, None]
        return np.asarray(displaced @ self.affine[:3, :3].T + self.affine[:3, 3])


def warp_basis(counts: tuple[int, ...], every: int = 1) -> CosineBasis:
    """Cosines over the 2-mm box, sampled at every `every`-th voxel."""
    n_z, n_y, n_x = counts
    return CosineBasis(box_shape(TEMPLATE_MM), (n_z, n_y, n_x), (every, every, every))


def identity_maps(n_volumes: int) -> NDArray[np.float64]:
    """(T, 3, 4) maps that change nothing."""
    return np.tile(np.eye(4)[:3], (n_volumes, 1, 1))
