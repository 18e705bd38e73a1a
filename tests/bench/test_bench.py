"""`rsfc bench`: what it measures, that it notices a wrong backend, and what its parts promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsfc_gpu import cli
from rsfc_gpu.backend import cuda
from rsfc_gpu.backend.cpu import CpuBackend
from rsfc_gpu.bench import inputs, run
from rsfc_gpu.bench.floor import Cost, HostFloors, Limits, floor_of
from rsfc_gpu.bench.inputs import Size
from rsfc_gpu.bench.stages import largest_difference
from rsfc_gpu.bench.timing import added_memory_bytes, highest_memory_bytes, interleaved
from rsfc_gpu.errors import InputError

TINY = Size(n_volumes=60, n_voxels=1500, n_seeds=3, n_maps=16, n_raw_volumes=3)
MEASURED = {"difference", "agrees", "cold_s", "added_memory_bytes", "median_s", "lowest_s", "highest_s", "rounds"}
CORRELATING = ["one run, file to maps", "one run, series in memory to maps"]


def tiny_floors() -> HostFloors:
    return HostFloors(copied_bytes=1 << 20, edge=64)


class WrongBackend(CpuBackend):
    """Finds every correlation one part in a thousand too large."""

    def correlate(self, *arguments: Any) -> Any:
        r, z, retained = super().correlate(*arguments)
        return r * np.float32(1.001), z, retained


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return run.run_bench(TINY, [CpuBackend()], rounds=2, floors=tiny_floors())


def test_every_stage_agrees_and_is_timed_beside_its_floor(report) -> None:
    assert run.disagreements(report) == []
    assert len(report["stages"]) == run.N_STAGES
    for stage in report["stages"]:
        assert {"name", "against", "unit", "tolerance", "cost", "backends"} <= set(stage)
        row = stage["backends"]["cpu"]
        assert set(row) == MEASURED | {"floor_s", "floor_is"}
        assert row["difference"] <= stage["tolerance"]
        assert 0 < row["lowest_s"] <= row["median_s"] <= row["highest_s"]
        assert row["rounds"] == 2
        assert row["floor_s"] > 0
        assert row["cold_s"] > 0


def test_the_report_says_what_it_depends_on(report) -> None:
    read = json.loads(json.dumps(report, allow_nan=False))
    assert {"cpu", "threads", "load_average", "versions", "gzip", "blas", "date"} <= set(read["machine"])
    assert {"rsfc_gpu", "numpy", "python", "numba"} <= set(read["machine"]["versions"])
    assert set(read["floors"]) == {"decode the run", "decode the raw run", "copy", "product"}
    assert read["limits"]["cpu"]["copy_gb_s"] > 0
    assert read["size"]["n_voxels"] == TINY.n_voxels
    assert read["highest_memory_bytes"] is None or read["highest_memory_bytes"] > 10_000_000


def test_a_wrong_backend_is_named_and_not_timed() -> None:
    found = run.run_bench(TINY, [CpuBackend(), _named(WrongBackend(), "wrong")], rounds=1, floors=tiny_floors())
    lines = run.disagreements(found)
    assert [line.split(" on ")[0] for line in lines] == CORRELATING
    wrong, right = (found["stages"][0]["backends"][name] for name in ("wrong", "cpu"))
    assert "median_s" not in wrong
    assert "median_s" in right
    assert wrong["difference_from_cpu"] == pytest.approx(1e-3, rel=0.2)


def _named(backend: CpuBackend, name: str) -> CpuBackend:
    backend.name = name
    return backend


@pytest.fixture
def small_is_tiny(monkeypatch) -> None:
    monkeypatch.setitem(inputs.SIZES, "small", TINY)
    monkeypatch.setattr(run.HostFloors, "__init__", _tiny_init)
    monkeypatch.setattr(run.run_bench, "__kwdefaults__", run.run_bench.__kwdefaults__ | {"rounds": 2})


_init = HostFloors.__init__


def _tiny_init(self: HostFloors) -> None:
    _init(self, copied_bytes=1 << 20, edge=64)


def test_the_command_prints_a_table_and_writes_json_and_picture(small_is_tiny, tmp_path, capsys) -> None:
    target = tmp_path / "new" / "bench.json"
    assert cli.main(["bench", "--device", "cpu", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    for stage in json.loads(target.read_text())["stages"]:
        assert f"{stage['name']}, cpu" in printed
    assert target.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_result_is_exit_code_1(small_is_tiny, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(run, "select_backend", lambda _: WrongBackend())
    target = tmp_path / "bench.json"
    assert cli.main(["bench", "--device", "cpu", "--json", str(target)]) == 1
    out, err = capsys.readouterr()
    assert err.count("wrong result") == len(CORRELATING)
    assert out.count("not timed") == len(CORRELATING)
    assert not json.loads(target.read_text())["stages"][0]["backends"]["cpu"]["agrees"]


def test_missing_cuda_is_said_in_one_line(small_is_tiny, capsys) -> None:
    if cuda.why_unusable() is None:
        pytest.skip("there is a usable GPU")
    assert cli.main(["bench", "--device", "cuda"]) == 6
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert cli.main(["bench"]) == 0
    assert "cuda was not measured: " in capsys.readouterr().out


def test_two_backends_stand_side_by_side(backend, monkeypatch) -> None:
    limits = Limits(10.0, 100.0, to_device_gb_s=5.0, to_host_gb_s=5.0)
    monkeypatch.setattr(run, "device_limits", lambda: limits)  # CUDA events exist on a device only
    found = run.run_bench(TINY, [_named(CpuBackend(), "first"), backend], rounds=1, floors=tiny_floors())
    assert run.disagreements(found) == []
    for stage in found["stages"]:
        assert stage["backends"][backend.name]["difference_from_first"] <= 2 * stage["tolerance"]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom rsfc_gpu import cli\n"
        "try:\n    cli.main(['bench', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("outside", "ratio"), [("noise", 1.9), ("zeros", 3.6)])
def test_files_shrink_as_they_say(tmp_path, outside: Any, ratio: float) -> None:
    size = Size(n_volumes=12, outside=outside)
    path = Path(inputs.make_run(tmp_path, size).bold)
    assert np.prod(size.shape) * size.n_volumes * 2 / path.stat().st_size == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize("n_voxels", [30_000, 70_000, 230_000])
def test_the_brain_has_the_voxels_asked_for_and_the_grid_grows_with_it(n_voxels: int) -> None:
    size = Size(n_voxels=n_voxels, n_seeds=400)
    assert inputs.brain(size).sum() == n_voxels
    labels = inputs.seed_labels(size)
    assert set(np.unique(labels)) == set(range(401))
    assert inputs.brain(size)[labels > 0].all()
    if n_voxels == 70_000:
        assert size.shape == (61, 73, 61)


def test_more_seeds_than_fit_are_refused() -> None:
    with pytest.raises(InputError, match="400 are asked for"):
        inputs.seed_labels(Size(n_voxels=900, n_seeds=400))


def test_contenders_take_turns_and_seldom_ones_sit_out() -> None:
    order: list[str] = []
    work = {name: lambda name=name: order.append(name) for name in "ab"}
    found = interleaved(work, 4, seldom={"b": 2})
    assert order == ["a", "b", "a", "a", "b", "a"]
    assert [len(found[name].rounds) for name in "ab"] == [4, 2]


def test_memory_of_a_call_is_seen() -> None:
    if highest_memory_bytes() is None:
        pytest.skip("this system does not tell")
    added = added_memory_bytes(lambda: np.ones(1 << 23))
    assert added is not None
    assert 60e6 < added < 80e6


def test_the_floor_is_the_slowest_part() -> None:
    limits = Limits(copy_gb_s=10.0, product_gflop_s=100.0)
    assert floor_of(Cost(n_bytes=1e9, flops=1e9), limits, {}) == (pytest.approx(0.1), "memory")
    assert floor_of(Cost(n_bytes=1e8, flops=1e10), limits, {}) == (pytest.approx(0.1), "product")
    assert floor_of(Cost(n_bytes=1e9, decodes="run"), limits, {"run": 0.3}) == (0.3, "decoding")
    device = Limits(1000.0, 1e5, to_device_gb_s=20.0, to_host_gb_s=20.0)
    assert floor_of(Cost(n_bytes=1e9, sent_bytes=1e9), device, {}) == (pytest.approx(0.05), "transfer")


def test_no_number_and_other_shapes_never_agree() -> None:
    assert largest_difference(np.array([1.0, np.nan]), np.ones(2)) == np.inf
    assert largest_difference(np.ones(2), np.ones(3)) == np.inf
