"""Cleaning stage by stage on CUDA: products by cuBLAS, the band-pass by cuFFT, all in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cupy

from rsfc_gpu.backend.cuda_memory import DeviceMemory
from rsfc_gpu.backend.stages import BandPass, Projection, Stage


def on_device(stages: Sequence[Stage], memory: DeviceMemory) -> list[Callable[[Any], Any]]:
    """The stages as functions of device series (T, b), in CuPy what each stage is in NumPy."""
    chain: list[Callable[[Any], Any]] = []
    for stage in stages:
        if isinstance(stage, Projection):
            chain.append(partial(_project, memory.constant(stage.basis)))
        elif isinstance(stage, BandPass):
            chain.append(partial(_filter, stage))
        else:
            chain.append(partial(_select, memory.constant(stage.rows)))
    return chain


def clean(block: Any, before: Any, chain: Sequence[Callable[[Any], Any]]) -> tuple[Any, Any]:
    """Float32 series of a batch after the chain, centred, and the norm that each voxel retains.

    `block` (T, b) float32 centred; `before` (b,) its sums of squares.
    """
    series = block.astype(cupy.float64)
    try:
        for stage in chain:
            series = stage(series)
    except cupy.cuda.memory.OutOfMemoryError:
        forget_plans()  # the halved batch needs what they hold
        raise
    series = series - series.mean(axis=0)
    after = cupy.square(series).sum(axis=0)
    share = cupy.sqrt(after / cupy.where(before > 0.0, before, 1.0)) * (before > 0.0)
    return series.astype(cupy.float32), share.astype(cupy.float32)


def forget_plans() -> None:
    """Give back the work areas that cuFFT's plans keep."""
    cupy.fft.config.clear_plan_cache()


def _project(basis: Any, series: Any) -> Any:
    return series - basis @ (basis.T @ series)


def _filter(stage: BandPass, series: Any) -> Any:
    spectrum = cupy.fft.rfft(series - series.mean(axis=0), n=stage.length, axis=0)
    spectrum[: stage.first] = 0.0
    spectrum[stage.last + 1 :] = 0.0
    return cupy.fft.irfft(spectrum, n=stage.length, axis=0)[: series.shape[0]]


def _select(rows: Any, series: Any) -> Any:
    return series[rows]
