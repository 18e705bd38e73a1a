"""Exact bytes and sectors of each kernel on a typical task, counted by the checker, beside the least possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuda_on_host.checks import Launches, launches
from rsfc_gpu.backend.linear_model import forward_neighbours
from rsfc_gpu.backend.numba_labels import neighbour_table

VOLUMES, COMPONENTS, SEEDS, IMAGES, IMAGES_USED = 230, 100, 6, 84, 64
SHAPE = (16, 16, 8)  # a full box: 2048 voxels
MAPS = 4
HEIGHT = 3.09  # p < 0.001


@dataclass(frozen=True)
class Traffic:
    """Bytes a voxel (and map): asked for by the threads, the least possible, and in whole 32-byte sectors."""

    asked: float
    least: float
    in_sectors: float


def count_traffic() -> dict[str, Traffic]:
    """Traffic of every kernel, with enough blocks that no thread strides."""
    with launches("check", max_blocks=1 << 30) as on:
        n_voxels = int(np.prod(SHAPE))
        least = {**_one_run(on, n_voxels), **_group_model(on, n_voxels), **_maps(on, n_voxels)}
        counted = {name: counts for module in on.device.modules for name, counts in module.traffic.items()}
    found = {}
    for name, bytes_a_voxel in least.items():
        per = n_voxels * (MAPS if name.startswith("label") else 1)
        counts = counted[name]
        asked = counts["bytes_read"] + counts["bytes_written"]
        sectors = 32 * (counts["sectors_read"] + counts["sectors_written"])
        found[name] = Traffic(asked / per, bytes_a_voxel, sectors / per)
    return found


def _one_run(on: Launches, n_voxels: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 1000, (VOLUMES, n_voxels)).astype(np.int16)
    block, before = on.upload(np.empty((VOLUMES, n_voxels), np.float32), np.empty(n_voxels))
    on.kernels.centre_block(*on.upload(samples, samples.mean(axis=0)), 0, block, before)
    signal = rng.standard_normal((COMPONENTS, n_voxels)).astype(np.float32)
    maps = np.empty((SEEDS, n_voxels), np.float32)
    found = on.upload(maps, maps, np.empty(n_voxels, np.float32))
    on.kernels.finish_correlations(*on.upload(signal, np.zeros_like(maps), np.ones(n_voxels)), 0, *found)
    return {
        "centre_block": 8 + VOLUMES * (2 + 4) + 8,
        "finish_correlations": COMPONENTS * 4 + SEEDS * 4 + 8 + SEEDS * 8 + 4,
    }


def _group_model(on: Launches, n_voxels: int) -> dict[str, float]:
    rows = np.random.default_rng(0).standard_normal((IMAGES, n_voxels))
    neighbours, _ = forward_neighbours(np.ones(SHAPE, dtype=bool))
    here, squares, table, products = on.upload(rows, np.empty(n_voxels), neighbours, np.empty((6, n_voxels)))
    above = on.upload(np.empty((IMAGES, 0)))[0]
    on.kernels.scale_to_unit_norm(here, IMAGES, squares)
    on.kernels.difference_products(here, above, 0, n_voxels, table, IMAGES_USED, products)
    return {"scale_to_unit_norm": IMAGES * 16 + 8, "difference_products": IMAGES_USED * 8 + 24 + 48}


def _maps(on: Launches, n_voxels: int) -> dict[str, float]:
    values = np.random.default_rng(0).standard_normal((MAPS, n_voxels)).astype(np.float32)
    table = neighbour_table(np.ones(SHAPE, dtype=bool), 18)
    maps, neighbours = on.upload(values, table)
    labels, sizes, peaks = on.upload(*(np.empty(values.shape, np.int32) for _ in range(3)))
    on.kernels.label_init(maps, HEIGHT, labels, sizes, peaks)
    on.kernels.label_merge(labels, neighbours)
    on.kernels.label_compress(labels)
    on.kernels.label_measure(maps, labels, sizes, peaks)
    return {"label_init": 16, "label_merge": 4, "label_compress": 4, "label_measure": 4}
