"""Gaussian smoothing of images."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess import smooth

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])


@pytest.mark.parametrize(
    ("source", "fwhm_mm", "expected"),
    [
        ("raf_00", 4.0, "s4_raf_00"),
        ("raf_00", 6.0, "s6_raf_00"),
        ("wraf_00", 4.0, "s4_wraf_00"),
    ],
)
def test_agrees_with_spm(backend, spm_run, source: str, fwhm_mm: float, expected: str) -> None:
    found = smooth(spm_run.folder / f"{source}.nii.gz", fwhm_mm, backend=backend)
    wanted = spm_run.volume(expected)
    # Input and reference are stored in steps of 1/32.
    assert np.abs(np.asarray(found.dataobj) - wanted).max() <= 1 / 64 + 1e-4 * wanted.max()


def test_every_volume_of_a_run_is_smoothed_as_alone(backend) -> None:
    values = np.random.default_rng(0).normal(size=(9, 8, 7, 3)).astype(np.float32)
    run = np.asarray(smooth(nibabel.Nifti1Image(values, AFFINE), 6.0, backend=backend).dataobj)
    for t in range(3):
        alone = smooth(nibabel.Nifti1Image(values[..., t], AFFINE), 6.0, backend=backend)
        np.testing.assert_array_equal(run[..., t], np.asarray(alone.dataobj))


def test_a_constant_stays_constant_inside_and_width_zero_changes_nothing(backend) -> None:
    constant = nibabel.Nifti1Image(np.full((15, 15, 9), 5.0, np.float32), AFFINE)
    found = np.asarray(smooth(constant, 4.0, backend=backend).dataobj)
    np.testing.assert_allclose(found[5:-5, 5:-5], 5.0, rtol=1e-6)  # along z up to the ends
    np.testing.assert_array_equal(np.asarray(smooth(constant, 0.0, backend=backend).dataobj), 5.0)


def test_bad_input_is_refused(backend) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), AFFINE)
    with pytest.raises(InputError, match="fwhm_mm"):
        smooth(image, -1.0, backend=backend)
    with pytest.raises(InputError, match="expected a 3-D image"):
        smooth(nibabel.Nifti1Image(np.zeros((4, 4), np.float32), AFFINE), 4.0, backend=backend)
    with pytest.raises(InputError, match="no such file"):
        smooth("nowhere.nii.gz", 4.0, backend=backend)
