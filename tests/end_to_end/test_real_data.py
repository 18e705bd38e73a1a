"""Real runs (reference data needed): what resting brains are known to show."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import rsfc_gpu as rg
from rsfc_gpu import cli
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.run import RunOptions, run_study

SPHERES = {
    "M1 left": (-38, -26, 56),
    "M1 right": (38, -26, 56),
    "V1 left": (-8, -84, 4),
    "V1 right": (8, -84, 4),
    "angular left": (-46, -66, 30),
    "angular right": (46, -66, 30),
    "PCC": (0, -52, 26),
}
PAIRS = [
    ("M1 left", "M1 right", 0.736),
    ("V1 left", "V1 right", 0.848),
    ("angular left", "angular right", 0.774),
    ("PCC", "angular left", 0.482),
    ("angular left", "M1 left", -0.516),
]


@pytest.fixture(scope="module")
def mni_run(reference_root):
    folder = reference_root / "realdata" / "03_rapidtide_MNI4mm_rest"
    name = "sub-RAPIDTIDETEST_space-MNI152_res-4"
    return folder / f"{name}_bold.nii.gz", folder / f"{name}_mask.nii.gz"


def test_homotopic_and_network_correlations(mni_run, backend):
    """Mean series of 8-mm spheres, cleaned by the operator; expected values were measured independently."""
    bold, mask = mni_run
    settings = rg.DenoiseSettings(motion_model="none", tissue_signals=("global",), scrub="none")
    run = rg.Run(bold=bold, mask=mask, tissues={"global": mask})
    seeds = rg.Seeds.from_spheres(list(SPHERES.values()), 8, like=bold, names=list(SPHERES))
    cleaned = rg.cleaned_image(run, settings, backend)
    flat = np.asarray(cleaned.dataobj).reshape(-1, cleaned.shape[3], order="F")
    usable = rg.seed_maps(run, seeds, settings, backend).usable.ravel(order="F")
    means = [flat[members[usable[members]]].mean(axis=0) for members in seeds.members]
    r = np.corrcoef(means)
    for first, second, expected in PAIRS:
        found = r[seeds.names.index(first), seeds.names.index(second)]
        assert found == pytest.approx(expected, abs=0.005), (first, second)


def test_six_amygdala_maps_by_the_command(mni_run, tmp_path, capsys):
    bold, mask = mni_run
    words = ["maps", str(bold), "--mask", str(mask), "--seeds", "juelich-amygdala", "--space", "MNI152NLin6Asym"]
    assert cli.main([*words, "--motion-model", "none", "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert "260 of 260 volumes kept" in capsys.readouterr().out
    maps = {path.name.split("_")[0]: nibabel.load(path).get_fdata() for path in tmp_path.glob("*.nii.gz")}
    assert set(maps) == {f"seed-{name}{side}" for name in ("CM", "LB", "SF") for side in ("left", "right")}
    # No seed is a mixture of unrelated voxels: its own follow its mean more than 95 per cent of the brain does.
    seeds = rg.Seeds.from_atlas("juelich-amygdala", like=bold, space="MNI152NLin6Asym")
    for name, members in zip(seeds.names, seeds.members, strict=True):
        z = maps[f"seed-{name}"].ravel(order="F")
        assert np.nanmean(z[members]) > np.nanpercentile(z, 95), name


def test_posterior_cingulate_shows_the_default_mode_in_an_oblique_native_run(reference_root, backend):
    """The seed's strongest remote voxels are not a spot around it: they include both sides and the front."""
    folder = reference_root / "realdata" / "02_rapidtide_native_rest"
    bold, mask = folder / "sub-RAPIDTIDETEST.nii.gz", folder / "sub-RAPIDTIDETEST_brainmask.nii.gz"
    settings = rg.DenoiseSettings(motion_model="none", tissue_signals=("global",), scrub="none")
    run = rg.Run(bold=bold, mask=mask, tissues={"global": mask})
    image = nibabel.load(bold)
    spheres = rg.Seeds.from_spheres([pcc_mm(reference_root)], 8, like=image)
    maps = rg.seed_maps(run, spheres, settings, backend)
    voxels = np.argwhere(maps.usable)
    mm = voxels @ maps.affine[:3, :3].T + maps.affine[:3, 3]
    z = maps.z[0][maps.usable]
    remote = np.linalg.norm(mm - pcc_mm(reference_root), axis=1) > 40
    strong = remote & (z > np.percentile(z, 97))
    offset = mm[strong] - pcc_mm(reference_root)
    assert strong.sum() > 50
    assert (offset[:, 0] < -20).sum() > 10 and (offset[:, 0] > 20).sum() > 10
    assert (offset[:, 1] > 60).sum() > 10


def pcc_mm(reference_root) -> np.ndarray:
    """MNI (0, -52, 26) in the native run: the inverse of the affine that took it to MNI."""
    path = reference_root / "realdata" / "03_rapidtide_MNI4mm_rest" / "static_to_moving_affine_dipy.txt"
    return (np.loadtxt(path) @ [0, -52, 26, 1])[:3]


RAW_STUDY = """
name = "raw"
[scan]
discard_volumes = 4
[preprocess]
slice_timing = "{order}"
[seeds]
atlas = "juelich-amygdala"
spheres = [
    {{ name = "M1left", xyz_mm = [-38, -26, 56], radius_mm = 8 }},
    {{ name = "PCC", xyz_mm = [0, -52, 26], radius_mm = 8 }},
]
"""


def mapped_from_raw(tmp_path: Path, image: Path, order: str, tr_s: float) -> tuple[dict, pd.DataFrame, dict]:
    """Record, motion and z maps of a raw run, by the study: paper-like settings, default template."""
    func = tmp_path / "bids" / "sub-01" / "func"
    func.mkdir(parents=True)
    (func / "sub-01_task-rest_bold.nii.gz").symlink_to(image.resolve())
    (func / "sub-01_task-rest_bold.json").write_text(json.dumps({"RepetitionTime": tr_s}))
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tHC\n")
    options = RunOptions(level="participant", device="cpu", jobs=1, report=False)
    run_study(tmp_path / "bids", tmp_path / "out", parse_study(RAW_STUDY.format(order=order), "raw"), options)
    start = str(tmp_path / "out" / "sub-01" / "func" / "sub-01_task-rest_space-MNI152NLin6Asym_")
    maps = {seed: nibabel.load(f"{start}seed-{seed}_stat-z_statmap.nii.gz") for seed in ("M1left", "PCC", "LBleft")}
    motion = pd.read_csv(f"{start}desc-motion_timeseries.tsv", sep="\t")
    return json.loads(Path(f"{start}desc-run_record.json").read_text()), motion, maps


def mean_around(image: nibabel.Nifti1Image, point: tuple[float, float, float], radius_mm: float = 8.0) -> float:
    voxels = np.moveaxis(np.indices(image.shape), 0, -1)
    distance = np.linalg.norm(voxels @ image.affine[:3, :3].T + image.affine[:3, 3] - point, axis=-1)
    return float(np.nanmean(np.asarray(image.dataobj)[distance <= radius_mm]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "order", "tr_s"),
    [
        ("01_studyforrest_native_task/sub-02_task-oneback_run-1_bold.nii.gz", "ascending", 2.0),
        ("02_rapidtide_native_rest/sub-RAPIDTIDETEST.nii.gz", "none", 1.5),
    ],
)
def test_networks_appear_where_they_are_known_to_be_in_raw_runs(tmp_path, reference_root, name, order, tr_s):
    """From scanner files alone: both hands together, the default mode, both amygdalae; none of them elsewhere."""
    record, motion, maps = mapped_from_raw(tmp_path, reference_root / "realdata" / name, order, tr_s)
    assert record["status"] == "kept" and record["normalisation_dice"] > 0.95
    assert record["max_translation_mm"] < 0.5 and motion["framewise_displacement"].max() < 0.3
    assert min(value for key, value in record.items() if key.startswith("coverage_")) > 0.95
    assert mean_around(maps["M1left"], (38, -26, 56)) > 0.3
    assert abs(mean_around(maps["M1left"], (0, -52, 26))) < 0.2
    for angular in ((-46, -66, 30), (46, -66, 30)):
        assert mean_around(maps["PCC"], angular) > 0.2
    assert mean_around(maps["PCC"], (0, 52, 12)) > 0.3
    assert abs(mean_around(maps["PCC"], (38, -26, 56))) < 0.2
    assert mean_around(maps["LBleft"], (-25, -4, -22)) > 0.5
    assert mean_around(maps["LBleft"], (25, -4, -22)) > np.nanpercentile(np.asarray(maps["LBleft"].dataobj), 75)
