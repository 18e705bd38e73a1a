"""Study files: the built-in one, its resolved form, and what is refused."""

from __future__ import annotations

import tomllib

import pytest

from rsfc_gpu.denoise import DenoiseSettings
from rsfc_gpu.errors import InputError
from rsfc_gpu.study.config import load_study, parse_study
from rsfc_gpu.study.toml_text import toml_text
from study_dataset import STUDY

SEEDS = 'name = "x"\n[seeds]\natlas = "juelich-amygdala"\n'


def test_the_built_in_study_is_the_published_analysis():
    study = load_study()
    models = {model.name: model for model in study.models}
    assert study.denoise == DenoiseSettings.preset("dparsf")
    assert models["patients-controls"].covariates == ("age", "sex", "mean_fd_power_mm")
    assert [contrast.name for contrast in models["response-time"].contrasts] == ["interaction", "time"]
    assert "medication_load" in models["response-time"].covariates
    assert study.associations.outcomes == ("day13", "day19") and study.associations.partial == ("medication_load",)
    assert (study.participants.maximum_translation_mm, study.participants.maximum_rotation_degrees) == (2, 2)
    assert (study.roc.folds, study.roc.repeats) == (5, 20) and study.participants.every_visit


@pytest.mark.parametrize("text", [None, STUDY])
def test_the_resolved_study_is_the_same_study(text):
    study = load_study() if text is None else parse_study(text, "small")
    assert parse_study(study.to_toml(), "resolved") == study
    with pytest.raises((AttributeError, TypeError, ValueError)):
        study.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SEEDS + "names_ = []", r"f: unknown key seeds.names_; did you mean names\?"),
        (SEEDS + "[scan]\nfwhm = 3", r"unknown key scan.fwhm; did you mean fwhm_mm\?"),
        (SEEDS + "[denoise]\nlow_hertz = 1", r"unknown denoise setting 'low_hertz'; did you mean low_hz\?"),
        (SEEDS + '[denoise]\npreset = "best"', r"unknown preset 'best'"),
        (SEEDS + '[denoise]\npresett = "dparsf"', r"unknown denoise setting 'presett'; did you mean preset\?"),
        ("", "f: no name, which a study needs"),
        (SEEDS + "[participants]\nminimum_seed_coverage = 2", r"participants.minimum_seed_coverage = 2"),
        (
            SEEDS + '[[models]]\nname = "m"\nkind = "two_samples"\ncontrasts = [{name="c", weights="a"}]',
            "models.0.kind",
        ),
        (
            SEEDS + '[[models]]\nname = "m"\nkind = "one_sample"\ncontrasts = [{name="c", weigths="mean"}]',
            r"models.0.contrasts.0.weigths; did you mean weights\?",
        ),
        (SEEDS + '[[models]]\nname = "m"\nkind = "one_sample"\ncontrasts = []', "models.0.contrasts"),
        (
            SEEDS + 2 * '[[models]]\nname = "m"\nkind = "one_sample"\ncontrasts = [{name="c", weights="mean"}]\n',
            "models: two are named 'm'",
        ),
        (
            SEEDS + '[[models]]\nname = "m"\nkind = "one_sample"\ncontrasts = [{name="1", weights="mean"}]\n',
            "contrasts of model m: '1' is a number in every table; give it a letter",
        ),
        (
            SEEDS + '[[models]]\nname = "m"\nkind = "one_sample"\n'
            'contrasts = [{name="a-b", weights="mean"}, {name="ab", weights="mean"}]',
            "contrasts of model m: 'a-b' has no file name of its own",
        ),
        (SEEDS + '[roc]\nmodels = ["m"]', "roc.models names 'm'"),
        (SEEDS + '[participants]\nresponse_visit = "day13"', "not in participants.follow_up"),
        (SEEDS + '[participants]\nfollow_up = ["day13"]', "needs participants.score"),
        ('name = "x"', "no seed"),
        ("name = ", "not TOML"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_study(text, "f")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_study(tmp_path / "none.toml")


def test_toml_text_is_read_back_as_it_was():
    settings = {
        "text": 'with "quotes", \\ and \n lines \x7f é',
        "numbers": [1, 2.5, -3e-9],
        "flag": True,
        "odd key!": {"nested": {"deep": ["a"]}, "empty": []},
        "tables": [{"a": 1, "inner": [{"b": 2}, {"b": 3}]}, {"a": 4}],
    }
    assert tomllib.loads(toml_text(settings)) == settings
