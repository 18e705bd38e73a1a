"""The page as a browser sees it: no error, no request, every image there, viewers that answer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .chromium import Browser, browser

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module", params=[1400, 420], ids=["wide", "narrow"])
def page(
    request: pytest.FixtureRequest, written_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    pytest.importorskip("websocket", reason="websocket-client drives Chromium: pip install websocket-client")
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        opened.open(written_study / "report.html", request.param)
        yield opened


def test_console_has_no_error(page: Browser) -> None:
    logged = [one["entry"] for one in page.happened("Log.entryAdded", before=page.n_loading)]
    said = page.happened("Runtime.consoleAPICalled", before=page.n_loading)
    assert [entry for entry in logged if entry["level"] == "error"] == []
    assert [one for one in said if one["type"] == "error"] == []
    assert page.happened("Runtime.exceptionThrown", before=page.n_loading) == []


def test_nothing_is_requested_but_the_page(page: Browser) -> None:
    requested = [one["request"]["url"] for one in page.happened("Network.requestWillBeSent")]
    assert any(url.endswith("/report.html") for url in requested)  # requests are seen at all
    assert [url for url in requested if not url.startswith("data:") and not url.endswith("/report.html")] == []


def test_every_image_is_loaded(page: Browser) -> None:
    sizes = page.evaluate("Array.from(document.images, image => image.complete ? image.naturalWidth : 0)")
    assert len(sizes) > 10
    assert min(sizes) > 100


def test_text_from_tables_made_no_element(page: Browser) -> None:
    assert page.evaluate("document.scripts.length") == 0  # the viewers' own are within their frames
    assert page.evaluate("document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert "<script>alert" in page.evaluate("document.body.innerText")
    assert page.happened("Page.javascriptDialogOpening") == []


def test_page_is_not_wider_than_the_window(page: Browser) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True


def test_viewer_answers_a_click(page: Browser) -> None:
    (first, *_) = page.frames()
    page.evaluate("document.querySelector('iframe').scrollIntoView({block: 'center', behavior: 'instant'})")
    # The place in the left slice, within the frame; from the page's side, nothing may lie over it.
    width, height = page.evaluate("[innerWidth, innerHeight]", frame=first)
    x, y = 0.13 * width, 0.45 * height
    on_top = page.evaluate(
        "(() => { const frame = document.querySelector('iframe'), box = frame.getBoundingClientRect();"
        f"return document.elementFromPoint(box.x + {x}, box.y + {y}) === frame; }})()"
    )
    assert on_top is True
    drawn = "document.querySelector('canvas').toDataURL()"
    before = page.evaluate(drawn, frame=first)
    page.listen(0.5)
    assert page.evaluate(drawn, frame=first) == before  # nothing moves by itself
    page.click(x, y, frame=first)
    page.wait_until(lambda: page.evaluate(drawn, frame=first) != before, "the viewer draws what was clicked at")


def test_script_without_a_known_hash_does_not_run(page: Browser) -> None:
    page.evaluate(
        "(() => { const script = document.createElement('script'); script.textContent = 'window.intruder = 1';"
        "document.body.append(script); script.remove(); })()"
    )
    assert page.evaluate("typeof window.intruder") == "undefined"
