"""The CUDA backend's own code on the stand-in for CuPy: equal to the CPU, within its memory, its streams in order."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest

from cuda_on_host.build import KernelError, missing_compiler
from cuda_on_host.fake_cupy import Device, FakeCupyError, make_cupy, pretended_gpu
from rsfc_gpu.backend import Backend, cuda, select_backend
from rsfc_gpu.backend.stages import BandPass, Projection, Selection
from rsfc_gpu.errors import BackendError

pytestmark = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))


def open_backend(**settings: Any) -> tuple[Any, Device]:
    device = Device("plain", **settings)
    with pretended_gpu(device):
        return select_backend("cuda"), device


@pytest.fixture(scope="module")
def on_host() -> Any:
    return open_backend()[0]


def run_of(n_volumes: int = 40, n_voxels: int = 900, dtype: str = "i2") -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    samples = rng.normal(500, 40, (n_volumes, n_voxels)).astype(dtype)
    compressor = np.linalg.qr(rng.standard_normal((n_volumes, 25)))[0].T
    compressor -= compressor.mean(axis=1, keepdims=True)
    return samples, samples.mean(axis=0), compressor, rng.standard_normal((n_volumes, 3))


def assert_same_maps(backend: Backend, cpu: Backend, arguments: tuple[np.ndarray, ...]) -> None:
    for found, expected in zip(backend.correlate(*arguments), cpu.correlate(*arguments), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f4", ">f4", "f8", "f2"])
def test_every_stored_type_gives_the_maps_of_the_cpu(on_host: Backend, cpu: Backend, dtype: str) -> None:
    samples, centre, compressor, seeds = run_of()
    scaled = (samples / (4 if dtype == "u1" else 1)).clip(0, 255 if dtype == "u1" else None)
    stored = scaled.astype(dtype)
    found = on_host.correlate(stored, centre, compressor, seeds)
    for one, other in zip(found, cpu.correlate(stored.astype(np.float64), centre, compressor, seeds), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


def test_many_batches_on_two_lanes(cpu: Backend) -> None:
    backend, _ = open_backend()
    type(backend._memory).in_batches.__globals__["BATCH_BYTES"] = 5000  # 62 voxels of this run: 15 batches
    arguments = run_of()
    assert_same_maps(backend, cpu, arguments)
    samples, centre, compressor, _ = arguments
    cleaned = backend.clean(samples, centre, compressor, compressor.T)
    np.testing.assert_allclose(cleaned, cpu.clean(samples, centre, compressor, compressor.T), rtol=0, atol=1e-3)


def test_batches_halve_until_they_fit(cpu: Backend) -> None:
    arguments = run_of(n_voxels=30000)
    roomy, device = open_backend()
    roomy.correlate(*arguments)
    needed = device.peak_bytes
    tight, device = open_backend(memory_bytes=needed // 3)
    assert_same_maps(tight, cpu, arguments)
    assert device.peak_bytes <= needed // 3
    assert device.in_use_bytes == 0, "arrays of a failed batch are still held"


def test_stages_halve_until_they_fit(cpu: Backend) -> None:
    samples, centre, _, _ = run_of(n_voxels=30000)
    stages = [Projection(np.full((40, 1), 40**-0.5)), BandPass(64, 3, 20), Selection(np.arange(2, 40))]
    roomy, device = open_backend()
    roomy.clean_by_stages(samples, centre, stages)
    tight, device = open_backend(memory_bytes=device.peak_bytes // 3)
    found, expected = (one.clean_by_stages(samples, centre, stages) for one in (tight, cpu))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert device.in_use_bytes == 0


def test_many_batches_of_stages_share_no_work_area(cpu: Backend) -> None:
    backend, _ = open_backend()
    type(backend._memory).in_batches.__globals__["BATCH_BYTES"] = 5000
    samples, centre, _, _ = run_of()
    found, expected = (one.clean_by_stages(samples, centre, [BandPass(64, 3, 20)]) for one in (backend, cpu))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("memory_bytes", [3900, 7000], ids=["operator", "one voxel"])
def test_out_of_memory_names_what_is_free_and_what_was_needed(memory_bytes: int) -> None:
    backend, device = open_backend(memory_bytes=memory_bytes)
    message = rf"out of GPU memory: .*allocating [\d,]+ bytes.*; [\d,]+ bytes of {memory_bytes:,} are free"
    with pytest.raises(BackendError, match=message):
        backend.correlate(*run_of())
    assert device.in_use_bytes == 0
    backend.smooth(np.ones((3, 3, 3), dtype=np.float32), (1, 1, 1))  # and the backend can be used again


def test_the_limit_that_was_asked_for_is_kept(cpu: Backend) -> None:
    device = Device("plain")
    with pretended_gpu(device):
        backend = select_backend("cuda", max_gpu_memory_bytes=300_000)
    arguments = run_of(n_voxels=6000)
    assert_same_maps(backend, cpu, arguments)
    assert device.peak_bytes <= 300_000


def test_ten_repeats_give_the_same_bits() -> None:
    arguments = run_of()
    results = []
    for schedule in range(10):
        backend, device = open_backend()
        device.schedule = schedule
        results.append(backend.correlate(*arguments))
    for other in results[1:]:
        for one, first in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(one, first)


def test_pickling_keeps_the_settings() -> None:
    backend, _ = open_backend()
    function, arguments = backend.__reduce__()
    assert arguments == ()
    assert function.keywords == {"max_memory_bytes": None}
    assert pickle.loads(pickle.dumps(select_backend("cpu"))).name == "cpu"


def test_the_report_names_every_part() -> None:
    with pretended_gpu(Device("plain")):
        assert cuda.why_unusable() is None
        found = cuda.report()
    assert {"device", "memory", "driver", "runtime", "CuPy", "NVRTC", "cuBLAS", "cuFFT", "kernels"} == set(found)
    assert found["driver"] == "CUDA 13.2"
    assert "agrees" in found["kernels"]


@pytest.mark.parametrize(
    ("named", "count", "found"),
    [
        (None, 3, ["0", "1", "2"]),
        ("", 2, ["0", "1"]),
        ("2, 5", 2, ["2", "5"]),
        ("GPU-8f2,7,1", 2, ["GPU-8f2", "7"]),  # CUDA stops at the first that it does not know
    ],
)
def test_visible_gpus_are_named_as_the_environment_names_them(monkeypatch, named, count, found) -> None:
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pretended_gpu(Device("plain")):
        import cupy

        cupy.cuda.runtime.getDeviceCount = lambda: count
        assert cuda.visible_devices() == found


def test_a_kernel_that_computes_something_else_is_reported() -> None:
    device = Device("plain")
    device.patch = lambda source: source.replace("low = a < b ? a : b", "low = a < b ? b : a").replace(
        "(float)value;", "1;"
    )
    with pretended_gpu(device), pytest.raises(BackendError, match=r"kernels/gather\.cu does not compute"):
        cuda.report()


def test_only_modules_called_cuda_import_cupy() -> None:
    from pathlib import Path

    import rsfc_gpu

    importing = {
        path.name
        for path in Path(rsfc_gpu.__file__).parent.rglob("*.py")
        if re.search(r"^\s*(import|from) cupyx?\b", path.read_text(), flags=re.MULTILINE)
    }
    assert importing and all(name.startswith("cuda") for name in importing)


# ---- the stand-in refuses what it must refuse ----


def test_the_stand_in_refuses_what_would_be_wrong_with_cupy() -> None:
    device = Device("plain")
    cupy = make_cupy(device)["cupy"]
    pinned_like = make_cupy(device)["cupyx"].empty_pinned
    array = cupy.asarray(np.ones(4, np.float32))
    for wrong in (lambda: array + np.ones(4), lambda: np.ones(4) * array, lambda: np.asarray(array)):
        with pytest.raises(TypeError):
            wrong()
    for wrong in (
        lambda: array.set(np.zeros(4, np.float32), stream=device.stream),
        lambda: array.get(stream=device.stream, out=np.zeros(4, np.float32), blocking=False),
        lambda: cupy.asarray(np.ones(3, ">i2")),
    ):
        with pytest.raises(FakeCupyError):
            wrong()
    pinned = pinned_like((4,), np.float32)
    pinned[:] = 2
    lane, other = cupy.cuda.Stream(), cupy.cuda.Stream()
    with lane:
        array.set(pinned, stream=lane)
        doubled = array + array
    with other, pytest.raises(FakeCupyError, match="before anyone waited"):
        doubled + 1
    pinned[:] = 3
    with pytest.raises(FakeCupyError, match="overwritten"):
        lane.synchronize()


def test_launches_with_wrong_arguments_are_refused() -> None:
    with pretended_gpu(Device("plain")):
        import cupy

        from rsfc_gpu.backend import cuda_kernels

        def zeros(shape: Any, dtype: Any) -> Any:
            return cupy.asarray(np.zeros(shape, dtype))

        samples, centre, block, before = zeros((3, 4), "i2"), zeros(4, "f8"), zeros((3, 4), "f4"), zeros(4, "f8")
        cuda_kernels.centre_block(samples, centre, 0, block, before)
        with pytest.raises(TypeError, match="host array"):
            cuda_kernels.centre_block(samples, np.zeros(4), 0, block, before)
        for wrong in (zeros(4, "f4"), zeros((4, 2), "f8")[:, 0]):
            with pytest.raises(KernelError):
                cuda_kernels.centre_block(samples, wrong, 0, block, before)
        with pytest.raises(KernelError, match=r"outside|beyond"):
            cuda_kernels.centre_block(samples, centre, 0, block, zeros(2, "f8"))
        with pytest.raises(KernelError, match="int64 is wanted"):
            cuda_kernels.load_module("gather", "SAMPLE", "i2").get_function("centre_block")(
                (1,), (32, 8), (samples, centre, 0, block, before, np.int32(3), np.int64(4), np.int32(4))
            )
