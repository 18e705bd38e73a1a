"""Anatomical names of peaks and clusters, from the AAL atlas."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.images.atlas import aal_labels, labels_at

if TYPE_CHECKING:
    import pandas as pd

UNLABELLED = "unlabelled"  # white matter, ventricles, outside the brain


def region_names(xyz_mm: ArrayLike) -> list[str]:
    """AAL region at each point, (n, 3) MNI mm, from the nearest voxel of the 2-mm atlas.

    A point outside every region, such as a peak in the fringe of the cortex, is called "near X" after the closest
    region within 6 mm, else "unlabelled".
    """
    atlas = aal_labels()
    points = np.asarray(xyz_mm, dtype=np.float64).reshape(-1, 3)
    values = labels_at(atlas.labels, atlas.affine, points)
    names = [atlas.names.get(int(value), UNLABELLED) for value in values]
    for n in np.flatnonzero(values == 0):
        around = labels_at(atlas.labels, atlas.affine, points[n] + _steps_outwards())
        closest = around[around > 0][:1]
        if len(closest):
            names[n] = f"near {atlas.names[int(closest[0])]}"
    return names


@cache
def _steps_outwards() -> NDArray[np.float64]:
    """Steps on a 2-mm lattice up to 6 mm, shortest first."""
    axis = np.arange(-6.0, 7.0, 2.0)
    steps = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    length = np.linalg.norm(steps, axis=1)
    order = np.argsort(length, kind="stable")
    return np.asarray(steps[order[length[order] <= 6.0]])


def region_shares(cluster: NDArray[Any], xyz_mm: ArrayLike) -> pd.DataFrame:
    """How the voxels of each cluster spread over AAL regions.

    Parameters
    ----------
    cluster : (n,) cluster number of each voxel.
    xyz_mm : (n, 3) centre of each voxel, MNI mm.

    Returns
    -------
    DataFrame, columns cluster, region, voxels, share (0 to 1, of the cluster); largest share first in each cluster.
    """
    import pandas as pd

    atlas = aal_labels()
    points = np.asarray(xyz_mm, dtype=np.float64).reshape(-1, 3)
    pairs = np.stack([np.asarray(cluster, dtype=np.int64), labels_at(atlas.labels, atlas.affine, points)], axis=1)
    found, voxels = np.unique(pairs, axis=0, return_counts=True)
    order = np.lexsort((found[:, 1], -voxels, found[:, 0]))
    found, voxels = found[order], voxels[order]
    sizes = np.bincount(np.asarray(cluster, dtype=np.int64), minlength=1)
    return pd.DataFrame(
        {
            "cluster": found[:, 0],
            "region": pd.Series([atlas.names.get(int(value), UNLABELLED) for value in found[:, 1]], dtype=object),
            "voxels": voxels,
            "share": voxels / sizes[found[:, 0]],
        }
    )


def describe_shares(shares: pd.DataFrame, n_clusters: int, *, least: float = 0.05) -> list[str]:
    """One text per cluster 1..n: "Amygdala_L 62%, Hippocampus_L 30%", shares of at least `least`, largest first."""
    texts: list[list[str]] = [[] for _ in range(n_clusters)]
    for cluster, region, share in zip(shares["cluster"], shares["region"], shares["share"], strict=True):
        if share >= least:
            texts[cluster - 1].append(f"{region} {100 * share:.0f}%")
    return [", ".join(parts) for parts in texts]
