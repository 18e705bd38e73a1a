"""Labels of clusters and local maxima against scipy and the obvious loops, on grids whose edges matter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.backend.numba_labels import label_clusters, local_maxima, neighbour_table
from rsfc_gpu.errors import InputError

STRUCTURE = {6: 1, 18: 2, 26: 3}


def random_map(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.uniform(size=shape) < 0.8


def in_mask(volume: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return volume.ravel(order="F")[inside.ravel(order="F")]


def to_volume(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    flat = np.zeros(inside.size, dtype=values.dtype)
    flat[inside.ravel(order="F")] = values
    return flat.reshape(inside.shape, order="F")


def label(volume: np.ndarray, inside: np.ndarray, threshold: float, connectivity: int) -> np.ndarray:
    found = label_clusters(in_mask(volume, inside), neighbour_table(inside, connectivity), threshold)
    return to_volume(found, inside)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("threshold", [-1.0, 0.3, 0.9, 1.6])
def test_clusters_are_those_of_scipy(connectivity: int, threshold: float) -> None:
    for seed in range(5):
        volume, inside = random_map(seed)
        structure = ndimage.generate_binary_structure(3, STRUCTURE[connectivity])
        expected, n_expected = ndimage.label((volume > threshold) & inside, structure)
        found = label(volume, inside, threshold, connectivity)
        assert found.max() == n_expected > 0
        assert same_partition(found, expected)


def test_on_every_backend(backend) -> None:
    volume, inside = random_map(11)
    neighbours = neighbour_table(inside, 18)
    found = backend.label_clusters(in_mask(volume, inside), neighbours, 0.9)
    np.testing.assert_array_equal(found, label_clusters(in_mask(volume, inside), neighbours, 0.9))
    assert found.dtype == np.int32


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_flips_axes_and_padding_change_nothing(connectivity: int) -> None:
    volume, inside = random_map(7)
    plain = label(volume, inside, 0.8, connectivity)
    for axis in range(3):
        turned = label(np.flip(volume, axis), np.flip(inside, axis), 0.8, connectivity)
        assert same_partition(np.flip(turned, axis), plain)
    turned = label(volume.transpose(2, 0, 1), inside.transpose(2, 0, 1), 0.8, connectivity)
    assert same_partition(turned.transpose(1, 2, 0), plain)
    padded = label(np.pad(volume, 3), np.pad(inside, 3), 0.8, connectivity)
    np.testing.assert_array_equal(padded[3:-3, 3:-3, 3:-3], plain)


def test_numbers_follow_the_first_voxels() -> None:
    volume, inside = random_map(3)
    found = in_mask(label(volume, inside, 0.9, 18), inside)
    numbers, first = np.unique(found[found > 0], return_index=True)
    np.testing.assert_array_equal(numbers, np.arange(1, len(numbers) + 1))
    assert (np.diff(first) > 0).all()


def test_a_comb_is_one_cluster() -> None:
    """Many branches that meet late: the unions must find the same root."""
    comb = np.zeros((41, 21, 1), dtype=np.float32)
    comb[::2] = 1
    comb[:, -1] = 1
    inside = np.ones(comb.shape, dtype=bool)
    for connectivity in (6, 18, 26):
        assert label(comb, inside, 0.5, connectivity).max() == 1
        assert label(comb[:, :-1], inside[:, :-1], 0.5, connectivity).max() == 21


def test_diagonal_voxels() -> None:
    inside = np.ones((2, 2, 2), dtype=bool)
    edge, corner = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    edge[0, 0, 0] = edge[1, 1, 0] = 1
    corner[0, 0, 0] = corner[1, 1, 1] = 1
    assert [label(edge, inside, 0, c).max() for c in (6, 18, 26)] == [2, 1, 1]
    assert [label(corner, inside, 0, c).max() for c in (6, 18, 26)] == [2, 2, 1]


def test_equal_to_the_threshold_and_nan_are_below() -> None:
    values = np.array([1.0, 2.0, np.nan, 2.5]).reshape(4, 1, 1)
    np.testing.assert_array_equal(label(values, np.ones((4, 1, 1), dtype=bool), 2.0, 6).ravel(), [0, 0, 0, 1])
    assert label(values, np.ones((4, 1, 1), dtype=bool), np.inf, 6).max() == 0


def test_a_voxel_outside_the_mask_does_not_connect() -> None:
    inside = np.array([True, False, True]).reshape(3, 1, 1)
    assert label(np.ones((3, 1, 1)), inside, 0, 26).max() == 2


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_neighbours_against_the_obvious_way(connectivity: int) -> None:
    _, inside = random_map(5, (4, 5, 3))
    positions = np.argwhere(inside.transpose(2, 1, 0))[:, ::-1]  # x fastest
    table = neighbour_table(inside, connectivity)
    for v, position in enumerate(positions):
        distance = ((positions - position) ** 2).sum(axis=1)
        expected = np.flatnonzero((distance > 0) & (distance <= STRUCTURE[connectivity]))
        np.testing.assert_array_equal(np.sort(table[v][table[v] >= 0]), expected)
        half = connectivity // 2
        assert (table[v, :half] < v).all()
        assert ((table[v, half:] > v) | (table[v, half:] == -1)).all()


def test_unknown_connectivity() -> None:
    with pytest.raises(InputError, match="expected 6, 18 or 26"):
        neighbour_table(np.ones((2, 2, 2), dtype=bool), 8)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_local_maxima_against_a_maximum_filter(connectivity: int) -> None:
    volume, inside = random_map(9, (14, 12, 10))
    neighbours = neighbour_table(inside, connectivity)
    values = in_mask(volume, inside)
    labels = label_clusters(values, neighbours, 0.5)
    footprint = ndimage.generate_binary_structure(3, STRUCTURE[connectivity])
    highest = ndimage.maximum_filter(np.where(inside, volume, -9), footprint=footprint, mode="constant", cval=-9)
    expected = np.flatnonzero(in_mask((volume == highest) & (volume > 0.5), inside))
    found = local_maxima(values, neighbours, labels)
    np.testing.assert_array_equal(found, expected)
    for cluster in range(1, labels.max() + 1):  # each cluster's highest voxel is one of them
        members = np.flatnonzero(labels == cluster)
        assert members[np.argmax(values[members])] in found


def test_of_equal_neighbours_the_first_is_the_maximum() -> None:
    inside = np.ones((5, 3, 1), dtype=bool)
    values = np.ones(15, dtype=np.float32)
    neighbours = neighbour_table(inside, 18)
    np.testing.assert_array_equal(local_maxima(values, neighbours, label_clusters(values, neighbours, 0.0)), [0])
