"""Two real raw runs through the chain to maps, with the default template and with SPM's: docs/validation.md's table.

    python benchmarks/real_runs.py

Needs the reference data: RSFC_REFERENCE names their folder, ../shared where it is not set. Prints, for each run and
template, the overlap with the MNI brain, motion, degrees of freedom and mean z around known places of two networks;
then how maps and places of the two templates compare.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from rsfc_gpu.backend import select_backend
from rsfc_gpu.connectivity import Seeds
from rsfc_gpu.images.mask import VoxelGrid
from rsfc_gpu.preprocess import PreprocessSettings, normalise, preprocess
from rsfc_gpu.preprocess.template import box_affine, box_shape, brain_mask
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.run import RunOptions, run_study

REFERENCE = Path(os.environ.get("RSFC_REFERENCE", "../shared")).resolve()
#: Image, slice order, repetition time in s, volumes discarded.
RUNS = {
    "156 volumes": ("01_studyforrest_native_task/sub-02_task-oneback_run-1_bold.nii.gz", "ascending", 2.0, 4),
    "260 volumes": ("02_rapidtide_native_rest/sub-RAPIDTIDETEST.nii.gz", "none", 1.5, 10),
}
#: Mean z is taken over spheres of 8 mm.
PLACES = {
    ("PCC", "angular gyrus left"): (-46, -66, 30),
    ("PCC", "angular gyrus right"): (46, -66, 30),
    ("PCC", "medial prefrontal"): (0, 52, 12),
    ("M1left", "right hand area"): (38, -26, 56),
    ("LBleft", "right amygdala"): (25, -4, -22),
}
STUDY = """
name = "real"
[scan]
discard_volumes = {discard}
[preprocess]
slice_timing = "{order}"
[seeds]
atlas = "juelich-amygdala"
spheres = [
    {{ name = "M1left", xyz_mm = [-38, -26, 56], radius_mm = 8 }},
    {{ name = "PCC", xyz_mm = [0, -52, 26], radius_mm = 8 }},
]
"""


def main() -> None:
    for name, (image, order, tr_s, discard) in RUNS.items():
        with tempfile.TemporaryDirectory(prefix="rsfc-real-") as folder:
            study = STUDY.format(order=order, discard=discard)
            ways = {"default": None, "EPI.nii": REFERENCE / "reference" / "templates" / "EPI.nii"}
            found = {
                way: mapped(Path(folder) / way, REFERENCE / "realdata" / image, study, tr_s, template)
                for way, template in ways.items()
            }
        for way, (record, maps) in found.items():
            print(f"{name}, {way}: {summary(record, maps)}")
        first, second = (maps for _, maps in found.values())
        print(f"{name}, maps of the two: {correlations(first, second)}")
        settings = PreprocessSettings(discard_volumes=discard, slice_timing=order)
        print(f"{name}, default less EPI.nii: {offsets(REFERENCE / 'realdata' / image, settings, ways['EPI.nii'])}\n")


def mapped(
    folder: Path, image: Path, study: str, tr_s: float, template: Path | None
) -> tuple[dict[str, Any], dict[str, nibabel.Nifti1Image]]:
    """Record and z maps of a raw run, as `rsfc run BIDS OUT participant` makes them."""
    func = folder / "bids" / "sub-01" / "func"
    func.mkdir(parents=True)
    (func / "sub-01_task-rest_bold.nii.gz").symlink_to(image)
    (func / "sub-01_task-rest_bold.json").write_text(json.dumps({"RepetitionTime": tr_s}))
    (folder / "bids" / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tHC\n")
    options = RunOptions(level="participant", device="cpu", jobs=1, report=False, template=template)
    run_study(folder / "bids", folder / "out", parse_study(study, "real"), options)
    results = folder / "out" / "sub-01" / "func"
    record = json.loads(next(results.glob("*desc-run_record.json")).read_text())
    maps = {}
    for path in sorted(results.glob("*_stat-z_statmap.nii.gz")):
        image_of_seed = nibabel.load(path)
        seed = path.name.split("_seed-")[1].split("_")[0]
        maps[seed] = nibabel.Nifti1Image(image_of_seed.get_fdata(), image_of_seed.affine)
    return record, maps


def summary(record: dict[str, Any], maps: dict[str, nibabel.Nifti1Image]) -> str:
    z = ", ".join(f"{seed} to {place} {mean_around(maps[seed], at):.2f}" for (seed, place), at in PLACES.items())
    return (
        f"Dice {record['normalisation_dice']:.3f}, {record['max_translation_mm']:.2f} mm, "
        f"{record['max_rotation_degrees']:.2f} degrees, mean FD {record['mean_fd_power_mm']:.3f} mm, "
        f"{record['dof']:.1f} degrees of freedom; z: {z}"
    )


def mean_around(image: nibabel.Nifti1Image, point_mm: tuple[int, int, int]) -> float:
    at = Seeds.from_spheres([point_mm], 8, like=image).members[0]
    return float(np.nanmean(image.get_fdata().ravel(order="F")[at]))


def correlations(first: dict[str, nibabel.Nifti1Image], second: dict[str, nibabel.Nifti1Image]) -> str:
    """Over the voxels that both maps have."""
    parts = []
    for seed in first:
        one, other = first[seed].get_fdata(), second[seed].get_fdata()
        both = np.isfinite(one) & np.isfinite(other)
        parts.append(f"{seed} {np.corrcoef(one[both], other[both])[0, 1]:.2f}")
    return ", ".join(parts)


def offsets(image: Path, settings: PreprocessSettings, template: Path) -> str:
    """How far apart the two templates find the same place of MNI in a run's own space, x to the right, in mm."""
    backend = select_backend("cpu")
    run = preprocess(image, settings, backend)
    assert run.warp is not None
    affine = run.mean.affine
    warps = (run.warp, normalise(run.mean, template, backend=backend))
    first, second = (warp.voxel_positions(affine) @ affine[:3, :3].T for warp in warps)
    grid = VoxelGrid(box_shape(3.0)[::-1], box_affine(3.0))
    seeds = Seeds.from_atlas("juelich-amygdala", like=grid, space="MNI152NLin6Asym")
    regions = {
        "brain": np.flatnonzero(brain_mask(3.0).ravel()),
        "amygdala": np.unique(np.concatenate(seeds.members)),
    }
    parts = []
    for name, at in regions.items():
        # (Z, Y, X) in C order is the flat order of seeds and masks.
        apart = (first - second).reshape(-1, 3)[at]
        shift = ", ".join(f"{value:.1f}" for value in apart.mean(axis=0))
        parts.append(f"{name} {np.linalg.norm(apart, axis=1).mean():.1f} mm, shift ({shift}) mm")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
