"""The figures: numbers behind them are right, files are whole and repeatable, odd input is drawn too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from PIL import Image

from rsfc_gpu.errors import InputError
from rsfc_gpu.report.brain_maps import brain_map, colours, scale_end, slice_positions, within_clusters
from rsfc_gpu.report.flow_chart import FlowArm, FlowStep, flow_chart
from rsfc_gpu.report.people import flow_arms
from rsfc_gpu.report.post_hoc import post_hoc
from rsfc_gpu.report.quality import by_group, qc_fc, seed_coverage
from rsfc_gpu.report.roc_curve import roc_curve
from rsfc_gpu.report.scatter import line_with_interval, scatter
from rsfc_gpu.report.style import save_figure

from .study_folder import AFFINE, SHAPE


def texts(figure: Any) -> str:
    """All words of a figure."""
    found = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in found if text.get_text())


def test_interval_of_the_line_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    y = 2 * x + rng.normal(size=30)
    y[3] = np.nan
    at, line, low, high = line_with_interval(x, y, points=7)
    fit = sm.OLS(np.delete(y, 3), sm.add_constant(np.delete(x, 3))).fit()
    expected = fit.get_prediction(sm.add_constant(at)).summary_frame(alpha=0.05)
    np.testing.assert_allclose(line, expected["mean"], rtol=1e-10)
    np.testing.assert_allclose(low, expected["mean_ci_lower"], rtol=1e-10)
    np.testing.assert_allclose(high, expected["mean_ci_upper"], rtol=1e-10)


def test_line_needs_spread() -> None:
    with pytest.raises(InputError, match="spread in x"):
        line_with_interval([1, 1, 1], [1, 2, 3])


def test_flow_chart_of_the_published_study() -> None:
    patients = FlowArm(
        (
            FlowStep("Treated", 103, (("did not complete six infusions", 13),)),
            FlowStep("Completed", 90, (("no MRI", 45), ("low quality", 1), ("head motion", 5))),
            FlowStep("Analysed", 39),
        ),
        (("responders", 19), ("nonresponders", 20)),
    )
    words = texts(flow_chart([patients, FlowArm((FlowStep("Controls", 45),))])).replace("\N{NO-BREAK SPACE}", " ")
    for expected in ("Treated (n = 103)", "Left out (n = 51)", "no MRI (n = 45)", "(n = 19)", "Controls (n = 45)"):
        assert expected in words


def test_flow_counts_people_once_at_their_first_loss() -> None:
    rows = [
        ("1", "MDD", "analysed", "kept", None),
        ("1", "MDD", "analysed", "kept", None),
        ("2", "MDD", "participant", "excluded", "session day13 was left out"),
        ("2", "MDD", "motion", "excluded", "2.4 mm"),
        ("3", "MDD", "enrolment", "excluded", "no MRI"),
        ("4", "MDD", "images", "failed", "ends early"),
        ("5", "MDD", "analysed", "kept", None),
        ("5", "MDD", "motion", "excluded", "one visit only"),  # stays: the study keeps the other visit
        ("6", "HC", "analysed", "kept", "not in one of the models"),
    ]
    flow = pd.DataFrame(rows, columns=["participant_id", "group", "stage", "status", "reason"])
    people = pd.DataFrame({"participant_id": ["1", "5", "6"], "response": ["responder", "nonresponder", None]})
    patients, controls = flow_arms(flow, people)
    assert [step.n for step in patients.steps] == [5, 4, 2]
    assert patients.steps[0].left == (("no MRI", 1),)
    assert dict(patients.steps[1].left) == {"head motion beyond the limit": 1, "image missing or damaged": 1}
    assert patients.groups == (("responder", 1), ("nonresponder", 1))
    assert [step.n for step in controls.steps] == [1, 1]
    assert controls.groups == ()


def test_map_shows_wanted_clusters_only() -> None:
    values = np.full((4, 4, 4), 2.0, dtype=np.float32)
    values[0, 0, 0] = np.nan
    labels = np.zeros((4, 4, 4), dtype=np.int16)
    labels[0], labels[2] = 1, 2
    shown = within_clusters(values, labels, [1])
    assert shown[0].sum() == 2 * 15  # the missing voxel counts as nothing
    assert not shown[1:].any()


def test_slices_go_through_the_peaks() -> None:
    heights = slice_positions([[0, 0, 42.0], [0, 0, -18.0], [9, 9, 43.0]])
    assert {42.0, -18.0} <= set(heights)
    assert heights == sorted(heights)
    assert len(heights) == 7
    assert min(np.diff(heights)) >= 4


@pytest.mark.parametrize("kind", ["t", "F"])
def test_colours_are_grey_below_the_threshold_and_darker_with_strength(kind: Any) -> None:
    table = colours(3.0, 6.0, kind=kind).colors
    level = np.linspace(-6, 6, len(table))
    assert np.ptp(table[np.abs(level) < 3.0][:, :3]) == 0
    brightness = table[level > 3.0][:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) <= 1e-9).all()
    assert brightness[0] - brightness[-1] > 0.4


def figures() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    values = np.zeros(SHAPE, dtype=np.float32)
    values[10:13, 10:13, 10:13] = 5
    groups = ["a $x$ long <name> of a group"] * 6 + ["b"] * 6
    before_after = pd.DataFrame({"g": ["r"] * 5 + ["n"], "before": rng.normal(size=6), "after": rng.normal(size=6)})
    return {
        "brain": brain_map(values, AFFINE, threshold=3.1, kind="t", scale_label="t(20)", peaks_mm=[[24, -60, -6]]),
        "empty_brain": brain_map(np.zeros(SHAPE, np.float32), AFFINE, threshold=3.1, kind="F", scale_label="F(1, 20)"),
        "scatter": scatter(rng.normal(size=9), rng.normal(size=9), x_label="$x$", y_label="y", note="$1 costs $2"),
        "scatter_of_nothing": scatter([], [], x_label="x", y_label="y"),
        "roc": roc_curve([0, 0.2, 1], [0, 0.9, 1], note="AUC", best=(0.9, 0.8)),
        "post_hoc": post_hoc(before_after, group="g", before="before", after="after", y_label="z"),
        "by_group": by_group(
            {"FD": rng.gamma(1, size=12)}, groups, kept=[False] + [True] * 11, gates={"FD": (1.0, "gate")}
        ),
        "coverage": seed_coverage({"LBleft": rng.uniform(0.5, 1, 12), "none": [np.nan] * 12}, minimum=0.5),
        "qc_fc": qc_fc({"LBleft": rng.normal(0, 0.2, 500)}, n=30),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return figures()


def test_each_figure_is_saved_for_print_and_for_the_page(drawn: dict[str, Any], tmp_path: Path) -> None:
    for name, figure in drawn.items():
        saved = save_figure(figure, tmp_path / name)
        with Image.open(saved.png) as image:
            mm = image.width / image.info["dpi"][0] * 25.4
            assert abs(mm - 89) < 1 or abs(mm - 183) < 1, name
            assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
            assert len(image.convert("L").getcolors(image.width * image.height)) > 5, f"{name} is blank"
        assert b"<svg" in saved.svg.read_bytes()[:2000]
        assert saved.data_uri.startswith("data:image/png;base64,")


def test_figures_are_the_same_each_time(drawn: dict[str, Any], tmp_path: Path) -> None:
    again = figures()
    for name in ("scatter", "by_group", "brain"):
        one, two = save_figure(drawn[name], tmp_path / "one"), save_figure(again[name], tmp_path / "two")
        assert one.png.read_bytes() == two.png.read_bytes(), name
        assert one.svg.read_bytes() == two.svg.read_bytes(), name


def test_text_with_signs_of_mathematics_is_text(drawn: dict[str, Any]) -> None:
    assert "$1 costs $2" in texts(drawn["scatter"])


def test_text_of_an_svg_is_text(drawn: dict[str, Any], tmp_path: Path) -> None:
    svg = save_figure(drawn["scatter"], tmp_path / "scatter").svg.read_text(encoding="utf-8")
    assert ">$1 costs $2</text>" in svg


def test_users_own_style_changes_nothing(drawn: dict[str, Any], tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        other = save_figure(roc_curve([0, 0.2, 1], [0, 0.9, 1], note="AUC", best=(0.9, 0.8)), tmp_path / "other")
    assert other.png.read_bytes() == save_figure(drawn["roc"], tmp_path / "roc").png.read_bytes()


def test_scale_of_a_map_is_not_stretched_by_a_few_voxels() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(3.5, 8.0, (10, 10, 10)).astype(np.float32)
    assert scale_end(values, 3.0) == pytest.approx(float(values.max()))
    values[0, 0, :5] = 120.0
    assert scale_end(-values, 3.0) == pytest.approx(2 * np.percentile(values, 90), rel=1e-6)
    stretched = brain_map(values, AFFINE, threshold=3.0, kind="t", scale_label="t(20)")
    assert f"\N{GREATER-THAN OR EQUAL TO}{scale_end(values, 3.0):.1f}" in texts(stretched)
    assert scale_end(np.zeros((2, 2, 2), np.float32), 3.0) > 3.0
