"""Which runs a dataset holds: found by path alone, so that thousands of runs take seconds; contents are read later."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rsfc_gpu.errors import InputError

InputForm = Literal["fmriprep", "normalised", "raw"]
#: The space that raw runs are brought to. The ICBM152 maps behind the default template and SPM's EPI.nii each lie
#: within a few millimetres of FSL's MNI152, and atlases accept all three alike; one name keeps the names of files the
#: same whichever template is given.
RAW_SPACE = "MNI152NLin6Asym"
_BOLD = "_bold.nii.gz", "_bold.nii"
_CONFOUNDS = "desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv"  # the second: fMRIPrep before 20.2
_OF_A_RUN = "sub", "ses", "task", "acq", "ce", "rec", "dir", "run", "echo"


@dataclass(frozen=True)
class RunFiles:
    """The files of one run. Paths are absolute.

    Attributes
    ----------
    participant_id : with "sub-". session_id, run : without "ses-", "run-"; None where the name has none.
    prefix : what the names of the run's files share, "sub-01_ses-1_task-rest".
    space : of the image; of a raw run the one that it is brought to.
    form : "fmriprep" (confounds table), "normalised" (rp_*.txt) or "raw" (as scanned, in no space yet).
    missing : kinds of file that the run lacks ("the image", where only its sidecar is there, "the brain mask",
        "confounds or rp_*.txt"); such a run cannot be used.
    """

    participant_id: str
    session_id: str | None
    task: str
    run: str | None
    space: str
    prefix: str
    bold: Path
    mask: Path | None
    confounds: Path | None
    motion: Path | None
    form: InputForm
    missing: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The run in messages, "sub-01_ses-1_task-rest"."""
        return self.prefix


@dataclass(frozen=True, eq=False)
class Dataset:
    """The runs of a dataset in one space.

    Attributes
    ----------
    root : holds participants.tsv, phenotype/ and the folders of the participants.
    images : holds the images: `root`, or a derivative of it.
    runs : in the order of their names.
    tissues : masks that are the same for all runs, by tissue ("white_matter", "csf"), of a normalised dataset.
    spaces : every space that has images, with the number of runs.
    participants : everybody with a folder, with "sub-".
    """

    root: Path
    images: Path
    runs: tuple[RunFiles, ...]
    tissues: Mapping[str, Path] = field(default_factory=dict)
    spaces: Mapping[str, int] = field(default_factory=dict)
    participants: tuple[str, ...] = ()


def find_runs(
    root: str | Path,
    *,
    task: str,
    space: str | None = None,
    participants: Collection[str] | None = None,
    raw: bool = False,
) -> Dataset:
    """Every run of `task` in `space`, from names alone.

    `root` may be a derivative (fMRIPrep's output, or images already in MNI space with SPM's rp_*.txt beside them), a
    raw dataset with derivatives/fmriprep, or a raw dataset. Raw images are taken only where no image is preprocessed.

    Parameters
    ----------
    space : as TemplateFlow spells it; None: the only one there is.
    participants : labels, with or without "sub-"; None: everybody.
    raw : take the raw images although there are preprocessed ones.

    Raises
    ------
    InputError : no such folder, no participant, an unknown label, no run of this task or space (the message names those
        there are), raw runs of several echoes.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    images = root
    derivative = root / "derivatives" / "fmriprep"
    if (
        not raw
        and derivative.is_dir()
        and not any(_preprocessed(name) for _, name in _functional(root, _first(root, 3)))
    ):
        images = derivative
    people = sorted(entry.name for entry in os.scandir(images) if entry.is_dir() and entry.name.startswith("sub-"))
    if not people:
        raise InputError(f"{images}: no folder sub-*; expected a BIDS dataset, raw or preprocessed")
    chosen = _chosen(people, participants)
    folders: dict[Path, list[str]] = {}
    for folder, name in _functional(images, chosen):
        folders.setdefault(folder, []).append(name)
    as_scanned = raw or not any(_preprocessed(name) for names in folders.values() for name in names)
    of_interest = _as_scanned if as_scanned else _finished
    named = [(folder, name, entities_of(name)) for folder, names in folders.items() for name in names]
    found = [one for one in named if of_interest(one[1], one[2])]
    tasks = sorted({entities.get("task", "") for _, _, entities in found})
    found = [one for one in found if one[2].get("task") == task]
    if not found:
        known = ", ".join(tasks) or "none"
        kind = "raw image of task {!r}" if as_scanned else "preprocessed image of task {!r} with a space-"
        raise InputError(f"{images}: no {kind.format(task)}; tasks found: {known}")
    if as_scanned:
        _refuse_echoes(found)
        found = [(folder, name, {**entities, "space": RAW_SPACE}) for folder, name, entities in found]
    spaces: dict[str, int] = {}
    for _, _, entities in found:
        spaces[entities["space"]] = spaces.get(entities["space"], 0) + 1
    space = _space(space, spaces, images)
    runs = [
        _raw_files(folder, name, entities) if as_scanned else _run_files(folder, name, entities, set(folders[folder]))
        for folder, name, entities in found
        if entities["space"] == space
    ]
    if not as_scanned:
        runs += [
            _run_files(folder, name, entities, set(folders[folder]))
            for folder, name, entities in _lost_images(named, task, space)
        ]
    runs.sort(key=lambda run: run.bold)
    _refuse_doubles(runs)
    return Dataset(root, images, tuple(runs), _tissues(images, space), spaces, tuple(people))


def entities_of(name: str) -> dict[str, str]:
    """The entities in a file name: "sub-01_task-rest_bold.nii.gz" gives {"sub": "01", "task": "rest"}."""
    return dict(part.split("-", 1) for part in name.split(".")[0].split("_") if "-" in part)


def names_in(folder: Path) -> list[str]:
    """Names of the files and folders in a folder; InputError where it cannot be listed."""
    try:
        return [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error


def _functional(images: Path, people: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Folder and name of each file in func/ of these participants, with and without sessions."""
    for person in people:
        home = images / person
        for entry in sorted(os.scandir(home), key=lambda entry: entry.name):
            if not entry.is_dir():
                continue
            folder = home / entry.name if entry.name == "func" else home / entry.name / "func"
            if (entry.name == "func" or entry.name.startswith("ses-")) and folder.is_dir():
                yield from ((folder, name) for name in names_in(folder))


def _first(root: Path, count: int) -> list[str]:
    return sorted(name for name in names_in(root) if name.startswith("sub-") and (root / name).is_dir())[:count]


def _preprocessed(name: str) -> bool:
    return name.endswith(_BOLD) and "_space-" in name


def _finished(name: str, entities: Mapping[str, str]) -> bool:
    return _preprocessed(name) and entities.get("desc", "preproc") == "preproc"


def _lost_images(
    named: list[tuple[Path, str, dict[str, str]]], task: str, space: str
) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Images of runs without one that should be there, because their sidecar is: they were deleted, or not copied."""
    there = {
        _raw_files(folder, name, entities).prefix
        for folder, name, entities in named
        if _finished(name, entities) and "task" in entities and entities["space"] == space
    }
    for folder, name, entities in named:
        image = name.removesuffix(".json") + ".nii.gz"
        if (
            name.endswith("_bold.json")
            and _finished(image, entities)
            and (entities.get("task"), entities["space"]) == (task, space)
            and _raw_files(folder, image, entities).prefix not in there
        ):
            yield folder, image, entities


def _as_scanned(name: str, entities: Mapping[str, str]) -> bool:
    """The image of a run as scanned: no step has left its mark in the name; of complex data the magnitude."""
    processed = "space" in entities or "desc" in entities
    return name.endswith(_BOLD) and not processed and entities.get("part", "mag") == "mag"


def _refuse_echoes(found: list[tuple[Path, str, dict[str, str]]]) -> None:
    name = min((name for _, name, entities in found if "echo" in entities), default=None)
    if name is not None:
        raise InputError(
            f"{name}: raw runs of several echoes are not combined here. Give the derivatives of a program that does "
            "(fMRIPrep, tedana), or a copy of the dataset with one image per run and no echo- in its name"
        )


def _chosen(people: list[str], wanted: Collection[str] | None) -> list[str]:
    if wanted is None:
        return people
    labels = [label if label.startswith("sub-") else f"sub-{label}" for label in wanted]
    unknown = [label for label in labels if label not in people]
    if unknown:
        raise InputError(f"no participant {', '.join(unknown)}: the dataset has {people[0]} to {people[-1]}")
    return sorted(set(labels))


def _space(space: str | None, spaces: Mapping[str, int], images: Path) -> str:
    listed = ", ".join(f"{name} ({count} runs)" for name, count in sorted(spaces.items()))
    if space is None:
        if len(spaces) > 1:
            raise InputError(f"{images}: images in several spaces, {listed}: name one (scan.space)")
        return next(iter(spaces))
    if space not in spaces:
        raise InputError(f"{images}: no image in space {space}, found {listed}; set scan.space")
    return space


def _raw_files(folder: Path, name: str, entities: Mapping[str, str]) -> RunFiles:
    return RunFiles(
        participant_id=f"sub-{entities['sub']}",
        session_id=entities.get("ses"),
        task=entities["task"],
        run=entities.get("run"),
        space=entities["space"],
        prefix="_".join(f"{key}-{entities[key]}" for key in _OF_A_RUN if key in entities),
        bold=folder / name,
        mask=None,
        confounds=None,
        motion=None,
        form="raw",
    )


def _run_files(folder: Path, name: str, entities: Mapping[str, str], beside: set[str]) -> RunFiles:
    """A preprocessed run: its image, and what belongs to it."""
    image = _raw_files(folder, name, entities)
    prefix, ending = image.prefix, next(end for end in _BOLD if name.endswith(end))
    stem = name.removesuffix(ending).removesuffix("_desc-preproc")
    mask = _present(folder, [f"{stem}_desc-brain_mask.nii.gz", f"{stem}_desc-brain_mask.nii"], beside)
    confounds = _present(folder, [f"{prefix}_{kind}" for kind in _CONFOUNDS], beside)
    motion = _present(folder, [f"rp_{prefix}.txt", f"rp_{prefix}_bold.txt", f"rp_{stem}.txt"], beside)
    parts = (
        ("the image", name in beside),
        ("the brain mask", mask),
        ("confounds or rp_*.txt", confounds or motion),
    )
    missing = [kind for kind, there in parts if not there]
    return replace(
        image,
        mask=mask,
        confounds=confounds,
        motion=None if confounds else motion,
        form="normalised" if motion and not confounds else "fmriprep",
        missing=tuple(missing),
    )


def _present(folder: Path, names: list[str], beside: set[str]) -> Path | None:
    return next((folder / name for name in names if name in beside), None)


def _refuse_doubles(runs: list[RunFiles]) -> None:
    seen: dict[str, Path] = {}
    for run in runs:
        if run.prefix in seen:
            raise InputError(
                f"{run.prefix}: two images of the same run, {seen[run.prefix].name} and {run.bold.name}; "
                "keep one resolution"
            )
        seen[run.prefix] = run.bold


def _tissues(images: Path, space: str) -> dict[str, Path]:
    """Masks of tissues for all runs: tpl-SPACE/tpl-SPACE_label-WM_mask.nii.gz and label-CSF."""
    folder = images / f"tpl-{space}"
    labels = {"white_matter": "WM", "csf": "CSF"}
    paths = {name: folder / f"tpl-{space}_label-{label}_mask.nii.gz" for name, label in labels.items()}
    return {name: path for name, path in paths.items() if path.is_file()}
