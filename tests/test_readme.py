"""What the READMEs say is so: their links lead somewhere, their commands and flags exist."""

import io
import re
import shlex
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from videonl.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "data/*.md", "data/*/README.md", "checkpoints/*.md")
    for path in ROOT.glob(pattern)
)
SCRIPTS = {"train.py": "train", "infer.py": "predict"}
TRAIN_MODES = ("fit", "validate", "test", "predict")


def commands_of(page: Path) -> list[list[str]]:
    """The shell commands of a page's fenced blocks, as words; comments and output are left out."""
    found = []
    for block in re.findall(
        r"```(?:bash|sh|console|)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if re.match(r"(make|videonl|(\S+/)?python3? (train|infer)\.py)\b", line):
                found.append(shlex.split(line.split(" | ")[0], comments=True))
    return found


ALL = [(page, words) for page in PAGES for words in commands_of(page)]


@cache
def help_of(words: tuple[str, ...]) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown):
        try:
            code: object = main([*words, "--help"])
        except SystemExit as ended:  # of argparse
            code = ended.code
    assert code == 0
    return shown.getvalue()


def test_there_are_commands() -> None:
    assert len(ALL) > 10


@cache
def anchors_of(page: Path) -> set[str]:
    """The headings of a page as code hosts and the site write them into links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", text):
        place = page.parent / target if target else page
        assert place.exists(), f"{page.name} links to {target}"
        known = anchors_of(place) if place.suffix == ".md" else ()
        assert not anchor or anchor in known, f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize(
    ("page", "words"), ALL, ids=lambda v: " ".join(v)[:60] if type(v) is list else ""
)
def test_commands_and_flags_exist(page: Path, words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(word in targets or "=" in word for word in words[1:]), words
        return
    if words[0] == "videonl":
        name, rest = words[1], words[2:]
    else:
        name, rest = SCRIPTS[words[1]], words[2:]
    assert name in COMMANDS or name.startswith("-"), f"{page.name}: unknown command {words}"
    if name not in COMMANDS:
        return
    mode = (rest[0],) if name == "train" and rest and rest[0] in TRAIN_MODES else ()
    known = help_of((name, *mode))
    for word in rest:
        if word.startswith("--") and word != "--":
            flag = word.split("=")[0]
            # the arguments of a class that was named
            flag = re.sub(r"^(--trainer\.(callbacks|logger))\..*", r"\1", flag)
            # a flag below an option that takes a mapping (--trainer.max_epochs) is listed too
            assert re.search(rf"{re.escape(flag)}\b", known), f"{page.name}: {flag} of {words}"
    for word in rest:
        if word.startswith("configs/"):
            assert (ROOT / word).is_file(), f"{page.name}: {word}"


def test_readme_is_read_in_three_minutes() -> None:
    """At most 160 lines; prose at most 100 wide (tables and code may be wider)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = "".join(line for line in prose.splitlines(True) if not line.startswith("|"))
    assert [line for line in prose.splitlines() if len(line) > 100] == []
