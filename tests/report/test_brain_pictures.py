"""Volumes as pictures: where a voxel appears, whatever the order and direction of the axes on disk."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations
from scipy.spatial.transform import Rotation

from rsfc_gpu.report.brain_maps import brain_map, mni_template
from rsfc_gpu.report.glass_brain import outlines, projection
from rsfc_gpu.report.paper import Frame, frames_in_a_row
from rsfc_gpu.report.upright import Upright

RAS = np.array([[3.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 5, -72], [0, 0, 0, 1]])
SHAPE = (61, 55, 37)
POINT_MM = np.array([-30.0, -58.0, 28.0])  # a voxel centre


def volume_with_a_point() -> np.ndarray[Any, Any]:
    values = np.zeros(SHAPE, dtype=np.float32)
    at = np.rint(np.linalg.solve(RAS[:3, :3], POINT_MM - RAS[:3, 3])).astype(int)
    values[tuple(at)] = -7.0
    return values


def centre_mm(picture: np.ndarray[Any, Any], edges: tuple[float, ...]) -> tuple[float, float]:
    """Where the only value of a picture is."""
    (row,), (column,) = np.nonzero(picture)
    rows, columns = picture.shape
    left, right, bottom, top = edges
    return left + (right - left) * (column + 0.5) / columns, bottom + (top - bottom) * (row + 0.5) / rows


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ILP"])
def test_order_and_direction_of_the_axes_do_not_matter(codes: str) -> None:
    image = nib.Nifti1Image(volume_with_a_point(), RAS)
    turn = orientations.ornt_transform(orientations.io_orientation(RAS), orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn)
    volume = Upright.of(np.asarray(turned.dataobj), turned.affine)
    np.testing.assert_allclose(volume.first_mm, RAS[:3, 3])
    np.testing.assert_allclose(volume.step_mm, np.diag(RAS)[:3])
    for axis, plane in enumerate(((1, 2), (0, 2), (0, 1))):
        cut = volume.cut(axis, POINT_MM[axis] + 1.0)  # not a voxel centre
        assert centre_mm(cut, volume.extent(*plane)) == pytest.approx(POINT_MM[list(plane)])
    assert volume.cut(2, 500.0).size == 0


def test_volume_that_stands_askew_is_straightened() -> None:
    affine = RAS.copy()
    turn = Rotation.from_euler("xyz", [6, -4, 9], degrees=True).as_matrix()
    affine[:3, :3] = turn @ RAS[:3, :3]
    values = np.zeros(SHAPE, dtype=np.float32)
    values[20:24, 30:33, 15:18] = 1
    middle = affine[:3, :3] @ [21.5, 31.0, 16.0] + affine[:3, 3]
    volume = Upright.of(values, affine)
    found = volume.first_mm + volume.step_mm * np.argwhere(volume.values > 0).mean(axis=0)
    np.testing.assert_allclose(found, middle, atol=1.0)  # a third of a voxel
    expected = values.sum() * np.prod(np.diag(RAS)[:3])
    assert (volume.values > 0).sum() * volume.step_mm.prod() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("view", "seen_at"), [("left", (58.0, 28.0)), ("back", (-30.0, 28.0)), ("top", (-30.0, -58.0)), ("right", None)]
)
def test_projection_keeps_place_and_sign(view: Any, seen_at: tuple[float, float] | None) -> None:
    picture, edges = projection(Upright.of(volume_with_a_point(), RAS), view)
    assert picture.min() == (0.0 if seen_at is None else -7.0)  # the right half does not show the left
    if seen_at is not None:
        assert centre_mm(picture, edges) == pytest.approx(seen_at)


def test_outlines_go_around_the_template() -> None:
    template = mni_template()
    inside = template.values < 255
    for view, axes in (("back", (0, 2)), ("top", (0, 1)), ("right", (1, 2))):
        lines, edges = outlines()[view]  # type: ignore[index]
        points = np.concatenate([line.path.vertices for line in lines])
        for side, axis in enumerate(axes):
            others = tuple(other for other in range(3) if other != axis)
            at = template.first_mm[axis] + template.step_mm[axis] * np.flatnonzero(inside.any(axis=others))
            assert abs(points[:, side].min() - at.min()) < 9, (view, axis)
            assert abs(points[:, side].max() - at.max()) < 9, (view, axis)
            assert edges[2 * side] < points[:, side].min() < points[:, side].max() < edges[2 * side + 1]


def test_frames_stand_beside_each_other_to_one_scale() -> None:
    frames = frames_in_a_row([(-10, 10, -5, 5), (0, 40, 0, 8)], (1.0, 2.0), 65.0, 5.0)
    assert frames[0] == Frame(11.0, 7.0, 1.0)
    assert frames[0].extent((-10, 10, -5, 5)) == (1.0, 21.0, 2.0, 12.0)
    assert frames[1].extent((0, 40, 0, 8)) == (26.0, 66.0, 2.0, 10.0)


def test_map_is_drawn_where_it_is() -> None:
    values = volume_with_a_point() * -1
    figure = brain_map(values, RAS, threshold=3.0, kind="t", scale_label="t(9)", peaks_mm=[list(POINT_MM)])
    pictures = [image.get_array() for image in figure.axes[0].images]
    coloured = [picture for picture in pictures if picture.ndim == 3 and 0 < (picture[..., 3] > 0).sum() < 5]
    assert len(coloured) == 4  # three views of the glass brain, and one slice
