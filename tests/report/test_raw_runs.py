"""Raw runs in the report: every failed normalisation on the page, the worst of the others, the rest as files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.preprocess.template import tissue_probabilities
from rsfc_gpu.report import write_report
from rsfc_gpu.report.normalised_plot import NormalisedPlot, template_edges
from rsfc_gpu.report.repeated import Repeated
from rsfc_gpu.report.tables import read_tsv, write_tsv

from .study_folder import AFFINE, SHAPE, write_study


@pytest.fixture(scope="module")
def raw_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("raw"), is_raw=True)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def html(raw_study: Path) -> str:
    return (raw_study / "report.html").read_text(encoding="utf-8")


def test_failed_and_worst_normalisations_are_on_the_page(html: str) -> None:
    captions = re.findall(
        r"Normalised mean image of (sub-\S+ ses-\S+), (failed|rank \d+ from the worst): Dice (\d\.\d+)", html
    )
    shown = dict.fromkeys(captions)  # the caption is also the alternative text of the picture
    assert [words for _, words, _ in shown] == ["failed", *(f"rank {n} from the worst" for n in range(1, 11))]
    dice = [float(value) for _, _, value in shown]
    assert dice[0] == 0.71
    assert dice[1:] == sorted(dice[1:])
    assert "The normalisation of 1 run failed." in html
    assert "11 normalised runs with the ICBM152 brain: 0.948 to 0.970" in html


def test_every_run_has_its_files(raw_study: Path) -> None:
    figures = raw_study / "figures"
    for kind, count in (("normalised", 12), ("motion", 12), ("carpet", 12)):
        assert len(list(figures.glob(f"{kind}_sub-*.png"))) == count, kind
    assert len(list(figures.glob("motion_*.svg"))) == 10  # those on the page, for print


def test_methods_tell_what_was_done_to_raw_runs(html: str) -> None:
    for said in ("interleaved order of acquisition", "realigned", "2.3 mm beside SPM&#39;s", "Sladky", "Ashburner"):
        assert said in html, said


def test_preprocessed_runs_have_no_normalisation(written_study: Path) -> None:
    html = (written_study / "report.html").read_text(encoding="utf-8")
    assert "Normalisation of the raw runs" not in html
    assert "realigned" not in html
    assert "before and after cleaning" in html


def test_edges_are_where_the_template_ends() -> None:
    maps, affine = tissue_probabilities()
    brain = ndimage.binary_fill_holes((sum(maps.values()) > 0.5)[:, :, :: -1 if affine[0, 0] < 0 else 1])
    lines, _ = template_edges()[3]  # z = -6
    slice_at = round(-6.0 - affine[2, 3])
    rows, columns = np.nonzero(brain[slice_at])
    points = np.concatenate(lines)
    first_x = affine[0, 3] if affine[0, 0] > 0 else affine[0, 3] + affine[0, 0] * (brain.shape[2] - 1)
    assert points[:, 0].min() == pytest.approx(first_x + columns.min(), abs=1.0)
    assert points[:, 0].max() == pytest.approx(first_x + columns.max(), abs=1.0)
    assert points[:, 1].min() == pytest.approx(affine[1, 3] + rows.min(), abs=1.0)
    assert points[:, 1].max() == pytest.approx(affine[1, 3] + rows.max(), abs=1.0)


def test_mean_image_lies_under_the_edges() -> None:
    values = np.zeros(SHAPE, dtype=np.float32)
    values[8:23, 7:31, 5:25] = 500.0  # -42 to 42, -84 to 54 and -42 to 66 mm, to the outer edges 3 mm more
    plot = NormalisedPlot()
    plot.show(values, AFFINE, "x")
    picture = plot.moving[2]  # z = -24
    left, right, bottom, top = picture.get_extent()
    bright = np.asarray(picture.get_array()) > 200
    across = left + (right - left) * np.flatnonzero(bright.any(axis=0))[[0, -1]] / bright.shape[1]
    scale = (right - left) / (bright.shape[1] * 6.0)  # paper per millimetre: voxels are 6 mm wide
    assert (across[1] - across[0]) / scale == pytest.approx(84.0)
    up = np.flatnonzero(bright.any(axis=1))
    assert (up[-1] - up[0]) * (top - bottom) / bright.shape[0] / scale == pytest.approx(138.0)


def test_image_without_a_brain_is_drawn_too() -> None:
    plot = NormalisedPlot()
    drawn = Repeated(plot.figure, plot.moving)
    plot.show(np.full(SHAPE, np.nan, np.float32), AFFINE, "empty")
    assert np.asarray(drawn.image()).std() > 0
    far = AFFINE.copy()
    far[:3, 3] += 1000
    plot.show(np.ones(SHAPE, np.float32), far, "elsewhere")
    assert np.asarray(drawn.image()).std() > 0


def test_realignment_that_failed_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    folder = write_study(tmp_path, is_raw=True)
    for number, path in enumerate(sorted(folder.glob("sub-*/**/func/*_desc-motion_timeseries.tsv"))[:2]):
        table = read_tsv(path).drop(columns="kept")
        table.iloc[1 if number else 5 :, 0] = np.nan if number else 1e6  # unknown, or absurd
        table.loc[3:, "framewise_displacement"] = np.nan
        write_tsv(table, path)
    html = write_report(folder).read_text(encoding="utf-8")
    first = re.search(r"Head motion of .*, rank 1: ([\d.]+) mm", html)
    assert first is not None and float(first[1]) == pytest.approx(1e6, rel=1e-3)
    assert "nan mm" not in html
    assert len(list((folder / "figures").glob("motion_*.png"))) == 12
