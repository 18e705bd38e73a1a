"""The command `rsfc bench`: parse, call, print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rsfc_gpu.cli_progress import progress_bars

EXIT_WRONG = 1
SIZE_NAMES = ("small", "paper", "large")


def add_bench_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add bench."""
    bench = commands.add_parser(
        "bench", help="check and time every stage on this machine, backends side by side", description=_bench.__doc__
    )
    bench.add_argument(
        "--device", choices=["cpu", "cuda", "all"], default="all", help="all: every usable one (default %(default)s)"
    )
    bench.add_argument(
        "--size",
        choices=SIZE_NAMES,
        default="small",
        help="of the inputs: small (30,000 voxels, 120 volumes), paper (70,000, 230), large (230,000, 490); "
        "default %(default)s",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write everything, and a picture beside it (.png)")
    bench.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    """Make synthetic inputs, hold every stage on every backend against an independent float64 computation, then time
    all of them in turns beside the floor: decoding, copying and multiplying alone. Exit code 1 where a result is
    wrong, 6 where CUDA is asked for and cannot be used."""
    from rsfc_gpu.bench.inputs import SIZES
    from rsfc_gpu.bench.present import as_text, draw
    from rsfc_gpu.bench.run import disagreements, run_bench, usable_backends
    from rsfc_gpu.files import write_text

    backends, missing = usable_backends(arguments.device)
    report = run_bench(SIZES[arguments.size], backends, progress=progress_bars())
    report |= {"size_name": arguments.size, "not_usable": missing}
    print(as_text(report))
    for name, reason in missing.items():
        print(f"\n{name} was not measured: {reason}")
    if arguments.json:
        write_text(arguments.json, _as_json(report))
        picture = arguments.json.with_suffix(".png")
        draw(report, picture)
        print(f"\nwritten: {arguments.json}, {picture}")
    wrong = disagreements(report)
    for line in wrong:
        print(f"rsfc: wrong result: {line}", file=sys.stderr)
    return EXIT_WRONG if wrong else 0


def _as_json(report: dict[str, Any]) -> str:
    import json
    import math

    for stage in report["stages"]:
        for row in stage["backends"].values():
            if math.isinf(row["difference"]):
                row["difference"] = None  # another shape: JSON has no infinity
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
