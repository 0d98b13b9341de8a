"""Names of others in Markdown and in figures, whatever letters they have."""

import warnings
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from videonl.escapes import figure_text, markdown_row, markdown_text, visible

NAMES = [
    "push_up",
    "_private_",
    "__a__ and _b_",
    "a|b",
    "<b>bold</b> & &lt;",
    "$x^2$ ~~no~~ **no** `code`",
    "[text](https://example.org) ![x][y]",
    "back\\slash \\| \\",
    "跳ぶ é 😀",
]


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_every_letter(name: str) -> None:
    table = "\n".join([markdown_row(["head", "n"]), "|---|---|", markdown_row([name, "1"])])
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(table)
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 4
    assert {child.type for child in inline[2].children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in inline[2].children or []) == name


def test_what_acts_unseen_is_shown() -> None:
    assert visible("a\x1b[2J\n\udce9\u202eb\x00") == r"a\x1b[2J\n\udce9\u202eb\x00"
    assert visible("a\nb\x07", keep="\n") == "a\nb\\x07"
    assert markdown_text("a\nb") == r"a\\nb"


def test_figures_take_any_name(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    names = [*NAMES, "\ue123 \U000f1234", "$\\frac", "a\x00\udcff"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with figure_text(names) as drawable:
            figure = Figure()
            axes = figure.subplots()
            axes.set_title("\n".join(map(drawable, names)), fontweight="bold")
            axes.set_xticks(range(len(names)), [drawable(name) for name in names])
        figure.savefig(tmp_path / "a.png")
        figure.savefig(tmp_path / "a.svg")
    assert drawable("\ue123") == r"\ue123"
    assert drawable("$\\frac") == "$\\frac"
    assert drawable("é") == "é"


def test_letters_come_from_installed_fonts() -> None:
    from matplotlib import rcParams

    with figure_text(["name Ⓐ"]) as drawable:  # in a font that matplotlib brings, not the default
        assert drawable("name Ⓐ") == "name Ⓐ"
        assert len(rcParams["font.family"]) == 2
        assert not rcParams["text.parse_math"]
