"""The report page in a real browser: it plays, seeks, stays inside itself and fits a phone."""

import base64
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.inference.networks import write_checkpoint
from tests.videos import write_video
from videonl import Predictor
from videonl.inference import timeline_of
from videonl.reports import video_page

NAMES = ["<script>document.title='bad'</script>", "jump & run", "wave"]
WIDE = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
REQUESTS = (
    "return performance.getEntriesByType('resource').map(e => e.name)"
    ".filter(name => !name.startsWith('data:'))"
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("checkpoint")
    return Predictor.from_checkpoint(write_checkpoint(folder, class_names=NAMES), device="cpu")


def write_page(predictor: Predictor, video: Path, *, timeline: bool = True) -> Path:
    found = None
    if timeline:
        windows = timeline_of(predictor, video, window=2.0, hop=1.0)
        found = (windows, windows.segments())
    page = video.with_suffix(".html")
    page.write_text(video_page(predictor.predict(video, views=(1, 1)), found))
    return page


def test_the_page_plays_seeks_and_needs_nothing_else(
    predictor: Predictor, tmp_path: Path, browser: Browser
) -> None:
    name = tmp_path / "<img src=x onerror=alert(1)>.webm"
    video = write_video(name, 30, fps=5, codec="libvpx")
    page = write_page(predictor, video)
    browser.open(page)
    wait_until(browser, "document.getElementById('video').readyState >= 2")
    assert "onerror" in browser.run("return document.title")
    assert browser.run("return document.querySelectorAll('main script, img[onerror]').length") == 0
    # A click on the timeline seeks, and the window of that moment is lit.
    browser.run(
        "const track = document.getElementById('track'), box = track.getBoundingClientRect();"
        "track.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width * .8,"
        "bubbles: true}));"
    )
    now = "return document.getElementById('video').currentTime"
    assert browser.run(now) == pytest.approx(4.8, abs=0.1)
    assert browser.run("return document.getElementById('window').dataset.number") == "4"
    assert browser.run("return document.querySelectorAll('.segment.lit').length") == 1
    # The keyboard alone: the arrows go by a second, and a frame's button answers to Enter.
    browser.run("document.getElementById('seek').focus()")
    browser.press("\ue012")
    assert browser.run(now) == pytest.approx(3.8, abs=0.1)
    browser.run("document.querySelector('.strip button').focus()")
    browser.press("\ue007")
    assert browser.run(now) == pytest.approx(0, abs=0.01)
    browser.run("const v = document.getElementById('video'); v.muted = true; v.play();")
    wait_until(browser, "document.getElementById('video').currentTime > 0.3")
    wait_until(browser, "Number(document.getElementById('seek').value) > 0")
    assert browser.run(REQUESTS) == []
    assert browser.messages() == []


@pytest.mark.parametrize("timeline", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_key_frames_stand_in_and_it_fits_a_phone(
    timeline: bool, predictor: Predictor, tmp_path: Path, browser: Browser
) -> None:
    video = write_video(tmp_path / f"{'long-name' * 12}.avi", 60, codec="mpeg4")
    page = write_page(predictor, video, timeline=timeline)
    browser.open(page)
    assert browser.run("return document.getElementById('video')") is None
    before = browser.run("return document.getElementById('still').src")
    assert base64.b64decode(before.split(",")[1])[:2] == b"\xff\xd8"
    browser.run("document.getElementById('seek').focus()")
    browser.press("\ue014")
    assert browser.run("return document.getElementById('still').src") != before
    assert "1.0 s of 2.4 s" in browser.run("return document.getElementById('now').textContent")
    assert browser.run(WIDE)
    assert browser.run(REQUESTS) == []
    assert browser.messages() == []
    browser.be(375)
    browser.open(page)
    assert browser.run("return innerWidth") == 375
    assert browser.run("return document.body.scrollWidth") <= 375


def test_a_large_file_is_not_embedded(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    assert "data:video/mp4;base64," in write_page(predictor, video).read_text()
    monkeypatch.setattr("videonl.reports.video.EMBED_BYTES", 100)
    page = write_page(predictor, video).read_text()
    assert "data:video" not in page
    assert "more than the" in page
    assert "<script>document.title" not in page


def wait_until(browser: Browser, condition: str) -> None:
    script = f"return {condition}"
    for _ in range(600):
        if browser.run(script):
            return
    raise AssertionError(f"never: {condition}")
