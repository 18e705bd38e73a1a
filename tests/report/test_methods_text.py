"""The methods text says what ran, and nothing else."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rsfc_gpu.denoise import DenoiseSettings
from rsfc_gpu.preprocess import PreprocessSettings
from rsfc_gpu.report.methods_text import Facts, MethodsText, ModelFacts, methods_text
from rsfc_gpu.study.raw_run import settings_in_words

DPARSF = asdict(DenoiseSettings.preset("dparsf"))
RAW = settings_in_words(PreprocessSettings())
ALL = Facts(
    program="rsfc_gpu 1.0",
    device="two cores",
    preprocess=RAW,
    discarded=10,
    fwhm_mm=4.0,
    denoise=DPARSF,
    gates=("translation of more than 2 mm",),
    seeds=("LBleft", "CMright"),
    atlas="Juelich histological atlas",
    space="MNI152NLin6Asym",
    models=(ModelFacts("response by time", "flexible_factorial", 78, ("age", "sex"), ("age", "sex"), "spm"),),
    height_p=0.001,
    connectivity=18,
    q=0.05,
    tests=frozenset({"table_one", "association", "partial", "roc", "cross_validated", "post_hoc", "qc_fc"}),
)


def whole(text: MethodsText) -> str:
    return " ".join(paragraph for _, paragraph in text.paragraphs)


def test_everything_that_ran_is_said() -> None:
    text = whole(methods_text(ALL))
    for said in (
        "first 10 volumes",
        "that the images' sidecars state",
        "fourth-degree B-splines",
        "(ICBM152 2009a symmetric tissue maps in EPI contrast",
        "in the amygdala, from where SPM's EPI.nii finds the same place in two real runs",
        "a penalty of 15 per mm",
        "written at 3 mm by trilinear",
        "below 0.9 counted as failed",
        "The masks of white matter and cerebrospinal fluid",
        "4 mm full width",
        "24 motion regressors",
        "global signal",
        "0.01-0.1 Hz",
        "above 0.5 mm, with one volume before and one volume after each, were deleted",
        "fewer than 20 temporal degrees of freedom",
        "translation of more than 2 mm",
        "LBleft and CMright",
        "flexible factorial",
        "of 78 maps",
        "p < 0.001",
        "below 0.05",
        "DeLong",
        "circular",
        "paired t tests",
        "rsfc_gpu 1.0 on two cores",
    ):
        assert said in text, said


def test_nothing_is_said_of_what_did_not_run() -> None:
    text = methods_text(Facts(program="rsfc_gpu 1.0"))
    assert [heading for heading, _ in text.paragraphs] == ["Software"]
    assert text.references == ()


def test_settings_change_the_words() -> None:
    recommended = asdict(DenoiseSettings.preset("recommended"))
    text = whole(methods_text(replace(ALL, denoise=recommended)))
    assert "one joint projection on the volumes kept alone" in text
    assert "six motion parameters" in text
    assert "global signal" not in text
    assert "filtered" not in text
    unscrubbed = whole(methods_text(replace(ALL, denoise=DPARSF | {"scrub": "none", "motion_model": "none"})))
    assert "framewise displacement" not in unscrubbed.split("Exclusion")[0].split("correlated")[0]
    assert "motion regressors" not in unscrubbed


@pytest.mark.parametrize("facts", [ALL, replace(ALL, tests=frozenset({"roc"}), preprocess={})])
def test_citations_and_references_match(facts: Facts) -> None:
    text = methods_text(facts)
    cited = {int(n) for group in re.findall(r"\[([\d, ]+)\]", whole(text)) for n in group.split(",")}
    assert cited == set(range(1, len(text.references) + 1))
    assert len(set(text.references)) == len(text.references)
    assert all(re.search(r"\b(19|20)\d\d\b", reference) for reference in text.references)


def test_first_citation_has_the_lowest_number() -> None:
    groups = re.findall(r"\[([\d, ]+)\]", whole(methods_text(ALL)))
    numbers = [int(number) for group in groups for number in group.split(",")]
    first_seen = list(dict.fromkeys(numbers))
    assert first_seen == sorted(first_seen)


def test_only_the_steps_that_raw_runs_went_through_are_said(tmp_path: Path) -> None:
    (tmp_path / "EPI.nii").write_bytes(b"a template")
    settings = PreprocessSettings(
        slice_timing="none", template=tmp_path / "EPI.nii", single_interpolation=True, minimum_dice=0.0
    )
    bare = DPARSF | {"tissue_signals": ["global"]}
    text = whole(methods_text(replace(ALL, preprocess=settings_in_words(settings), denoise=bare)))
    for said in ("the template 'EPI.nii'", "a penalty of 2 per mm", "one fourth-degree interpolation"):
        assert said in text, said
    for unsaid in ("phase shift", "ICBM152 tissue maps", "amygdala, from where", "trilinear", "Dice"):
        assert unsaid not in text, unsaid
    preprocessed = methods_text(replace(ALL, preprocess={}))
    assert "realigned" not in whole(preprocessed)
    assert not any("Spatial registration" in reference for reference in preprocessed.references)
