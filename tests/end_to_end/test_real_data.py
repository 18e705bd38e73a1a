"""Real runs (reference data needed): what resting brains are known to show."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu import cli

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
