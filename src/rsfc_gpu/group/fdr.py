"""False discovery rate by Benjamini and Hochberg, for clusters, peaks and voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.group.tails import Dof, Kind, upper_tail


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p (q) of each p, same order; the share of false discoveries when everything up to it is called one.

    References
    ----------
    Benjamini and Hochberg 1995, J R Stat Soc B 57:289-300.
    """
    from scipy import stats

    values = np.asarray(p, dtype=np.float64)
    return np.asarray(stats.false_discovery_control(values)) if values.size else values.copy()


def fdr_height(kind: Kind, dof: Dof, values: ArrayLike, q: float) -> float:
    """Voxelwise threshold u: the voxels with value > u are those whose q is at most `q`; inf where there are none.

    Parameters
    ----------
    values : the statistic in every voxel of the search volume, (V,); NaN does not count.
    """
    statistic = np.asarray(values)
    statistic = np.sort(statistic[np.isfinite(statistic)])
    survives = benjamini_hochberg(upper_tail(kind, dof, statistic)) <= q
    if not survives.any():
        return float("inf")
    # The next lower number of the map's own type, so that "greater than" takes the lowest survivor in.
    return float(np.nextafter(statistic[np.argmax(survives)], -np.inf))
