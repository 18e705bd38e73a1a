"""Counts what one run and one group model cost, and compares with the committed counts: exact, not timed.

    python benchmarks/counts.py             exit status 1, and the differences, where anything has changed
    python benchmarks/counts.py --update    writes benchmarks/results/counts.json

One run (128 volumes, 8,000 voxels, 3 seeds, int16, preset dparsf) and one group model (20 maps of 8,000 voxels, unequal
variances, two contrasts, two tables), on one thread, after one round to warm up:

  opened, decoded    times that the run's file is opened by anybody; volumes and bytes that come out of the decoder
  products           matrix products of the package and their flops (2 m k n), by source file; not LAPACK's
  transforms         Fourier transforms and their elements, by source file
  kernels            calls of Numba kernels from Python and the array elements given to them, by name
  memory             peak of all memory taken during the work over the size of the masked series (or maps), and the
                     source files whose arrays of at least that size were alive at the last large step up
  cuda               the same work on the CUDA backend, its kernels built for the CPU by tests/cuda_on_host (needs g++):
                     launches, copies, products, and the peak of device memory in bytes

The peak may move by 0.05 between machines, because Python's own objects count in it. All else must be equal. What a
change costs is then seen in a review, whatever the machine and its load.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import counting
from counting import Tally, counts

ROOT = Path(__file__).parents[1]
COMMITTED = Path(__file__).parent / "results" / "counts.json"
PEAK_TOLERANCE = 0.05
FEWEST_FLOPS = 10_000  # a source file with less has no line: affines, degrees of freedom


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the counts instead of comparing them")
    parser.add_argument("--against", type=Path, default=COMMITTED, help="the committed counts")
    options = parser.parse_args(arguments)
    counting.install()
    found, not_counted = count_everything()
    for reason in not_counted:
        print(f"not counted: {reason}")
    if options.update:
        if not_counted:
            print("nothing written: the file would lose what could not be counted")
            return 1
        options.against.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return 0
    changes = list(differences(json.loads(options.against.read_text()), found, with_cuda=not not_counted))
    print("\n".join(changes or ["the counts are those committed"]))
    if changes:
        print(f"{len(changes)} counts differ from {options.against.name}. A cost that is meant: counts.py --update")
    return 1 if changes else 0


def count_everything() -> tuple[Tally, list[str]]:
    """The counts, and why some of them are missing."""
    sys.path.append(str(ROOT / "tests"))
    from cuda_on_host.build import missing_compiler
    from rsfc_gpu.backend import select_backend
    from rsfc_gpu.bench.inputs import Size

    size = Size(n_volumes=128, n_voxels=8_000, n_seeds=3, n_maps=20)
    cpu = select_backend("cpu", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        run, group = one_run(Path(folder), size), one_group(size)
        found: Tally = {"run": run(cpu), "group": group(cpu)}
        compiler = missing_compiler()
        if compiler is None:
            found |= {"cuda run": on_device(run), "cuda group": on_device(group)}
    return found, [] if compiler is None else [f"the CUDA backend ({compiler})"]


def one_run(folder: Path, size: Any) -> Callable[[Any], Tally]:
    """Counts of `seed_maps` on a backend."""
    import rsfc_gpu as rg
    from rsfc_gpu.bench.inputs import make_run

    run = make_run(folder, size)
    settings = rg.DenoiseSettings.preset("dparsf")

    def count(backend: Any) -> Tally:
        work = lambda: rg.seed_maps(run, folder / "seeds.nii.gz", settings, backend)  # noqa: E731
        with counting.counted_decoding():
            tally = counted(work, full_bytes=2 * size.n_volumes * size.n_voxels)
        return {"opened": counting.times_opened(Path(str(run.bold))), **tally}

    return count


def one_group(size: Any) -> Callable[[Any], Tally]:
    """Counts of a model of two groups, both contrasts and their tables, on a backend."""
    import rsfc_gpu as rg
    from rsfc_gpu.bench.inputs import brain, make_group_maps, two_groups

    maps = make_group_maps(size, 0, rg.select_backend("cpu", threads=1))
    inside, design, affine = brain(size), two_groups(size), size.affine

    def count(backend: Any) -> Tally:
        def work() -> object:
            fit = rg.group.fit(maps, design, mask=inside, affine=affine, backend=backend)
            return [rg.group.results_table(fit.t(contrast)) for contrast in ("MDD - HC", "HC - MDD")]

        return counted(work, full_bytes=4 * size.n_maps * size.n_voxels)

    return count


def counted(work: Callable[[], object], *, full_bytes: int) -> Tally:
    """Counts of the second call of `work`; `full_bytes` is an array of full size."""
    work()
    counts.start(full_bytes=full_bytes)
    result = work()
    memory = counts.memory()
    del result
    tally = counts.stop()
    products = {file: done for file, done in tally["products"].items() if done["flops"] >= FEWEST_FLOPS}
    return {**tally, "products": products, "memory": memory}


def on_device(count: Callable[[Any], Tally]) -> Tally:
    """Counts on the CUDA backend, whose device is pretended."""
    from cuda_on_host.fake_cupy import Device
    from rsfc_gpu.backend import select_backend

    device = Device("plain")
    with counting.counted_device(device):
        backend = select_backend("cuda")
        device.peak_bytes = device.in_use_bytes
        tally = count(backend)
    del tally["memory"]  # of the host, where the pretended device lives
    return {**tally, "device_peak_bytes": device.peak_bytes}


def differences(committed: Tally, found: Tally, *, with_cuda: bool = True) -> Iterator[str]:
    """One line for each count that is not the committed one."""
    before, now = _flat(committed), _flat(found)
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new or (not with_cuda and name.startswith("cuda")):
            continue
        if name.endswith("memory, peak") and old and new and abs(new - old) <= PEAK_TOLERANCE:
            continue
        ratio = f", {new / old:.3g} times" if old and new else ""
        yield f"  {name}: {_number(old)} committed, {_number(new)} now{ratio}"


def _flat(tally: Tally, prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in tally.items():
        path = f"{prefix}, {name}" if prefix else name
        found |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return found


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main())
