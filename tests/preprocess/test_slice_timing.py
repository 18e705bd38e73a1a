"""Slice timing: a phase shift of each slice."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess import correct_slice_timing
from rsfc_gpu.preprocess.slice_timing import shift_operator, slice_times

TR_S = 2.0


def image_of(values: np.ndarray) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(values, np.diag([3.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3.0, 3.0, 4.0, TR_S))
    return image


@pytest.mark.parametrize("n_volumes", [5, 16, 230])
def test_the_operator_keeps_constants_and_does_nothing_without_a_shift(n_volumes: int) -> None:
    np.testing.assert_allclose(shift_operator(n_volumes, 0.37).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(shift_operator(n_volumes, 0.0), np.eye(n_volumes), atol=1e-12)


def test_the_operator_is_the_textbook_shift_of_the_bridged_series() -> None:
    series, shift = np.random.default_rng(0).normal(size=50), -0.4
    bridged = np.concatenate([series, np.linspace(series[-1], series[0], 14)])
    frequency = np.fft.fftfreq(64)
    factor = np.exp(2j * np.pi * frequency * shift)
    factor[32] = np.cos(np.pi * shift)
    expected = np.fft.ifft(np.fft.fft(bridged) * factor).real[:50]
    np.testing.assert_allclose(shift_operator(50, shift) @ series, expected, atol=1e-12)


def test_a_slow_wave_sampled_slice_by_slice_becomes_simultaneous(backend) -> None:
    """Multiband: two slices at a time. Away from the ends of the run the wave is recovered."""
    times = np.array([0.0, 1.5, 0.5, 1.0] * 2)
    moments = np.arange(120)[None, :] * TR_S + times[:, None]
    wave = 1000.0 + 100.0 * np.sin(2 * np.pi * 0.03 * moments)
    values = np.broadcast_to(wave, (3, 2, 8, 120)).astype(np.float32)
    corrected = correct_slice_timing(image_of(values), times, backend=backend)
    expected = 1000.0 + 100.0 * np.sin(2 * np.pi * 0.03 * (np.arange(120) * TR_S + 0.5))  # fourth of eight times: 0.5 s
    found = np.asarray(corrected.dataobj)
    assert np.abs(found - expected)[..., 10:-10].max() < 1.5
    assert np.ptp(values[0, 0, :, 60]) > 10.0  # it was not simultaneous before
    assert corrected.header.get_zooms()[3] == TR_S


def test_integers_scaled_by_the_header_come_out_as_intensities(backend) -> None:
    values = np.random.default_rng(1).integers(0, 500, (4, 3, 5, 30)).astype(np.int16)
    plain = correct_slice_timing(image_of(values), np.arange(5) * 0.4, backend=backend)
    scaled = image_of(values)
    scaled.header.set_slope_inter(0.5, 10.0)
    stored = nibabel.Nifti1Image.from_bytes(scaled.to_bytes())
    assert stored.dataobj.slope == 0.5
    corrected = correct_slice_timing(stored, np.arange(5) * 0.4, backend=backend)
    np.testing.assert_allclose(np.asarray(corrected.dataobj), 0.5 * np.asarray(plain.dataobj) + 10.0, atol=1e-3)


def test_a_constant_image_stays_constant(backend) -> None:
    corrected = correct_slice_timing(image_of(np.full((4, 4, 6, 25), 731, np.int16)), np.arange(6) / 3, backend=backend)
    np.testing.assert_array_equal(np.asarray(corrected.dataobj), 731.0)


def test_agrees_with_spm(backend, spm_run) -> None:
    times = spm_run.truth["slice_acq_time_s"]
    corrected = np.asarray(correct_slice_timing(spm_run.bold, times, TR_S, backend=backend).dataobj)
    for volume, name in ((0, "af_00"), (9, "af_09")):
        expected = spm_run.volume(name)
        # The reference is stored in steps of 1/32.
        assert np.abs(corrected[..., volume] - expected).max() <= 1 / 64 + 1e-5 * expected.max()


def test_agrees_with_spm_on_integers_to_the_last_digit(spm_run) -> None:
    """SPM rounds to the type of the file, from float64."""
    times = np.array(spm_run.truth["slice_acq_time_s"])
    values = np.asarray(spm_run.bold.dataobj, dtype=np.float64)
    reference = np.sort(times)[16]
    shifted = np.stack(
        [values[:, :, z] @ shift_operator(20, (reference - time) / TR_S)[9] for z, time in enumerate(times)], axis=2
    )
    np.testing.assert_array_equal(np.rint(shifted), spm_run.volume("a_int16_09"))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.zeros(5), "one for each of the 6 slices"),
        (np.arange(6) * 300.0, "milliseconds"),
        (np.arange(6) * 0.5, "beyond the repetition time of 2 s"),
        (np.arange(6) * 0.1 - 0.1, "negative"),
        (np.array([0.0, 0.1, np.nan, 0.3, 0.4, 0.5]), "missing"),
    ],
)
def test_slice_times_that_do_not_fit_are_refused(backend, times: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        correct_slice_timing(image_of(np.zeros((2, 2, 6, 12), np.int16)), times, backend=backend)


def test_a_missing_repetition_time_is_named(backend) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2, 6, 12), np.int16), np.eye(4))
    image.header["pixdim"][4] = 0.0
    with pytest.raises(InputError, match="give tr_s"):
        correct_slice_timing(image, np.zeros(6), backend=backend)


def test_slice_orders_name_the_usual_acquisitions() -> None:
    np.testing.assert_allclose(slice_times("ascending", 4, 2.0), [0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(slice_times("descending", 4, 2.0), [1.5, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(slice_times("interleaved", 5, 2.0), [0.0, 1.2, 0.4, 1.6, 0.8])
    np.testing.assert_allclose(slice_times("interleaved-even-first", 4, 2.0), [1.0, 0.0, 1.5, 0.5])
    with pytest.raises(InputError, match="ascending, descending"):
        slice_times("sideways", 4, 2.0)  # type: ignore[arg-type]
