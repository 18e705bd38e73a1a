"""The kernels of kernels/*.cu, compiled once per process, and how each is launched.

Every function here has the name and the arguments of an entry point, and of its Numba twin, on device arrays; the
sizes that an entry point takes after them are read from the arrays.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import numpy as np

from rsfc_gpu.resources import resource_folder

#: Blocks of a launch at most. The kernels stride over what is left, so any number is right; this fills any GPU.
MAX_BLOCKS = 8192

TILE, LANES = 32, 8  # blockDim of the kernels that sum over time or components, as in their sources
THREADS = 128  # blockDim of the others

C_TYPES = {
    "i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int",
    "u4": "unsigned int", "i8": "long long", "u8": "unsigned long long", "f4": "float", "f8": "double",
}  # fmt: skip


@cache
def load_module(file: str, macro: str = "", dtype: str = "") -> Any:
    """The compiled module of kernels/`file`.cu, whose `macro`, if any, is the C type of `dtype`."""
    source = (resource_folder("kernels") / f"{file}.cu").read_text(encoding="utf-8")
    options = ("--std=c++17",) if not macro else ("--std=c++17", f"-D{macro}={C_TYPES[dtype]}")
    return cupy.RawModule(code=f'#line 1 "{file}.cu"\n{source}', options=options)


def centre_block(samples: Any, centre: Any, start: int, block: Any, before: Any) -> None:
    """block (T, b) float32 = samples (T, V) - centre (V,) from voxel `start` on; before (b,) = sums of squares."""
    n_volumes, width = block.shape
    _launch_tiles(
        load_module("gather", "SAMPLE", samples.dtype.str[1:]).get_function("centre_block"),
        width,
        (
            samples,
            centre,
            np.int64(start),
            block,
            before,
            np.int32(n_volumes),
            np.int64(samples.shape[1]),
            np.int32(width),
        ),
    )


def finish_correlations(signal: Any, dots: Any, before: Any, start: int, r: Any, z: Any, retained: Any) -> None:
    """From compressed signals (K, b) and their dot products (S, b) with unit seeds: r, Fisher z, and the norm kept."""
    n_components, width = signal.shape
    sizes = (np.int32(n_components), np.int32(len(dots)), np.int32(width), np.int64(retained.size))
    _launch_tiles(
        load_module("correlate").get_function("finish_correlations"),
        width,
        (signal, dots, before, np.int64(start), r, z, retained, *sizes),
    )


def scale_to_unit_norm(rows: Any, n_residuals: int, squares: Any) -> None:
    """squares (b,) = sum of squares of the first rows of (columns, b); those rows divided by its root."""
    _launch(
        load_module("roughness").get_function("scale_to_unit_norm"),
        squares.size,
        (rows, np.int32(n_residuals), squares, np.int64(rows.shape[1])),
    )


def difference_products(
    here: Any, above: Any, first: int, first_above: int, neighbours: Any, n_used: int, products: Any
) -> None:
    """products (6, V) of forward differences of unit residuals (columns, b), for the voxels of a slab of planes."""
    n_here = here.shape[1]
    sizes = (np.int64(n_here), np.int64(above.shape[1]), np.int64(products.shape[1]))
    _launch(
        load_module("roughness").get_function("difference_products"),
        n_here,
        (here, above, np.int64(first), np.int64(first_above), neighbours, np.int32(n_used), products, *sizes),
    )


def label_init(values: Any, threshold: float, labels: Any, sizes: Any, peaks: Any) -> None:
    """labels (N, V) = number of the voxel where the map exceeds `threshold`, else -1; no sizes and peaks yet."""
    _launch(
        load_module("label", "VALUE", values.dtype.str[1:]).get_function("label_init"),
        values.size,
        (values, np.float64(threshold), labels, sizes, peaks, *_batch(labels)),
    )


def label_merge(labels: Any, neighbours: Any) -> None:
    """Join each labelled voxel with its labelled neighbours (V, C) of lower number."""
    _launch(
        load_module("label", "VALUE", "f4").get_function("label_merge"),
        labels.size,
        (labels, neighbours, *_batch(labels), np.int32(neighbours.shape[1])),
    )


def label_compress(labels: Any) -> None:
    """Give every labelled voxel the number of the first voxel of its cluster."""
    _launch(load_module("label", "VALUE", "f4").get_function("label_compress"), labels.size, (labels, *_batch(labels)))


def label_measure(values: Any, labels: Any, sizes: Any, peaks: Any) -> None:
    """Voxels of each cluster, and the key of its highest value, at the cluster's first voxel."""
    _launch(
        load_module("label", "VALUE", values.dtype.str[1:]).get_function("label_measure"),
        values.size,
        (values, labels, sizes, peaks, *_batch(labels)),
    )


def _batch(labels: Any) -> tuple[np.int32, np.int32]:
    return np.int32(labels.shape[0]), np.int32(labels.shape[1])


def _launch(function: Any, n: int, arguments: tuple[Any, ...]) -> None:
    if n:
        function((min(-(-n // THREADS), MAX_BLOCKS),), (THREADS,), arguments)


def _launch_tiles(function: Any, width: int, arguments: tuple[Any, ...]) -> None:
    if width:
        function((min(-(-width // TILE), MAX_BLOCKS),), (TILE, LANES), arguments)
