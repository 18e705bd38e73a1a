"""The kernels' own text, run on the CPU in three builds and several schedules, against the Numba twins."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cuda_on_host import checks
from cuda_on_host.build import ENTRY_POINT, missing_compiler
from rsfc_gpu.backend import numba_group, numba_kernels, numba_labels
from rsfc_gpu.resources import resource_folder

SOURCES = sorted(resource_folder("kernels").glob("*.cu"))
RUNS = [("plain", 0), ("plain", 1), ("plain", 2), ("check", 0), ("check", 1), ("check", 3), ("ubsan", 0), ("ubsan", 4)]
STORED = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.fixture(params=RUNS, ids=lambda run: f"{run[0]}-{run[1]}")
def on(request: pytest.FixtureRequest) -> Any:
    if missing_compiler():
        pytest.skip(missing_compiler())
    build, schedule = request.param
    with checks.launches(build, schedule=schedule) as launched:
        yield launched


def test_every_kernel_has_a_twin_and_a_test() -> None:
    """An entry point has the name and, up to the sizes, the arguments of a Numba function, and a test of its name."""
    twins = {
        name: function
        for module in (numba_kernels, numba_group, numba_labels)
        for name, function in vars(module).items()
        if hasattr(function, "py_func")
    }
    tests = {node.name for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.FunctionDef)}
    entries = [(source, match) for source in SOURCES for match in ENTRY_POINT.finditer(source.read_text())]
    assert len(SOURCES) >= 4
    for source, match in entries:
        name, parameters = match[1], [re.findall(r"\w+", parameter)[-1] for parameter in match[2].split(",")]
        assert name in twins, f"{source.name}: {name} has no Numba function of its name"
        expected = list(inspect.signature(twins[name].py_func).parameters)
        assert parameters[: len(expected)] == expected, f"{source.name}: {name}: arguments differ from the twin's"
        assert all(re.match(r"n_|width", size) for size in parameters[len(expected) :]), f"{name}: {parameters}"
        assert f"test_{name}" in tests, f"{source.name}: {name} has no test"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_headers_say_what_a_reader_needs(source: Path) -> None:
    header = source.read_text().split("\n\n#")[0]
    for word in ("Layout", "Launch", "Twin", "Test", "Reason"):
        assert re.search(rf"^// {word}", header, flags=re.MULTILINE), f"{source.name}: no {word}"
    for match in ENTRY_POINT.finditer(source.read_text()):
        assert match[1] in header


def test_centre_block(on: checks.Launches) -> None:
    checks.centre_block(on)


def test_finish_correlations(on: checks.Launches) -> None:
    checks.finish_correlations(on)


def test_scale_to_unit_norm(on: checks.Launches) -> None:
    checks.scale_to_unit_norm(on)


def test_difference_products(on: checks.Launches) -> None:
    checks.difference_products(on)


def test_label_init(on: checks.Launches) -> None:
    checks.label_init(on)


def test_label_merge(on: checks.Launches) -> None:
    checks.label_merge(on)


def test_label_compress(on: checks.Launches) -> None:
    checks.label_compress(on)


def test_label_measure(on: checks.Launches) -> None:
    checks.label_measure(on)


@pytest.fixture
def plain() -> Any:
    if missing_compiler():
        pytest.skip(missing_compiler())
    with checks.launches("plain") as launched:
        yield launched


@pytest.mark.parametrize("dtype", STORED)
def test_every_stored_type(plain: checks.Launches, dtype: str) -> None:
    checks.centre_block(plain, dtype)


def test_maps_in_float64(plain: checks.Launches) -> None:
    checks.label_init(plain, "f8")
    checks.label_measure(plain, "f8")


@pytest.mark.parametrize("connectivity", checks.CONNECTIVITIES)
def test_labels_of_scipy(plain: checks.Launches, connectivity: int) -> None:
    from rsfc_gpu.backend import cuda_group

    rng = np.random.default_rng(connectivity)
    volumes = ndimage.gaussian_filter(rng.standard_normal((6, 13, 12, 11)), (0, 1, 1, 1)).astype(np.float32)
    inside = np.ones(volumes.shape[1:], dtype=bool)
    values = np.stack([volume.ravel(order="F") for volume in volumes])
    maps, table = plain.upload(values, numba_labels.neighbour_table(inside, connectivity))
    labels, sizes, highest = (array.get() for array in cuda_group.label_maps(maps, table, 0.1))
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    for n, volume in enumerate(volumes):
        expected, n_clusters = ndimage.label(volume > 0.1, structure)
        flat = expected.ravel(order="F")
        assert n_clusters > 1
        for cluster in range(1, n_clusters + 1):
            members = np.flatnonzero(flat == cluster)
            assert (labels[n, members] == members[0]).all()
            assert sizes[n, members[0]] == len(members)
            assert highest[n, members[0]] == values[n, members].max()
        assert (labels[n, flat == 0] == -1).all()
        assert (sizes[n] > 0).sum() == n_clusters
        assert np.isinf(highest[n, sizes[n] == 0]).all()


@pytest.mark.parametrize("build", ["plain", "ubsan"])
def test_indices_beyond_31_bits(build: str) -> None:
    if missing_compiler():
        pytest.skip(missing_compiler())
    with checks.launches(build) as on:
        checks.far_indices(on)
