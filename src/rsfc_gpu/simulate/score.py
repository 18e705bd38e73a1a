"""What a study found, held against what was planted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.images.atlas import labels_at

PEAK_MM = 10.0
ALPHA = 0.05
#: Maps of each kind in the study: six seeds; the kinds that are F tests have one map for both directions.
MAPS = {"patients-controls": 12, "responders-nonresponders": 12, "time": 6, "interaction": 6}
_F_KINDS = ("time", "interaction")
_NEEDED = ("kind", "seed", "sign", "cluster", "x", "y", "z", "q_fdr")
_COLUMNS = ("result", "kind", "seed", "sign", "name", "region", "x", "y", "z", "d", "peak_distance_mm", "q", "cluster")
_ASSOCIATION = "association-"


def score_planted(effects: pd.DataFrame, clusters: pd.DataFrame) -> pd.DataFrame:
    """planted_vs_found.tsv: each planted effect found or missed, and each significant cluster that is a leak or false.

    An effect is found where a cluster with q < 0.05 of its contrast, seed and sign has a peak within 10 mm. A false
    cluster touches no region planted in its contrast for any seed. A leak touches one, but only of other seeds, or in
    the other direction. Effects that are implied by another one, and were not planted, can neither be missed nor false.

    Parameters
    ----------
    effects : `Truth.effects`; associations are not scored here.
    clusters : one row per cluster, or per local maximum with the number and the q of its cluster, of all contrasts
        and seeds: kind (as in `effects`), seed, sign (+1 or -1, as in `effects`), cluster, x, y, z in mm, q_fdr. With a
        column `touches` (see `regions_touched`), that decides which regions a cluster touches; without it, a peak
        within 10 mm of the centre does.

    Returns
    -------
    DataFrame with columns result (found, missed, leak, false), kind, seed, sign, name and region of the effect, x, y, z
    of the planted centre, or of the peak of a leak or false cluster; d; peak_distance_mm, to the nearest significant
    peak of the right contrast, seed and sign; q and number of the cluster.

    Raises
    ------
    InputError : a missing column.
    """
    missing = [column for column in _NEEDED if column not in clusters]
    if missing:
        raise InputError(f"the table of clusters has no column {', '.join(missing)}")
    planted = effects[effects["d"].notna()]
    significant = clusters[clusters["q_fdr"] < ALPHA]
    rows = [_score_effect(effect, significant) for _, effect in planted[planted["role"] == "planted"].iterrows()]
    rows += _strangers(planted, significant)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def score_associations(effects: pd.DataFrame, score: pd.DataFrame, associations: pd.DataFrame) -> pd.DataFrame:
    """Rows like those of `score_planted` for the planted correlations with the reduction of the score.

    One is found where the cluster that stands for its effect correlates with the reduction at that visit, q < 0.05 and
    the planted sign; missed too where the effect itself was.

    Parameters
    ----------
    effects : `Truth.effects`. score : of `score_planted`. associations : clinical/associations.tsv of the study; its
        plain correlations of the connectivity at baseline are taken.

    Returns
    -------
    DataFrame with columns result, kind ("association-day13"), seed, sign, name, region, x, y, z, cluster, q, and
    planted_r and r, the true correlation and the one found.
    """
    planted = effects[effects["kind"].str.startswith(_ASSOCIATION) & (effects["role"] == "planted")]
    plain = associations[(associations["measure"] == "baseline") & associations["covariates"].isna()]
    found = score[score["result"] == "found"].set_index("name")
    rows = []
    for _, one in planted.iterrows():
        row = {column: one[column] for column in ("kind", "seed", "sign", "name", "region", "x", "y", "z")}
        row |= {"planted_r": one["r"], "result": "missed"}
        effect = str(one["name"]).rsplit("_reduction-", 1)[0]
        if effect in found.index:
            cluster = found.loc[effect]
            visit = str(one["kind"]).removeprefix(_ASSOCIATION)
            same = plain[
                (plain["model"] == cluster["kind"])
                & (plain["seed"] == cluster["seed"])
                & (plain["direction"] == ("positive" if cluster["sign"] > 0 else "negative"))
                & (plain["cluster"] == cluster["cluster"])
                & (plain["outcome"] == f"reduction_{visit}")
            ]
            if len(same):
                r, q = (float(same[column].iloc[0]) for column in ("r", "q"))
                held = q < ALPHA and r * one["r"] > 0
                row |= {"result": "found" if held else "missed", "r": r, "q": q, "cluster": cluster["cluster"]}
        rows.append(row)
    return pd.DataFrame(rows)


def summarise_score(score: pd.DataFrame, maps: Mapping[str, int] = MAPS) -> pd.DataFrame:
    """One row per kind of contrast: maps, planted, found, found_share, leaks, false_clusters, false_share.

    false_share is the share of false clusters among the significant ones of a map, 0 where there is none, averaged over
    the maps of the kind: what a false discovery rate of 5 % in every map promises to keep near 5 %.

    Parameters
    ----------
    maps : how many maps of each kind were looked at: six seeds, and for t tests both directions.
    """
    rows = []
    for kind, n_maps in maps.items():
        part = score[score["kind"] == kind]
        count = part["result"].value_counts()
        found, missed, leaks, false = (int(count.get(name, 0)) for name in ("found", "missed", "leak", "false"))
        significant = part[part["result"] != "missed"]
        by_map = significant.groupby(["seed"] if kind in _F_KINDS else ["seed", "sign"])["result"]
        false_share = sum(float((results == "false").mean()) for _, results in by_map) / n_maps
        rows.append(
            {
                "kind": kind,
                "maps": n_maps,
                "planted": found + missed,
                "found": found,
                "found_share": found / (found + missed) if found + missed else float("nan"),
                "leaks": leaks,
                "false_clusters": false,
                "false_share": false_share,
            }
        )
    return pd.DataFrame(rows)


def regions_touched(effects: pd.DataFrame, kind: str, labels: NDArray[Any], affine: ArrayLike) -> dict[int, str]:
    """Names of the effects of `kind`, any seed, whose region each cluster of a label volume touches.

    A region is the sphere in which the profile of the effect is at least half its height. Names are joined with a
    space; a cluster that touches none has no entry.
    """
    touched: dict[int, list[str]] = {}
    for _, effect in effects[(effects["kind"] == kind) & effects["d"].notna()].iterrows():
        radius = effect["fwhm_mm"] / 2
        offsets = np.arange(-radius, radius + 0.5, 1.0)
        points = np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3)
        points = points[(points**2).sum(axis=1) <= radius**2] + effect[["x", "y", "z"]].to_numpy(dtype=np.float64)
        for cluster in np.unique(labels_at(labels, affine, points)):
            if cluster > 0:
                touched.setdefault(int(cluster), []).append(str(effect["name"]))
    return {cluster: " ".join(names) for cluster, names in touched.items()}


def _score_effect(effect: pd.Series[Any], significant: pd.DataFrame) -> dict[str, object]:
    """The row of one planted effect."""
    same = significant
    for column in ("kind", "seed", "sign"):
        same = same[same[column] == effect[column]]
    row = {column: effect[column] for column in ("kind", "seed", "sign", "name", "region", "x", "y", "z", "d")}
    if same.empty:
        return {**row, "result": "missed"}
    distances = _distances_mm(same, effect)
    nearest = int(distances.argmin())
    found = same.iloc[nearest]
    return {
        **row,
        "result": "found" if distances[nearest] <= PEAK_MM else "missed",
        "peak_distance_mm": round(float(distances[nearest]), 1),
        "q": found["q_fdr"],
        "cluster": found["cluster"],
    }


def _strangers(planted: pd.DataFrame, significant: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Rows of the significant clusters that touch no region of their own seed and sign."""
    for keys, maxima in significant.groupby(["kind", "seed", "sign", "cluster"], sort=False):
        kind, seed, sign, cluster = keys
        inside = planted[planted["kind"] == kind]
        if "touches" in maxima:
            names = {name for text in maxima["touches"].fillna("") for name in str(text).split()}
            touched = inside[inside["name"].isin(names)]
        else:
            near = [bool((_distances_mm(maxima, effect) <= PEAK_MM).any()) for _, effect in inside.iterrows()]
            touched = inside[np.array(near, dtype=bool)]
        if ((touched["seed"] == seed) & (touched["sign"] == sign)).any():
            continue
        peak = maxima.iloc[0]
        yield {
            "result": "false" if touched.empty else "leak",
            "kind": kind,
            "seed": seed,
            "sign": sign,
            "name": " ".join(touched["name"]),
            "region": peak.get("region", ""),
            "x": peak["x"],
            "y": peak["y"],
            "z": peak["z"],
            "q": peak["q_fdr"],
            "cluster": cluster,
        }


def _distances_mm(maxima: pd.DataFrame, effect: pd.Series[Any]) -> NDArray[np.float64]:
    """(n,) distance of each maximum from the centre of an effect."""
    at, centre = (table[["x", "y", "z"]].to_numpy(dtype=np.float64) for table in (maxima, effect))
    return np.asarray(np.linalg.norm(at - centre, axis=1))
