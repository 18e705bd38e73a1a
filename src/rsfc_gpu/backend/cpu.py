"""The CPU backend: NumPy's BLAS for products, Numba loops for the rest, a thread pool over blocks of voxels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import F32, F64, cpu_group, cpu_preprocess, numba_kernels, numba_labels
from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.backend.dct import CosineBasis
from rsfc_gpu.backend.linear_model import LinearFit
from rsfc_gpu.backend.rigid import RigidFits, RigidTarget
from rsfc_gpu.backend.smoothing_kernel import smoothing_weights
from rsfc_gpu.backend.splines import AxisFilters
from rsfc_gpu.backend.stages import Stage, kept_length

BLOCK_VOXELS = 512  # a (240, 512) float32 block and its product stay in a second-level cache of 1 MiB


class CpuBackend:
    """Voxel work on the CPU, on `threads` threads (None: every processor that this process may use)."""

    name = "cpu"

    def __init__(self, *, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.device = f"CPU, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def smooth(self, volume: F32, fwhm_voxels: ArrayLike) -> F32:
        widths = np.asarray(fwhm_voxels, dtype=np.float64)
        weights_x, weights_y, weights_z = (smoothing_weights(float(width)) for width in widths)
        source = np.ascontiguousarray(volume.transpose(2, 1, 0), dtype=np.float32)
        planes, target = np.empty_like(source), np.empty_like(source)

        def in_plane(first: int, last: int) -> None:
            numba_kernels.smooth_x(source[first:last], weights_x, target[first:last])
            numba_kernels.smooth_y(target[first:last], weights_y, planes[first:last])

        def across(first: int, last: int) -> None:
            numba_kernels.smooth_z(planes, weights_z, first, last, target)

        slabs = max(1, -(-source.shape[0] // self.threads))
        self._for_blocks(source.shape[0], slabs, in_plane)
        self._for_blocks(source.shape[0], slabs, across)
        return target.transpose(2, 1, 0)

    def correlate(self, samples: NDArray[Any], centre: F64, compressor: F64, seeds: F64) -> tuple[F32, F32, F32]:
        n_volumes, n_voxels = samples.shape
        seed_signal = compressor @ (seeds - seeds.mean(axis=0))
        norms = np.linalg.norm(seed_signal, axis=0)
        unit = np.divide(seed_signal, norms, out=np.zeros_like(seed_signal), where=norms > 0).T.astype(np.float32)
        projection = compressor.astype(np.float32)
        r = np.empty((len(unit), n_voxels), dtype=np.float32)
        z = np.empty_like(r)
        retained = np.empty(n_voxels, dtype=np.float32)

        def one_block(start: int, stop: int) -> None:
            block = np.empty((n_volumes, stop - start), dtype=np.float32)
            before = np.empty(stop - start)
            numba_kernels.centre_block(samples, centre, start, block, before)
            signal = projection @ block
            numba_kernels.finish_correlations(signal, unit @ signal, before, start, r, z, retained)

        self._for_blocks(n_voxels, BLOCK_VOXELS, one_block)
        return r, z, retained

    def clean(self, samples: NDArray[Any], centre: F64, compressor: F64, expander: F64) -> F32:
        n_volumes, n_voxels = samples.shape
        projection, reconstruction = compressor.astype(np.float32), expander.astype(np.float32)
        cleaned = np.empty((len(expander), n_voxels), dtype=np.float32)

        def one_block(start: int, stop: int) -> None:
            block = np.empty((n_volumes, stop - start), dtype=np.float32)
            numba_kernels.centre_block(samples, centre, start, block, np.empty(stop - start))
            cleaned[:, start:stop] = reconstruction @ (projection @ block)

        self._for_blocks(n_voxels, BLOCK_VOXELS, one_block)
        return cleaned

    def clean_by_stages(self, samples: NDArray[Any], centre: F64, stages: Sequence[Stage]) -> tuple[F32, F32]:
        n_volumes, n_voxels = samples.shape
        cleaned = np.empty((kept_length(stages, n_volumes), n_voxels), dtype=np.float32)
        retained = np.zeros(n_voxels, dtype=np.float32)

        def one_block(start: int, stop: int) -> None:
            block = samples[:, start:stop] - centre[start:stop]
            before = np.linalg.norm(block, axis=0)
            for stage in stages:
                block = stage(block)
            block -= block.mean(axis=0)
            after = np.linalg.norm(block, axis=0)
            np.divide(after, before, out=retained[start:stop], where=before > 0, casting="same_kind")
            cleaned[:, start:stop] = block

        self._for_blocks(n_voxels, BLOCK_VOXELS // 2, one_block)
        return cleaned, retained

    def shift_slices(self, volumes: NDArray[Any], operators: F64) -> F32:
        return cpu_preprocess.shift_slices(volumes, operators, self._for_blocks)

    def register_rigid(self, volumes: F32, target: RigidTarget, start: F64) -> RigidFits:
        return cpu_preprocess.register_rigid(volumes, target, start, self._for_blocks)

    def resample(
        self,
        volumes: F32,
        points: F64,
        maps: F64,
        *,
        degree: int,
        fwhm_voxels: ArrayLike = (0.0, 0.0, 0.0),
        out: F32 | None,
    ) -> F32:
        return cpu_preprocess.resample(
            volumes, points, maps, degree=degree, fwhm_voxels=fwhm_voxels, out=out, for_blocks=self._for_blocks
        )

    def sample_gradient(self, volume: F32, filters: AxisFilters, points: F64) -> tuple[F64, F64]:
        return cpu_preprocess.sample_gradient(volume, filters, points, self._for_blocks)

    def warp_equations(self, gradient: F64, residual: F64, templates: F64, basis: CosineBasis) -> tuple[F64, F64]:
        return cpu_preprocess.warp_equations(gradient, residual, templates, basis)

    def label_clusters(
        self, values: NDArray[Any], neighbours: NDArray[np.int32], threshold: float
    ) -> NDArray[np.int32]:
        labels: NDArray[np.int32] = numba_labels.label_clusters(values, neighbours, threshold)
        return labels

    def pool_second_moment(self, samples: F32, basis: F64, blocks: F64, f_above: float) -> tuple[F64, int]:
        return cpu_group.pool_second_moment(samples, basis, blocks, f_above, self._for_blocks)

    def fit_linear_model(
        self, samples: F32, residuals: F64, linear: F64, n_used: int, inside: NDArray[np.bool_]
    ) -> LinearFit:
        return cpu_group.fit_linear_model(
            samples, residuals, linear, n_used, inside, threads=self.threads, for_blocks=self._for_blocks
        )

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix="rsfc-voxels")

    def _for_blocks(self, n: int, width: int, work: Callable[[int, int], None]) -> None:
        """Call work(start, stop) for every block of 0..n; each block on one thread, with one BLAS thread."""
        blocks = [(start, min(start + width, n)) for start in range(0, n, width)]
        with one_blas_thread():
            if self.threads == 1 or len(blocks) == 1:
                for block in blocks:
                    work(*block)
            else:
                for _ in self._pool.map(lambda block: work(*block), blocks):
                    pass

    def __reduce__(self) -> tuple[Callable[[], CpuBackend], tuple[()]]:
        """Pickles as its settings: a thread pool cannot travel to a worker process."""
        return partial(CpuBackend, threads=self.threads), ()
