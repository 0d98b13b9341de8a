"""The section of the page of a video that shows what the last non-local block looks at."""

from pathlib import Path

from videonl.attention import KINDS, arrows_of, draw_figure
from videonl.attention.attention import attend, block_names
from videonl.inference.predictor import Predictor, short_reason
from videonl.reports.pages import png_address, render

DPI = 110  # sharp at the width of the page, and about half the bytes of the file of `attend`


def attention_section(predictor: Predictor, path: str | Path) -> str:
    """HTML: the picture of ``videonl attend`` with what it shows in words.

    Args:
        predictor: the network whose answer the page shows.
        path: the video.

    Returns:
        The section; one line with the reason where the attention cannot be shown; nothing where
        the network has no non-local block.
    """
    if not block_names(predictor.model):
        return ""
    try:
        found = attend(predictor, path)
        picture = png_address(draw_figure(found), dpi=DPI)
    except (ValueError, OSError) as error:  # the answers stand all the same
        return render("attention.html", reason=short_reason(error, str(path)))
    return render(
        "attention.html",
        reason=None,
        found=found,
        kind=KINDS.get(found.spread.kind),
        name=Path(found.path).name,
        arrows=arrows_of(found),
        picture=picture,
    )
