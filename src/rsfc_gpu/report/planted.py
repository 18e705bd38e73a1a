"""What a study found of effects that were planted in its data: only for simulated cohorts."""

from __future__ import annotations

from collections.abc import Iterator

from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.tables import fixed

NAME, RUNS = "planted_vs_found.tsv", "planted_vs_found_runs.tsv"


def planted_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """The table of planted effects, found or missed; nothing for real data."""
    table = outputs.table(NAME)
    if table.empty or "result" not in table:
        return
    counts = table["result"].value_counts()
    told = ", ".join(f"{int(counts.get(name, 0))} {name}" for name in ("found", "missed", "leak", "false"))
    yield Text("These data are simulated: the effects were planted, and this is what the study made of them.")
    yield Text(f"Planted effects and clusters: {told}.")
    formats = {"peak_distance_mm": fixed(1), "d": fixed(2), "r": fixed(2), "planted_r": fixed(2)} | {
        axis: fixed(0) for axis in "xyz"
    }
    headings = {str(name): str(name).replace("_", " ") for name in table.columns}
    yield exhibits.table(
        "planted", table, title="Planted and found.", headings=headings, formats=formats, source=outputs.folder / NAME
    )
    runs = outputs.table(RUNS)
    if runs.empty:
        return
    yield Text("Of raw runs: how far the motion and the warp that were found lie from those that were planted.")
    headings = {str(name): str(name).replace("_", " ") for name in runs.columns}
    formats = {str(name): fixed(3) for name in runs.columns if name != "file"}
    yield exhibits.table(
        "planted_runs",
        runs,
        title="Motion, warp and seeds of raw runs.",
        headings=headings,
        formats=formats,
        source=outputs.folder / RUNS,
    )
