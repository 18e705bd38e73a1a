"""Writes docs/study-file.md from the models of the study file, so that the two cannot differ.

python docs/make_study_reference.py
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from rsfc_gpu.study.config import Study

PAGE = Path(__file__).with_name("study-file.md")

START = """# The study file

<!-- Made by docs/make_study_reference.py from the models of the study file; edit the descriptions there. -->

A study file is TOML. It holds scientific choices only, no paths. Every key can be left out unless it is required; an
unknown key is an error that names the nearest one. `rsfc init FILE.toml` writes the built-in study with comments, to be
edited. `OUT/study.toml`, which every study writes, is the resolved file with every default written out, and is itself a
valid study file.

Names that are joined by `@` are cells of a flexible factorial, `LEVEL@SESSION`; those in capitals stand for names of
yours: with `score = "hamd17"` and `follow_up = ["day13"]` the participants get `hamd17_baseline`, `hamd17_day13` and
`reduction_day13`.
"""


class Key(NamedTuple):
    """A row of the page."""

    name: str
    kind: str
    default: str
    meaning: str


def study_reference() -> str:
    """The page as Markdown."""
    return START + "".join(_section(Study, "", many=False))


def _section(section: type[Any], path: str, *, many: bool) -> list[str]:
    """The table of a section's own keys, then its subsections."""
    text = [_heading(section, path, many=many)] if path else ["\n## At the top\n"]
    keys, below = [], []
    for name, annotation, default, meaning in _fields(section):
        inner = _settings_in(annotation)
        if inner is None:
            keys.append(Key(name, _kind(annotation, section, name), default, meaning))
        else:
            many_below = inner is not annotation
            below += _section(inner, f"{path}.{name}".strip("."), many=many_below)
            if path:
                keys.append(Key(name, f"list of tables, see [below](#{_anchor(path, name)})", default, meaning))
    if path == "denoise":
        keys.insert(
            0,
            Key(
                "preset",
                '`"dparsf"`, `"recommended"`',
                '`"dparsf"`',
                "where the keys below start; `recommended` is described in [methods](methods.md)",
            ),
        )
    text += ["\n| key | values | default | meaning |\n|---|---|---|---|\n"]
    text += [f"| `{key.name}` | {key.kind} | {key.default} | {key.meaning} |\n" for key in keys]
    return text + below


def _heading(section: type[Any], path: str, *, many: bool) -> str:
    summary = (section.__doc__ or "").split("\n\n    Attributes")[0].split("\n\n    Raises")[0]
    summary = re.sub(r"\n +", "\n", summary).strip()
    title = path if "." in path else f"[[{path}]]" if many else f"[{path}]"
    return f"\n## `{title}`\n\n{summary}\n"


def _anchor(path: str, name: str) -> str:
    return f"{path}{name}".replace(".", "")


def _fields(section: type[Any]) -> list[tuple[str, Any, str, str]]:
    """Name, type, default and meaning of each key, from a pydantic model or a dataclass with a section Attributes."""
    if issubclass(section, BaseModel):
        return [
            (
                name,
                field.annotation,
                "required" if field.is_required() else _shown(field.get_default(call_default_factory=True)),
                field.description or "",
            )
            for name, field in section.model_fields.items()
        ]
    meanings = _attributes(section.__doc__ or "")
    types_of = get_type_hints(section)
    return [
        (field.name, types_of[field.name], _shown(field.default), meanings[field.name])
        for field in dataclasses.fields(section)
    ]


def _attributes(docstring: str) -> dict[str, str]:
    """The `name, name : meaning` lines of the section Attributes of a docstring."""
    lines = re.search(r"Attributes\n +-+\n(.*?)(?:\n\n|\Z)", docstring, re.S)
    assert lines is not None
    meanings = {}
    for entry in re.split(r"\n    (?=\w)", "\n" + lines[1]):
        names, _, meaning = " ".join(entry.split()).partition(" : ")
        meanings.update({name.strip(): meaning.rstrip(".") for name in names.split(",")})
    return meanings


def _settings_in(annotation: Any) -> type[Any] | None:
    """The section that a type is, or is a list of."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        return annotation
    return next((inner for one in get_args(annotation) if (inner := _settings_in(one)) is not None), None)


def _kind(annotation: Any, section: type[Any], name: str) -> str:
    """The values that a key takes, in words."""
    words = {str: "text", float: "number", int: "whole number", bool: "`true`, `false`"}
    origin, arguments = get_origin(annotation), [one for one in get_args(annotation) if one is not types.NoneType]
    if origin is Literal:
        return ", ".join(f"`{json.dumps(one)}`" for one in arguments)
    if origin in (Union, types.UnionType):
        words_of = dict.fromkeys(_kind(one, section, name) for one in arguments)
        return (", " if all(get_origin(one) is Literal for one in arguments) else " or ").join(words_of)
    if origin is tuple:
        length = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        inner = "pairs of text" if get_origin(arguments[0]) is tuple else _kind(arguments[0], section, name)
        return f"list of {length}{inner}{'s' if length else ''}"
    if origin is dict:
        return "table of column and value or values"
    return words.get(annotation, getattr(annotation, "__name__", str(annotation))) + _bounds(section, name)


def _bounds(section: type[Any], name: str) -> str:
    if not issubclass(section, BaseModel):
        return ""
    signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = [
        f"{word} {getattr(one, sign)}"
        for one in section.model_fields[name].metadata
        for sign, word in signs.items()
        if hasattr(one, sign)
    ]
    return " " + " and ".join(found) if found else ""


def _shown(default: Any) -> str:
    return "" if default in (None, (), {}) else f"`{json.dumps(default, default=repr)}`"


if __name__ == "__main__":
    PAGE.write_text(study_reference(), encoding="utf-8")
