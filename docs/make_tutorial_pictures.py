"""Writes the pictures of docs/tutorial.md, shrunk, from the figures of a demonstration.

rsfc demo demo-output && python docs/make_tutorial_pictures.py demo-output
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).with_name("pictures")
LARGEST = (800, 440)
FIGURES = {
    "flow": "flow_chart",
    "quality": "quality_runs",
    "carpet": "carpet_sub-MDD006_ses-baseline_task-rest_space-MNI152NLin6Asym",
    "map": "map_patients-controls_patients-controls_LBleft",
    "association": "scatter_patients-controls_patients-controls_LBleft_positive_1_baseline_reduction_day13",
    "roc": "roc_responders-nonresponders_responders-nonresponders_LBleft_positive_1",
    "post-hoc": "post_hoc_response-time_interaction_CMright_positive_1",
}


def main(study: Path) -> None:
    """One small PNG for each figure."""
    PICTURES.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        picture = Image.open(study / "figures" / f"{figure}.png").convert("RGB")
        picture.thumbnail(LARGEST, Image.Resampling.LANCZOS)
        picture.quantize(64, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
