"""The CUDA backend: cuBLAS for products, the kernels of kernels/ for what no product does.

Products of voxel series are float32 with float32 sums, as on the CPU: TF32 is refused (`cuda.why_unusable`). One GPU a
process: CUDA_VISIBLE_DEVICES chooses which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import RLock
from typing import Any

import cupy
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import F32, F64, cuda_group, cuda_kernels, cuda_preprocess, cuda_stages
from rsfc_gpu.backend.cuda import device_text
from rsfc_gpu.backend.cuda_memory import DeviceMemory, Lane
from rsfc_gpu.backend.dct import CosineBasis
from rsfc_gpu.backend.linear_model import LinearFit
from rsfc_gpu.backend.rigid import RigidFits, RigidTarget
from rsfc_gpu.backend.splines import AxisFilters, convolution_matrix, smoothing_matrix
from rsfc_gpu.backend.stages import Stage, kept_length


class CudaBackend:
    """Voxel work on the current CUDA device, in at most `max_memory_bytes` of it (None: most of what is free)."""

    name = "cuda"

    def __init__(self, *, max_memory_bytes: int | None = None) -> None:
        self.max_memory_bytes = max_memory_bytes
        self.device = device_text()
        self._memory = DeviceMemory(max_memory_bytes)
        self._one_at_a_time = RLock()  # the two lanes serve one operation; calls from several threads take turns

    def smooth(self, volume: F32, fwhm_voxels: ArrayLike) -> F32:
        width_x, width_y, width_z = (float(width) for width in np.asarray(fwhm_voxels, dtype=np.float64))
        n_x, n_y, n_z = volume.shape
        filters = (
            smoothing_matrix(n_z, width_z).astype(np.float32),
            convolution_matrix(n_y, width_y).astype(np.float32),
            convolution_matrix(n_x, width_x).astype(np.float32),
        )
        smoothed = np.empty((n_z, n_y, n_x), dtype=np.float32)
        with self._one_at_a_time, self._memory.in_use():
            source = self._memory.constant(volume.transpose(2, 1, 0).astype(np.float32, copy=False))
            on_device = tuple(self._memory.constant(matrix) for matrix in filters)
            cuda_preprocess.filter_axes(source, on_device).get(out=smoothed)
        return smoothed.transpose(2, 1, 0)

    def correlate(self, samples: NDArray[Any], centre: F64, compressor: F64, seeds: F64) -> tuple[F32, F32, F32]:
        n_volumes, n_voxels = samples.shape
        seed_signal = compressor @ (seeds - seeds.mean(axis=0))
        norms = np.linalg.norm(seed_signal, axis=0)
        unit_seeds = np.divide(seed_signal, norms, out=np.zeros_like(seed_signal), where=norms > 0).T
        n_seeds = len(unit_seeds)
        r, z = (np.empty((n_seeds, n_voxels), dtype=np.float32) for _ in range(2))
        retained = np.empty(n_voxels, dtype=np.float32)
        with self._one_at_a_time, self._memory.in_use():
            projection = self._memory.constant(compressor.astype(np.float32))
            unit = self._memory.constant(unit_seeds.astype(np.float32))

            def one_batch(lane: Lane, start: int, stop: int) -> None:
                block, before = _centred(lane, samples[:, start:stop], centre[start:stop])
                signal = projection @ block
                found = cupy.empty((2, n_seeds, stop - start), cupy.float32)
                kept = cupy.empty(stop - start, cupy.float32)
                cuda_kernels.finish_correlations(signal, unit @ signal, before, 0, found[0], found[1], kept)
                lane.download(found[0], r[:, start:stop])
                lane.download(found[1], z[:, start:stop])
                lane.download(kept, retained[start:stop])

            self._memory.in_batches(n_voxels, n_volumes * samples.itemsize, one_batch)
        return r, z, retained

    def clean(self, samples: NDArray[Any], centre: F64, compressor: F64, expander: F64) -> F32:
        n_volumes, n_voxels = samples.shape
        cleaned = np.empty((len(expander), n_voxels), dtype=np.float32)
        with self._one_at_a_time, self._memory.in_use():
            projection = self._memory.constant(compressor.astype(np.float32))
            reconstruction = self._memory.constant(expander.astype(np.float32))

            def one_batch(lane: Lane, start: int, stop: int) -> None:
                block, _ = _centred(lane, samples[:, start:stop], centre[start:stop])
                lane.download(reconstruction @ (projection @ block), cleaned[:, start:stop])

            self._memory.in_batches(n_voxels, n_volumes * max(samples.itemsize, 4), one_batch)
        return cleaned

    def clean_by_stages(self, samples: NDArray[Any], centre: F64, stages: Sequence[Stage]) -> tuple[F32, F32]:
        n_volumes, n_voxels = samples.shape
        cleaned = np.empty((kept_length(stages, n_volumes), n_voxels), dtype=np.float32)
        retained = np.empty(n_voxels, dtype=np.float32)
        with self._one_at_a_time, self._memory.in_use():
            chain = cuda_stages.on_device(stages, self._memory)

            def one_batch(lane: Lane, start: int, stop: int) -> None:
                block, before = _centred(lane, samples[:, start:stop], centre[start:stop])
                series, kept = cuda_stages.clean(block, before, chain)
                lane.download(series, cleaned[:, start:stop])
                lane.download(kept, retained[start:stop])

            try:
                # A plan of cuFFT has one work area: two streams must not be in it at once.
                self._memory.in_batches(n_voxels, n_volumes * max(samples.itemsize, 4), one_batch, overlap=False)
            finally:
                cuda_stages.forget_plans()
        return cleaned, retained

    def label_clusters(
        self, values: NDArray[Any], neighbours: NDArray[np.int32], threshold: float
    ) -> NDArray[np.int32]:
        with self._one_at_a_time, self._memory.in_use():
            maps = self._memory.constant(_stored(values)[None])
            roots, _, _ = cuda_group.label_maps(maps, self._memory.constant(neighbours), threshold)
            labels: NDArray[np.int32] = cuda_group.number_clusters(roots[0]).get()
        return labels

    def pool_second_moment(self, samples: F32, basis: F64, blocks: F64, f_above: float) -> tuple[F64, int]:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_group.pool_second_moment(samples, basis, blocks, f_above, self._memory)

    def fit_linear_model(
        self, samples: F32, residuals: F64, linear: F64, n_used: int, inside: NDArray[np.bool_]
    ) -> LinearFit:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_group.fit_linear_model(samples, residuals, linear, n_used, inside, self._memory)

    def shift_slices(self, volumes: NDArray[Any], operators: F64) -> F32:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_preprocess.shift_slices(volumes, operators, self._memory)

    def register_rigid(self, volumes: F32, target: RigidTarget, start: F64) -> RigidFits:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_preprocess.register_rigid(volumes, target, start, self._memory)

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
        with self._one_at_a_time, self._memory.in_use():
            mean = cuda_preprocess.resample(volumes, points, maps, degree=degree, out=out, memory=self._memory)
        if out is not None and (np.asarray(fwhm_voxels) > 0).any():
            for volume in out:
                volume[...] = self.smooth(volume.transpose(2, 1, 0), fwhm_voxels).transpose(2, 1, 0)
        return mean

    def sample_gradient(self, volume: F32, filters: AxisFilters, points: F64) -> tuple[F64, F64]:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_preprocess.sample_gradient(volume, filters, points, self._memory)

    def warp_equations(self, gradient: F64, residual: F64, templates: F64, basis: CosineBasis) -> tuple[F64, F64]:
        with self._one_at_a_time, self._memory.in_use():
            return cuda_preprocess.warp_equations(gradient, residual, templates, basis, self._memory)

    def __reduce__(self) -> tuple[Callable[[], CudaBackend], tuple[()]]:
        """Pickles as its settings: each worker process opens the device that it sees."""
        return partial(CudaBackend, max_memory_bytes=self.max_memory_bytes), ()


def _centred(lane: Lane, samples: NDArray[Any], centre: F64) -> tuple[Any, Any]:
    """Float32 samples - centre of a batch, and the sums of squares over time, on the device."""
    block = cupy.empty(samples.shape, cupy.float32)
    before = cupy.empty(samples.shape[1], cupy.float64)
    cuda_kernels.centre_block(lane.upload(_stored(samples)), lane.upload(centre), 0, block, before)
    return block, before


def _stored(values: NDArray[Any]) -> NDArray[Any]:
    """Values in a type that the kernels read: the stored one, else float64."""
    return values if values.dtype.str[1:] in cuda_kernels.C_TYPES else values.astype(np.float64)
