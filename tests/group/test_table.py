"""The results table: SPM12's numbers and critical values, and the same rows as frame, TSV and text."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.group.cluster_tables import clusters, peaks
from rsfc_gpu.group.table import results_table
from statistic_maps import blobs, spm_maps


def number(value: object) -> float:
    return np.inf if value in (None, "Inf") else float(value)


def test_tables_of_spm(reference_root) -> None:
    seen = 0
    for stat, contrast, model, _ in spm_maps(reference_root):
        table = results_table(stat)
        frame, rows = table.frame, contrast["table"]
        assert len(frame) == len(rows)
        assert frame["set_clusters"][0] == contrast["set_level"]["c"]
        assert frame["set_p"][0] == pytest.approx(contrast["set_level"]["p"], rel=1e-5)  # the threshold differs by 1e-8
        assert frame["set_p"].notna().sum() == 1
        expected = {tuple(row["xyz_mm"]): row for row in rows}
        for row in frame.itertuples():
            spm = expected[row.x, row.y, row.z]
            assert row.peak_p_fwe == pytest.approx(spm["peak_p_fwe"], rel=1e-6, abs=1e-14)
            assert pd.notna(row.voxels) == spm["is_main_peak"] == np.isfinite(row.cluster_p_unc)
            if spm["is_main_peak"]:
                assert row.voxels == spm["cluster_level"]["k_vox"]
                assert row.cluster_p_fwe == pytest.approx(spm["cluster_level"]["p_fwe"], rel=1e-6, abs=1e-14)
        critical, uc = table.critical, contrast["uc"]
        assert critical.peak_fwe == pytest.approx(number(uc["FWEp"]), rel=1e-6)
        assert critical.peak_fdr == pytest.approx(number(uc["FDRp"]), rel=1e-6)
        assert critical.extent_fwe == number(uc["FWEc"])
        assert critical.extent_fdr == number(uc["FDRc"])
        text = table.to_text()
        assert f"expected number of clusters {contrast['expected_clusters']:.2f}" in text
        assert f"Expected voxels per cluster {contrast['expected_voxels_per_cluster']:.3f}" in text
        assert f"= {model['S']} voxels = {model['R'][3]:.1f} resels" in text
        seen += 1
    assert seen >= 10


def test_rows_are_those_of_clusters_and_peaks() -> None:
    stat = blobs()
    frame, table, tops = results_table(stat).frame, clusters(stat), peaks(stat)
    main = frame.dropna(subset="voxels").reset_index(drop=True)
    np.testing.assert_array_equal(main["voxels"].astype(int), table["voxels"])
    for ours, theirs in (("cluster_p_fwe", "p_fwe"), ("cluster_q_fdr", "q_fdr"), ("peak", "peak"), ("x", "x")):
        np.testing.assert_array_equal(main[ours], table[theirs])
    for column in ("cluster", "peak", "equivalent_z", "peak_q_fdr", "x", "y", "z", "region"):
        np.testing.assert_array_equal(frame[column], tops[column])


def test_tsv_reads_back(tmp_path: Path) -> None:
    table = results_table(blobs())
    text = table.to_tsv(tmp_path / "results.tsv")
    assert (tmp_path / "results.tsv").read_text() == text
    back = pd.read_csv(io.StringIO(text), sep="\t", na_values="n/a", keep_default_na=False)
    assert list(back.columns) == list(table.frame.columns)
    for column in back.columns.drop("region"):
        np.testing.assert_array_equal(back[column], table.frame[column].astype(float))
    assert list(back["region"]) == list(table.frame["region"])


def test_text_is_aligned() -> None:
    stat = blobs()
    table = results_table(stat)
    lines = table.to_text().splitlines()
    assert lines[0] == "patients > controls (T; 18 neighbours)"
    rules = [n for n, line in enumerate(lines) if line and set(line) == {"-"}]
    assert len(rules) == 3
    body = lines[rules[1] + 1 : rules[2]]
    assert len(body) == len(table.frame)
    assert "nan" not in "".join(lines).lower()
    assert "<na>" not in "".join(lines).lower()
    column = lines[rules[0] + 1].index("region")
    for line, region in zip(body, table.frame["region"], strict=True):
        assert line[column:] == region
    assert body[0].split()[1] == str(len(clusters(stat)))
    # A second peak of a cluster has no set and no cluster level.
    second = table.frame.index[table.frame["voxels"].isna()][0]
    assert len(body[second][:column].split()) == 1 + 5 + 3
    assert any(line.startswith("Height threshold: T = 3.23, p = 0.001 uncorrected") for line in lines)


def test_a_table_without_clusters() -> None:
    stat = blobs()
    flat = replace(stat, values=np.where(stat.mask, 0.0, np.nan).astype(np.float32))
    for correction in ("none", "fdr", "fwe"):
        table = results_table(flat, height_correction=correction)
        assert len(table.frame) == 0
        assert list(table.frame.columns) == list(results_table(stat).frame.columns)
        assert "no suprathreshold clusters" in table.to_text()
        assert table.critical.peak_fdr == table.critical.extent_fdr == np.inf
        assert table.to_tsv().count("\n") == 1
    assert "no voxel reaches it" in results_table(flat, height_correction="fdr").to_text()
