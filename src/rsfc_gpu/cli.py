"""The command `rsfc`: parse, call, print; nothing else. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsfc_gpu import __version__
from rsfc_gpu.cli_bench import add_bench_command
from rsfc_gpu.cli_study import add_study_commands
from rsfc_gpu.errors import BackendError, InputError, ResourceError, RsfcError

if TYPE_CHECKING:
    from rsfc_gpu.denoise import DenoiseSettings
    from rsfc_gpu.study.single_run import Run

EXIT_OK, EXIT_INPUT, EXIT_RESOURCES, EXIT_INTERRUPTED = 0, 3, 6, 130
EXIT_PIPE_CLOSED = 141  # as a shell says of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code that the documentation lists."""
    arguments = _parser().parse_args(argv)
    try:
        code: int | None = arguments.run(arguments)  # a study has exit codes of its own
        sys.stdout.flush()  # here, where a closed pipe is understood
    except RsfcError as error:
        print(f"rsfc: {error}", file=sys.stderr)
        return EXIT_RESOURCES if isinstance(error, (BackendError, ResourceError)) else EXIT_INPUT
    except MemoryError as error:
        print(f"rsfc: out of memory ({error}); use fewer jobs or a coarser grid", file=sys.stderr)
        return EXIT_RESOURCES
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough. What is left goes nowhere, or Python would fail at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        print("rsfc: interrupted; no file was left half written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code or EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rsfc",
        description="Resting-state functional connectivity, from BOLD files to clinical tables.",
        epilog="exit codes: 0 done, 1 bug, 2 usage, 3 invalid input, 4 some runs failed, 5 no run is left, "
        "6 memory, disk or no usable GPU, 130 interrupted, 141 output cut off by a closed pipe",
    )
    parser.add_argument("--version", action="version", version=f"rsfc {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_study_commands(commands)
    _add_maps(commands)
    _add_simulate(commands)
    report = commands.add_parser("report", help="the report of a study, made again", description=_report.__doc__)
    report.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder that a study wrote")
    report.set_defaults(run=_report)
    devices = commands.add_parser("devices", help="what this machine can compute on", description=_devices.__doc__)
    devices.set_defaults(run=_devices)
    add_bench_command(commands)
    return parser


def _add_maps(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    maps = commands.add_parser(
        "maps",
        help="Fisher-z maps of one run, without BIDS",
        description="Clean one BOLD run and write a Fisher-z map per seed, with a JSON sidecar. "
        "Regressed out: the motion model, the tissue signals whose masks are given, with dparsf the mean over MASK; "
        "with --confounds, the columns that the preset names.",
    )
    maps.add_argument("bold", metavar="BOLD", help="4-D NIfTI image, preprocessed")
    maps.add_argument("--mask", required=True, metavar="IMG", help="voxels to map, on the same grid")
    maps.add_argument("--seeds", required=True, metavar="LABELS|ATLAS", help="label image, or juelich-amygdala")
    maps.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the maps")
    maps.add_argument("--motion", metavar="RP.txt", help="motion parameters as SPM writes them: mm, then radians")
    maps.add_argument(
        "--motion-model",
        choices=["friston24-lagged", "friston24-derivative", "6", "none"],
        help="instead of the preset's; without motion parameters only none is possible, and nothing is scrubbed",
    )
    maps.add_argument("--no-scrub", action="store_true", help="keep volumes with high motion")
    maps.add_argument("--wm", metavar="MASK", help="white-matter mask: its mean series is regressed out")
    maps.add_argument("--csf", metavar="MASK", help="CSF mask: its mean series is regressed out")
    maps.add_argument("--confounds", metavar="TSV", help="fMRIPrep confounds table instead of --motion, --wm and --csf")
    maps.add_argument("--tr", type=float, metavar="S", help="repetition time in seconds, where the header lacks it")
    maps.add_argument("--discard", type=int, default=0, metavar="N", help="first volumes to leave out (default 0)")
    maps.add_argument("--fwhm", type=float, default=0.0, metavar="MM", help="smooth while reading (default 0: none)")
    maps.add_argument("--space", metavar="NAME", help="space of BOLD, needed for an atlas, e.g. MNI152NLin6Asym")
    maps.add_argument("--allow-space", metavar="NAME", help="use the atlas in this space in spite of its shift")
    maps.add_argument("--preset", choices=["dparsf", "recommended"], default="dparsf", help="default %(default)s")
    maps.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default %(default)s")
    maps.add_argument(
        "--engine",
        choices=["operator", "stages"],
        default="operator",
        help="stages: regress, filter and scrub one after the other, slower, as a check; default %(default)s",
    )
    maps.set_defaults(run=_maps)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    simulate = commands.add_parser(
        "simulate",
        help="a synthetic study with planted effects, in BIDS form",
        description="Write a cohort of patients before and after treatment and of controls: images, motion, tables, "
        "and the truth that is hidden in them (planted.tsv, planted_faults.tsv). Equal seeds give equal bytes.",
    )
    simulate.add_argument("out", type=Path, metavar="OUT", help="folder to write; must be empty or absent")
    simulate.add_argument(
        "--effects", choices=["clear", "paper", "none"], default="clear", help="effect sizes (default %(default)s)"
    )
    simulate.add_argument(
        "--level",
        choices=["preprocessed", "raw"],
        default="preprocessed",
        help="images in MNI space, or as a scanner gives them (default %(default)s)",
    )
    simulate.add_argument(
        "--grid",
        type=float,
        metavar="MM",
        help="voxel edge of preprocessed images (default 4 mm); raw have the scanner's",
    )
    simulate.add_argument(
        "--volumes",
        type=int,
        default=110,
        metavar="N",
        help="per run, 10 dummies of a raw one not counted (default %(default)s)",
    )
    simulate.add_argument(
        "--participants", type=int, metavar="N", help="analysed patients and controls together (default 39 + 45)"
    )
    simulate.add_argument(
        "--skull-stripped",
        action="store_true",
        help="preprocessed images hold 0 outside the brain, not noise: a third of the space",
    )
    simulate.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default 0)")
    simulate.add_argument("--jobs", type=int, metavar="N", help="runs made at once (default: every processor)")
    simulate.set_defaults(run=_simulate)


def _simulate(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from rsfc_gpu.simulate import CohortSettings, simulate_cohort

    if arguments.level == "raw" and arguments.grid is not None:
        raise InputError("--grid is for preprocessed images: raw ones have the scanner's voxels, 3.44 x 3.44 x 4.6 mm")
    settings = CohortSettings(
        effects=arguments.effects,
        level=arguments.level,
        grid_mm=4.0 if arguments.grid is None else arguments.grid,
        n_volumes=arguments.volumes,
        participants=arguments.participants,
        skull_stripped=arguments.skull_stripped,
        seed=arguments.seed,
    )
    with tqdm(unit="run", desc="simulating", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        truth = simulate_cohort(arguments.out, settings, show, jobs=arguments.jobs)
    print(f"{arguments.out}: {len(truth.effects)} planted effects, {len(truth.faults)} planted faults")


def _maps(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from rsfc_gpu.backend import select_backend
    from rsfc_gpu.connectivity import Seeds
    from rsfc_gpu.images.nifti import BoldSource
    from rsfc_gpu.study.single_run import seed_maps

    started = time.perf_counter()
    backend = select_backend(arguments.device)
    bold = BoldSource.open(arguments.bold)
    run, settings = _run_and_settings(arguments)
    if Path(arguments.seeds).exists() or arguments.seeds.endswith((".nii", ".nii.gz", ".img", ".hdr")):
        seeds = Seeds.from_labels(arguments.seeds)
    else:
        seeds = Seeds.from_atlas(arguments.seeds, like=bold, space=arguments.space, allow_space=arguments.allow_space)
    # disable=None shows the bar on a terminal only.
    with tqdm(total=bold.n_volumes, unit="volume", desc="reading", disable=None, leave=False) as bar:
        maps = seed_maps(
            run, seeds, settings, backend, engine=arguments.engine, progress=lambda n: bar.update(n - bar.n)
        )
    maps.save(arguments.out)
    if arguments.tr and bold.tr_s and abs(arguments.tr - bold.tr_s) > 0.01 * bold.tr_s:
        print(
            f"rsfc: note: {bold.name} says that its repetition time is {bold.tr_s:g} s; --tr {arguments.tr:g} is used",
            file=sys.stderr,
        )
    coverage = ", ".join(f"{name} {share:.0%}" for name, share in zip(maps.names, maps.coverage, strict=True))
    print(
        f"{len(maps.names)} maps in {arguments.out}: {int(maps.kept.sum())} of {len(maps.kept)} volumes kept, "
        f"{maps.dof:.1f} degrees of freedom, {int(maps.usable.sum())} voxels, coverage {coverage}; "
        f"{time.perf_counter() - started:.1f} s on {backend.name}"
    )


def _run_and_settings(arguments: argparse.Namespace) -> tuple[Run, DenoiseSettings]:
    """The run and the settings that the options of `rsfc maps` describe."""
    from rsfc_gpu.denoise import DenoiseSettings
    from rsfc_gpu.study.single_run import Run

    settings = DenoiseSettings.preset(arguments.preset)
    if arguments.motion_model:
        settings = settings.replace(motion_model=arguments.motion_model)
    without_motion = arguments.motion is None and arguments.confounds is None
    if arguments.no_scrub or (without_motion and settings.motion_model == "none"):
        settings = settings.replace(scrub="none")
    tissues = None
    if arguments.confounds is None:
        masks = {"white_matter": arguments.wm, "csf": arguments.csf, "global": arguments.mask}
        tissues = {name: mask for name, mask in masks.items() if mask is not None}
        # Those given, and global where the preset takes it.
        given = [name for name in tissues if name != "global" or name in settings.tissue_signals]
        settings = settings.replace(tissue_signals=tuple(given))
    elif arguments.wm or arguments.csf:
        raise InputError("--confounds brings its own tissue signals: leave out --wm and --csf")
    run = Run(
        bold=arguments.bold,
        mask=arguments.mask,
        tr_s=arguments.tr,
        motion=arguments.motion,
        tissues=tissues,
        confounds=arguments.confounds,
        space=arguments.space,
        discard_volumes=arguments.discard,
        fwhm_mm=arguments.fwhm,
    )
    return run, settings


def _report(arguments: argparse.Namespace) -> None:
    """Write OUT_DIR/report.html, figures/ and tables/ from the files of the study in OUT_DIR."""
    from rsfc_gpu.report import write_report

    path = write_report(arguments.out_dir)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _devices(_: argparse.Namespace) -> None:
    """Print each backend with its device and libraries, or what it is missing."""
    import numba
    import numpy
    from threadpoolctl import threadpool_info

    from rsfc_gpu.backend import cuda, select_backend
    from rsfc_gpu.images.nifti import GZIP_LIBRARY

    blas = next(
        (f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info() if pool["user_api"] == "blas"), ""
    )
    print(f"rsfc_gpu  {__version__}")
    print(
        f"cpu       {select_backend('cpu').device}; NumPy {numpy.__version__} ({blas or 'unknown BLAS'}), "
        f"Numba {numba.__version__}, gzip by {GZIP_LIBRARY}"
    )
    missing = cuda.why_unusable()
    if missing is not None:
        print(f"cuda      not usable: {missing}")
        return
    for part, found in cuda.report().items():
        print(f"cuda      {part}: {found}")


if __name__ == "__main__":
    sys.exit(main())
