"""The report of an output folder: whole, self-contained, safe against text in the tables, and repeatable."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from rsfc_gpu import cli
from rsfc_gpu.errors import InputError
from rsfc_gpu.report import write_report
from rsfc_gpu.report.group_maps import _long_meanings
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Interactive, Page, Picture, Section, Text, render
from rsfc_gpu.report.people import in_order_of_the_study
from rsfc_gpu.report.provenance import facts_of
from rsfc_gpu.report.style import SavedFigure
from rsfc_gpu.report.viewers import Viewer

from .study_folder import FORMULA, write_study

ORDER = ["participants", "quality", "maps", "clinical", "methods", "failures", "provenance"]


class Reader(HTMLParser):
    """Collects the elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sources: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in ("script", "style"):
            self.sources.append((self.cdata_elem, data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


@pytest.fixture(scope="module")
def html(written_study: Path) -> str:
    return (written_study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Reader:
    return read(html)


def test_sections_follow_the_data(page: Reader) -> None:
    assert [one["id"] for one in page.of("section")] == ORDER


def test_page_is_small_and_alone(html: str, page: Reader) -> None:
    assert len(html.encode()) < 30_000_000
    for _, attributes in page.elements:
        for name in ("src", "data", "action", "poster", "background"):
            assert (attributes.get(name) or "data:").startswith("data:")
    for link in page.of("link"):
        assert (link["href"] or "").startswith("data:")


def test_tables_cannot_bring_elements_or_handlers(page: Reader) -> None:
    assert page.of("script") == []
    assert [image for image in page.of("img") if not (image["src"] or "").startswith("data:image/png")] == []
    for tag, attributes in page.elements:
        assert [name for name in attributes if name.startswith("on") or name == "style"] == [], tag


def test_hostile_text_is_shown_as_text(html: str) -> None:
    outside_frames = re.sub(r'srcdoc="[^"]*"', "", html)
    assert "&lt;script&gt;alert(&#34;x&#34;)" in outside_frames
    assert "<script" not in outside_frames


def test_policy_names_every_script_and_style_and_nothing_more(html: str, page: Reader) -> None:
    policy = next(one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    frames = [read(one["srcdoc"] or "") for one in page.of("iframe")]
    assert len(frames) == 2
    sources = page.sources + [source for frame in frames for source in frame.sources]
    allowed = set(re.findall(r"'sha256-[^']+'", str(policy)))
    needed = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for _, text in sources}
    assert allowed == needed
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)


def test_viewers_fetch_nothing_and_hold_no_inline_parts(page: Reader) -> None:
    for frame in page.of("iframe"):
        assert frame["sandbox"] == "allow-scripts"
        inner = read(frame["srcdoc"] or "")
        assert inner.of("link") == []
        for tag, attributes in inner.elements:
            assert "style" not in attributes, tag
            assert (attributes.get("src") or "data:").startswith("data:")


def test_files_that_the_page_names_exist(written_study: Path, page: Reader) -> None:
    named = [one["href"] or "" for one in page.of("a")]
    files = [name for name in named if not name.startswith("#")]
    assert len(files) > 20
    assert [name for name in files if not (written_study / name).is_file()] == []
    anchors = [name[1:] for name in named if name.startswith("#")]
    assert anchors == ORDER


def test_results_stand_in_the_page(html: str) -> None:
    for said in (
        "24 analysed",
        "Precuneus_L",
        "t(19)",
        "F(1,\N{NO-BREAK SPACE}19)",
        "Figure 1.",
        "Cross-validated AUC",
        "cross-validated r = 0.21",
        "over all 3 tests",
        "no group has 3 people",
        "1 run failed",
        "rsfc run &#39;my data&#39;",
        "FSL licence",
        "numpy 2.4.6",
        "24 motion regressors",
    ):
        assert said in html, said


def test_cluster_below_the_threshold_of_q_is_not_listed(written_study: Path) -> None:
    table = (written_study / "tables/clusters_patients-controls.tsv").read_text()
    assert len(table.splitlines()) == 1 + 2


def test_long_contrasts_are_told_once_under_the_table() -> None:
    weights = "a@two - a@one - b@two + b@one"
    rows = [("interaction", f"{weights} above 0"), ("interaction", f"{weights} below 0")]
    rows.append(("time", "0.5*a + 0.5*b above 0"))
    told = _long_meanings(pd.DataFrame(rows, columns=["contrast", "meaning"]))
    assert told == []
    rows[0] = ("interaction", f"responder {weights} above 0")
    told = _long_meanings(pd.DataFrame(rows[::2], columns=["contrast", "meaning"]))
    assert told == [
        f"Direction, interaction: of responder {weights}.",
        "Direction, time: of 0.5 \N{MULTIPLICATION SIGN} a + 0.5 \N{MULTIPLICATION SIGN} b.",
    ]


def test_no_file_starts_a_formula(written_study: Path) -> None:
    for path in written_study.rglob("*.tsv"):
        for line in path.read_text().splitlines():
            for cell in line.split("\t"):
                assert not cell.startswith(("=", "+", "@")), path
    assert f"'{FORMULA}" in (written_study / "tables/failed.tsv").read_text()


def test_same_folder_gives_the_same_page(written_study: Path, html: str) -> None:
    assert write_report(written_study).read_text(encoding="utf-8") == html


def test_figure_of_a_cluster_that_is_gone_is_taken_away(tmp_path: Path) -> None:
    write_study(tmp_path, with_results=False)
    (tmp_path / "figures").mkdir()
    stale, foreign = tmp_path / "figures/map_old_old_LBleft.png", tmp_path / "figures/mine.png"
    for path in (stale, foreign):
        path.write_bytes(b"")
    write_report(tmp_path)
    assert not stale.exists()
    assert foreign.exists()


def test_model_that_was_taken_out_of_the_study_is_not_shown(written_study: Path, tmp_path: Path) -> None:
    for name in ("study.json", "provenance.json", "participants_flow.tsv"):
        shutil.copy(written_study / name, tmp_path / name)
    shutil.copytree(written_study / "group", tmp_path / "group")
    names = [model["name"] for model in Outputs.open(tmp_path).models]
    study = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    out = study["models"].pop(0)
    (tmp_path / "study.json").write_text(json.dumps(study), encoding="utf-8")
    assert len(names) > 1 and [model["name"] for model in Outputs.open(tmp_path).models] == [
        name for name in names if name != out["name"]
    ]


def test_study_without_any_result_has_a_report(tmp_path: Path) -> None:
    html = write_report(write_study(tmp_path, with_results=False)).read_text(encoding="utf-8")
    assert "No run came as far" in html
    assert "No results of patients-controls, response-time, skipped-model in this folder" in html
    assert "runs failed" in html
    assert "random field theory" not in html


def test_model_without_a_fit_is_no_result(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    for path in folder.glob("group/model-*/model.json"):
        model = json.loads(path.read_text(encoding="utf-8"))
        model |= {"fits": {seed: {"skipped": "too few people"} for seed in model.get("seeds", ())}}
        path.write_text(json.dumps(model), encoding="utf-8")
    pd.read_csv(folder / "group/clusters.tsv", sep="\t").iloc[:0].to_csv(
        folder / "group/clusters.tsv", sep="\t", index=False
    )
    html = write_report(folder).read_text(encoding="utf-8")
    assert "Seed LBleft was not analysed: too few people" in html
    assert "statistic maps" not in html
    assert "flexible factorial" not in html and "random field theory" not in html


def test_runs_that_left_the_dataset_are_not_shown(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    names = sorted(path.name.split("_desc-")[0] for path in folder.glob("sub-*/**/func/*_desc-motion_timeseries.tsv"))
    flow = pd.read_csv(folder / "participants_flow.tsv", sep="\t")
    flow["bold"] = [f"run {number}" for number in range(len(flow))]
    flow.to_csv(folder / "participants_flow.tsv", sep="\t", index=False, na_rep="n/a")
    for number, name in enumerate(names):
        func = next(folder.glob(f"sub-*/**/func/{name}_desc-motion_timeseries.tsv")).parent
        record = {"bold": f"run {number}" if number else "a run that is gone"}
        (func / f"{name}_desc-run_record.json").write_text(json.dumps(record), encoding="utf-8")
    sidecar = next(folder.glob(f"sub-*/**/func/{names[0]}_seed-LBleft_stat-z_statmap.json"))
    former = json.loads(sidecar.read_text(encoding="utf-8"))
    former["Settings"]["low_hz"] = 0.0123
    sidecar.write_text(json.dumps(former), encoding="utf-8")
    outputs = Outputs.open(folder)
    assert outputs.former_runs == {names[0]}
    assert sorted(outputs.run_files("desc-carpet_signals.npy")) == names[1:] == sorted(outputs.run_records)
    assert facts_of(outputs).denoise["low_hz"] == 0.01


def test_visits_stand_in_the_order_of_the_study() -> None:
    study = {
        "participants": {"baseline": "pre", "follow_up": ["post"]},
        "models": [{"levels": ["patient", "control"], "sessions": ["pre", "later"]}],
    }
    rows = [("control", "pre"), ("patient", "other"), ("patient", "later"), ("patient", "post"), ("patient", "pre")]
    flow = pd.DataFrame(rows, columns=["group", "session_id"])
    ordered = in_order_of_the_study(flow, study)
    assert list(ordered.columns) == ["group", "session_id"]
    assert ordered["session_id"].tolist() == ["pre", "post", "later", "other", "pre"]
    assert ordered["group"].tolist() == ["patient"] * 4 + ["control"]


def test_other_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"participants_flow\.tsv"):
        write_report(tmp_path)
    assert cli.main(["report", str(tmp_path)]) == 3
    assert "rsfc run" in capsys.readouterr().err


def test_damaged_file_is_named(tmp_path: Path) -> None:
    write_study(tmp_path, with_results=False)
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(InputError, match=r"provenance\.json"):
        write_report(tmp_path)


def test_page_stays_below_its_limit(tmp_path: Path) -> None:
    uri = "data:image/png;base64," + "A" * 1_000_000
    large = SavedFigure(tmp_path / "a.png", tmp_path / "a.svg", lambda: uri, 10, 10)
    pictures = tuple(Picture(large, f"Figure {n}", f"figures/{n}.png") for n in range(6))
    viewers = tuple(Interactive(Viewer("<p>" + "x" * 900_000, ("f()",)), f"viewer {n}") for n in range(3))
    page = Page("t", "s", (Section("a", "A", (Text("kept"), *viewers, *pictures)),))
    html = render(page, most_bytes=6_500_000)
    assert len(html.encode()) <= 6_500_000
    assert html.count("data:image/png") == 4  # pictures first, in order, then what room is left
    assert "figures/4.png" in html and "left out of the page" in html
    assert "kept" in html
    assert render(page).count("<iframe") == 3
