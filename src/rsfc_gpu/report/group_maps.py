"""The group's results: maps with clusters that survive, their table, and viewers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.files import bids_label
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.report.brain_maps import Kind, brain_map, within_clusters
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs, has_result
from rsfc_gpu.report.page import Block, Interactive, Text
from rsfc_gpu.report.tables import counted, fixed, unbroken
from rsfc_gpu.report.viewers import viewer

MOST_VIEWERS = 12
_NEEDED = ("model", "contrast", "seed", "test", "direction", "cluster", "significant", "peak", "x", "y", "z")
_HEADINGS = {
    "seed": "Seed",
    "contrast": "Contrast",
    "meaning": "Direction",
    "region": "Region of the peak",
    "voxels": "Voxels",
    "peak_mm": "x, y, z",
    "statistic": "Test",
    "peak": "Peak",
    "p_unc": "p",
    "p_fwe": "p FWE",
    "q_fdr": "q FDR",
    "q_model": "q model",
    "cell_means": "Cell means of z",
}
_LONGEST_MEANING = 40
_FORMATS = {"peak": fixed(2)}
_NOTES = (
    "x, y, z: peak in millimetres of MNI space. p, p FWE, q FDR: of the cluster; q FDR within its map and direction.",
    "q model: Benjamini-Hochberg over all clusters of the model: over its seeds, contrasts and directions.",
)


@dataclass(frozen=True, eq=False)
class MapResult:
    """One statistic map with the clusters in it that survive.

    Attributes
    ----------
    model, contrast, seed : names; is_sample_mean : a one-sample model, there for quality control.
    kind : "t" or "F"; height : the threshold that forms clusters; statistic_text : with degrees of freedom.
    path : of the map; labels : paths of the numbered clusters by direction.
    survivors : rows of the clusters, highest peak first.
    """

    model: str
    contrast: str
    seed: str
    is_sample_mean: bool
    kind: Kind
    height: float
    statistic_text: str
    path: Path
    labels: Mapping[str, Path]
    survivors: pd.DataFrame

    @property
    def title(self) -> str:
        asked = self.model if self.contrast == self.model else f"{self.model}, {self.contrast}"
        return f"{asked}: seed {self.seed}"

    @property
    def peaks_mm(self) -> list[list[float]]:
        return [[float(mm) for mm in row] for row in self.survivors[["x", "y", "z"]].to_numpy()]

    def shown(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The map within the clusters that survive, and its affine."""
        values, affine = load_volume(self.path)
        shown = np.zeros(values.shape, dtype=np.float32)
        for direction, rows in self.survivors.groupby("direction" if self.kind == "t" else "test"):
            labels, _ = load_volume(self.labels[str(direction)])
            shown += within_clusters(values, labels, rows["cluster"].astype(int).tolist())
        return shown, affine


def map_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Per model: a table of the clusters that survive, a figure of each map that has some, and viewers of the first."""
    clusters = outputs.table("group/clusters.tsv", _NEEDED)
    results = {str(model["name"]): map_results(model, clusters) for model in outputs.models}
    # A one-sample map has survivors everywhere; viewers go to the comparisons first.
    ranked = sorted((one for found in results.values() for one in found), key=lambda one: one.is_sample_mean)
    with_viewer = {one.title for one in ranked[:MOST_VIEWERS]}
    if len(outputs.missing_models):
        names = ", ".join(outputs.missing_models)
        yield Text(f"No results of {names} in this folder: `rsfc run` makes them after the maps.", "warning")
    for model in outputs.models:
        name = str(model["name"])
        yield Text(f"{name}{': ' if model.get('description') else ''}{model.get('description') or ''}", "heading")
        if model.get("skipped"):
            yield Text(f"This model did not run: {model['skipped']}", "warning")
            continue
        for seed, fit in (model.get("fits") or {}).items():
            if fit.get("skipped"):
                yield Text(f"Seed {seed} was not analysed: {fit['skipped']}", "warning")
        mine = clusters[clusters["model"] == name]
        if has_result(model):
            yield Text(_tally(model, mine, results[name]))
        if results[name]:
            yield _cluster_table(model, results[name], exhibits)
        for one in results[name]:
            yield from _map(one, exhibits, has_viewer=one.title in with_viewer)


def map_results(model: Mapping[str, Any], clusters: pd.DataFrame) -> list[MapResult]:
    """The maps of a model that have clusters which survive, in the order of its contrasts and seeds."""
    survivors = clusters[(clusters["model"] == model["name"]) & _truth(clusters["significant"])]
    found = []
    for contrast in model.get("contrasts", ()):
        for seed in model.get("seeds", ()):
            rows = survivors[(survivors["contrast"] == contrast["name"]) & (survivors["seed"] == seed)]
            if len(rows):
                found.append(_map_result(model, contrast, str(seed), rows))
    return found


def _map_result(model: Mapping[str, Any], contrast: Mapping[str, Any], seed: str, rows: pd.DataFrame) -> MapResult:
    kind: Kind = "F" if contrast["test"] == "F" else "t"
    df1, df2 = float(rows["df1"].iloc[0]), float(rows["df2"].iloc[0])
    stem = (
        f"model-{bids_label(str(model['name']))}_seed-{bids_label(seed)}_contrast-{bids_label(str(contrast['name']))}"
    )
    folder = Path(model["folder"])
    directions = ("positive", "negative") if kind == "t" else ()
    labels = {one: folder / f"{stem}_dir-{one}_dseg.nii.gz" for one in directions} or {
        "F": folder / f"{stem}_dseg.nii.gz"
    }
    return MapResult(
        model=str(model["name"]),
        contrast=str(contrast["name"]),
        seed=seed,
        is_sample_mean=model.get("kind") == "one_sample",
        kind=kind,
        height=_height(kind, df1, df2, float(model["height_p"])),
        statistic_text=f"F({df1:.3g}, {df2:.3g})" if kind == "F" else f"t({df2:.3g})",
        path=folder / f"{stem}_stat-{kind}_statmap.nii.gz",
        labels=labels,
        survivors=rows.sort_values("peak", key=lambda peak: -peak.abs(), kind="stable"),
    )


def _height(kind: Kind, df1: float, df2: float, height_p: float) -> float:
    """The height that p stands for."""
    from scipy import stats

    return float(stats.f.isf(height_p, df1, df2) if kind == "F" else stats.t.isf(height_p, df2))


def _truth(column: pd.Series[Any]) -> pd.Series[bool]:
    return column.astype(str).str.lower() == "true"


def _tally(model: Mapping[str, Any], clusters: pd.DataFrame, found: Sequence[MapResult]) -> str:
    n_fits = sum(not fit.get("skipped") for fit in model["fits"].values())
    n_maps = len(model.get("contrasts", ())) * n_fits
    n_survivors = sum(len(one.survivors) for one in found)
    q = f"q < {model['q']:g}" if model.get("q") else "significant q"
    held = f", with {', '.join(model['covariates'])} as covariates" if model.get("covariates") else ""
    return (
        f"{counted(model['n_images'], 'map')} per seed{held}. {counted(n_maps, 'statistic map')}, "
        f"{counted(len(clusters), 'cluster')} above the height threshold (p < {model['height_p']:g}), "
        f"{n_survivors} of them with {q}, in {counted(len(found), 'map')}."
    )


def _cluster_table(model: Mapping[str, Any], found: Sequence[MapResult], exhibits: Exhibits) -> Block:
    table = pd.concat([one.survivors.assign(statistic=one.statistic_text) for one in found], ignore_index=True)
    as_file = table.copy()
    table["statistic"] = table["statistic"].map(unbroken)
    peaks = table[["x", "y", "z"]].to_numpy(dtype=np.float64)
    table["peak_mm"] = [unbroken(", ".join(map(fixed(0), xyz))) for xyz in peaks]
    told = _long_meanings(table)
    if told:
        table["meaning"] = [unbroken(" ".join(str(text).split()[-2:])) for text in table["meaning"]]
    constant = [name for name in ("contrast", "statistic") if table[name].nunique() == 1]
    shown = [name for name in _HEADINGS if name in table and name not in constant and table[name].notna().any()]
    test = f", {table['statistic'].iloc[0]}" if "statistic" in constant else ""
    return exhibits.table(
        f"clusters_{model['name']}",
        table[shown],
        title=f"{model['name']}: clusters that survive{test}.",
        headings={name: _HEADINGS[name] for name in shown},
        formats=_FORMATS,
        notes=(*told, *_NOTES),
        as_file=as_file,
    )


def _long_meanings(table: pd.DataFrame) -> list[str]:
    """Notes that say what is above or below 0, contrast by contrast, where the words are too long for a cell."""
    if "meaning" not in table or table["meaning"].dropna().astype(str).str.len().max() <= _LONGEST_MEANING:
        return []
    times = " \N{MULTIPLICATION SIGN} "
    effects = {
        str(row["contrast"]): str(row["meaning"]).rsplit(" ", 2)[0].replace("*", times) for _, row in table.iterrows()
    }
    return [f"Direction, {contrast}: of {effect}." for contrast, effect in effects.items()]


def _map(one: MapResult, exhibits: Exhibits, *, has_viewer: bool) -> Iterator[Block]:
    shown, affine = one.shown()
    figure = brain_map(
        shown,
        affine,
        threshold=one.height,
        kind=one.kind,
        scale_label=one.statistic_text,
        peaks_mm=one.peaks_mm,
        title=one.title,
    )
    caption = f"{one.title}. Clusters that survive; left is left; z of the slices in mm."
    yield exhibits.picture(f"map_{one.model}_{one.contrast}_{one.seed}", figure, caption)
    if has_viewer:
        first = one.peaks_mm[0]
        seen = viewer(shown, affine, threshold=one.height, kind=one.kind, name=one.title, cut_mm=first)
        yield Interactive(seen, f"{one.title}: a click into one slice moves the others.")
