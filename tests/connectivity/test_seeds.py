"""Seeds from labels, spheres and the amygdala atlas."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from rsfc_gpu.connectivity import Seeds
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.images.mask import Mask

AFFINE = np.array([[-3.0, 0, 0, 90], [0, 3, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])
SHAPE = (61, 73, 61)


def image(values):
    return nibabel.Nifti1Image(values, AFFINE)


def test_labels_in_ascending_order_with_names():
    values = np.zeros((4, 5, 6), dtype=np.int16)
    values[1, 2, 3], values[3, 0, 0], values[0, 1, 0] = 7, 7, 2
    seeds = Seeds.from_labels(image(values))
    assert seeds.names == ("label2", "label7")
    assert seeds.members[1].tolist() == [3, 1 + 4 * 2 + 20 * 3]  # x fastest
    assert Seeds.from_labels(image(values), names=["a", "b"]).names == ("a", "b")
    assert Seeds.from_labels(image(values), names={7: "seven", 2: "two"}).names == ("two", "seven")


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (np.full((3, 3, 3), 0.5), None, "holds integers"),
        (np.zeros((3, 3, 3)), None, "there is no seed"),
        (np.ones((3, 3, 3)), ["a", "b"], r"2 names for 1 labels \(1\)"),
        (np.ones((3, 3, 3)), {2: "b"}, "labels without a name: 1"),
        (np.ones((3, 3, 3, 2)), None, "expected a 3-D image"),
    ],
)
def test_bad_labels_are_refused(values, names, message):
    with pytest.raises(InputError, match=message):
        Seeds.from_labels(image(values), names)


def test_spheres_hold_every_voxel_within_the_radius():
    grid = image(np.zeros((20, 20, 20), dtype=np.uint8))
    centre = np.array([60.0, -100.0, -40.0])
    (members,) = Seeds.from_spheres([centre], 8, like=grid).members
    found = np.zeros((20, 20, 20), bool)
    found[np.unravel_index(members, found.shape, order="F")] = True
    for index in np.ndindex(20, 20, 20):
        distance = np.linalg.norm(AFFINE[:3, :3] @ index + AFFINE[:3, 3] - centre)
        assert found[index] == (distance <= 8 + 1e-6)


def test_a_sphere_off_the_grid_is_refused():
    with pytest.raises(InputError, match="seed sphere_500_0_0 has no voxel"):
        Seeds.from_spheres([(500, 0, 0)], 6, like=image(np.zeros((9, 9, 9))))
    with pytest.raises(InputError, match="positive radius"):
        Seeds.from_spheres([(0, 0, 0)], 0, like=image(np.zeros((9, 9, 9))))
    with pytest.raises(InputError, match="unique"):
        Seeds.from_spheres([(0, 0, 0), (0, 0, 0)], 6, like=Mask(np.ones(SHAPE, bool), AFFINE))


def test_amygdala_on_the_papers_grid():
    seeds = Seeds.from_atlas("juelich-amygdala", like=Mask(np.ones(SHAPE, bool), AFFINE), space="MNI152NLin6Asym")
    sizes = {name: len(members) for name, members in zip(seeds.names, seeds.members, strict=True)}
    assert sizes == {"CMleft": 17, "CMright": 19, "LBleft": 90, "LBright": 102, "SFleft": 64, "SFright": 55}
    for name, members in zip(seeds.names, seeds.members, strict=True):
        x = (AFFINE[:3, :3] @ np.stack(np.unravel_index(members, SHAPE, order="F")) + AFFINE[:3, 3:])[0].mean()
        assert (x < -15) if name.endswith("left") else (x > 15)


def test_spaces_other_than_the_atlas_accepts_are_refused_unless_named():
    grid = Mask(np.ones(SHAPE, bool), AFFINE)
    with pytest.raises(InputError, match="MNI152NLin2009cAsym"):
        Seeds.from_atlas("juelich-amygdala", like=grid, space="MNI152NLin2009cAsym")
    with pytest.raises(InputError, match="not stated"):
        Seeds.from_atlas("juelich-amygdala", like=grid, space=None)
    allowed = Seeds.from_atlas(
        "juelich-amygdala", like=grid, space="MNI152NLin2009cAsym", allow_space="MNI152NLin2009cAsym"
    )
    assert len(allowed) == 6
    with pytest.raises(InputError, match="holds no seeds"):
        Seeds.from_atlas("aal", like=grid, space="MNI152NLin6Asym")
    with pytest.raises(InputError, match="no voxel for"):
        Seeds.from_atlas("juelich-amygdala", like=Mask(np.ones((5, 5, 5), bool), AFFINE), space="MNI152NLin6Asym")


def test_coverage_counts_the_voxels_that_the_mask_holds():
    values = np.zeros((4, 4, 4), dtype=np.uint8)
    values[:, 0, 0] = 1
    inside = np.ones((4, 4, 4), bool)
    inside[0, 0, 0] = inside[3, 3, 3] = False
    mask = Mask(inside, AFFINE)
    positions, coverage = Seeds.from_labels(image(values)).within(mask)
    assert coverage.tolist() == [0.75]
    assert mask.index[positions[0]].tolist() == [1, 2, 3]


def test_mirrored_spheres_have_file_names_of_their_own():
    grid = Mask(np.ones(SHAPE, bool), AFFINE)
    seeds = Seeds.from_spheres([(-21, -3, -18), (21, -3, -18)], 6, like=grid)
    assert len({bids_label(name) for name in seeds.names}) == 2
    for names in (["left a", "left-a"], ["-", "b"]):
        with pytest.raises(InputError, match="no file name of its own"):
            Seeds.from_spheres([(-21, -3, -18), (21, -3, -18)], 6, like=grid, names=names)
    with pytest.raises(InputError, match="1 names for 2 seeds"):
        Seeds.from_spheres([(-21, -3, -18), (21, -3, -18)], 6, like=grid, names=["a"])
    with pytest.raises(InputError, match="expected triples"):
        Seeds.from_spheres([(-21, -3, -18), (21, -3)], 6, like=grid)
