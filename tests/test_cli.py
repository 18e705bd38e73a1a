"""The command line: exit codes, one clear line for every bad input, no partial file."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from cuda_on_host.build import missing_compiler
from cuda_on_host.fake_cupy import Device, pretended_gpu
from rsfc_gpu import __version__, cli
from rsfc_gpu.backend import cuda
from rsfc_gpu.images import nifti
from rsfc_gpu.images.nifti import BoldSource
from small_run import AFFINE, SHAPE, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def arguments(folder, out, **changes):
    options = {
        "--mask": folder / "mask.nii.gz",
        "--seeds": folder / "seeds.nii.gz",
        "--motion": folder / "rp.txt",
        "--wm": folder / "wm.nii.gz",
        "--csf": folder / "csf.nii.gz",
        "--out": out,
        "--device": "cpu",
    }
    bold = changes.pop("bold", folder / "bold.nii.gz")
    options |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    words = [
        word
        for name, value in options.items()
        if value is not None
        for word in ([name] if value is True else [name, str(value)])
    ]
    return ["maps", str(bold), *words]


def test_maps(folder, tmp_path, capsys):
    assert cli.main(arguments(folder, tmp_path / "out")) == 0
    printed = capsys.readouterr()
    assert "2 maps in" in printed.out and "117 of 120 volumes kept" in printed.out
    assert "degrees of freedom" in printed.out and "label1 100%" in printed.out
    assert printed.err == ""
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_every_option_changes_the_result(folder, tmp_path):
    def settings_and_map(name, **changes):
        assert cli.main(arguments(folder, tmp_path / name, **changes)) == 0
        path = tmp_path / name / "seed-label1_stat-z_statmap"
        return json.loads(path.with_suffix(".json").read_text()), nibabel.load(f"{path}.nii.gz").get_fdata()

    base, plain = settings_and_map("base")
    for changes in (
        {"motion_model": "6"},
        {"no_scrub": True},
        {"wm": None},
        {"csf": None},
        {"preset": "recommended"},
        {"tr": 1.5},
        {"discard": 5},
        {"fwhm": 6},
        {"engine": "stages"},  # by rounding only
    ):
        name = next(iter(changes))
        sidecar, values = settings_and_map(name, **changes)
        assert not np.array_equal(plain, values, equal_nan=True), name
        assert sidecar["Settings"] != base["Settings"], name


def test_without_motion_nothing_is_scrubbed(folder, tmp_path, capsys):
    assert cli.main(arguments(folder, tmp_path / "out", motion=None, motion_model="none")) == 0
    assert "120 of 120 volumes kept" in capsys.readouterr().out


def test_the_recommended_preset_takes_no_global_signal(folder, tmp_path):
    for preset, expected in (("dparsf", ["white_matter", "csf", "global"]), ("recommended", ["white_matter", "csf"])):
        assert cli.main(arguments(folder, tmp_path / preset, preset=preset)) == 0
        sidecar = json.loads((tmp_path / preset / "seed-label1_stat-z_statmap.json").read_text())
        assert sidecar["Settings"]["tissue_signals"] == expected


def test_confounds_table(folder, tmp_path):
    words = arguments(folder, tmp_path / "o", motion=None, wm=None, csf=None, confounds=folder / "confounds.tsv")
    assert cli.main(words) == 0


def bad_inputs(folder, tmp_path):
    """Name, changed options, what the message must hold."""
    whole = (folder / "bold.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "text.nii.gz").write_text("text")
    (tmp_path / "long.nii.gz").write_bytes(gzip.compress(gzip.decompress(whole) + b"more", compresslevel=1))
    (tmp_path / "checksum.nii.gz").write_bytes(whole[:-8] + bytes([whole[-8] ^ 255]) + whole[-7:])
    np.savetxt(tmp_path / "short.txt", np.zeros((118, 6)))
    (tmp_path / "nothing.txt").write_text("")
    (tmp_path / "words.txt").write_text("no numbers here\n")
    moved = AFFINE.copy()
    moved[2, 3] += 1
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), moved), tmp_path / "moved.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / "empty.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 0.5, np.float32), AFFINE), tmp_path / "half.nii.gz")
    data = np.asarray(nibabel.load(folder / "bold.nii.gz").dataobj)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), tmp_path / "no_tr.nii.gz")
    raw = nibabel.load(tmp_path / "no_tr.nii.gz")
    raw.header.set_zooms((4, 4, 4, 0))
    nibabel.save(nibabel.Nifti1Image(data, AFFINE, raw.header), tmp_path / "no_tr.nii.gz")
    old = (folder / "confounds.tsv").read_text().replace("trans_x", "X")
    (tmp_path / "old.tsv").write_text(old)
    gap = (folder / "confounds.tsv").read_text().splitlines()
    gap[5] = "\t".join(["n/a", *gap[5].split("\t")[1:]])
    (tmp_path / "gap.tsv").write_text("\n".join(gap))
    (tmp_path / "rows.tsv").write_text("\n".join(gap[:100]))
    table = {"motion": None, "wm": None, "csf": None}
    return [
        ({"bold": tmp_path / "nothing.nii.gz"}, "nothing.nii.gz: no such file"),
        ({"bold": tmp_path / "cut.nii.gz"}, "cut.nii.gz: "),
        ({"bold": tmp_path / "long.nii.gz"}, "holds more data than the 120 volumes"),
        ({"bold": tmp_path / "checksum.nii.gz"}, "CRC"),
        ({"bold": tmp_path / "text.nii.gz"}, "not a readable NIfTI file"),
        ({"bold": folder / "mask.nii.gz"}, "expected a 4-D image, found 3 dimensions"),
        ({"bold": tmp_path / "no_tr.nii.gz"}, "repetition time"),
        ({"tr": 2000}, "not between 0.1 and 20 s"),
        ({"tr": 0}, "the repetition time 0.0 is not between"),
        ({"fwhm": "inf"}, "expected a number from 0 to 100"),
        ({"motion": tmp_path / "nothing.txt"}, "holds no rows"),
        ({"mask": tmp_path / "moved.nii.gz"}, "different grids"),
        ({"mask": tmp_path / "empty.nii.gz"}, "is empty"),
        ({"seeds": tmp_path / "moved.nii.gz"}, "different grids"),
        ({"seeds": tmp_path / "empty.nii.gz"}, "there is no seed"),
        ({"seeds": tmp_path / "half.nii.gz"}, "holds integers"),
        ({"seeds": "desikan"}, "unknown atlas 'desikan'"),
        ({"seeds": "juelich-amygdala"}, "the space of the images is not stated"),
        ({"seeds": "juelich-amygdala", "space": "MNI152NLin2009cAsym"}, "MNI152NLin2009cAsym"),
        ({"motion": None}, "no motion parameters"),
        ({"motion": tmp_path / "short.txt"}, "has 118 rows"),
        ({"motion": tmp_path / "words.txt"}, "not a table of numbers"),
        ({"discard": 119}, "cannot discard 119"),
        ({"discard": 90}, "degrees of freedom are left"),
        ({**table, "confounds": tmp_path / "old.tsv"}, "rename it to trans_x"),
        ({**table, "confounds": tmp_path / "gap.tsv"}, "no value in row 5"),
        ({**table, "confounds": tmp_path / "rows.tsv"}, "has 99 rows"),
        ({**table, "wm": folder / "wm.nii.gz", "confounds": folder / "confounds.tsv"}, "leave out --wm"),
        ({"motion": folder / "rp.txt", "wm": None, "csf": None, "confounds": folder / "confounds.tsv"}, "not both"),
    ]


def test_every_bad_input_is_one_clear_line_and_leaves_nothing(folder, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for changes, message in bad_inputs(folder, tmp_path / "in"):
        assert cli.main(arguments(folder, tmp_path / "out", **changes)) == 3, message
        error = capsys.readouterr().err
        assert message in error and error.startswith("rsfc: ") and error.count("\n") == 1, error
        assert not (tmp_path / "out").exists(), message


def test_unwritable_output_is_a_resource_error(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(arguments(folder, tmp_path / "file")) == 6
    assert "cannot write" in capsys.readouterr().err


def test_missing_gpu_is_exit_6_with_the_line_of_devices(folder, tmp_path, capsys):
    missing = cuda.why_unusable()
    if missing is None:
        pytest.skip("this machine has a GPU")
    assert cli.main(arguments(folder, tmp_path / "out", device="cuda")) == 6
    assert capsys.readouterr().err == f"rsfc: {missing}\n"
    assert cli.main(["devices"]) == 0
    assert missing in capsys.readouterr().out


def test_devices_names_every_part_of_cuda(capsys):
    if missing_compiler():
        pytest.skip(missing_compiler())
    with pretended_gpu(Device()):
        assert cli.main(["devices"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "device: ",
        "memory: ",
        "driver: CUDA",
        "runtime: CUDA",
        "NVRTC: ",
        "cuBLAS: ",
        "cuFFT: ",
        "kernels: 4 files",
    ):
        assert f"cuda      {part}" in printed


def test_usage_errors_exit_2(capsys):
    for words in ([], ["maps"], ["fly"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2
    capsys.readouterr()


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"rsfc {__version__}\n"


def test_interrupt_exits_130_without_a_partial_file(folder, tmp_path, monkeypatch, capsys):
    """Control-C while the file is read, and again between two maps that are written."""
    read = BoldSource.volumes

    def interrupted(bold):
        for t, volume in enumerate(read(bold)):
            if t == 20:
                raise KeyboardInterrupt
            yield volume

    monkeypatch.setattr(BoldSource, "volumes", interrupted)
    assert cli.main(arguments(folder, tmp_path / "out")) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(nifti.igzip, "compress", stop)
    assert cli.main(arguments(folder, tmp_path / "out")) == 130
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_another_repetition_time_than_the_header_s_is_noted(folder, tmp_path, capsys):
    assert cli.main([*arguments(folder, tmp_path / "out"), "--tr", "1.7"]) == 0
    assert "repetition time is 2 s; --tr 1.7 is used" in capsys.readouterr().err


def test_a_closed_pipe_is_no_bug():
    """`rsfc devices | true`: an exit code and no traceback."""
    code = "import sys; from rsfc_gpu import cli; sys.exit(cli.main(['devices']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == cli.EXIT_PIPE_CLOSED == 141


def test_starting_is_instant():
    """`import rsfc_gpu` and `rsfc --help` load nothing heavy; the clock is too noisy to assert on."""
    code = """
import sys, rsfc_gpu
from rsfc_gpu import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
heavy = {"numpy", "scipy", "pandas", "numba", "nibabel", "nilearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_simulate_writes_a_study_and_refuses_a_folder_in_use(tmp_path, capsys):
    words = [
        "simulate",
        str(tmp_path / "study"),
        "--participants",
        "12",
        "--volumes",
        "100",
        "--grid",
        "5",
        "--seed",
        "3",
        "--skull-stripped",
    ]
    assert cli.main(words) == 0
    assert "planted effects" in capsys.readouterr().out
    assert (tmp_path / "study" / "participants.tsv").is_file()
    image = nibabel.load(next((tmp_path / "study").rglob("*_desc-preproc_bold.nii.gz")))
    assert not np.asarray(image.dataobj)[:, 0].any()
    assert cli.main(words) == 3
    assert "is not an empty folder" in capsys.readouterr().err
    assert cli.main(["simulate", str(tmp_path / "b"), "--volumes", "20"]) == 3
    assert "expected 100 to 2000" in capsys.readouterr().err
    assert cli.main(["simulate", str(tmp_path / "b"), "--grid", "0"]) == 3
    assert "expected 2 to 5 mm" in capsys.readouterr().err
