"""Tables of clusters and peaks against SPM12's, and what must not change them."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.cluster_tables import cluster_labels, cluster_regions, clusters, peaks
from rsfc_gpu.group.fdr import benjamini_hochberg
from rsfc_gpu.group.randomfield import RandomField
from rsfc_gpu.group.stat import Smoothness
from rsfc_gpu.group.topology import find_topology, height_threshold
from statistic_maps import STUDY_AFFINE, blobs, spm_maps


def test_every_table_of_spm(reference_root) -> None:
    """All stored maps: the clusters, their sizes, p and q, the shown peaks, the label map, and the p lists."""
    seen = 0
    for stat, contrast, _, folder in spm_maps(reference_root):
        what = f"{folder.parent.name}/{folder.name} contrast {contrast['index']}"
        rows = contrast["table"]
        table, tops = clusters(stat), peaks(stat)
        main = [row for row in rows if row["is_main_peak"]]
        assert len(table) == len(main), what
        assert height_threshold(stat) == pytest.approx(contrast["u"], rel=1e-6)
        ours = {(row.x, row.y, row.z): row for row in table.itertuples()}
        for row in main:
            found, level = ours[tuple(row["xyz_mm"])], row["cluster_level"]
            assert found.voxels == level["k_vox"], what
            assert found.volume_mm3 == pytest.approx(level["k_vox"] * 27)
            for name, expected in (
                ("p_unc", level["p_unc"]),
                ("p_fwe", level["p_fwe"]),
                ("q_fdr", level["q_fdr"]),
                ("peak", row["peak_stat"]),
                ("peak_p_fwe", row["peak_p_fwe"]),
                ("peak_q_fdr", row["peak_q_fdr"]),
            ):
                assert getattr(found, name) == pytest.approx(expected, rel=1e-6, abs=1e-14), (what, name, row)
            # In its table SPM finds Z by a search that stops within 5e-5, and p from that Z.
            assert found.peak_p_unc == pytest.approx(row["peak_p_unc"], rel=6e-4), what
        shown = {(row.x, row.y, row.z): row for row in tops.itertuples()}
        assert set(shown) == {tuple(row["xyz_mm"]) for row in rows}, what
        for row in rows:
            found = shown[tuple(row["xyz_mm"])]
            assert found.equivalent_z == pytest.approx(row["peak_equivZ"], rel=6e-5)
            assert found.peak_q_fdr == pytest.approx(row["peak_q_fdr"], rel=1e-6, abs=1e-14)
        topology = find_topology(stat)
        for found_p, expected_p in (
            (topology.clusters.p_unc, contrast["Pc_sorted_cluster_punc"]),
            (topology.maxima.p_above, contrast["Pp_sorted_peak_p"]),
        ):
            np.testing.assert_allclose(np.sort(found_p), np.atleast_1d(expected_p), rtol=1e-6)
        labels = np.asarray(nibabel.load(folder / f"labels_{contrast['index']:04d}.nii.gz").dataobj)
        mine = cluster_labels(stat)
        np.testing.assert_array_equal(mine > 0, labels > 0, err_msg=what)
        pairs = np.unique(np.stack([mine[labels > 0], labels[labels > 0]]), axis=1)
        assert pairs.shape[1] == len(table), what
        seen += 1
    assert seen >= 10


def test_the_field_of_spm(reference_root) -> None:
    """A map judged at three heights: sizes and q of clusters, values and q of all maxima, critical values."""
    folder = reference_root / "reference" / "spm" / "functions"
    values = np.asarray(nibabel.load(folder / "field.nii.gz").dataobj, dtype=np.float32)
    for entry in json.loads((folder / "functions.json").read_text())["field"]:
        fwhm = np.full(3, entry["V2R"] ** (-1 / 3))
        smoothness = Smoothness(fwhm_voxels=fwhm, resels=np.array(entry["R"]), rpv=np.full(values.shape, entry["V2R"]))
        stat = replace(
            blobs(),
            values=values,
            mask=np.ones(values.shape, dtype=bool),
            dof=tuple(entry["df"]),
            smoothness=smoothness,
        )
        height_p = float(RandomField("T", tuple(entry["df"]), tuple(entry["R"]))._densities(entry["u"])[0])
        topology = find_topology(stat, height_p=height_p)
        assert topology.height == pytest.approx(entry["u"], rel=1e-6)
        for connectivity in (6, 18, 26):
            count = len(find_topology(stat, height_p=height_p, connectivity=connectivity).clusters.voxels)
            assert count == entry[f"n_clusters_conn{connectivity}"]
        order = np.lexsort((entry["cluster_q"], -np.array(entry["cluster_sizes"])))
        np.testing.assert_array_equal(topology.clusters.voxels, np.array(entry["cluster_sizes"])[order])
        np.testing.assert_allclose(topology.clusters.q_fdr, np.array(entry["cluster_q"])[order], rtol=1e-6)
        ijk = {tuple(np.array(place) - 1): n for n, place in enumerate(entry["maxima_ijk_1based"])}
        assert len(ijk) == len(topology.maxima.value)
        for place, value, q in zip(topology.maxima.ijk, topology.maxima.value, topology.maxima.q_fdr, strict=True):
            n = ijk[tuple(place)]
            assert value == pytest.approx(entry["maxima_value"][n], rel=1e-6)
            assert q == pytest.approx(entry["maxima_q"][n], rel=1e-6)


def test_columns_and_numbers_agree_with_each_other() -> None:
    stat = blobs()
    table = clusters(stat)
    assert list(table.columns) == [
        *("cluster", "voxels", "volume_mm3", "p_unc", "p_fwe", "q_fdr", "peak", "peak_p_unc", "peak_p_fwe"),
        *("peak_q_fdr", "x", "y", "z", "region", "regions"),
    ]
    assert len(table) >= 3
    np.testing.assert_array_equal(table["cluster"], np.arange(1, len(table) + 1))
    assert (np.diff(table["voxels"]) <= 0).all()
    np.testing.assert_allclose(table["q_fdr"], benjamini_hochberg(table["p_unc"]))
    labels = cluster_labels(stat)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, np.nan_to_num(stat.values) > height_threshold(stat))
    for row in table.itertuples():
        member = labels == row.cluster
        assert member.sum() == row.voxels
        assert stat.values[member].max() == pytest.approx(row.peak)
        x, y, z = np.linalg.solve(STUDY_AFFINE, [row.x, row.y, row.z, 1])[:3].round().astype(int)
        assert stat.values[x, y, z] == pytest.approx(row.peak)
    for numbers in (table.drop(columns=["region", "regions"]), peaks(stat).drop(columns="region")):
        assert np.isfinite(numbers.to_numpy(dtype=float)).all()


@pytest.mark.parametrize("kind", ["T", "F"])
def test_flips_and_padding_change_nothing(kind: str) -> None:
    stat = blobs(1, kind=kind)
    plain, plain_peaks = clusters(stat), peaks(stat)
    for axis in range(3):
        flip = np.eye(4)
        flip[axis, axis] = -1
        flip[axis, 3] = stat.mask.shape[axis] - 1
        turned = replace(
            stat,
            values=np.flip(stat.values, axis),
            mask=np.flip(stat.mask, axis),
            affine=stat.affine @ flip,
        )
        _same(clusters(turned), plain)
        _same(peaks(turned), plain_peaks)
        np.testing.assert_array_equal(np.flip(cluster_labels(turned), axis), cluster_labels(stat))
    moved = stat.affine.copy()
    moved[:3, 3] -= stat.affine[:3, :3] @ [4, 4, 4]
    padded = replace(
        stat, values=np.pad(stat.values, 4, constant_values=np.nan), mask=np.pad(stat.mask, 4), affine=moved
    )
    _same(clusters(padded), plain)
    _same(peaks(padded), plain_peaks)


def _same(found, expected) -> None:
    import pandas as pd

    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_other_statistics_outside_the_mask_do_not_matter() -> None:
    stat = blobs()
    rng = np.random.default_rng(0)
    noisy = np.where(stat.mask, stat.values, 50 + rng.standard_normal(stat.mask.shape)).astype(np.float32)
    _same(clusters(replace(stat, values=noisy)), clusters(stat))


def test_nothing_above_the_height() -> None:
    stat = blobs()
    flat = replace(stat, values=np.where(stat.mask, 0.0, np.nan).astype(np.float32))
    for correction in ("none", "fdr", "fwe"):
        table, tops = clusters(flat, height_correction=correction), peaks(flat, height_correction=correction)
        assert len(table) == len(tops) == 0
        assert list(table.columns) == list(clusters(stat).columns)
        assert list(tops.columns) == list(peaks(stat).columns)
        assert table["voxels"].dtype == clusters(stat)["voxels"].dtype
        assert cluster_labels(flat, height_correction=correction).max() == 0
        assert len(cluster_regions(flat, height_correction=correction)) == 0


def test_voxelwise_thresholds() -> None:
    """FWE is stricter than FDR where there is signal; each takes the voxels its definition names."""
    from rsfc_gpu.group.tails import upper_tail

    stat = blobs()
    values = stat.values[stat.mask]
    p = upper_tail("T", (1, 60), values)
    height_fdr = height_threshold(stat, height_p=0.05, height_correction="fdr")
    np.testing.assert_array_equal(values > height_fdr, benjamini_hochberg(p) <= 0.05)
    height_fwe = height_threshold(stat, height_p=0.05, height_correction="fwe")
    field = RandomField("T", (1, 60), tuple(stat.smoothness.resels))
    np.testing.assert_allclose(field.peak_fwe(height_fwe, len(values)), 0.05, rtol=1e-8)
    assert height_fwe > height_fdr > height_threshold(stat, height_p=0.05)
    by_fwe = clusters(stat, height_p=0.05, height_correction="fwe")
    assert len(by_fwe) > 0
    assert (by_fwe["peak_p_fwe"] < 0.05).all()


@pytest.mark.parametrize("connectivity", [6, 26])
def test_other_neighbourhoods(connectivity: int) -> None:
    stat = blobs(2)
    structure = ndimage.generate_binary_structure(3, {6: 1, 26: 3}[connectivity])
    above = np.nan_to_num(stat.values) > height_threshold(stat, height_p=0.05)
    expected, count = ndimage.label(above, structure)
    table = clusters(stat, height_p=0.05, connectivity=connectivity)
    assert len(table) == count
    np.testing.assert_array_equal(table["voxels"], np.sort(np.bincount(expected.ravel())[1:])[::-1])


def test_shown_peaks_keep_their_distance() -> None:
    stat = blobs(3)
    tops = peaks(stat, height_p=0.05)
    table = clusters(stat, height_p=0.05)
    assert set(tops["cluster"]) == set(table["cluster"])
    assert tops.groupby("cluster").size().max() == 3
    for cluster, group in tops.groupby("cluster"):
        xyz = group[["x", "y", "z"]].to_numpy()
        distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)[~np.eye(len(xyz), dtype=bool)]
        assert (distance > 8).all()
        assert (np.diff(group["peak"]) <= 0).all()
        assert group["peak"].iloc[0] == table.set_index("cluster")["peak"][cluster]
    alone = peaks(stat, height_p=0.05, per_cluster=1)
    assert len(alone) == len(table)
    everything = peaks(stat, height_p=0.05, per_cluster=1000, distance_mm=0)
    assert len(everything) == len(find_topology(stat, height_p=0.05).maxima.value)


def test_ties_in_size_go_by_the_peak() -> None:
    stat = blobs()
    values = np.where(stat.mask, 0.0, np.nan).astype(np.float32)
    values[10, 20, 16], values[18, 20, 16], values[26, 20, 16] = 5.0, 7.0, 6.0
    values[18, 10, 16] = values[18, 11, 16] = 4.0
    table = clusters(replace(stat, values=values))
    assert table["voxels"].tolist() == [2, 1, 1, 1]
    assert table["peak"].tolist() == [4.0, 7.0, 6.0, 5.0]


def test_regions_of_clusters() -> None:
    stat = blobs()
    shares = cluster_regions(stat)
    table = clusters(stat)
    np.testing.assert_allclose(shares.groupby("cluster")["share"].sum(), 1)
    np.testing.assert_array_equal(shares.groupby("cluster")["voxels"].sum(), table["voxels"])
    largest = shares.groupby("cluster").first()
    assert table["regions"][0].startswith(f"{largest['region'][1]} {100 * largest['share'][1]:.0f}%")


def test_levels_and_names_that_make_no_sense() -> None:
    stat = blobs()
    for height_p in (0.0, 0.5, 1.0, -1.0):
        with pytest.raises(InputError, match="height_p"):
            clusters(stat, height_p=height_p)
    with pytest.raises(InputError, match="expected none, fdr or fwe"):
        clusters(stat, height_correction="bonferroni")
    with pytest.raises(InputError, match="6, 18 or 26"):
        clusters(stat, connectivity=4)


def test_backend_labels_the_same(backend) -> None:
    stat = blobs()
    _same(clusters(stat, backend=backend), clusters(stat))
