"""What the block looks at, on the report page: there with a block, else absent or one line."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import Browser
from tests.inference.networks import write_checkpoint
from tests.videos import write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.errors import VideoNLError
from videonl.reports import attention_section, video_page

NAMES = ["$\\bad$ <b>", "jump_up", "wave"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    return write_video(folder / '$\\x$ "><img src=x onerror=alert(1)>.mp4', 30)


def with_block(folder: Path) -> Path:
    return write_checkpoint(folder, name="tiny_i3d_nl2", class_names=NAMES)


def test_the_picture_is_on_the_page_and_fits_a_phone(
    video: Path, tmp_path: Path, browser: Browser
) -> None:
    predictor = Predictor.from_checkpoint(with_block(tmp_path), device="cpu")
    section = attention_section(predictor, video)
    page = tmp_path / "page.html"
    page.write_text(video_page(predictor.predict(video, views=(1, 1)), None, attention=section))
    browser.open(page)
    words = browser.run("return document.querySelector('.attention').innerText")
    assert "What the block looks at" in words
    assert "res4.0" in words
    assert "the block adds nothing" in words  # it is not trained
    assert " s (frame " in words
    assert "This row is nearly even: " in words
    assert "\N{NO-BREAK SPACE}% of that of equal weights" in words
    picture = browser.run(
        "const p = document.querySelector('.attention img');"
        "return [p.naturalWidth, p.naturalHeight, p.alt, p.src]"
    )
    alt, (head, data) = picture[2], picture[3].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == tuple(picture[:2])
    assert picture[0] >= 700
    assert alt.startswith(f"Frames of {video.name} with ")
    assert "arrows from the query at" in alt
    assert browser.run("return document.querySelectorAll('img[onerror]').length") == 0
    requests = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in browser.run(requests) if not name.startswith("data:")] == []
    assert browser.messages() == []
    browser.be(375)
    browser.open(page)
    assert browser.run("return document.body.scrollWidth") <= 375
    wide = "const w = document.querySelector('.wide'); "
    assert browser.run(wide + "w.focus(); return document.activeElement === w")
    assert browser.run(wide + "return w.scrollWidth > w.clientWidth")


def test_a_network_without_a_block_has_no_section(video: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_checkpoint(write_checkpoint(tmp_path), device="cpu")
    assert attention_section(predictor, video) == ""


def test_attention_that_fails_is_one_line(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise VideoNLError(f"{video}: <i>no</i> positions")

    monkeypatch.setattr("videonl.reports.video.attend", fails)
    predictor = Predictor.from_checkpoint(with_block(tmp_path), device="cpu")
    assert attention_section(predictor, video) == (
        '<p class="note">What the block looks at cannot be shown: '
        "&lt;i&gt;no&lt;/i&gt; positions</p>\n"
    )


def test_the_command_writes_it(video: Path, tmp_path: Path) -> None:
    words = ["predict", str(video), "--checkpoint", str(with_block(tmp_path)), "--device", "cpu"]
    page = tmp_path / "page.html"
    assert main([*words, "--views", "1x1", "--no-isolate", "--report", str(page)]) == 0
    assert page.read_text().count('<section class="attention">') == 1
