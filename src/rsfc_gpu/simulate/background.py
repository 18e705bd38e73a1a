"""What an image holds outside the brain unless it was masked away: the noise of the scanner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.simulate.anatomy import BLOCK_VOLUMES, BRIGHTNESS, NOISE_FWHM_MM, noise_smoother, smooth_noise
from rsfc_gpu.simulate.bold import NOISE
from rsfc_gpu.simulate.raw import AIR


def fill_background(volumes: NDArray[np.int16], brain: Mask, rng: np.random.Generator) -> None:
    """Write noise to every voxel of `volumes` (T, X, Y, Z) outside the brain.

    It is as strong as in grey matter, and as smooth: thermal noise does not know where the head is.
    """
    smoothers = [noise_smoother(n, NOISE_FWHM_MM / edge) for n, edge in zip(brain.shape, brain.voxel_mm, strict=True)]
    outside = ~brain.inside.T
    with one_blas_thread():
        for start in range(0, len(volumes), BLOCK_VOLUMES):
            # (Z, Y, X) in C order is the order of the file.
            block = volumes[start : start + BLOCK_VOLUMES].transpose(0, 3, 2, 1)
            values = smooth_noise(rng, len(block), *smoothers[::-1])
            values *= np.float32(NOISE * BRIGHTNESS)
            values += np.float32(AIR)
            np.rint(np.maximum(values, 0.0, out=values), out=values)
            np.copyto(block, values, where=outside, casting="unsafe")
