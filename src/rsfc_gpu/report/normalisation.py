"""How well raw runs lie on the template: every one that failed, and the ten worst of the others, on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.normalised_plot import NormalisedPlot
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.run_pictures import WORST, pictures, short_name, titled
from rsfc_gpu.report.tables import counted, fixed

_EDGES = "Mean images in MNI space; orange: edge of the ICBM152 brain, blue: of its white matter."


def normalisation_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Mean images of the raw runs in MNI space; nothing where runs came preprocessed."""
    good, failed = (outputs.run_files(f"desc-{kind}_bold.nii.gz") for kind in ("mean", "failedmean"))
    if not good and not failed:
        return
    files, records = good | failed, outputs.run_records
    dice = {name: _dice(records.get(name, {})) for name in files}

    def show(plot: NormalisedPlot, name: str) -> None:
        plot.show(*load_volume(files[name]), titled(name, records.get(name, {}), letters=120))

    def caption(name: str, rank: int) -> str:
        outcome = "failed" if name in failed else f"rank {rank} from the worst"
        return f"Normalised mean image of {short_name(name)}, {outcome}: Dice {fixed(3)(dice[name])}."

    yield Text("Normalisation of the raw runs", "heading")
    yield Text(_overlap([dice[name] for name in good], len(failed)), "warning" if failed else "plain")
    yield Text(_EDGES)
    for names, on_page in ((failed, len(failed)), (good, WORST)):
        order = sorted(names, key=lambda name: np.nan_to_num(dice[name]))
        yield from pictures("normalised", order, NormalisedPlot, show, caption, exhibits, on_page=on_page)


def _overlap(dice: Sequence[float], n_failed: int) -> str:
    """The overlaps with the brain, in words."""
    text = [f"The normalisation of {counted(n_failed, 'run')} failed."] if n_failed else []
    if dice:
        lowest, highest = fixed(3)(min(dice)), fixed(3)(max(dice))
        text.append(
            f"Overlap (Dice) of {counted(len(dice), 'normalised run')} with the ICBM152 brain: {lowest} to {highest}."
        )
    return " ".join(text)


def _dice(record: Mapping[str, Any]) -> float:
    value = record.get("normalisation_dice")
    return float("nan") if value is None else float(value)
