"""The results table as SPM prints it: set, cluster and peak level side by side, with the footnotes of the search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.files import write_text
from rsfc_gpu.group.cluster_tables import shown_maxima
from rsfc_gpu.group.regions import region_names
from rsfc_gpu.group.tails import equivalent_z, upper_tail
from rsfc_gpu.group.topology import HeightCorrection, Topology, find_topology

if TYPE_CHECKING:
    import pandas as pd

    from rsfc_gpu.group.stat import Stat


@dataclass(frozen=True)
class CriticalValues:
    """Smallest results that are significant at 0.05; infinite where nothing can be or nothing is.

    peak_fwe : height of a peak, family-wise. peak_fdr : lowest local maximum with q <= 0.05.
    extent_fwe, extent_fdr : smallest cluster (voxels) with p_fwe, with q, <= 0.05.
    """

    peak_fwe: float
    peak_fdr: float
    extent_fwe: float
    extent_fdr: float


@dataclass(frozen=True, eq=False)
class ResultsTable:
    """A results table: `frame` has one row per shown peak, `footnotes` the thresholds and the search volume.

    Attributes
    ----------
    frame : columns set_p, set_clusters (first row only); cluster; cluster_p_fwe, cluster_q_fdr, voxels,
        cluster_p_unc (main peaks only); peak_p_fwe, peak_q_fdr, peak, equivalent_z, peak_p_unc; x, y, z (mm); region.
        Cells that do not apply are missing.
    critical : results that would just be significant.
    footnotes : lines of text.
    """

    title: str
    frame: pd.DataFrame
    critical: CriticalValues
    footnotes: tuple[str, ...]

    def to_tsv(self, path: str | Path | None = None) -> str:
        """Tab-separated text with full precision, missing cells "n/a"; also written to `path` if one is given."""
        text = str(self.frame.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
        if path is not None:
            write_text(Path(path), text)
        return text

    def to_text(self) -> str:
        """Aligned columns for reading: title, table, footnotes."""
        columns = list(_HEADINGS)
        cells = [[_show(name, value) for name, value in zip(columns, row, strict=True)] for row in self._rows()]
        lines = [list(_HEADINGS.values()), *cells]
        widths = [max(len(line[c]) for line in lines) for c in range(len(columns))]
        body = [
            "  ".join(
                text.ljust(width) if name == "region" else text.rjust(width)
                for name, text, width in zip(columns, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(len(line) for line in body)
        rows = body[1:] or ["no suprathreshold clusters"]
        return "\n".join([self.title, rule, body[0], rule, *rows, rule, *self.footnotes]) + "\n"

    def __str__(self) -> str:
        return self.to_text()

    def _rows(self) -> list[tuple[object, ...]]:
        return list(self.frame[list(_HEADINGS)].itertuples(index=False, name=None))


_HEADINGS = {
    "set_p": "set p",
    "set_clusters": "c",
    "cluster": "cluster",
    "cluster_p_fwe": "pFWE",
    "cluster_q_fdr": "qFDR",
    "voxels": "kE",
    "cluster_p_unc": "p_unc",
    "peak_p_fwe": "peak pFWE",
    "peak_q_fdr": "qFDR",
    "peak": "value",
    "equivalent_z": "Z",
    "peak_p_unc": "p_unc",
    "x": "x",
    "y": "y",
    "z": "z mm",
    "region": "region",
}
_DECIMALS = {"peak": 2, "equivalent_z": 2, "set_clusters": 0, "cluster": 0, "voxels": 0, "x": 0, "y": 0, "z": 0}


def results_table(
    stat: Stat,
    *,
    height_p: float = 0.001,
    connectivity: int = 18,
    height_correction: HeightCorrection = "none",
    per_cluster: int = 3,
    distance_mm: float = 8.0,
) -> ResultsTable:
    """Set-level, cluster-level and peak-level inference on a map in one table.

    Parameters
    ----------
    height_p, connectivity, height_correction : as in `clusters`.
    per_cluster, distance_mm : as in `peaks`.

    References
    ----------
    Friston et al. 1996, NeuroImage 4:223-235 (levels of inference). Layout and numbers follow SPM12.
    """
    topology = find_topology(stat, height_p=height_p, connectivity=connectivity, height_correction=height_correction)
    shown = shown_maxima(topology.maxima, per_cluster=per_cluster, distance_mm=distance_mm)
    critical = _critical_values(topology)
    return ResultsTable(
        title=f"{stat.name} ({stat.kind}; {connectivity} neighbours)",
        frame=_frame(topology, shown),
        critical=critical,
        footnotes=_footnotes(stat, topology, critical),
    )


def _frame(topology: Topology, shown: NDArray[np.int64]) -> pd.DataFrame:
    import pandas as pd

    found, maxima, field = topology.clusters, topology.maxima, topology.field
    n_clusters = len(found.voxels)
    cluster = maxima.cluster[shown]
    main = np.isin(shown, found.main_peak)
    first = np.arange(len(shown)) == 0
    set_p = float(field.p_of_clusters(n_clusters, topology.height))
    xyz_mm = maxima.xyz_mm[shown]

    def of_cluster(values: NDArray[Any]) -> NDArray[Any]:
        return np.where(main, values[cluster - 1], np.nan)

    return pd.DataFrame(
        {
            "set_p": np.where(first, set_p, np.nan),
            "set_clusters": pd.array([n_clusters if here else None for here in first], dtype="Int64"),
            "cluster": cluster,
            "cluster_p_fwe": of_cluster(found.p_fwe),
            "cluster_q_fdr": of_cluster(found.q_fdr),
            "voxels": pd.array(
                [int(found.voxels[c - 1]) if m else None for c, m in zip(cluster, main, strict=True)], dtype="Int64"
            ),
            "cluster_p_unc": of_cluster(found.p_unc),
            "peak_p_fwe": maxima.p_fwe[shown],
            "peak_q_fdr": maxima.q_fdr[shown],
            "peak": maxima.value[shown],
            "equivalent_z": equivalent_z(field.kind, field.dof, maxima.value[shown]),
            "peak_p_unc": maxima.p_unc[shown],
            "x": xyz_mm[:, 0],
            "y": xyz_mm[:, 1],
            "z": xyz_mm[:, 2],
            "region": pd.Series(region_names(xyz_mm), dtype=object),
        }
    )


def _critical_values(topology: Topology) -> CriticalValues:
    found, maxima = topology.clusters, topology.maxima

    def smallest(values: NDArray[Any], significance: NDArray[Any]) -> float:
        return float(min(values[significance <= 0.05], default=np.inf))

    return CriticalValues(
        peak_fwe=topology.field.critical_height(0.05, len(topology.mask)),
        peak_fdr=smallest(maxima.value, maxima.q_fdr),
        extent_fwe=smallest(found.voxels, found.p_fwe),
        extent_fdr=smallest(found.voxels, found.q_fdr),
    )


def _footnotes(stat: Stat, topology: Topology, critical: CriticalValues) -> tuple[str, ...]:
    field, height = topology.field, topology.height
    fwhm_voxels = np.asarray(stat.smoothness.fwhm_voxels, dtype=np.float64)
    voxel_mm = topology.mask.voxel_mm
    n_voxels = len(topology.mask)
    volume_mm3 = n_voxels * abs(float(np.linalg.det(topology.mask.affine[:3, :3])))
    if np.isfinite(height):
        p_unc, p_fwe = upper_tail(field.kind, field.dof, height), field.peak_fwe(height, n_voxels)
        expected_voxels = field.expected_extent(height) * topology.voxels_per_resel
        expected_clusters = float(field.expected_clusters(height))
        threshold: tuple[str, ...] = (
            f"Height threshold: {stat.kind} = {height:.2f}, p = {p_unc:.3g} uncorrected ({p_fwe:.3g} family-wise)",
            "Extent threshold: 0 voxels",
            f"Expected voxels per cluster {expected_voxels:.3f}, expected number of clusters {expected_clusters:.2f}",
        )
    else:
        threshold = ("Height threshold: no voxel reaches it",)
    return (
        *threshold,
        f"Significant at 0.05: peak FWE {critical.peak_fwe:.3f}, peak FDR {critical.peak_fdr:.3f}, "
        f"cluster FWE {critical.extent_fwe:.0f} voxels, cluster FDR {critical.extent_fdr:.0f} voxels",
        f"Degrees of freedom: {stat.dof[0]:.1f}, {stat.dof[1]:.1f}",
        f"FWHM: {_triple(fwhm_voxels * voxel_mm)} mm, {_triple(fwhm_voxels)} voxels",
        f"Search volume: {volume_mm3:.0f} mm3 = {n_voxels} voxels = {field.resels[3]:.1f} resels",
        f"Voxel size: {_triple(voxel_mm)} mm; one resel = {topology.voxels_per_resel:.2f} voxels",
    )


def _triple(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.1f}" for value in values)


def _show(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    number = float("nan") if value is None or str(value) == "<NA>" else float(str(value))
    if np.isnan(number):
        return ""
    if name in _DECIMALS:
        return f"{number:.{_DECIMALS[name]}f}"
    return "<0.001" if number < 0.0005 else f"{number:.3f}"
