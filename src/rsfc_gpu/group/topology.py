"""The clusters and local maxima of one statistic map above a height, with their p and q: what every table shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.group.fdr import benjamini_hochberg, fdr_height
from rsfc_gpu.group.randomfield import RandomField
from rsfc_gpu.group.tails import upper_tail, value_at
from rsfc_gpu.images.mask import Mask

if TYPE_CHECKING:
    from rsfc_gpu.group.stat import Stat

HeightCorrection = Literal["none", "fdr", "fwe"]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters, largest first; position c holds cluster number c + 1. All (C,).

    p_unc, p_fwe : of the extent, uncorrected and over the search volume. q_fdr : Benjamini-Hochberg over p_unc.
    main_peak : position of the highest maximum among the `Maxima`.
    """

    voxels: I64
    p_unc: F64
    p_fwe: F64
    q_fdr: F64
    main_peak: I64


@dataclass(frozen=True, eq=False)
class Maxima:
    """Local maxima, highest first; all (M,), `ijk` and `xyz_mm` (M, 3).

    p_above : P(a maximum above the height reaches the value), over which q_fdr is Benjamini-Hochberg.
    """

    cluster: I64
    value: F64
    p_unc: F64
    p_fwe: F64
    p_above: F64
    q_fdr: F64
    ijk: I64
    xyz_mm: F64


@dataclass(frozen=True, eq=False)
class Topology:
    """What stands out of a map: `clusters` and `maxima` above `height`, and the `field` that judges them.

    Attributes
    ----------
    labels : (V,) cluster number of each voxel of `mask`, 0 for none.
    voxels_per_resel : volume of a resel.
    """

    mask: Mask
    height: float
    field: RandomField
    voxels_per_resel: float
    labels: NDArray[np.int32]
    clusters: Clusters
    maxima: Maxima


def random_field(stat: Stat) -> RandomField:
    """The null field of a statistic map: its distribution over its own search volume."""
    r0, r1, r2, r3 = (float(count) for count in stat.smoothness.resels)
    return RandomField(stat.kind, (float(stat.dof[0]), float(stat.dof[1])), (r0, r1, r2, r3))


def height_threshold(stat: Stat, *, height_p: float = 0.001, height_correction: HeightCorrection = "none") -> float:
    """The value above which voxels form clusters.

    Parameters
    ----------
    height_p : level of the threshold.
    height_correction : "none" takes `height_p` as it is; "fdr" as the false discovery rate over all voxels;
        "fwe" as the family-wise error rate (random field or Bonferroni, whichever is lower).

    Returns
    -------
    Voxels with a greater value are above it; infinite if "fdr" finds no voxel.

    Raises
    ------
    InputError : a level outside (0, 0.5), or an unknown correction.
    """
    if not 0 < height_p < 0.5:
        raise InputError(f"height_p is {height_p}: expected a value between 0 and 0.5")
    field = random_field(stat)
    if height_correction == "none":
        return float(value_at(field.kind, field.dof, height_p))
    if height_correction == "fdr":
        return fdr_height(field.kind, field.dof, stat.values[stat.mask], height_p)
    if height_correction == "fwe":
        return field.critical_height(height_p, int(stat.mask.sum()))
    raise InputError(f"unknown height correction {height_correction!r}: expected none, fdr or fwe")


def find_topology(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
    backend: Backend | None = None,
) -> Topology:
    """All clusters and local maxima of `stat` above a height, with uncorrected, family-wise and false-discovery p.

    Parameters
    ----------
    height_p, height_correction : as in `height_threshold`.
    connectivity : 6, 18 or 26 neighbours, for clusters and for local maxima.
    backend : labels the clusters; the CPU by default.

    References
    ----------
    Friston et al. 1994, Human Brain Mapping 1:210-220 (extent); Chumbley and Friston 2009, NeuroImage 44:62-70, and
    Chumbley et al. 2010, NeuroImage 49:3057-3064 (topological false discovery rate). Agrees with SPM12.
    """
    from rsfc_gpu.backend import numba_labels

    mask = Mask(np.asarray(stat.mask, dtype=bool), np.asarray(stat.affine, dtype=np.float64))
    values = mask.take(stat.values)
    height = height_threshold(stat, height_p=height_p, height_correction=height_correction)
    field = random_field(stat)
    neighbours = numba_labels.neighbour_table(mask.inside, connectivity)
    label_clusters = numba_labels.label_clusters if backend is None else backend.label_clusters
    labels, sizes = _by_size(label_clusters(values, neighbours, height), values)
    voxels = numba_labels.local_maxima(values, neighbours, labels)
    voxels = voxels[np.argsort(-values[voxels], kind="stable")]
    maxima = _judge_maxima(mask, field, height, voxels, values[voxels].astype(np.float64), labels[voxels])
    voxels_per_resel = float(np.prod(np.asarray(stat.smoothness.fwhm_voxels, dtype=np.float64)))
    p_unc = field.cluster_p(sizes / voxels_per_resel, height)
    clusters = Clusters(
        voxels=sizes,
        p_unc=p_unc,
        p_fwe=field.p_of_clusters(1, height, sizes / voxels_per_resel),
        q_fdr=benjamini_hochberg(p_unc),
        main_peak=np.unique(maxima.cluster, return_index=True)[1],
    )
    return Topology(mask, height, field, voxels_per_resel, labels, clusters, maxima)


def _by_size(found: NDArray[np.int32], values: NDArray[np.floating]) -> tuple[NDArray[np.int32], I64]:
    """Number clusters by falling size, ties by the higher peak; and their sizes."""
    voxels = np.flatnonzero(found)
    sizes = np.bincount(found[voxels])[1:]
    peaks = np.full(len(sizes), -np.inf)
    np.maximum.at(peaks, found[voxels] - 1, values[voxels])
    order = np.lexsort((-peaks, -sizes))
    number = np.zeros(len(sizes) + 1, dtype=np.int32)
    number[order + 1] = np.arange(1, len(sizes) + 1)
    labels = np.zeros_like(found)
    labels[voxels] = number[found[voxels]]
    return labels, sizes[order]


def _judge_maxima(
    mask: Mask, field: RandomField, height: float, voxels: NDArray[np.int32], value: F64, cluster: NDArray[np.int32]
) -> Maxima:
    """p and q of local maxima, given in falling order."""
    ijk = np.stack(np.unravel_index(mask.index[voxels], mask.shape, order="F"), axis=-1)
    p_above = field.peak_p_above(value, height)
    return Maxima(
        cluster=cluster.astype(np.int64),
        value=value,
        p_unc=upper_tail(field.kind, field.dof, value),
        p_fwe=field.peak_fwe(value, len(mask)),
        p_above=p_above,
        q_fdr=benjamini_hochberg(p_above),
        ijk=ijk,
        xyz_mm=ijk @ mask.affine[:3, :3].T + mask.affine[:3, 3],
    )
