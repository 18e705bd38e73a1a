"""Tables of clusters and peaks of a statistic map, and the label map that goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.group.regions import describe_shares, region_names, region_shares
from rsfc_gpu.group.tails import equivalent_z
from rsfc_gpu.group.topology import HeightCorrection, Maxima, Topology, find_topology

if TYPE_CHECKING:
    import pandas as pd

    from rsfc_gpu.group.stat import Stat


def clusters(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
    backend: Backend | None = None,
) -> pd.DataFrame:
    """One row per cluster above the height threshold, largest first.

    Parameters
    ----------
    stat : a map of a fit; one-sided for T.
    height_p, height_correction : the voxelwise threshold, as in `height_threshold`; 0.001 uncorrected by default.
    connectivity : 6, 18 or 26 neighbours.
    backend : labels the clusters; the CPU by default.

    Returns
    -------
    DataFrame with columns cluster (1, 2, ...), voxels, volume_mm3; p_unc, p_fwe, q_fdr of the extent;
    peak, peak_p_unc, peak_p_fwe, peak_q_fdr; x, y, z of the peak (mm); region (AAL, at the peak); regions (AAL
    regions with at least 5 % of the cluster). No cluster: no rows. Family-wise and false-discovery rates hold within
    this one map.

    References
    ----------
    As in `find_topology`.
    """
    import pandas as pd

    topology = find_topology(
        stat, height_p=height_p, connectivity=connectivity, height_correction=height_correction, backend=backend
    )
    found, maxima = topology.clusters, topology.maxima
    n_clusters = len(found.voxels)
    table = pd.DataFrame(
        {
            "cluster": np.arange(1, n_clusters + 1),
            "voxels": found.voxels,
            "volume_mm3": np.round(found.voxels * abs(np.linalg.det(topology.mask.affine[:3, :3])), 6),
            "p_unc": found.p_unc,
            "p_fwe": found.p_fwe,
            "q_fdr": found.q_fdr,
        }
    ).join(_peak_columns(maxima, found.main_peak))
    table["regions"] = pd.Series(describe_shares(_shares(topology), n_clusters), dtype=object)
    return table


def peaks(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
    per_cluster: int = 3,
    distance_mm: float = 8.0,
) -> pd.DataFrame:
    """Up to `per_cluster` local maxima of each cluster, more than `distance_mm` apart, highest first in each cluster.

    Returns
    -------
    DataFrame with columns cluster (the numbers of `clusters`), peak, equivalent_z, peak_p_unc, peak_p_fwe,
    peak_q_fdr, x, y, z (mm), region (AAL). The false discovery rate counts all local maxima, shown or not.
    """
    topology = find_topology(stat, height_p=height_p, connectivity=connectivity, height_correction=height_correction)
    maxima, field = topology.maxima, topology.field
    shown = shown_maxima(maxima, per_cluster=per_cluster, distance_mm=distance_mm)
    table = _peak_columns(maxima, shown)
    table.insert(0, "cluster", maxima.cluster[shown])
    table.insert(2, "equivalent_z", equivalent_z(field.kind, field.dof, maxima.value[shown]))
    return table


def cluster_labels(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
) -> NDArray[np.int32]:
    """Cluster number of each voxel, (X, Y, Z) int32, 0 for none; the numbers are `cluster` in the tables."""
    topology = find_topology(stat, height_p=height_p, connectivity=connectivity, height_correction=height_correction)
    return topology.mask.put(topology.labels)


def cluster_regions(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
) -> pd.DataFrame:
    """Share of each AAL region in each cluster: columns cluster, region, voxels, share; largest first."""
    return _shares(
        find_topology(stat, height_p=height_p, connectivity=connectivity, height_correction=height_correction)
    )


def shown_maxima(maxima: Maxima, *, per_cluster: int, distance_mm: float) -> NDArray[np.int64]:
    """Positions of the maxima that a table shows, by cluster, then by falling height; the main peak always."""
    shown: list[int] = []
    for cluster in range(1, int(maxima.cluster.max(initial=0)) + 1):
        kept: list[int] = []
        for position in np.flatnonzero(maxima.cluster == cluster):
            distances = np.linalg.norm(maxima.xyz_mm[kept] - maxima.xyz_mm[position], axis=1)
            if len(kept) < per_cluster and (distances > distance_mm).all():
                kept.append(int(position))
        shown.extend(kept)
    return np.array(shown, dtype=np.int64)


def _peak_columns(maxima: Maxima, which: NDArray[np.int64]) -> pd.DataFrame:
    import pandas as pd

    xyz_mm = maxima.xyz_mm[which]
    return pd.DataFrame(
        {
            "peak": maxima.value[which],
            "peak_p_unc": maxima.p_unc[which],
            "peak_p_fwe": maxima.p_fwe[which],
            "peak_q_fdr": maxima.q_fdr[which],
            "x": xyz_mm[:, 0],
            "y": xyz_mm[:, 1],
            "z": xyz_mm[:, 2],
            "region": pd.Series(region_names(xyz_mm), dtype=object),
        }
    )


def _shares(topology: Topology) -> pd.DataFrame:
    voxels = np.flatnonzero(topology.labels)
    mask = topology.mask
    ijk = np.stack(np.unravel_index(mask.index[voxels], mask.shape, order="F"), axis=-1)
    return region_shares(topology.labels[voxels], ijk @ mask.affine[:3, :3].T + mask.affine[:3, 3])
