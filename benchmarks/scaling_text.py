"""The section on scaling of docs/performance.md, every number of it from scaling.json."""

from __future__ import annotations

from textwrap import fill
from typing import Any

BEGIN = "<!-- begin: written by `make figures` from scaling.json; its text is in benchmarks/scaling_text.py -->"
END = "<!-- end: written by `make figures` -->"

_WRAP: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}

NAMES = {
    "decode": "decompressing a run",
    "read": "reading a run: decompressing, gathering, sums",
    "operator": "the operator",
    "maps": "maps from the series in memory",
    "whole": "one run, file to maps",
    "group model": "a group model with two contrasts and two tables",
    "participant stage": "the participant stage of a study, one worker",
}


def replaced(text: str, results: dict[str, Any]) -> str:
    """`text` with what stands between the two marks written anew.

    Raises
    ------
    ValueError : the marks are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the text needs the lines\n{BEGIN}\n{END}\nonce each, in this order")
    return text[: text.index(BEGIN)] + f"{BEGIN}\n{section(results)}\n" + text[text.index(END) :]


def section(results: dict[str, Any]) -> str:
    """The section, its paragraphs wrapped at 120 characters."""
    blocks = [*_intro(results), _laws(results["axes"]), _check(results), *_projection(results)]
    unbroken = ("|", "!", "#")
    return "\n\n".join(block if block.startswith(unbroken) else fill(block, 120, **_WRAP) for block in blocks)


def _intro(results: dict[str, Any]) -> list[str]:
    machine = results["machine"]
    command = "python benchmarks/scaling.py" + (" --quick" if results["quick"] else "")
    load = f"{machine['load_average']:.1f} before and {machine['load_average_after']:.1f} after"
    text = (
        f"`{command}` (`scaling.json`, {machine['date'][:10]}, {machine['cpu']}, load average {load}, "
        f"{results['seconds']:.0f} s): one size varies, the others are held. Each exponent is fitted by least "
        "squares in logarithms to medians, with its 95 % interval from how far the points are off the line. The "
        "last column is the exponent between the two largest sizes alone: where it is larger, a fixed cost bends "
        "the line, and it is the one to go on with."
    )
    return [text, "![Times against sizes with the fitted power laws](figures/scaling.svg)"]


def _laws(axes: dict[str, Any]) -> str:
    rows = ["| what | grows with | sizes | exponent | 95 % interval | at the end |", "|---|---|---|---|---|---|"]
    for name, axis in axes.items():
        sizes = f"{axis['sizes'][0]:,} to {axis['sizes'][-1]:,}"
        for stage, found in axis["stages"].items():
            law = found["law"]
            rows.append(
                f"| {NAMES[stage]} | {name} | {sizes} | {law['exponent']:.2f} "
                f"| {law['low']:.2f} to {law['high']:.2f} | {law['last_exponent']:.2f} |"
            )
    return "\n".join(rows)


def _check(results: dict[str, Any]) -> str:
    paper, study = results["paper_run"], results["study"]
    return (
        f"No law was fitted to a run of {paper['volumes']} volumes, {paper['voxels']:,} voxels and "
        f"{paper['seeds']} seeds. For it they say {_time(paper['predicted_s']['whole'])} from file to maps on one "
        f"thread; measured were {_time(paper['stages_s']['whole'])}; decompressing alone took "
        f"{_time(paper['stages_s']['decode'])}. In a study, two workers map {study['workers']['runs']} runs "
        f"{2 * study['efficiency_of_two_workers']:.2f} times as fast as one."
    )


def _projection(results: dict[str, Any]) -> list[str]:
    found, paper = results["projection"], results["paper_run"]
    nodes, gpu, device, disk = found["nodes"], found["gpu"], found["device_seconds"], found["disk"]
    runs, cores = f"{found['runs']:,}", found["cores"]
    head = (
        f"Nothing in this section was run. It is arithmetic on the numbers above for {runs} runs like that one, "
        f"{paper['compressed_bytes'] / 1e6:.0f} MB each in .nii.gz, on a node of {cores} cores. The shorter times "
        "take the cores to scale perfectly, the longer ones to lose at every doubling what the second core lost "
        f"here. The GPU's part is predicted from counted bytes and flops and the data sheet of the {gpu['name']} "
        f"({gpu['bytes_s'] / 1e12:.1f} TB/s, {gpu['flops_s'] / 1e12:.0f} Tflop/s, {100 * gpu['reached']:.0f} % of "
        f"either reached): {1e3 * device['maps']:.2f} ms a run, and {1e3 * device['upload']:.2f} ms for its series "
        "over the bus."
    )
    rows = ["| node | core seconds a run | time | must be read at |", "|---|---|---|---|"]
    for name, label in (("cpu", f"{cores} cores"), ("gpu", f"{cores} cores and a GPU (predicted)")):
        node = nodes[name]
        rows.append(
            f"| {label} | {node['core_seconds_a_run']:.2f} | {_span(node['fast_s'], node['slow_s'])} "
            f"| {node['read_bytes_s'] / 1e9:.1f} GB/s |"
        )
    spared = 1 - nodes["gpu"]["core_seconds_a_run"] / nodes["cpu"]["core_seconds_a_run"]
    reading_s = disk["one_gigabyte_a_second_s"]
    compared = "longer" if reading_s > nodes["cpu"]["slow_s"] else "shorter"
    tail = (
        f"Images take {disk['images_bytes'] / 1e12:.2f} TB of disk, results {disk['results_bytes'] / 1e9:.0f} GB, and "
        f"{cores} workers {found['memory_bytes'] / 1e9:.1f} GB of memory. A disk that gives 1 GB/s takes "
        f"{_time(reading_s)} to read the images once, {compared} than the cores take at worst. The GPU spares "
        f"{100 * spared:.0f} % of the cores' work: what is left to them is decompressing, above all."
    )
    return [f"### Projection: {runs} runs", head, "\n".join(rows), tail]


def _span(fast_s: float, slow_s: float) -> str:
    fast, slow = _time(fast_s), _time(slow_s)
    return fast if fast == slow else f"{fast} to {slow}"


def _time(seconds: float) -> str:
    """Two or three digits in the unit that people would say."""
    for limit, unit, size in ((0.1, "ms", 1e-3), (120.0, "s", 1.0), (7200.0, "min", 60.0)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.2f} {unit}" if value < 1 else f"{value:.3g} {unit}"
    return f"{seconds / 3600:.1f} h"
