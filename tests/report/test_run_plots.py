"""Figures of single runs: what they show, and that the quick way of drawing them shows the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rsfc_gpu.report.repeated import FILE_DPI, Repeated
from rsfc_gpu.report.run_plots import CarpetPlot, MotionPlot, RunScales, carpet_greys
from rsfc_gpu.report.style import drawn_image

T = 40
SCALES = RunScales(
    n_volumes=50,
    translation_mm=2.5,
    rotation_degrees=1.0,
    fd_mm=1.2,
    translation_gate_mm=2.0,
    rotation_gate_degrees=2.0,
    fd_threshold_mm=0.5,
)


def made_up(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    fd_mm = rng.gamma(2, 0.1, T)
    return {
        "motion": rng.normal(0, 0.01, (T, 6)).cumsum(axis=0),
        "fd_mm": fd_mm,
        "kept": fd_mm < 0.3,
        "before": rng.integers(-90, 90, (30, T)).astype(np.int8),
        "after": rng.integers(-90, 90, (30, int((fd_mm < 0.3).sum()))).astype(np.int8),
    }


def show_motion(plot: MotionPlot, run: dict[str, Any], title: str) -> None:
    plot.show(run["motion"], run["fd_mm"], run["kept"], title)


def show_carpet(plot: CarpetPlot, run: dict[str, Any], title: str) -> None:
    plot.show(run["before"], run["after"], run["fd_mm"], run["kept"], title)


def new_carpet(scales: RunScales) -> CarpetPlot:
    return CarpetPlot(scales, has_cleaned=True)


@pytest.mark.parametrize(("new", "show"), [(MotionPlot, show_motion), (new_carpet, show_carpet)])
def test_repeated_drawing_shows_what_a_new_figure_shows(new: Any, show: Any) -> None:
    plot = new(SCALES)
    show(plot, made_up(1), "first")
    repeated = Repeated(plot.figure, plot.moving)
    first = np.asarray(repeated.image())
    for number in (2, 1):
        show(plot, made_up(number), "first")
        again = np.asarray(repeated.image())
        fresh = new(SCALES)
        show(fresh, made_up(number), "first")
        fresh.figure.set_dpi(FILE_DPI)
        fresh.figure.canvas.draw()
        whole = np.asarray(drawn_image(fresh.figure)).astype(int)
        different = np.abs(again.astype(int) - whole).max(axis=2) > 100
        assert different.mean() < 0.01  # the moving parts lie over the axes' own lines here
    np.testing.assert_array_equal(again, first)


def test_traces_are_in_millimetres_and_degrees() -> None:
    plot, run = MotionPlot(SCALES), made_up(3)
    show_motion(plot, run, "sub-01: head motion: translation 2.40 mm")
    shift, turn, fd = plot.figure.axes
    traces = [line.get_ydata() for line in shift.lines if len(line.get_ydata()) == T]
    np.testing.assert_array_equal(np.array(traces).T, run["motion"][:, :3])
    traces = [line.get_ydata() for line in turn.lines if len(line.get_ydata()) == T]
    np.testing.assert_allclose(np.array(traces).T, run["motion"][:, 3:] * 180 / np.pi)
    assert [line.get_ydata()[0] for line in shift.lines if len(line.get_ydata()) == 2] == [-2.0, 2.0]
    assert all(len(line.get_ydata()) == T for line in turn.lines)  # its gate lies outside the axes
    assert 0.5 in [line.get_ydata()[0] for line in fd.lines]


@pytest.mark.parametrize("plot", [MotionPlot(SCALES), new_carpet(SCALES)])
def test_scrubbed_volumes_are_marked(plot: Any) -> None:
    run = made_up(4)
    (show_motion if isinstance(plot, MotionPlot) else show_carpet)(plot, run, "x")
    shade = np.asarray(plot.moving[0].get_array())
    np.testing.assert_array_equal(shade[0, :T, 3] > 0, ~run["kept"])
    assert not shade[0, T:].any()


def test_carpets_stand_at_their_volumes() -> None:
    plot, run = new_carpet(SCALES), made_up(5)
    show_carpet(plot, run, "x")
    before, after = (
        np.asarray(image.get_array())[..., 0] for image in (axes.images[0] for axes in plot.figure.axes[1::2])
    )
    np.testing.assert_array_equal(before[:, :T], carpet_greys(run["before"]))
    np.testing.assert_array_equal(after[:, :T][:, run["kept"]], carpet_greys(run["after"]))
    assert (after[:, :T][:, ~run["kept"]] == 255).all()
    assert (before[:, T:] == 255).all() and (after[:, T:] == 255).all()


def test_cleaned_carpet_with_every_volume_or_of_another_length() -> None:
    plot, run = new_carpet(SCALES), made_up(6)
    show_carpet(plot, run | {"after": run["before"]}, "scrubbing by regressors keeps all volumes")
    carpets = [np.asarray(axes.images[0].get_array()) for axes in plot.figure.axes[1::2]]
    np.testing.assert_array_equal(carpets[0], carpets[1])
    show_carpet(plot, run | {"after": run["before"][:, :3]}, "from another run")
    assert (np.asarray(plot.figure.axes[3].images[0].get_array()) == 255).all()


def test_carpet_without_motion_and_study_without_gates() -> None:
    bare = replace(SCALES, translation_gate_mm=None, rotation_gate_degrees=None, fd_threshold_mm=None)
    plot = CarpetPlot(bare, has_cleaned=False)
    plot.show(made_up(7)["before"], None, None, None, "x")
    assert len(plot.figure.axes) == 2
    assert len(MotionPlot(bare).figure.axes[0].lines) == 3


def test_greys_are_two_standard_deviations_each_way() -> None:
    signals = np.array([[-1.0, 1.0] * 10, [5.0] * 20])
    greys = carpet_greys(signals)
    assert set(greys[0]) == {63, 191}
    assert set(greys[1]) == {127}
