"""Volumes whose axes run to the right, to the front and to the top, so that a slice of them is a picture as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.images.atlas import resample_labels

Extent = tuple[float, float, float, float]  # left, right, bottom, top: the outer edges, millimetres


@dataclass(frozen=True, eq=False)
class Upright:
    """A volume on a grid along the axes of space.

    Attributes
    ----------
    values : (X, Y, Z); each index grows with its coordinate.
    first_mm, step_mm : (3,) centre of the first voxel, and from one to the next.
    """

    values: NDArray[Any]
    first_mm: NDArray[np.float64]
    step_mm: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any], affine: NDArray[np.float64]) -> Upright:
        """The volume (X, Y, Z), flipped and turned; one that stands askew is resampled, nearest neighbour."""
        from nibabel import orientations

        turn = orientations.io_orientation(affine)
        turned = orientations.apply_orientation(values, turn)
        to_mm = np.asarray(affine, dtype=np.float64) @ orientations.inv_ornt_aff(turn, values.shape)
        step = np.diag(to_mm)[:3].copy()
        if np.abs(to_mm[:3, :3] - np.diag(step)).max() > 1e-3 * step.min():
            return cls._straightened(turned, to_mm)
        return cls(turned, to_mm[:3, 3].copy(), step)

    @classmethod
    def _straightened(cls, values: NDArray[Any], to_mm: NDArray[np.float64]) -> Upright:
        corners = np.array(np.meshgrid(*((0, n - 1) for n in values.shape))).reshape(3, -1)
        corners_mm = to_mm[:3, :3] @ corners + to_mm[:3, 3:]
        first, step = corners_mm.min(axis=1), np.full(3, np.linalg.norm(to_mm[:3, :3], axis=0).min())
        x, y, z = (int(n) for n in np.ceil(np.ptp(corners_mm, axis=1) / step) + 1)
        straight = np.diag([*step, 1.0])
        straight[:3, 3] = first
        return cls(resample_labels(values, to_mm, (x, y, z), straight), first, step)

    def extent(self, across: int, up: int) -> Extent:
        """The edges of a picture whose x and y are these axes of space (0, 1, 2)."""
        low = self.first_mm - self.step_mm / 2
        high = low + self.step_mm * self.values.shape
        return float(low[across]), float(high[across]), float(low[up]), float(high[up])

    def cut(self, axis: int, at_mm: float) -> NDArray[Any]:
        """The slice across an axis of space (0, 1, 2) nearest to a place on it; empty where the volume does not reach.

        Its rows go along the later of the other two axes, its columns along the earlier.
        """
        at = round(float((at_mm - self.first_mm[axis]) / self.step_mm[axis]))
        slices = np.moveaxis(self.values, axis, 0)
        return slices[at].T if 0 <= at < len(slices) else slices[0, :0, :0].T
