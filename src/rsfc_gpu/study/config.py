"""The study file: what a study decides, as frozen settings; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, ValidationError

from rsfc_gpu.denoise import DenoiseSettings
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess.chain import SliceTiming
from rsfc_gpu.study.config_checks import check_references, first_problem
from rsfc_gpu.study.toml_text import toml_text

BUILTIN = "amygdala-ketamine"
Names = tuple[str, ...]


def _denoise_settings(given: Any) -> DenoiseSettings:
    """A preset with changes; an unknown field is an InputError of `DenoiseSettings.replace`."""
    if isinstance(given, DenoiseSettings):
        return given
    if not isinstance(given, dict):
        raise InputError("denoise is a section of settings")
    changes = dict(given)
    fields = [field.name for field in dataclasses.fields(DenoiseSettings)]
    for name in changes:  # `replace` does not know of presets
        if name not in (*fields, "preset") and difflib.get_close_matches(name, ["preset", *fields], n=1) == ["preset"]:
            raise InputError(f"unknown denoise setting {name!r}; did you mean preset?")
    return DenoiseSettings.preset(str(changes.pop("preset", "dparsf"))).replace(**changes)


Denoise = Annotated[
    InstanceOf[DenoiseSettings], BeforeValidator(_denoise_settings), PlainSerializer(dataclasses.asdict)
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Scan(_Section):
    """Which runs, and what is done to them before cleaning.

    `discard_volumes` and `fwhm_mm` are for raw runs and fMRIPrep derivatives, which have every volume and no smoothing;
    the two `normalised_` ones for images in MNI space with rp_*.txt, which DPABI and SPM write trimmed and smoothed.
    """

    task: str = Field(default="rest", description="BIDS task of the runs")
    space: str | None = Field(
        default=None, description="space of the images as in their file names; left out: the only one there is"
    )
    tr_s: float | None = Field(
        default=None,
        gt=0,
        description="repetition time, seconds; runs with another one are refused; left out: any, the same for all",
    )
    discard_volumes: int = Field(
        default=10,
        ge=0,
        description="first volumes left out of raw runs and fMRIPrep derivatives; of the latter those not in steady "
        "state where they are more",
    )
    fwhm_mm: float = Field(
        default=4.0, ge=0, description="smoothing of raw runs and fMRIPrep derivatives, full width at half maximum"
    )
    normalised_discard_volumes: int = Field(
        default=0, ge=0, description="the same of images in MNI space with rp_*.txt, which come trimmed"
    )
    normalised_fwhm_mm: float = Field(
        default=0.0, ge=0, description="the same of images in MNI space with rp_*.txt, which come smoothed"
    )
    runs: Literal["average", "first"] = Field(
        default="average",
        description="several runs of a visit: averaged in z, weighted by degrees of freedom, or the first usable one",
    )
    raw: bool = Field(default=False, description="the raw runs of a dataset that holds preprocessed ones too")


class Preprocess(_Section):
    """What is done to raw runs, beside what `scan` says of discarding and smoothing and `participants` of motion."""

    slice_timing: SliceTiming = Field(
        default="sidecar", description="`SliceTiming` of the sidecars, an order of acquisition, or no such correction"
    )
    voxel_mm: float = Field(default=3.0, ge=1, le=10, description="voxel size of the normalised runs")
    stiffness: float | None = Field(
        default=None,
        gt=0,
        description="of the warp, per mm; left out: 15 with the default template, 2 with one that is given",
    )
    minimum_dice: float = Field(
        default=0.9, ge=0, le=1, description="overlap with the MNI brain below which a normalisation has failed"
    )
    single_interpolation: bool = Field(
        default=False, description="realigned and normalised by one interpolation; false: by two, as the paper did"
    )


class Sphere(_Section):
    """A spherical seed."""

    name: str = Field(description="of the seed")
    xyz_mm: tuple[float, float, float] = Field(description="centre, mm")
    radius_mm: float = Field(default=6.0, gt=0, description="voxel centres up to this far belong to it")


class SeedChoice(_Section):
    """Regions of a packaged atlas, and spheres; at least one of the two."""

    atlas: str | None = Field(default=None, description="packaged atlas: `juelich-amygdala`")
    names: Names = Field(default=(), description="some of its regions; left out: all")
    allow_space: str | None = Field(default=None, description="a space that the atlas would refuse, taken nevertheless")
    spheres: tuple[Sphere, ...] = Field(default=(), description="seeds of your own")


class Participants(_Section):
    """Columns and levels of the participants, response to treatment, and the gates that exclude."""

    group: str = Field(
        default="group",
        description="column of participants.tsv with the group; `group` may be missing where no model names it",
    )
    score: str | None = Field(
        default=None,
        description="measure taken at visits, a column of phenotype/*.tsv or sub-*_sessions.tsv; gives `SCORE_VISIT`",
    )
    treated: dict[str, Names] = Field(
        default_factory=dict,
        description='whose scores are followed, `{ group = ["MDD"] }`: nobody else has a reduction or a response; left '
        "out: everybody with scores",
    )
    baseline: str = Field(default="baseline", description="visit before treatment")
    follow_up: Names = Field(
        default=(), description="later visits with the score; each gives `reduction_VISIT`, per cent of the baseline"
    )
    response_visit: str | None = Field(
        default=None, description="visit whose reduction decides `response`: responder or nonresponder"
    )
    response_percent: float = Field(default=50.0, description="reduction that makes a responder, per cent")
    response_comparison: Literal[">=", ">"] = Field(default=">=", description="whether exactly that reduction counts")
    reason_column: str | None = Field(
        default=None, description="column of participants.tsv that says why somebody without images has none"
    )
    maximum_translation_mm: float = Field(default=2.0, gt=0, description="a run with more is excluded")
    maximum_rotation_degrees: float = Field(default=2.0, gt=0, description="a run with more is excluded")
    minimum_seed_coverage: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of every seed's voxels that must be usable, else the run is excluded",
    )
    every_visit: bool = Field(default=True, description="one bad visit excludes the participant from all models")


class Contrast(_Section):
    """A contrast of a model: `weights` as text over its columns; t looks in both directions or in one."""

    name: str = Field(description="in tables and file names")
    weights: str = Field(
        description="over the columns of the design, as text: `MDD - HC`, `0.5*a@after - 0.5*a@before`"
    )
    test: Literal["t", "F"] = Field(default="t", description="t, or F of the same weights")
    directions: Literal["both", "positive"] = Field(default="both", description="of a t contrast")


class Model(_Section):
    """A group model. `who` keeps the participants with these values; `sessions` the visits whose maps enter."""

    name: str = Field(description="in tables and file names")
    kind: Literal["two_sample", "flexible_factorial", "one_sample", "paired", "regression"] = Field(
        description="the design"
    )
    description: str = Field(default="", description="for the report")
    who: dict[str, Names] = Field(
        default={},
        description='participants whose columns have one of these values, `{ group = ["MDD"] }`; left out: everybody',
    )
    sessions: Names = Field(default=("baseline",), description="visits whose maps enter, in the order of the cells")
    group: str | None = Field(default=None, description="column that makes the groups")
    levels: Names = Field(default=(), description="its values, in the order of the cells; left out: as they appear")
    covariates: Names = Field(default=(), description="columns; `mean_fd_power_mm` is each scan's own")
    regressors: Names = Field(default=(), description="columns of interest of a regression")
    variances: Literal["unequal", "equal"] = Field(default="unequal", description="of a two-sample model's groups")
    covariance: Literal["spm", "independent"] = Field(
        default="spm", description="of a flexible factorial: within participants as SPM12 estimates it, or none"
    )
    seeds: Names = Field(default=(), description="some of the study's; left out: all")
    contrasts: tuple[Contrast, ...] = Field(min_length=1, description="at least one")
    height_p: float = Field(default=0.001, gt=0, lt=1, description="uncorrected p that forms clusters")
    connectivity: Literal[6, 18, 26] = Field(default=18, description="neighbours of a voxel")
    q: float = Field(
        default=0.05, gt=0, lt=1, description="false discovery rate over the clusters of a map and direction"
    )


class Associations(_Section):
    """Which models' clusters are held against the reduction rate; `partial`: again with these held constant."""

    models: Names = Field(
        default=(), description="whose significant clusters are held against the reduction of the score"
    )
    outcomes: Names = Field(default=(), description="visits, out of `participants.follow_up`")
    partial: Names = Field(default=(), description="columns held constant in a second test of each association")
    change: bool = Field(default=True, description="the change of z between sessions, too")
    post_hoc: Names = Field(default=(), description="models whose clusters get paired tests within each response")


class RocChoice(_Section):
    """Which models' baseline clusters are held against the response, and how the honest figure is made."""

    models: Names = Field(default=(), description="whose clusters, at baseline, are held against the response")
    positive: str = Field(default="responder", description="the response that counts as positive")
    folds: int = Field(default=5, ge=2, description="of the cross-validated figure")
    repeats: int = Field(default=20, ge=0, description="of the cross-validation; 0 leaves it out")
    seed: int = Field(default=0, ge=0, description="of its random folds")


class TableRow(_Section):
    """A row of Table 1; `level` counts one level of a category; `test` none compares nothing."""

    column: str = Field(description="of the participants")
    label: str | None = Field(default=None, description="in print; left out: the column's name")
    level: str | None = Field(default=None, description="of a categorical column: the value that is counted")
    kind: Literal["continuous", "categorical"] = Field(
        default="continuous", description="mean and SD, or number and per cent"
    )
    test: Literal["auto", "none"] = Field(default="auto", description="none: no comparison in this row")


class TableColumn(_Section):
    """A column of Table 1: the participants whose columns have these values."""

    name: str = Field(description="heading")
    where: dict[str, str | Names] = Field(
        description='the participants whose columns have these values, `{ group = "MDD" }`'
    )


class Report(_Section):
    """Title, and Table 1."""

    title: str = Field(default="Resting-state functional connectivity", description="of the page")
    rows: tuple[TableRow, ...] = Field(default=(), description="of Table 1")
    columns: tuple[TableColumn, ...] = Field(default=(), description="of Table 1")
    comparisons: tuple[tuple[str, str], ...] = Field(default=(), description='pairs of its columns, `[["MDD", "HC"]]`')


class Study(_Section):
    """All scientific choices of a study; no paths."""

    name: str = Field(description="of the study")
    scan: Scan = Scan()
    preprocess: Preprocess = Preprocess()
    denoise: Denoise = Field(default_factory=DenoiseSettings)
    seeds: SeedChoice = SeedChoice()
    participants: Participants = Participants()
    models: tuple[Model, ...] = ()
    associations: Associations = Associations()
    roc: RocChoice = RocChoice()
    report: Report = Report()

    def to_toml(self) -> str:
        """The resolved study, itself a valid study file."""
        return toml_text(self.model_dump(mode="json", exclude_none=True))


def load_study(path: str | Path | None = None) -> Study:
    """The study of a TOML file; None: the built-in study.

    Raises
    ------
    InputError : no such file, not TOML, an unknown key (the message names the nearest), a wrong value, names that refer
        to nothing.
    """
    if path is None:
        return parse_study(builtin_text(), BUILTIN)
    try:
        return parse_study(Path(path).read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def builtin_text() -> str:
    """The text of the built-in study file."""
    return resources.files("rsfc_gpu.study").joinpath(f"{BUILTIN}.toml").read_text(encoding="utf-8")


def parse_study(text: str, source: str) -> Study:
    """As `load_study`, of text; `source` names it in messages."""
    try:
        study = Study.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: not TOML ({error})") from error
    except ValidationError as error:
        raise InputError(f"{source}: {first_problem(error, Study)}") from error
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    check_references(study, source)
    return study
