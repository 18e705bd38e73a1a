"""Connected components of a thresholded map, over the list of voxels above the threshold.

Voxels are numbered as in `rsfc_gpu.images.mask.Mask`: those inside the mask, x fastest. Time goes with the number
of voxels above the threshold, not with the grid, so that thousands of null maps cost little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError

I32 = NDArray[np.int32]

# Squared distance in voxels of the farthest neighbour: across faces, edges, or corners.
_REACH = {6: 1, 18: 2, 26: 3}

_compile = njit(cache=True, nogil=True, error_model="numpy")


def neighbour_table(inside: NDArray[np.bool_], connectivity: int) -> I32:
    """Numbers of each voxel's neighbours inside the mask, (V, connectivity); -1 where there is none.

    Parameters
    ----------
    inside : (X, Y, Z) bool.
    connectivity : 6 (shared faces), 18 (faces and edges) or 26 (corners too).

    The first half of the columns holds the neighbours with lower numbers.
    """
    if connectivity not in _REACH:
        raise InputError(f"connectivity is {connectivity!r}: expected 6, 18 or 26")
    # One empty layer around the grid makes every neighbour a fixed step away, without tests for the edges.
    padded = np.pad(inside, 1).ravel(order="F")
    positions = np.flatnonzero(padded)
    voxel_at = np.full(padded.size, -1, dtype=np.int32)
    voxel_at[positions] = np.arange(len(positions), dtype=np.int32)
    steps = np.array([1, inside.shape[0] + 2, (inside.shape[0] + 2) * (inside.shape[1] + 2)])
    directions = np.array([d for d in np.ndindex(3, 3, 3)]) - 1
    distance = (directions**2).sum(axis=1)
    offsets = np.sort(directions[(distance > 0) & (distance <= _REACH[connectivity])] @ steps)
    table = np.empty((len(positions), connectivity), dtype=np.int32)
    _fill_table(positions, voxel_at, offsets, table)
    return table


@_compile
def _fill_table(positions: Any, voxel_at: Any, offsets: Any, table: Any) -> None:
    for v in range(positions.size):
        for n in range(offsets.size):
            table[v, n] = voxel_at[positions[v] + offsets[n]]


@_compile
def label_clusters(values: Any, neighbours: Any, threshold: float) -> Any:
    """Cluster of each voxel, (V,) int32: 1, 2, ... in the order of their first voxels; 0 where not above `threshold`.

    Union-find over the voxels whose value exceeds the threshold (NaN does not); the root of a cluster is its first
    voxel, so the numbering depends on nothing but the map.

    Parameters
    ----------
    values : (V,) real.
    neighbours : (V, connectivity) from `neighbour_table`.
    """
    labels = np.zeros(values.size, dtype=np.int32)
    count = 0
    for v in range(values.size):
        count += values[v] > threshold
    members = np.empty(count, dtype=np.int32)
    count = 0
    for v in range(values.size):
        if values[v] > threshold:
            members[count] = v
            count += 1
            labels[v] = count  # for now, one more than the position among the members
    parent = np.arange(count, dtype=np.int32)
    for m in range(count):
        root = m
        for n in range(neighbours.shape[1] // 2):
            neighbour = neighbours[members[m], n]
            if neighbour < 0 or labels[neighbour] == 0:
                continue
            other = labels[neighbour] - 1
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            if other < root:
                parent[root] = other
                root = other
            else:
                parent[other] = root
    n_clusters = 0
    for m in range(count):  # a parent has a lower position than its children, so it has its final number already
        if parent[m] == m:
            n_clusters += 1
            labels[members[m]] = n_clusters
        else:
            labels[members[m]] = labels[members[parent[m]]]
    return labels


@_compile
def local_maxima(values: Any, neighbours: Any, labels: Any) -> Any:
    """Numbers of the labelled voxels that no neighbour exceeds, ascending; of equal neighbours the first counts."""
    maxima = np.empty(values.size, dtype=np.int32)
    count = 0
    for v in range(values.size):
        if labels[v] == 0:
            continue
        highest = True
        for n in range(neighbours.shape[1]):
            other = neighbours[v, n]
            if other >= 0 and (values[other] > values[v] or (values[other] == values[v] and other < v)):
                highest = False
                break
        if highest:
            maxima[count] = v
            count += 1
    return maxima[:count].copy()


# The four steps by which the kernels of label.cu label many maps at once, one function for each of them.


@_compile
def label_init(values, threshold, labels, sizes, peaks):
    """labels (N, V) = number of the voxel where the map exceeds `threshold`, else -1; no sizes and peaks yet."""
    for n in range(labels.shape[0]):
        for v in range(labels.shape[1]):
            labels[n, v] = v if values[n, v] > threshold else -1
            sizes[n, v] = 0
            peaks[n, v] = np.iinfo(np.int32).min


@_compile
def label_merge(labels, neighbours):
    """Join each labelled voxel with its labelled neighbours (V, C) of lower number: labels become parents."""
    for n in range(labels.shape[0]):
        parent = labels[n]
        for v in range(labels.shape[1]):
            if parent[v] < 0:
                continue
            for c in range(neighbours.shape[1] // 2):
                other = neighbours[v, c]
                if other < 0 or parent[other] < 0:
                    continue
                while parent[other] != other:
                    other = parent[other]
                own = v
                while parent[own] != own:
                    own = parent[own]
                parent[max(own, other)] = min(own, other)


@_compile
def label_compress(labels):
    """Give every labelled voxel the number of the first voxel of its cluster."""
    for n in range(labels.shape[0]):
        parent = labels[n]
        for v in range(labels.shape[1]):
            if parent[v] >= 0:
                parent[v] = parent[parent[v]]  # a parent has a lower number, so it has its root already


@_compile
def label_measure(values, labels, sizes, peaks):
    """Voxels of each cluster, and the key of its highest value, at the cluster's first voxel.

    The key is the float32 as an integer of the same order: negative bit patterns with all but the sign turned over.
    """
    for n in range(labels.shape[0]):
        bits = values[n].astype(np.float32).view(np.int32)
        for v in range(labels.shape[1]):
            root = labels[n, v]
            if root >= 0:
                sizes[n, root] += 1
                key = bits[v] if bits[v] >= 0 else bits[v] ^ np.int32(0x7FFFFFFF)
                peaks[n, root] = max(peaks[n, root], key)
