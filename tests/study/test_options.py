"""How a study is run changes nothing but how: kept series, the other engine, worker processes, limits."""

from __future__ import annotations

import json
import time
import types
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest

import raw_dataset
import rsfc_gpu.study.run as study_run
from cuda_on_host.build import missing_compiler
from cuda_on_host.fake_cupy import Device, pretended_gpu
from rsfc_gpu.backend import cuda
from rsfc_gpu.cli import main
from rsfc_gpu.images.nifti import BoldSource
from rsfc_gpu.study import device, raw_run
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.device import DeviceChoice
from rsfc_gpu.study.run import RunOptions, run_study
from study_dataset import STUDY, write_dataset

SETTINGS = parse_study(STUDY, "small")
QUIET = RunOptions(device="cpu", jobs=2, report=False, level="participant")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bids"), n_patients=2, n_controls=1)


def files_of(folder):
    """Every file that must not differ between two runs of a study."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not {"logs", "work"} & set(path.relative_to(folder).parts)
        and path.name not in ("provenance.json", "dataset_description.json")
    }


def options(**changes):
    return RunOptions(**(vars(QUIET) | changes))


@pytest.mark.parametrize("form", ["fmriprep", "normalised"])
def test_another_study_of_the_same_runs_decodes_nothing(tmp_path, form, monkeypatch):
    bids, work = write_dataset(tmp_path / "bids", form=form, n_patients=2, n_controls=1), tmp_path / "work"
    other = parse_study(
        STUDY.replace('preset = "dparsf"', 'preset = "dparsf"\nlow_hz = 0.02\ntissue_signals = ["csf"]\nscrub = "none"')
        .replace("radius_mm = 9", "radius_mm = 14")
        .replace("minimum_dof = 5.0", "minimum_dof = 4.0"),
        "other",
    )
    plain, first, second = tmp_path / "plain", tmp_path / "first", tmp_path / "second"
    run_study(bids, plain, other, QUIET)
    run_study(bids, first, SETTINGS, options(work=work))
    kept = sorted(work.rglob("*.series"))
    assert len(kept) == 5 and kept[0].parts[-4:-1] == ("sub-C00", "ses-baseline", "func")
    assert not list(first.rglob("*.series"))
    monkeypatch.setattr(BoldSource, "volumes", lambda self: pytest.fail(f"{self.name} was decoded"))
    run_study(bids, second, other, options(work=work))
    assert files_of(second) == files_of(plain)


@pytest.mark.slow
def test_another_study_of_raw_runs_preprocesses_nothing(tmp_path, cpu, monkeypatch):
    bids, work = tmp_path / "bids", tmp_path / "work"
    bids.mkdir()
    raw_dataset.write_participants(bids, ["01"])
    raw_dataset.add_run(bids, "01", raw_dataset.run(1, cpu))
    first, other = (
        parse_study(raw_dataset.STUDY.replace("minimum_dof", f"low_hz = {low_hz}\nminimum_dof"), "raw")
        for low_hz in (0.01, 0.02)
    )
    for study, out, kept in ((other, "plain", None), (first, "first", work), (other, "second", work)):
        if out == "second":
            monkeypatch.setattr(raw_run, "preprocess", lambda *_, **__: pytest.fail("done again"))
        assert run_study(bids, tmp_path / out, study, options(work=kept)).count("kept") == 1
    assert files_of(tmp_path / "second") == files_of(tmp_path / "plain")


def test_a_changed_image_is_decoded_again(tmp_path):
    bids = write_dataset(tmp_path / "bids", n_patients=2, n_controls=1)
    run_study(bids, tmp_path / "a", SETTINGS, options(work=tmp_path / "work"))
    bold = next(bids.rglob("sub-C00*_bold.nii.gz"))
    image = nibabel.load(bold)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine, image.header), bold)
    run_study(bids, tmp_path / "b", SETTINGS, options(work=tmp_path / "work"))
    run_study(bids, tmp_path / "c", SETTINGS, QUIET)
    assert files_of(tmp_path / "b") == files_of(tmp_path / "c") != files_of(tmp_path / "a")


def test_the_engine_is_part_of_what_a_map_is_made_from(dataset, tmp_path):
    one, other = tmp_path / "operator", tmp_path / "stages"
    run_study(dataset, one, SETTINGS, QUIET)
    run_study(dataset, other, SETTINGS, options(engine="stages"))
    maps = sorted(path.relative_to(one) for path in one.rglob("*_statmap.nii.gz"))
    assert len(maps) == 10
    for path in maps:
        found, expected = (np.asarray(nibabel.load(out / path).dataobj) for out in (other, one))
        np.testing.assert_allclose(np.tanh(found), np.tanh(expected), rtol=0, atol=1e-5)
        sidecar = json.loads((other / str(path).replace(".nii.gz", ".json")).read_text())
        assert sidecar["Settings"]["engine"] == "stages"
    assert run_study(dataset, other, SETTINGS, options(engine="stages")).n_reused == 5
    assert run_study(dataset, other, SETTINGS, QUIET).n_reused == 0
    assert files_of(other) == files_of(one)


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes_as_threads(tmp_path):
    bids = write_dataset(tmp_path / "bids", n_patients=10, n_controls=4)
    for workers in ("threads", "processes"):
        work = tmp_path / f"work-{workers}"
        run_study(bids, tmp_path / workers, SETTINGS, options(workers=workers, level="all", work=work))
    assert files_of(tmp_path / "threads") == files_of(tmp_path / "processes")
    assert len(list((tmp_path / "work-processes").rglob("*.series"))) == 24
    assert json.loads((tmp_path / "processes" / "provenance.json").read_text())["engine"] == "operator"


def test_worker_processes_share_out_the_gpus(monkeypatch):
    monkeypatch.setattr(study_run, "visible_devices", lambda: ["0", "1", "2"])
    plan = types.SimpleNamespace(bytes_each=1)
    gpu, cpu = types.SimpleNamespace(name="cuda"), types.SimpleNamespace(name="cpu")
    choose = study_run._jobs_and_gpus
    processes = RunOptions(workers="processes")
    assert choose(plan, processes, gpu) == (3, ["0", "1", "2"])
    assert choose(plan, RunOptions(workers="processes", jobs=6), gpu) == (6, ["0", "1", "2"])
    assert choose(plan, RunOptions(jobs=2), gpu) == (2, [])
    assert choose(plan, processes, cpu)[1] == choose(plan, RunOptions(scheduler="tcp://h:1"), gpu)[1] == []


def test_tasks_of_a_process_share_a_backend_and_its_limit():
    choice = DeviceChoice("cpu", 1)
    assert choice.open() is DeviceChoice("cpu", 1).open() is not DeviceChoice("cpu", 2).open()
    if missing_compiler() is not None:
        pytest.skip(missing_compiler())
    with pretended_gpu(Device("plain")):
        one, two = DeviceChoice("cuda", 1, 300_000).open(), DeviceChoice("cuda", 2, 300_000).open()
    device._opened.cache_clear()
    assert one is two and one.max_memory_bytes == 300_000


def test_the_limit_reaches_the_tasks(dataset, tmp_path, monkeypatch):
    seen = []

    def watched(function, tasks, **how):
        seen.extend(task.device for task in tasks)
        return map(function, tasks)

    monkeypatch.setattr(study_run, "run_all", watched)
    run_study(dataset, tmp_path, SETTINGS, options(max_gpu_memory_bytes=10**9))
    assert set(seen) == {DeviceChoice("cpu", 1, 10**9)} and len(seen) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--work-dir", "w"], "--work-dir is where --cache keeps series: give --cache too"),
        (["--device", "cpu", "--max-gpu-memory", "4"], "--max-gpu-memory has no meaning with --device cpu"),
        (["--max-gpu-memory", "0"], "expected a positive number of gigabytes, found '0'"),
        (["--max-gpu-memory", "much"], "expected a positive number of gigabytes, found 'much'"),
        (["--engine", "fft"], "invalid choice: 'fft'"),
    ],
)
def test_options_that_contradict_are_usage_errors(dataset, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(dataset), str(tmp_path / "out"), *arguments])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_keeps_series_and_takes_the_engine(dataset, tmp_path, monkeypatch):
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    command = ["run", str(dataset), str(tmp_path / "out"), "participant", "--study", str(study), "--cache"]
    assert main([*command, "--device", "cpu", "--engine", "stages"]) == 0
    kept = sorted((tmp_path / "out" / "work").rglob("*.series"))
    sidecar = json.loads(next((tmp_path / "out").rglob("*_statmap.json")).read_text())
    assert len(kept) == 5 and sidecar["Settings"]["engine"] == "stages"
    monkeypatch.setattr(BoldSource, "volumes", lambda self: pytest.fail(f"{self.name} was decoded"))
    command[2] = str(tmp_path / "again")
    assert main([*command, "--device", "cpu", "--work-dir", str(tmp_path / "out" / "work")]) == 0


@pytest.mark.skipif(cuda.why_unusable() is None, reason="auto takes the GPU here")
def test_a_limit_that_the_cpu_has_no_use_for_is_said_in_the_log(dataset, tmp_path):
    run_study(dataset, tmp_path, SETTINGS, options(device="auto", max_gpu_memory_bytes=10**9))
    assert "limit of GPU memory is not used" in next((tmp_path / "logs").iterdir()).read_text()


def test_threads_that_open_a_device_together_share_one(monkeypatch):
    opened = []

    def slow(*_, **__):
        time.sleep(0.05)
        opened.append(object())
        return opened[-1]

    monkeypatch.setattr(device, "select_backend", slow)
    choice = DeviceChoice("cuda", max_gpu_memory_bytes=123_457)  # nobody else's
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: choice.open(), range(8))) == set(opened) and len(opened) == 1
