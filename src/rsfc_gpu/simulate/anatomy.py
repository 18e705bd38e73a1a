"""The brain that a simulated run is made on: masks, tissue weights, seeds, and smooth noise on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import select_backend
from rsfc_gpu.backend.smoothing_kernel import smoothing_weights
from rsfc_gpu.connectivity import Seeds
from rsfc_gpu.images.atlas import resample_labels
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.preprocess.template import EPI_CONTRAST, box_affine, box_shape, tissue_masks, tissue_probabilities

F32 = NDArray[np.float32]

SPACE = "MNI152NLin6Asym"
#: The noise is as smooth as data with a point spread of 6 mm that were smoothed with 8 mm: hypot(6, 8) = 10. On a 4-mm
#: grid that is 2.5 voxels; at 2 voxels random-field theory is too liberal about the extent of clusters.
NOISE_FWHM_MM = 10.0
BLOCK_VOLUMES = 8  # drawn and smoothed together: they stay in the cache, and a long run needs no more memory
TISSUE_FWHM_MM = 8.0
SEED_FWHM_MM = 4.0
BRIGHTNESS = 1000.0  # of grey matter, roughly


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One grid with everything on it that does not differ between runs. V voxels of the brain, S seeds.

    Attributes
    ----------
    brain : the mask; white_matter, csf : masks for tissue signals.
    baseline : (V,) mean intensity.
    grey_weight, white_weight, csf_weight : (V,) share of each tissue, smoothed.
    gradient : (3, V) relative change of the intensity per mm along x, y, z: what a small shift of the head adds.
    seeds : on this grid.
    seed_weights : (S, V) how much of each seed's signal a voxel carries; mean 1 over the seed.
    box : the slices of the brain's bounding box; smoothers : one matrix per axis of it, rows of unit norm.
    """

    brain: Mask
    white_matter: Mask
    csf: Mask
    baseline: F32
    grey_weight: F32
    white_weight: F32
    csf_weight: F32
    gradient: F32
    seeds: Seeds
    seed_weights: F32
    box: tuple[slice, slice, slice]
    smoothers: tuple[F32, F32, F32]

    def noise(self, rng: np.random.Generator, n: int) -> F32:
        """(n, V) Gaussian noise, white along n, smooth in space, unit variance in every voxel."""
        index = self._box_index
        noise = np.empty((n, len(index)), dtype=np.float32)
        for start in range(0, n, BLOCK_VOLUMES):
            rows = noise[start : start + BLOCK_VOLUMES]
            values = smooth_noise(rng, len(rows), *self.smoothers).reshape(len(rows), -1)
            np.take(values, index, axis=1, out=rows, mode="clip")  # "raise" would buffer the output
        return noise

    @cached_property
    def _box_index(self) -> NDArray[np.int64]:
        """(V,) position of each brain voxel within the C-ordered box."""
        index = np.stack(np.unravel_index(self.brain.index, self.brain.shape, order="F"))
        corner = np.array([[axis.start] for axis in self.box])
        return np.asarray(np.ravel_multi_index(tuple(index - corner), tuple(len(k) for k in self.smoothers)))

    def voxels_mm(self) -> NDArray[np.float64]:
        """(V, 3) coordinates of the brain's voxels."""
        index = np.stack(np.unravel_index(self.brain.index, self.brain.shape, order="F"), axis=1)
        affine = self.brain.affine
        return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])

    def blobs(self, centres_mm: Sequence[tuple[float, float, float]], fwhm_mm: float) -> tuple[F32, NDArray[np.int64]]:
        """(n, V) Gaussians of height 1 around the brain voxels nearest to n centres; and those voxels, (n,)."""
        where = self.voxels_mm()
        nearest = np.array([int(((where - centre) ** 2).sum(axis=1).argmin()) for centre in centres_mm], dtype=np.int64)
        weights = np.empty((len(nearest), len(where)), dtype=np.float32)
        for row, voxel in zip(weights, nearest, strict=True):
            row[:] = np.exp(-4 * np.log(2) * ((where - where[voxel]) ** 2).sum(axis=1) / fwhm_mm**2)
        return weights, nearest


@lru_cache(maxsize=2)
def build_anatomy(grid_mm: float) -> Anatomy:
    """The ICBM152 brain on a grid of `grid_mm`, voxel (0, 0, 0) at (90, -126, -72) mm, x falling.

    Raises
    ------
    InputError : the grid is too coarse to hold every seed.
    ResourceError : nilearn's maps or the atlases are not installed.
    """
    backend = select_backend("cpu", threads=1)
    shape, affine = box_shape(grid_mm)[::-1], box_affine(grid_mm)
    maps, maps_affine = tissue_probabilities()
    widths = np.full(3, TISSUE_FWHM_MM / grid_mm)
    tissues = {
        name: backend.smooth(resample_labels(values.T, maps_affine, shape, affine), widths)
        for name, values in maps.items()
    }
    contrast = np.asarray(sum(EPI_CONTRAST[name] * values for name, values in tissues.items()), dtype=np.float32)
    image = contrast * np.float32(BRIGHTNESS / EPI_CONTRAST["grey_matter"])
    grid = _Grid(shape, affine)
    masks = {name: Mask.from_array(np.asarray(mask.dataobj), affine) for name, mask in tissue_masks(grid).items()}
    # Voxels at the rim are nearly dark after smoothing: no scanner's mask would hold them.
    brain = Mask(masks["brain"].inside & (image > 0.3 * BRIGHTNESS), affine)
    seeds = Seeds.from_atlas("juelich-amygdala", like=grid, space=SPACE)
    weights = np.empty((len(seeds), len(brain)), dtype=np.float32)
    for seed, members in enumerate(seeds.members):
        volume = np.zeros(brain.inside.size, dtype=np.float32)
        volume[members] = 1.0
        smoothed = backend.smooth(volume.reshape(shape, order="F"), np.full(3, SEED_FWHM_MM / grid_mm))
        weights[seed] = brain.take(smoothed) / np.float32(smoothed.ravel(order="F")[members].mean())
    slopes = np.stack([brain.take(slope) for slope in np.gradient(image, grid_mm)]) / brain.take(image)
    slopes[0] *= np.sign(affine[0, 0])
    corners = [(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(brain.inside)]
    return Anatomy(
        brain=brain,
        white_matter=Mask(masks["white_matter"].inside & brain.inside, affine),
        csf=Mask(masks["csf"].inside & brain.inside, affine),
        baseline=brain.take(image),
        grey_weight=brain.take(tissues["grey_matter"]),
        white_weight=brain.take(tissues["white_matter"]),
        csf_weight=brain.take(tissues["csf"]),
        gradient=slopes.astype(np.float32),
        seeds=seeds,
        seed_weights=weights,
        box=(slice(*corners[0]), slice(*corners[1]), slice(*corners[2])),
        smoothers=(
            noise_smoother(corners[0][1] - corners[0][0], NOISE_FWHM_MM / grid_mm),
            noise_smoother(corners[1][1] - corners[1][0], NOISE_FWHM_MM / grid_mm),
            noise_smoother(corners[2][1] - corners[2][0], NOISE_FWHM_MM / grid_mm),
        ),
    )


@dataclass(frozen=True, eq=False)
class _Grid:
    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, n: int, k_x: F32, k_y: F32, k_z: F32) -> F32:
    """(n, X, Y, Z) Gaussian noise of unit variance; one smoother for each axis."""
    n_x, n_y, n_z = len(k_x), len(k_y), len(k_z)
    values = rng.standard_normal((n, n_x, n_y, n_z), dtype=np.float32)
    values = (values.reshape(-1, n_z) @ k_z.T).reshape(n * n_x, n_y, n_z)
    values = np.matmul(k_y, values).reshape(n, n_x, n_y * n_z)
    return np.asarray(np.matmul(k_x, values).reshape(n, n_x, n_y, n_z))


def noise_smoother(n: int, fwhm_voxels: float) -> F32:
    """(n, n) smoothing along one axis; rows of unit norm, so that white noise keeps unit variance up to the edges."""
    weights = smoothing_weights(fwhm_voxels)
    radius = len(weights) // 2
    matrix = np.zeros((n, n))
    for offset, weight in zip(range(-radius, radius + 1), weights, strict=True):
        matrix += weight * np.eye(n, k=offset)
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)
