"""A headless Chromium for the tests of pages, through its driver's plain HTTP interface.

def test_a_page(browser: Browser) -> None:   # skipped where Chromium or its driver is missing
    browser.open(path)
    assert browser.run("return document.title") == "..."
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START = re.compile(r"successfully on port (\d+)")


class Browser:
    """One window; made by ``open_browser``."""

    def __init__(self, base: str) -> None:
        self._base = base

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error

    def open(self, path: Path) -> None:
        """Load a local file."""
        self.visit(path.resolve().as_uri())

    def visit(self, url: str) -> None:
        """Load a page; keys go to it from then on."""
        self._ask("POST", "/url", {"url": url})
        until = time.monotonic() + 10
        while not self.run("window.focus(); return document.hasFocus()"):
            assert time.monotonic() < until, f"{url} did not take the focus"
            time.sleep(0.05)

    def run(self, script: str, *arguments: object) -> Any:
        """The value that a JavaScript function body returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, keys: str) -> None:
        """Type on the element that has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def be(self, width: int, *, dark: bool = False) -> None:
        """So wide, below 600 pixels as a phone with a finger; a window is never narrower than 500.

        ``dark``: as one who prefers dark pages.
        """
        phone = width < 600
        size = {"width": width, "height": 780 if phone else 900, "mobile": phone}
        size["deviceScaleFactor"] = 2 if phone else 1
        self._tell("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])

    def _tell(self, command: str, **values: object) -> Any:
        """A command of Chromium's own protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def forget(self) -> None:
        """An empty page at a desk, and nothing in the console: as it was opened."""
        self._tell("Emulation.clearDeviceMetricsOverride")
        self._tell("Emulation.setEmulatedMedia", features=[])
        self._ask("POST", "/url", {"url": "about:blank"})
        self.messages()

    def messages(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what the window shows, or the whole page."""
        taken = self._tell("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def open_browser(*, width: int = 1200, height: int = 900) -> Iterator[Browser]:
    """Start a browser, or skip the test with the reason."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    flags = ["--headless=new", "--disable-gpu", f"--window-size={width},{height}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses its sandbox to root
    options = {"binary": program, "args": flags}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = next(found[1] for line in process.stdout if (found := START.search(line)))
        browser = Browser(f"http://127.0.0.1:{port}")
        answer = browser._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        browser._base += f"/session/{answer['sessionId']}"
        yield browser
        browser._ask("DELETE", "")
    finally:
        process.terminate()
        process.wait(timeout=20)
