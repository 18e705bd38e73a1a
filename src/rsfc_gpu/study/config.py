"""The study file: what a study decides, as frozen settings; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationError,
)

from rsfc_gpu.denoise import DenoiseSettings
from rsfc_gpu.errors import InputError
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
    return DenoiseSettings.preset(str(changes.pop("preset", "dparsf"))).replace(**changes)


Denoise = Annotated[
    InstanceOf[DenoiseSettings], BeforeValidator(_denoise_settings), PlainSerializer(dataclasses.asdict)
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Scan(_Section):
    """Which runs, and what is done to them before cleaning.

    `discard_volumes` and `fwhm_mm` are for fMRIPrep derivatives, which have every volume and no smoothing; the two
    `normalised_` ones for images in MNI space with rp_*.txt, which DPABI and SPM write trimmed and smoothed.
    """

    task: str = "rest"
    space: str | None = None
    tr_s: float | None = Field(default=None, gt=0)
    discard_volumes: int = Field(default=10, ge=0)
    fwhm_mm: float = Field(default=4.0, ge=0)
    normalised_discard_volumes: int = Field(default=0, ge=0)
    normalised_fwhm_mm: float = Field(default=0.0, ge=0)
    runs: Literal["average", "first"] = "average"


class Sphere(_Section):
    """A spherical seed."""

    name: str
    xyz_mm: tuple[float, float, float]
    radius_mm: float = Field(default=6.0, gt=0)


class SeedChoice(_Section):
    """Regions of a packaged atlas (`names`: all where empty), and spheres.

    `allow_space` names a space that the atlas would refuse.
    """

    atlas: str | None = None
    names: Names = ()
    allow_space: str | None = None
    spheres: tuple[Sphere, ...] = ()


class Participants(_Section):
    """Columns and levels of the participants, response to treatment, and the gates that exclude."""

    group: str = "group"
    score: str | None = None
    baseline: str = "baseline"
    follow_up: Names = ()
    response_visit: str | None = None
    response_percent: float = 50.0
    response_comparison: Literal[">=", ">"] = ">="
    reason_column: str | None = None
    maximum_translation_mm: float = Field(default=2.0, gt=0)
    maximum_rotation_degrees: float = Field(default=2.0, gt=0)
    minimum_seed_coverage: float = Field(default=0.5, ge=0, le=1)
    every_visit: bool = True


class Contrast(_Section):
    """A contrast of a model: `weights` as text over its columns; t looks in both directions or in one."""

    name: str
    weights: str
    test: Literal["t", "F"] = "t"
    directions: Literal["both", "positive"] = "both"


class Model(_Section):
    """A group model. `who` keeps the participants with these values; `sessions` the visits whose maps enter."""

    name: str
    kind: Literal["two_sample", "flexible_factorial", "one_sample", "paired", "regression"]
    description: str = ""
    who: dict[str, Names] = {}
    sessions: Names = ("baseline",)
    group: str | None = None
    levels: Names = ()
    covariates: Names = ()
    regressors: Names = ()
    variances: Literal["unequal", "equal"] = "unequal"
    covariance: Literal["spm", "independent"] = "spm"
    seeds: Names = ()
    contrasts: tuple[Contrast, ...] = Field(min_length=1)
    height_p: float = Field(default=0.001, gt=0, lt=1)
    connectivity: Literal[6, 18, 26] = 18
    q: float = Field(default=0.05, gt=0, lt=1)


class Associations(_Section):
    """Which models' clusters are held against the reduction rate; `partial`: again with these held constant."""

    models: Names = ()
    outcomes: Names = ()
    partial: Names = ()
    change: bool = True
    post_hoc: Names = ()


class RocChoice(_Section):
    """Which models' baseline clusters are held against the response, and how the honest figure is made."""

    models: Names = ()
    positive: str = "responder"
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=20, ge=0)
    seed: int = Field(default=0, ge=0)


class TableRow(_Section):
    """A row of Table 1; `level` counts one level of a category; `test` none compares nothing."""

    column: str
    label: str | None = None
    level: str | None = None
    kind: Literal["continuous", "categorical"] = "continuous"
    test: Literal["auto", "none"] = "auto"


class TableColumn(_Section):
    """A column of Table 1: the participants whose columns have these values."""

    name: str
    where: dict[str, str | Names]


class Report(_Section):
    """Title, and Table 1."""

    title: str = "Resting-state functional connectivity"
    rows: tuple[TableRow, ...] = ()
    columns: tuple[TableColumn, ...] = ()
    comparisons: tuple[tuple[str, str], ...] = ()


class Study(_Section):
    """All scientific choices of a study; no paths."""

    name: str
    scan: Scan = Scan()
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
        raise InputError(f"{source}: {_first_problem(error)}") from error
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    _check_references(study, source)
    return study


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    # A misspelt key leaves the right one missing; the misspelling is what helps.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else f": expected {', '.join(known)}")
    return f"{where} = {problem['input']!r}: {problem['msg']}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `location` of a study."""
    section: type[BaseModel] = Study
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section is not None), None)


def _check_references(study: Study, source: str) -> None:
    """There are seeds, and names of models and visits that are used are there."""
    if study.seeds.atlas is None and not study.seeds.spheres:
        raise InputError(f"{source}: no seed; name seeds.atlas or give seeds.spheres")
    names = [model.name for model in study.models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{source}: two models named {name!r}")
    used = {
        "associations.models": study.associations.models,
        "associations.post_hoc": study.associations.post_hoc,
        "roc.models": study.roc.models,
    }
    for where, wanted in used.items():
        for name in wanted:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                raise InputError(f"{source}: {where} names {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    visits = study.participants.follow_up
    for where, visit in [
        ("participants.response_visit", study.participants.response_visit),
        *(("associations.outcomes", outcome) for outcome in study.associations.outcomes),
    ]:
        if visit is not None and visit not in visits:
            raise InputError(f"{source}: {where} names {visit!r}, which is not in participants.follow_up")
    if (visits or study.participants.response_visit) and study.participants.score is None:
        raise InputError(f"{source}: participants.follow_up needs participants.score, the column of the measure")
