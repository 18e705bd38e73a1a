"""The counts of a fixed run: what costs more is found and named, and nothing is counted twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import counting
from counts import differences

REPOSITORY = Path(__file__).parents[2]

#: Regressions: file, text, what replaces it, and lines that must then be reported.
PLANTED = {
    "the file decoded twice": (
        "images/series.py",
        "    widths = fwhm_mm / mask.voxel_mm\n",
        "    widths = fwhm_mm / mask.voxel_mm\n    n_volumes = sum(1 for _ in bold.volumes()) - discard\n",
        ["run, decoded, volumes: 128 committed, 256 now, 2 times", "run, opened: 2 committed, 3 now"],
    ),
    "a float64 copy of the series": (
        "connectivity/maps.py",
        "    r, z, retained = backend.correlate(",
        "    copy = series.samples.astype(np.float64)\n    assert copy.size\n    r, z, retained = backend.correlate(",
        [
            "run, memory, peak: ",
            "run, memory, arrays_of_full_size, connectivity/maps.py: none committed, 1 now",
        ],
    ),
    "residuals formed twice": (
        "backend/cpu_group.py",
        "        rows = samples[:, here].astype(np.float64).T @ operator\n",
        "        rows = samples[:, here].astype(np.float64).T @ operator\n"
        "        rows = samples[:, here].astype(np.float64).T @ operator\n",
        ["group, products, backend/cpu_group.py, calls: ", "group, products, backend/cpu_group.py, flops: "],
    ),
}


@pytest.mark.slow
def test_planted_regressions_are_named(tmp_path: Path) -> None:
    for folder in ("kernels", "atlases"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    # With the compiled Numba functions beside the sources: their cache goes by time and size.
    package = shutil.copytree(REPOSITORY / "src" / "rsfc_gpu", tmp_path / "src" / "rsfc_gpu")
    committed = tmp_path / "counts.json"
    assert count(tmp_path, committed, "--update").returncode == 0
    for file, text, replacement, _ in PLANTED.values():
        source = (package / file).read_text()
        assert source.count(text) == 1, f"{file} has changed: plant another regression"
        (package / file).write_text(source.replace(text, replacement))
    found = count(tmp_path, committed)
    assert found.returncode == 1, found.stderr
    for name, (*_, lines) in PLANTED.items():
        for line in lines:
            assert f"  {line}" in found.stdout, f"{name}: {line!r} is not among\n{found.stdout}"


def count(folder: Path, committed: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "counts.py"), "--against", str(committed), *options]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_differences_are_readable() -> None:
    committed = {
        "run": {"opened": 2, "memory": {"peak": 1.66}},
        "cuda run": {"launches": {"centre_block": {"calls": 1}}},
    }
    assert list(differences(committed, committed)) == []
    found = {"run": {"opened": 3, "memory": {"peak": 1.70}}, "cuda run": {"launches": {"finish": {"calls": 4}}}}
    assert list(differences(committed, found)) == [
        "  cuda run, launches, centre_block, calls: 1 committed, none now",
        "  cuda run, launches, finish, calls: none committed, 4 now",
        "  run, opened: 2 committed, 3 now, 1.5 times",
    ]
    assert len(list(differences(committed, found, with_cuda=False))) == 1
    found["run"]["memory"]["peak"] = 2.66
    assert any("peak" in line for line in differences(committed, found))


def test_flops_are_twice_the_multiplications() -> None:
    a, b = np.ones((3, 5)), np.ones((5, 7))
    assert counting._flops("@", (a, b), a @ b) == 2 * 3 * 5 * 7
    stacked, three = np.ones((4, 3, 5)), np.ones((5, 3, 2))
    assert counting._flops("matmul", (stacked, b), stacked @ b) == 2 * 4 * 3 * 5 * 7
    assert (
        counting._flops("tensordot", (stacked, three), np.tensordot(stacked, three, ((1, 2), (1, 0)))) == 2 * 4 * 15 * 2
    )
    assert counting._flops("einsum", ("cij,dji->cd", stacked, np.ones((2, 5, 3))), np.ones((4, 2))) == 2 * 4 * 3 * 5 * 2


def test_an_instrumented_source_gives_the_same_numbers(tmp_path: Path) -> None:
    (tmp_path / "rsfc_gpu").mkdir()
    (tmp_path / "rsfc_gpu" / "__init__.py").write_text(
        "import numpy as np\ndef f(a, b):\n    return (a @ b.T @ b, np.einsum('ij,kj->ik', a, b), np.fft.rfft(a))\n"
    )
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPOSITORY / 'benchmarks')!r}]\n"
        "import counting, numpy as np\n"
        "counting.install()\n"
        "import rsfc_gpu\n"
        "a, b = np.arange(6.0).reshape(2, 3), np.ones((4, 3))\n"
        "rsfc_gpu.f(a, b)\n"
        "counting.counts.start(full_bytes=1000)\n"
        "first, second, third = rsfc_gpu.f(a, b)\n"
        "tally = counting.counts.stop()\n"
        "assert np.array_equal(first, a @ b.T @ b) and np.array_equal(third, np.fft.rfft(a))\n"
        "assert tally['products'] == {'__init__.py': {'calls': 3, 'flops': 48 + 48 + 48}}, tally\n"
        "assert tally['transforms'] == {'__init__.py': {'calls': 1, 'elements': 6}}, tally\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
