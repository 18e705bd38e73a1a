"""Held against what was planted, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate import regions_touched, score_associations, score_planted, summarise_score

EFFECTS = pd.DataFrame(
    [
        ("one", "time", "LBleft", 30.0, 33.0, 54.0, 1, 1.2),
        ("two", "time", "SFright", 45.0, 51.0, 6.0, -1, -1.2),
        ("three", "patients-controls", "LBleft", -8.0, -57.0, 47.0, 1, 1.4),
        ("four", "association-day13", "LBleft", -8.0, -57.0, 47.0, 1, None),
        ("five", "patients-controls", "LBleft", 50.0, -30.0, 4.0, 1, 0.9),
    ],
    columns=["name", "kind", "seed", "x", "y", "z", "sign", "d"],
).assign(fwhm_mm=18.0, region="somewhere", role=["planted"] * 4 + ["implied"])


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["kind", "seed", "sign", "cluster", "x", "y", "z", "q_fdr"])


def test_found_missed_leak_and_false() -> None:
    score = score_planted(
        EFFECTS,
        table(
            ("time", "LBleft", 1, 1, 30.0, 33.0, 60.0, 0.01),  # 6 mm off: found
            ("time", "LBleft", 1, 2, 44.0, 51.0, 6.0, 0.04),  # where another seed has its effect: a leak
            ("time", "SFright", 1, 1, 45.0, 51.0, 6.0, 0.001),  # the wrong direction
            ("time", "LBleft", 1, 3, 0.0, 0.0, 0.0, 0.03),  # nothing is planted there
            ("time", "LBleft", 1, 4, 0.0, 40.0, 0.0, 0.30),  # not significant
            ("patients-controls", "LBleft", 1, 1, -8.0, -57.0, 58.0, 0.01),  # 11 mm off
            ("patients-controls", "LBleft", 1, 2, 50.0, -30.0, 4.0, 0.01),  # follows from another effect
        ),
    )
    results = score.set_index("name")
    assert results.loc["one", "result"] == "found"
    assert results.loc["one", "peak_distance_mm"] == 6.0
    assert results.loc["one", "q"] == 0.01
    assert (score[score["result"] == "missed"]["name"]).tolist() == ["two", "three"]
    assert results.loc["three", "peak_distance_mm"] == 11.0
    leaks = score[score["result"] == "leak"]
    assert leaks[["seed", "sign", "cluster"]].to_numpy().tolist() == [["LBleft", 1, 2], ["SFright", 1, 1]]
    assert score[score["result"] == "false"]["kind"].tolist() == ["time", "patients-controls"]


def test_secondary_maxima_find_but_are_counted_once() -> None:
    score = score_planted(
        EFFECTS,
        table(
            ("time", "LBleft", 1, 1, 0.0, 0.0, 0.0, 0.01),
            ("time", "LBleft", 1, 1, 30.0, 33.0, 54.0, 0.01),
            ("time", "SFright", -1, 1, 0.0, 0.0, 0.0, 0.01),
            ("time", "SFright", -1, 1, 5.0, 0.0, 20.0, 0.01),
        ),
    )
    assert score["result"].tolist() == ["found", "missed", "missed", "false"]


def test_overlap_decides_where_it_is_given() -> None:
    labels = np.zeros((46, 55, 46), dtype=np.int32)
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (90, -126, -72)
    at = np.rint(np.linalg.solve(affine, [45.0, 51.0, 6.0, 1.0])[:3]).astype(int)
    labels[at[0] : at[0] + 8, at[1], at[2]] = 2  # begins in the region of "two" and leaves it
    labels[5, 5, 5] = 1
    touched = regions_touched(EFFECTS, "time", labels, affine)
    assert touched == {2: "two"}
    assert regions_touched(EFFECTS, "patients-controls", labels, affine) == {}
    clusters = table(
        ("time", "SFright", -1, 2, 20.0, 51.0, 6.0, 0.01), ("time", "SFright", -1, 1, 70.0, -106.0, -52.0, 0.01)
    )
    clusters["touches"] = clusters["cluster"].map(touched)
    # The peak is too far for "found", but the cluster is no false one.
    assert score_planted(EFFECTS, clusters)["result"].tolist() == ["missed", "missed", "missed", "false"]


def test_summary_averages_false_shares_over_all_maps() -> None:
    score = score_planted(
        EFFECTS,
        table(
            ("time", "LBleft", 1, 1, 30.0, 33.0, 54.0, 0.01),
            ("time", "LBleft", -1, 2, 0.0, 0.0, 0.0, 0.01),
            ("time", "CMleft", 1, 1, 0.0, 0.0, 0.0, 0.01),
        ),
    )
    row = summarise_score(score).set_index("kind").loc["time"]
    assert (row["planted"], row["found"], row["leaks"], row["false_clusters"]) == (2, 1, 0, 2)
    # One of two in the map of LBleft, one of one in that of CMleft, none in four others.
    assert row["false_share"] == pytest.approx((0.5 + 1.0) / 6)


def test_no_cluster_at_all() -> None:
    score = score_planted(EFFECTS, table())
    assert score["result"].tolist() == ["missed"] * 3
    assert summarise_score(score)["false_share"].tolist() == [0, 0, 0, 0]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="no column q_fdr"):
        score_planted(EFFECTS, table().drop(columns="q_fdr"))


def association_table(**changed):
    """One row of clinical/associations.tsv."""
    row = {
        "model": "patients-controls",
        "seed": "LBleft",
        "direction": "positive",
        "cluster": 2,
        "measure": "baseline",
        "outcome": "reduction_day13",
        "covariates": None,
        "r": 0.5,
        "q": 0.01,
    }
    return pd.DataFrame([row | changed])


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({}, "found"),
        ({"r": -0.5}, "missed"),
        ({"q": 0.06}, "missed"),
        ({"cluster": 1}, "missed"),
        ({"outcome": "reduction_day19"}, "missed"),
        ({"measure": "change"}, "missed"),
        ({"covariates": "medication_load"}, "missed"),
        ({"direction": "negative"}, "missed"),
    ],
)
def test_a_planted_correlation_is_found_in_the_cluster_of_its_effect(changed, result):
    place = {"seed": "LBleft", "region": "here", "x": 0.0, "y": 0.0, "z": 0.0, "sign": 1}
    effects = pd.DataFrame(
        [{"name": "one_reduction-day13", "kind": "association-day13", "role": "planted", "r": 0.6} | place]
    )
    score = pd.DataFrame([{"result": "found", "kind": "patients-controls", "name": "one", "cluster": 2} | place])
    found = score_associations(effects, score, association_table(**changed))
    assert found["result"].tolist() == [result]
    missed = score.assign(result="missed")
    assert score_associations(effects, missed, association_table(**changed))["result"].tolist() == ["missed"]
