"""A small raw dataset on disk: heads unlike the template in shape and place, coarse voxels, a planted coupling."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from preprocess.raw_simulation import NATIVE_AFFINE, draw_head, mean_epi
from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.preprocess import slice_times

TR_S, N_VOLUMES, N_DISCARDED = 2.0, 72, 4
SEED_MM, PARTNER_MM, STRANGER_MM = (-36.0, -20.0, 40.0), (36.0, -20.0, 40.0), (0.0, -70.0, 10.0)
AFFINE = NATIVE_AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])

STUDY = f"""
name = "raw"
[scan]
discard_volumes = {N_DISCARDED}
fwhm_mm = 6.0
[preprocess]
voxel_mm = 6.0
[denoise]
motion_model = "6"
minimum_dof = 5.0
[seeds]
spheres = [{{ name = "hand", xyz_mm = {list(SEED_MM)}, radius_mm = 10 }}]
[participants]
every_visit = false
"""


def head(number: int, backend: Backend) -> tuple[np.ndarray, np.ndarray]:
    """Mean image (X, Y, Z) of a participant, and where its voxels lie in the template (X, Y, Z, 3), mm."""
    anatomy = draw_head(number)
    image = mean_epi(anatomy, backend, seed=number)[::2, ::2, ::2]
    index = np.moveaxis(np.indices(image.shape), 0, -1)
    return image, anatomy.to_template(index @ AFFINE[:3, :3].T + AFFINE[:3, 3])


def run(number: int, backend: Backend, *, largest_mm: float = 0.1, n_volumes: int = N_VOLUMES) -> nibabel.Nifti1Image:
    """A run, int16: slices at their times, the seed's region and its partner sharing a slow signal, a drifting head."""
    still, template_mm = head(number, backend)
    rng = np.random.default_rng(number)
    times_s = slice_times("interleaved", still.shape[2], TR_S)
    fine_s = np.arange(0.0, (n_volumes + 1) * TR_S, 0.1)
    frequencies, phases = rng.uniform(0.02, 0.08, 12), rng.uniform(0, 2 * np.pi, 12)
    signal = np.sin(2 * np.pi * frequencies * fine_s[:, None] + phases).sum(axis=1)
    signal /= signal.std()
    near = [np.linalg.norm(template_mm - point, axis=-1) < 15.0 for point in (SEED_MM, PARTNER_MM)]
    coupled = np.where(near[0] | near[1], 0.03, 0.0)
    data = np.empty((*still.shape, n_volumes), dtype=np.int16)
    for t in range(n_volumes):
        at = np.interp(t * TR_S + times_s, fine_s, signal)
        drift = largest_mm * t / (n_volumes - 1)
        to_voxel = np.linalg.inv(AFFINE) @ rigid_matrix([0.0, drift, 0, 0, 0, 0]) @ AFFINE
        volume = still * (1.0 + coupled * at)
        moved = ndimage.affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], order=3, mode="nearest")
        data[..., t] = np.rint(moved * (1.3 if t < N_DISCARDED else 1.0) + 10.0 * rng.normal(size=still.shape) + 20.0)
    image = nibabel.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], TR_S))
    return image


def half_a_ball() -> nibabel.Nifti1Image:
    """A run of something that is no head."""
    index = np.moveaxis(np.indices((32, 32, 17)), 0, -1)
    distance = np.linalg.norm((index @ AFFINE[:3, :3].T + AFFINE[:3, 3]) - [0.0, 40.0, 40.0], axis=-1)
    rng = np.random.default_rng(0)
    still = np.where(distance < 45.0, 800.0, 10.0) + rng.normal(size=distance.shape) * 40.0
    data = still[..., None] + 5.0 * rng.normal(size=(*still.shape, 20))
    image = nibabel.Nifti1Image(data.astype(np.float32), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], TR_S))
    return image


def add_run(root: Path, person: str, image: nibabel.Nifti1Image, slice_timing: list[float] | None = None) -> Path:
    """Write a run of a person with its sidecar; SliceTiming that is None is what the simulation used."""
    folder = root / f"sub-{person}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sub-{person}_task-rest_bold.nii.gz"
    image.to_filename(path)
    times = slice_times("interleaved", image.shape[2], TR_S).tolist() if slice_timing is None else slice_timing
    Path(str(path).replace(".nii.gz", ".json")).write_text(json.dumps({"RepetitionTime": TR_S, "SliceTiming": times}))
    return path


def write_participants(root: Path, people: list[str]) -> None:
    lines = ["participant_id\tgroup\tage\tsex"]
    lines += [f"sub-{person}\t{'MDD' if n % 2 else 'HC'}\t{30 + n}\tF" for n, person in enumerate(people)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
