"""The smoothing kernel that both backends share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def smoothing_weights(fwhm_voxels: float) -> NDArray[np.float32]:
    """Weights at the integer offsets -R..R of a Gaussian integrated against a linear B-spline, sum 1.

    R = round(6 sigma). Width 0 gives the single weight 1.

    References
    ----------
    SPM12, spm_smoothkern with a first-degree B-spline.
    """
    sigma = fwhm_voxels / math.sqrt(8.0 * math.log(2.0))
    if sigma < 1e-6:
        return np.ones(1, dtype=np.float32)
    radius = round(6.0 * sigma)

    def twice_integrated(x: float) -> float:
        """Second antiderivative of the Gaussian; the tent function is the second difference of its argument."""
        return 0.5 * x * (1.0 + math.erf(x / (sigma * math.sqrt(2.0)))) + sigma / math.sqrt(2.0 * math.pi) * math.exp(
            -0.5 * (x / sigma) ** 2
        )

    weights = np.array(
        [
            twice_integrated(x + 1) - 2.0 * twice_integrated(x) + twice_integrated(x - 1)
            for x in range(-radius, radius + 1)
        ]
    )
    return np.asarray(weights / weights.sum(), dtype=np.float32)
