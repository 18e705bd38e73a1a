"""Whether the kernels compute on this device what their Numba twins compute on the CPU."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import cuda_kernels, numba_group, numba_kernels, numba_labels
from rsfc_gpu.errors import BackendError

Arrays = tuple[NDArray[Any], ...]


def run_each_kernel() -> str:
    """Run every kernel on a small input beside its twin; one line that says how many agreed.

    Raises
    ------
    BackendError : a kernel does not agree with its twin; the line names its file.
    """
    checks = {"gather": _gather, "correlate": _correlate, "roughness": _roughness, "label": _label}
    for file, check in checks.items():
        found, expected = check(np.random.default_rng(0))
        for one, other in zip(found, expected, strict=True):
            if not np.allclose(one, other, rtol=1e-5, atol=1e-6):
                raise BackendError(
                    f"kernels/{file}.cu does not compute what the CPU computes: reinstall CuPy and driver"
                )
    return f"{len(checks)} files, each agrees with the CPU"


def _gather(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    samples = rng.integers(-3000, 3000, (23, 45)).astype(np.int16)
    centre = samples.mean(axis=0)
    block, before = np.empty((23, 45), dtype=np.float32), np.empty(45)
    on_device = tuple(cupy.asarray(array) for array in (samples, centre, block, before))
    cuda_kernels.centre_block(on_device[0], on_device[1], 0, on_device[2], on_device[3])
    numba_kernels.centre_block(samples, centre, 0, block, before)
    return (on_device[2].get(), on_device[3].get()), (block, before)


def _correlate(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    signal = rng.standard_normal((11, 45)).astype(np.float32)
    unit = np.linalg.qr(rng.standard_normal((11, 3)))[0].T.astype(np.float32)
    dots, before = unit @ signal, np.full(45, 20.0)
    r, z, retained = np.empty((3, 45), np.float32), np.empty((3, 45), np.float32), np.empty(45, np.float32)
    found = [cupy.asarray(array) for array in (r, z, retained)]
    inputs = [cupy.asarray(array) for array in (signal, dots, before)]
    cuda_kernels.finish_correlations(inputs[0], inputs[1], inputs[2], 0, found[0], found[1], found[2])
    numba_kernels.finish_correlations(signal, dots, before, 0, r, z, retained)
    return tuple(array.get() for array in found), (r, z, retained)


def _roughness(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    rows, squares, products = rng.standard_normal((45, 9)), np.empty(45), np.empty((6, 45))
    neighbours = np.minimum(np.arange(45)[:, None] + [1, 3, 9], 44)
    on_device = [cupy.asarray(array) for array in (np.ascontiguousarray(rows.T), squares, neighbours, products)]
    above = cupy.empty((9, 0), cupy.float64)
    cuda_kernels.scale_to_unit_norm(on_device[0], 7, on_device[1])
    cuda_kernels.difference_products(on_device[0], above, 0, 45, on_device[2], 7, on_device[3])
    numba_group.scale_to_unit_norm(rows, 7, squares)
    numba_group.difference_products(rows, rows, 0, 0, neighbours, 7, products)
    return (on_device[1].get(), on_device[3].get()), (squares, products)


def _label(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    inside = np.ones((5, 6, 7), dtype=bool)
    neighbours = numba_labels.neighbour_table(inside, 18)
    values = rng.standard_normal((2, inside.size)).astype(np.float32)
    labels, sizes, peaks = (np.empty(values.shape, dtype=np.int32) for _ in range(3))
    maps, table, on_device = cupy.asarray(values), cupy.asarray(neighbours), [cupy.asarray(labels) for _ in range(3)]
    cuda_kernels.label_init(maps, 0.5, *on_device)
    cuda_kernels.label_merge(on_device[0], table)
    cuda_kernels.label_compress(on_device[0])
    cuda_kernels.label_measure(maps, *on_device)
    numba_labels.label_init(values, 0.5, labels, sizes, peaks)
    numba_labels.label_merge(labels, neighbours)
    numba_labels.label_compress(labels)
    numba_labels.label_measure(values, labels, sizes, peaks)
    return tuple(array.get() for array in on_device), (labels, sizes, peaks)
