"""What the preprocessing of a raw run found, held against how its head moved and where it lay."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.images.atlas import labels_at, read_card, seed_labels
from rsfc_gpu.preprocess.template import box_affine, box_shape, brain_mask
from rsfc_gpu.preprocess.warp import Warp
from rsfc_gpu.simulate.head import Head

BRAIN_GRID_MM = 4.0
SEED_GRID_MM = 1.0
_MARGIN_MM = 8.0  # around the seeds: a seed that lies further off overlaps nothing
_ATLAS = "juelich-amygdala"

Axes: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class MotionError(NamedTuple):
    """Largest difference of any parameter in any volume."""

    mm: float
    degrees: float


class WarpError(NamedTuple):
    """How far from a point of the template the written run takes its value.

    Attributes
    ----------
    mean_mm, p95_mm : over the brain. seeds_mm : mean over the voxels of all seeds.
    dice, lowest_dice : overlap of each seed with where it was written, mean over seeds and that of the worst.
    """

    mean_mm: float
    p95_mm: float
    seeds_mm: float
    dice: float
    lowest_dice: float


def motion_error(true: NDArray[np.float64], found: NDArray[np.float64]) -> MotionError:
    """Error of motion parameters (T, 6) in SPM's order, both expressed against their first volume."""
    difference = np.abs(found - true)
    return MotionError(float(difference[:, :3].max()), float(np.degrees(difference[:, 3:].max())))


def warp_error(head: Head, warp: Warp) -> WarpError:
    """Error of a warp, exact where the head is read: nothing is inverted or interpolated.

    A point x of the template is written from the scanner's point warp(x), which holds the template's point
    head.to_template(warp(x)). The error is the distance between the two. Dice compares the voxels of a seed with the
    voxels that were written from inside it.
    """
    axes = _brain_axes()
    distance = _distances_mm(head, warp, axes)[1][brain_mask(BRAIN_GRID_MM)]
    labels, affine, names = seed_labels(read_card(_ATLAS))
    seed_axes = _seed_axes(labels.shape, affine)
    written_from, off_mm = _distances_mm(head, warp, seed_axes)
    wanted = labels_at(labels, affine, _grid(seed_axes).reshape(-1, 3))
    written = labels_at(labels, affine, written_from.reshape(-1, 3))
    dice = [_dice(wanted == value, written == value) for value in names]
    return WarpError(
        float(distance.mean()),
        float(np.percentile(distance, 95)),
        float(off_mm.ravel()[wanted > 0].mean()),
        float(np.mean(dice)),
        float(min(dice)),
    )


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def _distances_mm(head: Head, warp: Warp, axes: Axes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The template's points (Z, Y, X, 3) that a grid is written from, and how far (Z, Y, X) they are from it."""
    written_from = head.to_template(warp.source_mm(*axes))
    return written_from, np.asarray(np.linalg.norm(written_from - _grid(axes), axis=-1))


def _grid(axes: Axes) -> NDArray[np.float64]:
    """(Z, Y, X, 3) points of the grid with these x, y and z."""
    return np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1], axis=-1)


def _brain_axes() -> Axes:
    affine = box_affine(BRAIN_GRID_MM)
    x, y, z = (affine[i, i] * np.arange(n) + affine[i, 3] for i, n in enumerate(box_shape(BRAIN_GRID_MM)[::-1]))
    return x, y, z


def _seed_axes(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Axes:
    """The box of all seeds, and a margin."""
    corners = np.array([[0, 0, 0], np.array(shape) - 1]) @ affine[:3, :3].T + affine[:3, 3]
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    x, y, z = (np.arange(a, b + SEED_GRID_MM / 2, SEED_GRID_MM) for a, b in zip(low, high, strict=True))
    return x, y, z
