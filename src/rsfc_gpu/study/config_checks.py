"""What a study file gets wrong, in words that name the nearest right one."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label

if TYPE_CHECKING:
    from rsfc_gpu.study.config import Study


def first_problem(error: ValidationError, study: type[BaseModel]) -> str:
    """What is wrong with a file, in one line; an unknown key comes with the nearest one that `study` knows."""
    problems = error.errors()
    # A misspelt key leaves the right one missing; the misspelling is what helps.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(study, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else f": expected {', '.join(known)}")
    if problem["type"] == "missing":
        return f"no {where}, which a study needs" if len(problem["loc"]) == 1 else f"{where} is missing"
    return f"{where} = {problem['input']!r}: {problem['msg']}"


def _known_keys(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `location` below `section`."""
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section is not None), None)


def check_references(study: Study, source: str) -> None:
    """Raises InputError unless there are seeds, and the models and visits that are named are there."""
    if study.seeds.atlas is None and not study.seeds.spheres:
        raise InputError(f"{source}: no seed; name seeds.atlas or give seeds.spheres")
    _check_distinct("seeds.spheres", [sphere.name for sphere in study.seeds.spheres], source)
    names = [model.name for model in study.models]
    _check_distinct("models", names, source)
    for model in study.models:
        _check_distinct(f"contrasts of model {model.name}", [contrast.name for contrast in model.contrasts], source)
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


def _check_distinct(what: str, names: list[str], source: str) -> None:
    """Raises InputError unless every name gives files of its own: of a name they hold letters and digits alone."""
    labels = [bids_label(name) for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: {what}: two are named {twice!r}; each needs a name of its own")
    for name, label in zip(names, labels, strict=True):
        if _is_number(name):
            raise InputError(f"{source}: {what}: {name!r} is a number in every table; give it a letter")
        if not label or labels.count(label) > 1:
            raise InputError(
                f"{source}: {what}: {name!r} has no file name of its own: letters and digits alone give {label!r}"
            )


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
