"""Every kernel against its Numba twin, on inputs that are awkward: used by the tests of the kernels and of the checks.

Each check takes the launch functions of `rsfc_gpu.backend.cuda_kernels` as the pretended GPU has them.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuda_on_host.fake_cupy import Device, ndarray, pretended_gpu
from rsfc_gpu.backend import numba_group, numba_kernels, numba_labels
from rsfc_gpu.backend.linear_model import forward_neighbours

CONNECTIVITIES = (6, 18, 26)


@dataclass
class Launches:
    """The launch functions, and the cupy that they run on."""

    kernels: Any
    cupy: Any
    device: Device | None

    def upload(self, *arrays: np.ndarray) -> list[Any]:
        return [self.cupy.asarray(array) for array in arrays]


@contextlib.contextmanager
def launches(build: str, *, schedule: int = 0, max_blocks: int = 3, patch: Any = None) -> Iterator[Launches]:
    """Launch functions on a build; few blocks, so that every thread has to stride."""
    device = Device(build)
    device.schedule = schedule
    if patch is not None:
        device.patch = patch
    with pretended_gpu(device):
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        cuda_kernels.MAX_BLOCKS = max_blocks
        yield Launches(cuda_kernels, cupy, device)


def awkward_samples(dtype: str, n_volumes: int, n_voxels: int) -> np.ndarray:
    rng = np.random.default_rng(n_voxels)
    samples = rng.normal(60, 25, (n_volumes, n_voxels)).clip(0, 120).astype(dtype)
    if n_voxels > 3:
        samples[:, 1] = samples[0, 1]  # constant
        if samples.dtype.kind == "f":
            samples[n_volumes // 2, 2] = np.nan
            samples[0, 3] = np.inf
    return samples


def centre_block(on: Launches, dtype: str = "i2", shapes: Any = ((1, 1), (7, 33), (21, 130))) -> None:
    for n_volumes, n_voxels in shapes:
        samples = awkward_samples(dtype, n_volumes, n_voxels)
        centre = np.linspace(40, 80, n_voxels)
        for start, width in {(0, n_voxels), (n_voxels // 3, n_voxels - n_voxels // 3), (n_voxels - 1, 1)}:
            block, before = np.empty((n_volumes, width), np.float32), np.empty(width)
            found = on.upload(block, before)
            on.kernels.centre_block(*on.upload(samples, centre), start, *found)
            numba_kernels.centre_block(samples, centre, start, block, before)
            np.testing.assert_array_equal(found[0].get(), block)
            np.testing.assert_allclose(found[1].get(), before, rtol=1e-13)


def finish_correlations(on: Launches, shapes: Any = ((1, 1, 1), (5, 3, 33), (19, 11, 130))) -> None:
    for n_components, n_seeds, width in shapes:
        rng = np.random.default_rng(width)
        n_voxels, start = width + 7, 4
        signal = rng.standard_normal((n_components, width)).astype(np.float32)
        unit = rng.standard_normal((n_seeds, n_components))
        unit = (unit / np.linalg.norm(unit, axis=1)[:, None]).astype(np.float32)
        signal[:, 0] = 3 * unit[0]  # r = 1
        if width > 3:
            signal[:, 1] = 0.0
            signal[:, 2] = -7 * unit[-1]  # r = -1
            signal[0, 3] = np.nan
        before = np.square(signal.astype(np.float64)).sum(axis=0) * 1.5
        dots = unit @ signal
        expected = [np.full((n_seeds, n_voxels), 9, np.float32) for _ in range(2)] + [np.full(n_voxels, 9, np.float32)]
        found = on.upload(*expected)
        on.kernels.finish_correlations(*on.upload(signal, dots, before), start, *found)
        numba_kernels.finish_correlations(signal, dots, before.copy(), start, *expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.get(), other, rtol=1e-6, atol=1e-7)


def scale_to_unit_norm(on: Launches, shapes: Any = ((1, 1, 1), (9, 7, 33), (6, 6, 500))) -> None:
    for n_columns, n_residuals, width in shapes:
        rows = np.random.default_rng(width).standard_normal((width, n_columns))
        rows[width // 2, :n_residuals] = 0.0
        squares = np.empty(width)
        found = on.upload(np.ascontiguousarray(rows.T), squares)
        on.kernels.scale_to_unit_norm(found[0], n_residuals, found[1])
        numba_group.scale_to_unit_norm(rows, n_residuals, squares)
        np.testing.assert_allclose(found[0].get().T, rows, rtol=1e-13)
        np.testing.assert_allclose(found[1].get(), squares, rtol=1e-13)


def difference_products(on: Launches, shapes: Any = ((1, 1, 1), (2, 3, 1), (5, 6, 4), (9, 8, 7))) -> None:
    for shape in shapes:
        rng = np.random.default_rng(shape[2])
        inside = rng.uniform(size=shape) < 0.9
        inside[0, 0, 0] = True
        starts = np.concatenate([[0], np.cumsum(inside.sum(axis=(0, 1)))])
        neighbours, _ = forward_neighbours(inside)
        n_voxels = len(neighbours)
        rows = rng.standard_normal((n_voxels, 5))
        expected = np.empty((6, n_voxels))
        for z in range(shape[2]):  # the CPU takes one plane at a time
            here, above = rows[starts[z] : starts[z + 1]], rows[starts[z + 1] :]
            numba_group.difference_products(here, above, starts[z], starts[z + 1], neighbours, 4, expected)
        for n_planes in {1, 2, shape[2]}:  # the GPU takes as many as it holds
            products = on.upload(expected * np.nan)[0]
            for z in range(0, shape[2], n_planes):
                first, end = starts[z], starts[min(z + n_planes, shape[2])]
                after = starts[min(z + n_planes + 1, shape[2])]
                parts = on.upload(np.ascontiguousarray(rows[first:end].T), np.ascontiguousarray(rows[end:after].T))
                on.kernels.difference_products(*parts, first, end, *on.upload(neighbours), 4, products)
            np.testing.assert_allclose(products.get(), expected, rtol=1e-12, atol=1e-14)


@dataclass
class Maps:
    """Maps (N, V) with a neighbour table, and the twins' labels, sizes and peaks after each step."""

    values: np.ndarray
    neighbours: np.ndarray
    threshold: float
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def awkward_maps(connectivity: int, dtype: str = "f4") -> Iterator[Maps]:
    """Noise, ties with the threshold, a comb, a full map, an empty one, one voxel, negative values, NaN."""
    rng = np.random.default_rng(connectivity)
    comb = np.zeros((11, 9, 3))
    comb[::2] = 1
    comb[:, -1] = 1
    noise = rng.standard_normal((4, 7, 6, 5))
    noise[1, 3, 2, 1] = np.nan
    noise[2, ::2] = 1.5  # equal to a threshold
    flat = [np.ones((1, 4, 5, 3)), -np.ones((2, 4, 5, 3)), np.ones((1, 1, 1, 1))]
    inside = rng.uniform(size=(7, 6, 5)) < 0.8
    cases = [(noise, inside, t) for t in (-9.0, -0.8, 0.3, 1.5)] + [(comb[None], np.ones(comb.shape, bool), 0.5)]
    cases += [(maps, np.ones(maps.shape[1:], bool), 0.0) for maps in flat]
    for maps, mask, threshold in cases:
        neighbours = numba_labels.neighbour_table(mask, connectivity)
        values = np.stack([one.ravel(order="F")[mask.ravel(order="F")] for one in maps]).astype(dtype)
        arrays = tuple(np.empty(values.shape, dtype=np.int32) for _ in range(3))
        steps = []
        numba_labels.label_init(values, threshold, *arrays)
        steps.append(tuple(array.copy() for array in arrays))
        numba_labels.label_merge(arrays[0], neighbours)
        steps.append(tuple(array.copy() for array in arrays))
        numba_labels.label_compress(arrays[0])
        steps.append(tuple(array.copy() for array in arrays))
        numba_labels.label_measure(values, *arrays)
        steps.append(tuple(array.copy() for array in arrays))
        yield Maps(values, neighbours, threshold, steps)


def label_init(on: Launches, dtype: str = "f4") -> None:
    for maps in awkward_maps(18, dtype):
        found = on.upload(*(np.full_like(array, 7) for array in maps.steps[0]))
        on.kernels.label_init(*on.upload(maps.values), maps.threshold, *found)
        for one, other in zip(found, maps.steps[0], strict=True):
            np.testing.assert_array_equal(one.get(), other)


def label_merge(on: Launches) -> None:
    """Parents depend on the order of the threads; the root that they lead to does not."""
    for connectivity in CONNECTIVITIES:
        for maps in awkward_maps(connectivity):
            labels = on.upload(maps.steps[0][0])[0]
            on.kernels.label_merge(labels, *on.upload(maps.neighbours))
            parents = labels.get()
            numba_labels.label_compress(parents)
            np.testing.assert_array_equal(parents, maps.steps[2][0])


def label_compress(on: Launches) -> None:
    for maps in awkward_maps(26):
        labels = on.upload(maps.steps[1][0])[0]
        on.kernels.label_compress(labels)
        np.testing.assert_array_equal(labels.get(), maps.steps[2][0])


def label_measure(on: Launches, dtype: str = "f4") -> None:
    for maps in awkward_maps(6, dtype):
        found = on.upload(*maps.steps[2][1:])
        on.kernels.label_measure(*on.upload(maps.values, maps.steps[2][0]), *found)
        np.testing.assert_array_equal(found[0].get(), maps.steps[3][1])
        np.testing.assert_array_equal(found[1].get(), maps.steps[3][2])


def far_indices(on: Launches) -> None:
    """Elements beyond the reach of 31 bits."""
    n_voxels, start = 2**30 + 40, 2**30 + 5
    samples = sparse_array((3, n_voxels), np.int8)
    samples[:, start:] = np.arange(3 * (n_voxels - start)).reshape(3, -1) % 100
    centre = sparse_array((n_voxels,), np.float64)
    block, before = on.upload(np.empty((3, 35), np.float32), np.empty(35))
    on.kernels.centre_block(ndarray(samples, on.device), ndarray(centre, on.device), start, block, before)
    np.testing.assert_array_equal(block.get(), samples[:, start:])

    r, z = sparse_array((3, n_voxels), np.float32), sparse_array((3, n_voxels), np.float32)
    found = [ndarray(array, on.device) for array in (r, z, sparse_array((n_voxels,), np.float32))]
    dots = np.tile(np.array([[0.1], [0.2], [0.3]], np.float32), 35)
    on.kernels.finish_correlations(*on.upload(np.ones((1, 35), np.float32), dots, np.ones(35)), start, *found)
    np.testing.assert_array_equal(r[:, start:], dots)


def sparse_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros whose pages exist once they are written."""
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python 3.13 has a name for it
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype).reshape(shape)


#: What each source is checked by.
CHECKS = {
    "gather": (centre_block,),
    "correlate": (finish_correlations,),
    "roughness": (scale_to_unit_norm, difference_products),
    "label": (label_init, label_merge, label_compress, label_measure),
}
