"""Figures of the single runs: the ten worst of each kind on the page, all of them as files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs, setting
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.repeated import Repeated
from rsfc_gpu.report.run_plots import CarpetPlot, MotionPlot, RunScales
from rsfc_gpu.report.tables import counted

WORST = 10
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_MOTION = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]


@dataclass(frozen=True, eq=False)
class RunMotion:
    """Motion of a run as its table tells it."""

    name: str
    table: pd.DataFrame
    record: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The run, and why it was left out."""
        return titled(self.name, self.record, letters=52)

    @cached_property
    def fd_mm(self) -> NDArray[np.float64]:
        return np.asarray(self.table["framewise_displacement"], dtype=np.float64)

    @cached_property
    def moved(self) -> NDArray[np.float64]:
        """(T, 6) from the first volume, millimetres and radians."""
        motion = self.table[_MOTION].to_numpy(dtype=np.float64)
        return np.asarray(motion - motion[0])

    @property
    def kept(self) -> NDArray[np.bool_] | None:
        return self.table["kept"].astype(bool).to_numpy() if "kept" in self.table else None

    @property
    def largest(self) -> tuple[float, float]:
        """Largest shift (mm) and turn (degrees)."""
        return _largest(self.moved[:, :3]), float(np.rad2deg(_largest(self.moved[:, 3:])))


def run_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Motion traces and carpets."""
    records = outputs.run_records
    tables = {
        name: outputs.table(path.relative_to(outputs.folder).as_posix())
        for name, path in outputs.run_files("desc-motion_timeseries.tsv").items()
    }
    needed = {*_MOTION, "framewise_displacement"}
    motion = {
        name: RunMotion(name, table, records.get(name, {}))
        for name, table in tables.items()
        if len(table) and needed <= set(table)
    }
    signals = outputs.run_files("desc-carpet_signals.npy")
    carpets = {name: _array(path) for name, path in signals.items()}
    scales = _scales(outputs.study, list(motion.values()), list(carpets.values()))
    yield from _motion(motion, scales, exhibits)
    cleaned = {name: _array(path) for name, path in outputs.run_files("desc-cleanedcarpet_signals.npy").items()}
    yield from _carpets(carpets, cleaned, motion, scales, exhibits)


def _motion(motion: Mapping[str, RunMotion], scales: RunScales, exhibits: Exhibits) -> Iterator[Block]:
    def moved_most(name: str) -> float:
        shift, turn = motion[name].largest
        return max(shift / (scales.translation_gate_mm or 1.0), turn / (scales.rotation_gate_degrees or 1.0))

    def show(plot: MotionPlot, name: str) -> None:
        plot.show(motion[name].moved, motion[name].fd_mm, motion[name].kept, motion[name].title)

    def caption(name: str, rank: int) -> str:
        shift, turn = motion[name].largest
        return f"Head motion of {short_name(name)}, rank {rank}: {shift:.2f} mm, {turn:.2f} degrees."

    if motion:
        yield Text("Head motion of the runs that moved most", "heading")
        yield Text(
            "From the first volume, all runs to one scale. Dashed lines are the study's limits: runs beyond those of "
            "shift or turn are left out, volumes beyond that of framewise displacement (FD) are scrubbed (shaded, but "
            "not in runs that were left out before). What moved far beyond the limits leaves its panel; the captions "
            "give the largest shift and turn."
        )
    order = sorted(motion, key=moved_most, reverse=True)
    yield from pictures("motion", order, lambda: MotionPlot(scales), show, caption, exhibits)


def _carpets(
    carpets: Mapping[str, NDArray[np.int8]],
    cleaned: Mapping[str, NDArray[np.int8]],
    motion: Mapping[str, RunMotion],
    scales: RunScales,
    exhibits: Exhibits,
) -> Iterator[Block]:
    def fits(name: str) -> bool:
        return name in motion and len(motion[name].fd_mm) == carpets[name].shape[1]

    def show(plot: CarpetPlot, name: str) -> None:
        known = motion[name] if fits(name) else None
        fd_mm, kept = (known.fd_mm, known.kept) if known else (None, None)
        plot.show(carpets[name], cleaned.get(name), fd_mm, kept, short_name(name))

    def caption(name: str, rank: int) -> str:
        return f"Carpet plot of {short_name(name)}, rank {rank} in mean framewise displacement."

    if carpets:
        when = "before and after cleaning" if cleaned else "before cleaning"
        blank = ", blank after it" if cleaned else ""
        yield Text(f"Carpet plots {when}", "heading")
        yield Text(
            "Each row is a voxel, from 2 standard deviations below its mean (black) to 2 above (white). Scrubbed "
            f"volumes are shaded before cleaning{blank}. What cleaning should take away runs from top to bottom."
        )
    order = sorted(carpets, key=lambda name: -float(np.nan_to_num(motion[name].fd_mm).mean()) if fits(name) else 1.0)
    yield from pictures("carpet", order, lambda: CarpetPlot(scales, has_cleaned=bool(cleaned)), show, caption, exhibits)


def pictures(
    kind: str,
    order: Sequence[str],
    new_plot: Callable[[], Any],
    show: Callable[[Any, str], None],
    caption: Callable[[str, int], str],
    exhibits: Exhibits,
    *,
    on_page: int = WORST,
) -> Iterator[Block]:
    """Figures of the first runs of `order` for the page, and of the others as files; `show` puts a run into a plot."""
    for place, name in enumerate(order[:on_page]):
        plot = new_plot()
        show(plot, name)
        yield exhibits.picture(f"{kind}_{name}", plot.figure, caption(name, place + 1))
    if len(order) > on_page:
        plot = new_plot()
        drawn = Repeated(plot.figure, plot.moving)
        for name in order[on_page:]:
            show(plot, name)
            exhibits.file(f"{kind}_{name}", drawn.image())
        others = counted(len(order) - on_page, "run")
        yield Text(f"Not shown here, but there as files figures/{kind}_*.png: the figures of {others} more.", "note")


def short_name(run: str) -> str:
    """The name of a run without its task and space, which the runs of a study share."""
    return " ".join(part for part in run.split("_") if not part.startswith(("task-", "space-")))


def titled(run: str, record: Mapping[str, Any], *, letters: int) -> str:
    """The name of a run, and on a second line of so many letters why it was left out."""
    # The path of a damaged image would fill the line; its run is named above.
    reason = re.sub(r"^\S+\.nii(\.gz)?: ", "", str(record.get("reason") or ""))
    return short_name(run) + ("\n" + textwrap.shorten(reason, letters, placeholder=ELLIPSIS) if reason else "")


def _scales(study: Mapping[str, Any], motion: Sequence[RunMotion], carpets: Sequence[NDArray[np.int8]]) -> RunScales:
    """Scales that fit every run; those that left the gates far behind are cut off."""
    shift_gate, turn_gate = (setting(study, f"maximum_{name}") for name in ("translation_mm", "rotation_degrees"))
    threshold = setting(study, "fd_threshold_mm")
    largest = np.array([run.largest for run in motion]) if motion else np.zeros((1, 2))
    fd_mm = max((_largest(run.fd_mm) for run in motion), default=0.0)
    return RunScales(
        n_volumes=max([len(run.fd_mm) for run in motion] + [carpet.shape[1] for carpet in carpets], default=1),
        translation_mm=_end(float(largest[:, 0].max()), shift_gate, 1.5),
        rotation_degrees=_end(float(largest[:, 1].max()), turn_gate, 1.5),
        fd_mm=_end(fd_mm, threshold, 4.0),
        translation_gate_mm=shift_gate,
        rotation_gate_degrees=turn_gate,
        fd_threshold_mm=threshold,
    )


def _largest(values: NDArray[np.float64]) -> float:
    """The largest size of the values that are known: a realignment that failed leaves some unknown."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _end(largest: float, limit: float | None, most: float) -> float:
    """The end of an axis: room for the largest value, at most `most` times the limit."""
    return min(max(1.08 * largest, 0.1), most * limit if limit else np.inf)


def _array(path: Path) -> NDArray[np.int8]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable array ({error})") from error
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{path}: expected voxels by volumes, found shape {array.shape}")
    return np.asarray(array)
