"""Names of places and the share of each region in a cluster."""

from __future__ import annotations

import numpy as np
import pytest

from rsfc_gpu.group.regions import UNLABELLED, describe_shares, region_names, region_shares
from rsfc_gpu.images.atlas import aal_labels


def test_names_at_known_places() -> None:
    names = region_names([(-24, -4, -18), (26, -4, -18), (-38, -26, 56), (0, 0, 300)])
    assert names == ["Amygdala_L", "Amygdala_R", "Postcentral_L", UNLABELLED]
    assert region_names(np.empty((0, 3))) == []


def test_a_point_in_the_fringe_is_named_after_the_closest_region() -> None:
    """Against the distance to every labelled voxel."""
    atlas = aal_labels()
    labelled = np.argwhere(atlas.labels > 0)
    xyz_mm = labelled @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
    regions = atlas.labels[tuple(labelled.T)]
    unlabelled = np.argwhere(atlas.labels == 0)
    some = unlabelled[np.random.default_rng(0).permutation(len(unlabelled))[:60]]
    points = some @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
    found = region_names(points)
    for point, name in zip(points, found, strict=True):
        distance = np.linalg.norm(xyz_mm - point, axis=1)
        closest = {f"near {atlas.names[int(value)]}" for value in regions[distance < distance.min() + 1e-9]}
        assert name in (closest if distance.min() <= 6 else {UNLABELLED})
    assert 5 < found.count(UNLABELLED) < 55
    assert region_names([(30, 33, 54)]) == ["near Frontal_Sup_2_R"]


def test_shares_count_voxels_of_the_atlas() -> None:
    """Every voxel of two regions, taken as two clusters that overlap both."""
    atlas = aal_labels()
    value = {name: number for number, name in atlas.names.items()}
    amygdala = np.argwhere(atlas.labels == value["Amygdala_L"])
    hippocampus = np.argwhere(atlas.labels == value["Hippocampus_L"])
    ijk = np.concatenate([amygdala, hippocampus[:50], hippocampus[50:]])
    cluster = np.concatenate([np.full(len(amygdala) + 50, 1), np.full(len(hippocampus) - 50, 2)])
    xyz_mm = ijk @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
    order = np.random.default_rng(0).permutation(len(ijk))
    shares = region_shares(cluster[order], xyz_mm[order])
    assert list(shares.itertuples(index=False, name=None)) == [
        (1, "Amygdala_L", len(amygdala), pytest.approx(len(amygdala) / (len(amygdala) + 50))),
        (1, "Hippocampus_L", 50, pytest.approx(50 / (len(amygdala) + 50))),
        (2, "Hippocampus_L", len(hippocampus) - 50, 1.0),
    ]
    text = describe_shares(shares, 3)
    assert text[0].startswith("Amygdala_L ")
    assert text[1:] == ["Hippocampus_L 100%", ""]
    assert describe_shares(shares, 2, least=0.5) == [text[0].split(",")[0], "Hippocampus_L 100%"]


def test_no_voxels() -> None:
    shares = region_shares(np.empty(0, dtype=np.int32), np.empty((0, 3)))
    assert list(shares.columns) == ["cluster", "region", "voxels", "share"]
    assert len(shares) == 0
