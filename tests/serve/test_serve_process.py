"""``videonl serve`` as a process: signals, kill, a full queue, the browser."""

import base64
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.browser import Browser
from tests.inference.networks import NAMES, write_checkpoint
from tests.serve.serving import Server, served, serving
from tests.videos import write_video
from videonl.cli.main import main
from videonl.shares import percent
from videonl.video import Spool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve process")
    write_checkpoint(folder)
    write_video(folder / "a clip.mp4", 30)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(9, marks=pytest.mark.slow),
    ],
)
def test_signals_end_it_and_leave_nothing(number: int, folder: Path, tmp_path: Path) -> None:
    with served(folder / "model.safetensors", temporary=tmp_path) as server:
        half = server.open()
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\n\r\n"
        half.sendall(head.encode() + b"\0" * 1_500_000)
        assert server.post("/predict?views=1x1", (folder / "a clip.mp4").read_bytes())[0] == 200
        assert server.ask("GET", "/health")[1]["busy"] == 1
        half.close() if number != 9 else None
        server.process.send_signal(number)
        code = server.process.wait(timeout=120)
        half.close()
    assert code == (0 if number != 9 else -9)
    assert not list(tmp_path.iterdir()), "an upload was left"


def test_a_full_queue_says_when_to_come_back(folder: Path) -> None:
    video = (folder / "a clip.mp4").read_bytes()
    with serving(folder / "model.safetensors", room=1) as server:
        with server.open() as slow:
            head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000\r\n\r\n"
            slow.sendall(head.encode() + b"\0" * 10)
            while not server.ask("GET", "/health")[1]["busy"]:
                time.sleep(0.02)
            status, answer, headers = server.upload("/predict", video)
            assert (status, answer["error"][:18]) == (503, "the server is busy")
            assert int(headers["retry-after"]) >= 1
        assert server.idle()
        assert server.upload("/predict?views=1x1", video)[0] == 200


def test_a_file_that_takes_too_long_is_given_up(folder: Path, monkeypatch) -> None:
    video = (folder / "a clip.mp4").read_bytes()
    with serving(folder / "model.safetensors", seconds=1.0) as server:
        pool = server.service.desk.pool
        for child in list(pool._idle):
            child.wait_until_ready()
            child._process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        status, answer, _ = server.upload("/predict?views=1x1", video)
        assert (status, "takes longer than 1 s" in answer["error"]) == (504, True)
        assert time.monotonic() - start < 60
        assert server.idle()


def test_named_files_where_there_are_no_nameless_ones(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "videonl-spool-999999999-left").mkdir()
    spool = Spool(nameless=False)
    names = [path.name for path in tmp_path.iterdir()]
    assert [name.startswith(f"videonl-spool-{os.getpid()}-") for name in names] == [True]
    with spool.new() as file:
        assert Path(file.path).stat().st_mode & 0o077 == 0
    assert not list(spool.folder.iterdir())
    left = spool.new()
    spool.close()
    left.handle.close()
    assert not list(tmp_path.iterdir())


def test_words_before_it_starts(folder: Path, capsys, monkeypatch) -> None:
    checkpoint = ["--checkpoint", str(folder / "model.safetensors")]
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *checkpoint, "--port", "70000"])
    assert main(["serve", *checkpoint, "--host", "203.0.113.7"]) == 2
    assert main(["serve", *checkpoint, "--host", "a..b"]) == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", *checkpoint]) == 2
    words = capsys.readouterr().err.splitlines()
    assert len(words) == 4
    assert "a whole number from 0 to 65535" in words[0]
    assert "cannot listen on 203" in words[1]
    assert "cannot listen on a..b" in words[2]
    assert "pip install 'videonl[serve]'" in words[3]


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_warning_where_others_can_reach_it(
    host: str, warned: bool, folder: Path, capsys, monkeypatch
) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="needs videonl[serve]")
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of this process stay
    checkpoint = ["--checkpoint", str(folder / "model.safetensors"), "--device", "cpu"]
    assert main(["serve", *checkpoint, "--host", host, "--port", "0"]) == 0
    shown = capsys.readouterr()
    assert ("WARNING" in shown.out + shown.err) == warned


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """For the tests of the page."""
    with serving(folder / "model.safetensors", seconds=200.0) as server:
        yield server


@pytest.mark.browser
def test_the_page_in_a_browser(
    server: Server, folder: Path, tmp_path: Path, browser: Browser
) -> None:
    (tmp_path / "broken.mp4").write_text("not a video")
    browser.visit(f"http://127.0.0.1:{server.port}/")
    for share in (0.0625, 0.5, 0.99968):
        said = browser.run("return percent(arguments[0])", share)
        assert said.replace("\N{NO-BREAK SPACE}", " ") == percent(share)
    browser.press("\ue004")  # tab
    assert browser.run("return document.activeElement.id") == "file"
    send(browser, folder / "a clip.mp4")
    text = wait_for(browser, "result")
    assert "a clip.mp4" in text
    assert all(name in text for name in NAMES)
    assert "10 clips × 3 crops" in text
    assert browser.run("return document.activeElement.id") == "result-title"
    picture(browser, "desktop")
    browser.be(375)
    assert browser.run("return innerWidth") == 375
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    picture(browser, "phone")
    send(browser, tmp_path / "broken.mp4")
    assert "broken.mp4: not a readable video" in wait_for(browser, "error")
    picture(browser, "error")
    errors = [m for m in browser.messages() if "422" not in m]
    assert not errors, errors


DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const drag = new DataTransfer();
for (const name of arguments[1]) drag.items.add(new File([bytes], name, {type: "video/mp4"}));
const fire = (kind) => document.getElementById("drop").dispatchEvent(
  new DragEvent(kind, {dataTransfer: drag, bubbles: true, cancelable: true}));
const lit = () => document.getElementById("drop").classList.contains("over");
fire("dragenter");
const during = lit();
const taken = !fire("dragover") && !fire("drop");
return [during, lit(), taken];
"""


@pytest.mark.browser
def test_a_video_dropped_on_the_page(server: Server, folder: Path, browser: Browser) -> None:
    content = base64.b64encode((folder / "a clip.mp4").read_bytes()).decode()
    browser.visit(f"http://127.0.0.1:{server.port}/")
    # Two at once are refused, and nothing is sent; the drop never leaves the page.
    assert browser.run(DROP, content, ["a.mp4", "b.mp4"]) == [True, False, True]
    assert "One video at a time" in wait_for(browser, "error")
    assert browser.run("return document.getElementById('working').hidden")
    assert browser.run(DROP, content, ["dropped clip.mp4"]) == [True, False, True]
    text = wait_for(browser, "result")
    assert "dropped clip.mp4" in text
    assert all(name in text for name in NAMES)
    assert browser.run("return document.getElementById('error').hidden")
    assert browser.messages() == []


def send(browser: Browser, path: Path) -> None:
    element = browser._ask("POST", "/element", {"using": "css selector", "value": "#file"})
    (name,) = element.values()
    browser._ask("POST", f"/element/{name}/value", {"text": str(path)})


def wait_for(browser: Browser, name: str) -> str:
    end = time.monotonic() + 200
    while browser.run("return document.getElementById(arguments[0]).hidden", name):
        assert time.monotonic() < end
        time.sleep(0.1)
    return browser.run("return document.getElementById(arguments[0]).innerText", name)


def picture(browser: Browser, name: str) -> None:
    """Save what is seen, for who wants to look: VIDEONL_PICTURES=FOLDER."""
    if folder := os.environ.get("VIDEONL_PICTURES"):
        browser.screenshot(Path(folder) / f"serve_{name}.png")


@pytest.mark.slow
def test_the_time_to_come_back_is_not_that_of_waiting(folder: Path, monkeypatch) -> None:
    """Eight uploads at once, of which each takes 0.3 s of the network."""
    video = (folder / "a clip.mp4").read_bytes()
    with serving(folder / "model.safetensors", room=8) as server:
        desk, judge = server.service.desk, server.service.predictor.judge

        def slow(*words: object) -> object:
            time.sleep(0.3)
            return judge(*words)

        monkeypatch.setattr(server.service.predictor, "judge", slow)
        ask = [Thread(target=server.upload, args=("/predict?views=1x1", video)) for _ in range(8)]
        for each in ask:
            each.start()
        for each in ask:
            each.join()
        assert server.idle()
        monkeypatch.setattr(desk, "active", 100)
        assert desk.retry_after < 25  # 50 of them, 0.3 s each: 15
        monkeypatch.setattr(desk, "active", 0)
