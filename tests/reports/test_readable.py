"""Every page that videonl writes, in a real browser, as wide as a desk and as a phone.

VIDEONL_PICTURES=FOLDER keeps what is seen, for who wants to look.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, open_browser
from tests.reports.gallery import PAGES, Studio

PROBE = (Path(__file__).parent / "readable.js").read_text(encoding="utf-8")
WIDTHS = (1200, 390)
OPEN = "for (const part of document.querySelectorAll('details')) part.open = true; "


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_a_person_can_read_it(name: str, studio: Studio, browser: Browser) -> None:
    page, file = PAGES[name], studio.folder / f"{name}.html"
    file.write_text(page.make(studio), encoding="utf-8")
    found = []
    for width in WIDTHS:
        for dark in (False, True)[: 1 + page.dark]:
            browser.be(width, dark=dark)
            for number, state in enumerate(page.states):
                browser.open(file)
                browser.run(OPEN + state)
                where = f"{width} px{', dark' * dark}{f', state {number}' * bool(number)}"
                found += [f"{where}: {words}" for words in browser.run(PROBE)]
                keep(browser, f"{name}_{number}_{width}{'_dark' * dark}")
    found += browser.messages()
    assert not found, "\n".join([name, *found])


def keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("VIDEONL_PICTURES"):
        browser.screenshot(Path(folder) / f"{name}.png", whole=True)
