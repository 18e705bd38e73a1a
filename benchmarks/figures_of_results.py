"""Figures of benchmark results, in the look of the package's own: each takes parsed JSON and returns a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.files import replacing
from rsfc_gpu.report.style import (
    BLUE,
    DOUBLE_MM,
    INK,
    MARKERS,
    MUTED,
    RULE,
    SERIES,
    SKY,
    VERMILION,
    new_figure,
    styled,
)

Results = dict[str, Any]
STAGES = {
    "decode": "decompressing alone",
    "read": "reading: with gathering and sums",
    "maps": "maps from the series",
    "operator": "operator",
    "whole": "file to maps",
}


@styled
def save(figure: Any, path: Path) -> None:
    """Write an SVG whose letters are outlines, so that it looks the same everywhere; no date."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "path"}), replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


@styled
def scaling(results: Results) -> Any:
    """A panel per axis: medians, ranges, and the fitted power law of each stage; then the laws against a new size."""
    figure = new_figure(DOUBLE_MM, 112)
    panels = figure.subplots(2, 3)
    axes = results["axes"]
    titles = {
        "volumes": ("volumes", fixed("{voxels:,} voxels, {seeds} seeds", axes["volumes"])),
        "voxels": ("voxels", fixed("{volumes} volumes, {seeds} seeds", axes["voxels"])),
        "seeds": ("seeds", fixed("{volumes} volumes, {voxels:,} voxels", axes["seeds"])),
        "maps": ("maps of a group model", fixed("{voxels:,} voxels, 2 contrasts, 2 tables", axes["maps"])),
        "runs": ("runs of a study", "participant stage, one worker"),
    }
    for panel, (name, (title, subtitle)) in zip(panels.flat, titles.items(), strict=False):
        ends = [_law(panel, axes[name]["sizes"], found, stage) for stage, found in axes[name]["stages"].items()]
        _log_log(panel, axes[name]["sizes"])
        _label_ends(panel, 1.2 * axes[name]["sizes"][-1], ends)
        panel.set_title(title)
        panel.set_xlabel(subtitle, color=MUTED)
    for panel in panels[:, 0]:
        panel.set_ylabel("seconds, one thread")
    _laws_against_measured(panels.flat[5], results["paper_run"])
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, [STAGES[label] for label in labels], loc="lower center", ncols=5, columnspacing=1.2)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.955, bottom=0.155, wspace=0.3, hspace=0.45)
    return figure


def fixed(text: str, axis: Results) -> str:
    return text.format(**axis["fixed"])


def _law(panel: Any, sizes: list[float], found: Results, stage: str) -> tuple[float, str, str]:
    """Points with ranges, and the line; where it ends, its exponent, and its colour."""
    number = list(STAGES).index(stage) if stage in STAGES else len(STAGES)
    colour, medians, law = SERIES[number], np.array(found["median_s"]), found["law"]
    spread = [medians - found["lowest_s"], np.array(found["highest_s"]) - medians]
    marks = {"fmt": MARKERS[number], "markersize": 3, "elinewidth": 0.7}
    panel.errorbar(sizes, medians, spread, color=colour, label=stage, **marks)
    ends = np.array([sizes[0] / 1.15, sizes[-1] * 1.15])
    line = law["coefficient"] * ends ** law["exponent"]
    panel.plot(ends, line, color=colour, linewidth=0.8)
    return float(line[1]), f"{law['exponent']:.2f}", colour


def _label_ends(panel: Any, x: float, ends: list[tuple[float, str, str]]) -> None:
    """The exponents beside the ends of their lines, moved apart where they would touch."""
    low, high = np.log(panel.get_ylim())
    last = -np.inf
    for y, text, colour in sorted(ends):
        last = max(np.log(y), last + 0.062 * (high - low))
        panel.annotate(text, (x, np.exp(last)), color=colour, fontsize=6.5, va="center")


def _log_log(panel: Any, sizes: list[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_locator(NullLocator())
    decades = np.log10(panel.get_ylim()[1] / panel.get_ylim()[0])
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.6)
    panel.grid(color=RULE, linewidth=0.4)


def _laws_against_measured(panel: Any, paper: Results) -> None:
    stages = [stage for stage in STAGES if stage in paper["stages_s"]]
    at = np.arange(len(stages))
    panel.barh(at - 0.19, [paper["stages_s"][stage] for stage in stages], 0.36, color=BLUE, label="measured")
    panel.barh(at + 0.19, [paper["predicted_s"][stage] for stage in stages], 0.36, color=RULE, label="by the laws")
    panel.set_yticks(at, stages)
    panel.invert_yaxis()
    panel.set_title("a run of another size, s")
    panel.set_xlabel("{volumes} volumes, {voxels:,} voxels".format(**paper), color=MUTED)
    panel.legend(loc="center right")


Bar = tuple[str, float | None, float | None, str]  # label, seconds or None for a heading, floor, colour


GROUPS = {
    "bench_run.py": "run to maps",
    "bench_group.py": "group model",
    "bench_preprocess.py": "raw run",
    "bench_report.py": "report",
}


@styled
def stages(measured: Results) -> Any:
    """Medians of pytest-benchmark as bars on one logarithmic axis, the floors of each group of stages first."""
    groups: dict[str, list[Bar]] = {}
    for one in measured["benchmarks"]:
        path, _, test = one["fullname"].partition("::")
        file, params = path.rpartition("/")[2], dict(one["params"] or {})
        if file not in GROUPS:
            continue
        on = "" if params.pop("backend", "cpu") == "cpu" else ", on CUDA"
        title = ", ".join([GROUPS[file], *(f"{value} outside the brain" for value in params.values())])
        name = test.partition("[")[0].removeprefix("test_").replace("_", " ")
        is_floor, is_ours = name.endswith(" floor"), "numpy" not in name
        colour = VERMILION if is_floor else BLUE if is_ours else MUTED
        bar = (name.replace("numpy", "NumPy") + on, one["stats"]["median"], None, colour)
        bars = groups.setdefault(title, [])
        bars.insert(0, bar) if is_floor else bars.append(bar)
    rows = [bar for title, bars in groups.items() for bar in [(title, None, None, INK), *bars]]
    return _bars(rows, "seconds, median", "floor: what the stages below cannot do without")


def _bars(rows: list[Bar], label: str, floor_label: str) -> Any:
    figure = new_figure(DOUBLE_MM, 18 + 4.6 * len(rows))
    panel = figure.subplots()
    values = [value for _, value, _, _ in rows if value is not None]
    lowest = min([*values, *(floor for _, _, floor, _ in rows if floor is not None)]) / 1.6
    for at, (_, value, floor, colour) in enumerate(rows):
        if value is None:
            continue
        panel.barh(at, value - lowest, 0.7, left=lowest, color=colour)
        panel.annotate(f"{value:.3g} s", (value, at), (3, 0), textcoords="offset points", va="center", fontsize=6.5)
        if floor is not None:
            panel.plot([floor, floor], [at - 0.42, at + 0.42], color=VERMILION, linewidth=1.8)
    panel.plot([], [], color=VERMILION, linewidth=1.8, label=floor_label)
    panel.plot([], [], color=BLUE, linewidth=5, label="this package")
    panel.plot([], [], color=MUTED, linewidth=5, label="others")
    panel.set_yticks(range(len(rows)), [row[0] for row in rows])
    for text, (_, value, _, _) in zip(panel.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if value is None else "normal")
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xscale("log")
    panel.set_xlim(lowest, max(values) * 1.7)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_xlabel(label)
    panel.grid(axis="x", color=RULE, linewidth=0.4)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    figure.legend(loc="lower center", ncols=3)
    height = figure.get_figheight() * 25.4
    figure.subplots_adjust(left=0.36, right=0.985, top=1 - 2 / height, bottom=16 / height)
    return figure


@styled
def calibration(results: Results) -> Any:
    """Shares of null studies with a finding, beside the 99 % bound that a true rate of 0.05 stays below."""
    figure = new_figure(DOUBLE_MM, 62)
    panels = figure.subplots(1, 2, sharey=True)
    names = {
        "one_sided_contrast": "one contrast",
        "either_direction": "either direction",
        "either_direction_any_of_six_seeds": "any of six seeds",
    }
    titles = {"cluster_p_fwe": "cluster p < 0.05, family-wise", "cluster_q_fdr": "cluster q < 0.05, false discovery"}
    for panel, (kind, title) in zip(panels, titles.items(), strict=True):
        rates = results["false_alarms"][kind]
        at = np.arange(len(names))
        panel.bar(at, [rates[name]["rate"] for name in names], 0.55, color=[BLUE, BLUE, MUTED])
        for place, name in zip(at, names, strict=True):
            bound = rates[name]["bound_99"]
            _above(panel, place, max(rates[name]["rate"], bound), f"{rates[name]['rate']:.3f}")
            panel.plot([place - 0.36, place + 0.36], [bound, bound], color=VERMILION)
        panel.axhline(0.05, color=INK, linewidth=0.6, linestyle=":", zorder=0)
        panel.set_xticks(at, names.values())
        panel.set_title(title)
    panels[0].set_ylabel("share of null studies with a finding")
    panels[0].plot([], [], color=VERMILION, label="99 % bound of a rate of 0.05, for this many trials")
    panels[0].plot([], [], color=MUTED, linewidth=5, label="not corrected across seeds: twelve looks")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2)
    figure.subplots_adjust(left=0.08, right=0.985, top=0.9, bottom=0.22, wspace=0.08)
    return figure


def _above(panel: Any, x: float, y: float, text: str) -> None:
    """A number above its bar."""
    panel.annotate(text, (x, y), (0, 2), textcoords="offset points", ha="center", fontsize=6.5)


@styled
def planted(clear: Results, paper: Results, none: Results) -> Any:
    """Shares of planted effects that were found, by kind; and contrasts with a finding where nothing was planted."""
    figure = new_figure(DOUBLE_MM, 58)
    left, right = figure.subplots(1, 2, width_ratios=[3, 1.3])
    kinds = [row["kind"] for row in clear["kinds"]]
    at = np.arange(len(kinds))
    levels = [(-0.19, "clear effects", BLUE, clear), (0.19, "effects as in the paper", SKY, paper)]
    for shift, name, colour, results in levels:
        rows = {row["kind"]: row for row in results["kinds"]}
        shares = [rows[kind]["found"] / rows[kind]["planted"] for kind in kinds]
        left.bar(at + shift, shares, 0.36, color=colour, label=name)
        for place, kind, share in zip(at + shift, kinds, shares, strict=True):
            _above(left, place, share, f"{rows[kind]['found']}/{rows[kind]['planted']}")
    left.set_xticks(at, [kind.replace("-", ",\n") for kind in kinds])
    left.set_ylim(0, 1.12)
    left.set_title("planted effects found")
    left.set_ylabel("share")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    alarms = none["alarms"]
    right.bar([0], [alarms["share"]], 0.45, color=BLUE)
    _above(right, 0, alarms["share"], f"{alarms['with_a_finding']}/{alarms['contrasts']}")
    right.plot([-0.4, 0.4], [alarms["bound"]] * 2, color=VERMILION, label="99 % bound of 0.05")
    right.axhline(0.05, color=INK, linewidth=0.6, linestyle=":")
    right.set_xlim(-0.7, 0.7)
    right.set_ylim(0, max(0.1, 1.2 * alarms["share"]))
    right.set_xticks([0], ["contrasts with a finding"])
    right.set_title("nothing planted")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.89, bottom=0.28, wspace=0.2)
    return figure


@styled
def peers(results: Results) -> Any:
    """Warm medians of every contender on runs and on groups, a tick at decoding; one size after the other."""
    rows: list[Bar] = []
    for size, found in results["sizes"].items():
        for kind, what in (("run", "runs: {n_runs}, volumes: {n_volumes}"), ("group", "group of {n_maps} maps")):
            if kind not in found:
                continue
            rows.append((f"{size}, {what.format(**found['size'])}", None, None, INK))
            for name, timing in found[kind]["in_process"].items():
                value = timing.get("extrapolated_to_all_s", timing["median_s"])
                note = ", extrapolated" if "extrapolated_to_all_s" in timing else ""
                floor = found[kind]["floors"]["decode"]["median_s"] if kind == "run" else None
                rows.append((f"{name}{note}", value, floor, BLUE if name.startswith("rsfc_gpu") else MUTED))
    return _bars(rows, "seconds, warm, in one process", "floor: decompressing")
