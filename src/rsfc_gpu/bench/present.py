"""The report of `rsfc bench` as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsfc_gpu.files import replacing

HEADER = ("", "difference", "first call", "median (range)", "floor", "x floor", "memory added")


def as_text(report: dict[str, Any]) -> str:
    """A table with a row per stage and backend, below what the machine reaches."""
    size, machine = report["size"], report["machine"]
    lines = [
        f"input     {'x'.join(map(str, size['shape']))} voxels, {size['n_voxels']:,} in the brain, "
        f"{size['n_volumes']} volumes, {size['n_seeds']} seeds",
        f"machine   {machine['cpu']}, {machine['threads']} threads, load average {machine['load_average']:.1f} before, "
        f"{report['load_average_after']:.1f} after",
        *(f"{name:9s} {device}" for name, device in report["backends"].items()),
        *_memory(report["highest_memory_bytes"]),
        "",
        *_limits(report),
        "",
    ]
    rows: list[tuple[str, ...]] = [HEADER]
    for stage in report["stages"]:
        for backend, row in stage["backends"].items():
            rows.append((f"{stage['name']}, {backend}", *_cells(stage, row)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
    lines += ["", "difference: the largest, from an independent computation:"]
    lines += [f"  {stage['name']}: {stage['against']} (at most {stage['tolerance']:g})" for stage in report["stages"]]
    return "\n".join(lines)


def _memory(highest: int | None) -> list[str]:
    if highest is None:
        return []
    return [f"memory    {highest / 2**30:.1f} GiB at its highest, the float64 references included"]


def _limits(report: dict[str, Any]) -> list[str]:
    lines = []
    for backend, limits in report["limits"].items():
        text = f"copying {limits['copy_gb_s']:.1f} GB/s, float32 products {limits['product_gflop_s']:,.0f} Gflop/s"
        if limits["to_device_gb_s"] is not None:
            text += f", to the device {limits['to_device_gb_s']:.1f} GB/s, back {limits['to_host_gb_s']:.1f} GB/s"
        lines.append(f"{backend:9s} {text}")
    decoding = [(name, floor) for name, floor in report["floors"].items() if name.startswith("decode")]
    return lines + [f"gzip      {name}: {_time(found['median_s'])} on one thread" for name, found in decoding]


def _cells(stage: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    difference = f"{row['difference']:.1e} {stage['unit']}"
    if not row["agrees"]:
        return (f"WRONG {difference}", _time(row["cold_s"]), "not timed", "", "", "")
    spread = f"{_time(row['median_s'])} ({_time(row['lowest_s'])} - {_time(row['highest_s'])})"
    memory = row["added_memory_bytes"]
    return (
        difference,
        _time(row["cold_s"]),
        spread,
        f"{_time(row['floor_s'])} {row['floor_is']}",
        f"{row['median_s'] / row['floor_s']:.1f}",
        "" if memory is None else f"{memory / 2**20:,.0f} MiB",
    )


def _time(seconds: float) -> str:
    """Three significant digits."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def draw(report: dict[str, Any], path: Path) -> None:
    """A bar per stage and backend on a logarithmic axis, with its range, beside a line at its floor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages, backends = report["stages"], list(report["backends"])
    figure = Figure(figsize=(8.0, 1.2 + 0.45 * len(stages) * len(backends)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    thickness = 0.8 / len(backends)
    for number, backend in enumerate(backends):
        places, rows = [], []
        for at, stage in enumerate(stages):
            if stage["backends"][backend]["agrees"]:
                places.append(at + thickness * (number + 0.5) - 0.4)
                rows.append(stage["backends"][backend])
        medians = [row["median_s"] for row in rows]
        below = [row["median_s"] - row["lowest_s"] for row in rows]
        above = [row["highest_s"] - row["median_s"] for row in rows]
        label = f"{backend}: {report['backends'][backend]}"
        axes.barh(places, medians, 0.9 * thickness, xerr=[below, above], color=f"C{number}", label=label, capsize=2)
        axes.plot([row["floor_s"] for row in rows], places, "k|", markersize=14, markeredgewidth=2)
    axes.plot([], [], "k|", markersize=10, markeredgewidth=2, label="floor: decoding, memory, product or transfer")
    axes.set_yticks(range(len(stages)), [stage["name"] for stage in stages])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds, median and range")
    axes.set_title(report["machine"]["cpu"], fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
