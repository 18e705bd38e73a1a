"""Every figure of docs/ that shows a measurement, and the rows of its tables, from benchmarks/results/*.json alone.

    python benchmarks/figures.py            docs/figures/*.svg, and the marked section of docs/performance.md
    make figures                            the same

A figure whose JSON is not there is left out and said so; nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures_of_results as draw
import scaling_text

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"

#: Name of the figure, what draws it, and the results that it is given.
FIGURES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "scaling": (draw.scaling, ("scaling",)),
    "stages": (draw.stages, ("stages",)),
    "calibration": (draw.calibration, ("calibration",)),
    "planted": (draw.planted, ("planted-clear", "planted-paper", "planted-none")),
    "peers": (draw.peers, ("peers",)),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures")
    parser.add_argument("--text", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args(arguments)
    options.figures.mkdir(parents=True, exist_ok=True)
    for name, (drawing, needed) in FIGURES.items():
        missing = [one for one in needed if not (options.results / f"{one}.json").exists()]
        if missing:
            print(f"{name}: not drawn, there is no {', '.join(missing)}.json in {options.results}")
            continue
        path = options.figures / f"{name}.svg"
        draw.save(drawing(*(read(options.results, one) for one in needed)), path)
        print(path)
    if (options.results / "scaling.json").exists():
        text = options.text.read_text()
        options.text.write_text(scaling_text.replaced(text, read(options.results, "scaling")))
        print(f"{options.text}: the section on scaling")
    return 0


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
