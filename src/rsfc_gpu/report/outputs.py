"""The output folder of a study as the report reads it: docs/outputs.md says what lies where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rsfc_gpu.errors import InputError
from rsfc_gpu.report.tables import read_tsv

_NEEDED = ("participants_flow.tsv", "provenance.json", "study.json")


@dataclass(frozen=True)
class Outputs:
    """The output folder of a study; files are read when they are first asked for."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Outputs:
        """The folder, after a look whether a study wrote it.

        Raises
        ------
        InputError : it lacks the files that every study writes; the message names them.
        """
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            raise InputError(
                f"{folder} is no output folder of a study: {', '.join(missing)} missing. "
                "Give the folder that `rsfc run` wrote."
            )
        return cls(folder)

    @cached_property
    def flow(self) -> pd.DataFrame:
        """participants_flow.tsv: one row per run."""
        needed = ("participant_id", "session_id", "group", "stage", "status", "reason")
        return self.table("participants_flow.tsv", needed)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        return self.json("provenance.json")

    @cached_property
    def study(self) -> Mapping[str, Any]:
        """Every setting of the study."""
        return self.json("study.json")

    @cached_property
    def models(self) -> tuple[Mapping[str, Any], ...]:
        """model.json of each group model of the study, in its order; "folder" is where it lies.

        A model that was taken out of the study keeps its folder and is no part of it.
        """
        found = [
            {**self.json(path.relative_to(self.folder).as_posix()), "folder": path.parent}
            for path in sorted(self.folder.glob("group/model-*/model.json"))
        ]
        place = {name: number for number, name in enumerate(self._model_names)}
        return tuple(sorted((one for one in found if one["name"] in place), key=lambda model: place[model["name"]]))

    @cached_property
    def missing_models(self) -> tuple[str, ...]:
        """Models of the study without a model.json: it did not come so far, or somebody took it away."""
        present = {model["name"] for model in self.models}
        return tuple(name for name in self._model_names if name not in present)

    @property
    def _model_names(self) -> list[str]:
        return [str(model["name"]) for model in self.study.get("models", ())]

    def table(self, name: str, needed: tuple[str, ...] = (), *, as_text: bool = False) -> pd.DataFrame:
        """A table of the folder; one without rows where there is no such file. `as_text`: numbers as they are spelled.

        Raises
        ------
        InputError : unreadable, or without a column that is needed.
        """
        path = self.folder / name
        if not path.is_file():
            return pd.DataFrame(columns=list(needed))
        try:
            frame = read_tsv(path, as_text=as_text)
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: not a readable table ({error})") from error
        missing = [column for column in needed if column not in frame]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}. Was it written by another version?")
        return frame

    def json(self, name: str) -> Mapping[str, Any]:
        """A JSON object of the folder.

        Raises
        ------
        InputError : missing, or no JSON object.
        """
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable as JSON ({error})") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
        return content

    def run_files(self, ending: str) -> dict[str, Path]:
        """Files of the study's runs that end so, by the part of the name before: sub-01_ses-1_task-rest_space-X."""
        return {name: path for name, path in self._all_run_files(ending).items() if name not in self.former_runs}

    @cached_property
    def run_records(self) -> Mapping[str, Mapping[str, Any]]:
        """What became of each run of the study, by the same names."""
        return {name: record for name, record in self._all_records.items() if name not in self.former_runs}

    @cached_property
    def former_runs(self) -> frozenset[str]:
        """Runs that an earlier call analysed and that the study has no more; their files stay in the folder."""
        if "bold" not in self.flow:
            return frozenset()
        known = {None, *self.flow["bold"]}
        return frozenset(name for name, record in self._all_records.items() if record.get("bold") not in known)

    @cached_property
    def _all_records(self) -> Mapping[str, Mapping[str, Any]]:
        found = self._all_run_files("desc-run_record.json")
        return {name: self.json(path.relative_to(self.folder).as_posix()) for name, path in found.items()}

    def _all_run_files(self, ending: str) -> dict[str, Path]:
        found = sorted(self.folder.glob(f"sub-*/**/func/*_{ending}"))
        return {path.name.removesuffix(f"_{ending}"): path for path in found}


def has_result(model: Mapping[str, Any]) -> bool:
    """Whether a model was fitted for any seed."""
    return not model.get("skipped") and any(not fit.get("skipped") for fit in (model.get("fits") or {}).values())


def setting(study: Mapping[str, Any], *names: str) -> float | None:
    """The number that a section of the study file gives one of these names; None where none does."""
    for section in study.values():
        for name in names:
            if isinstance(section, Mapping) and isinstance(section.get(name), int | float):
                return float(section[name])
    return None
