"""The section of the report page that shows what the last non-local block looks at."""

import base64
import io
from html import escape
from pathlib import Path

from videonl.inference import attention_figure
from videonl.inference.attention import attend, block_names
from videonl.inference.attention_map import AttentionMap, Place
from videonl.inference.predictor import Predictor, short_reason

DPI = 110  # sharp at the width of the page, and about half the bytes of the file of `attend`


def attention_section(predictor: Predictor, path: str | Path) -> str:
    """HTML: the picture of ``videonl attend`` with what it shows in words.

    Args:
        predictor: the network whose answer the page shows.
        path: the video.

    Returns:
        The section; one line with the reason where the attention can not be shown; nothing where
        the network has no non-local block.
    """
    if not block_names(predictor.model):
        return ""
    try:
        found = attend(predictor, path)
        picture = picture_of(found)
    except (ValueError, OSError) as error:  # the answers stand all the same
        reason = escape(short_reason(error, str(path)))
        return f'<p class="note">What the block looks at can not be shown: {reason}</p>'
    spread = found.spread
    words = (
        f"Block <b>{escape(found.block)}</b> ({escape(found.affinity.replace('_', ' '))}; "
        f"{escape(found.shown_as)}), in the clip in the middle of the video. The query, the dot, "
        f"is at {_where(found.query)}: {escape(found.chosen)}. Its arrows lead to the largest "
        "weights; below, the same frames under all weights."
    )
    numbers = (
        f"Entropy {spread.entropy:.2f} nats, {spread.relative:.0%} of that of equal weights; mean "
        f"reach {spread.pixels:.0f} pixels and {spread.seconds:.2f} s."
    )
    return (
        f'<section class="attention"><h2>What the block looks at</h2><p>{words}</p>'
        '<div class="wide" tabindex="0" role="group" aria-label="picture of the attention; '
        f'arrow keys scroll"><img alt="{escape(described(found))}" src="{picture}"></div>'
        f'<p class="note">{numbers}</p></section>'
    )


def picture_of(found: AttentionMap) -> str:
    """The figure as a PNG in a data address."""
    file = io.BytesIO()
    attention_figure.draw(found).savefig(file, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def described(found: AttentionMap) -> str:
    """The picture for those who do not see it."""
    arrows = attention_figure.arrows_of(found)
    first = "; ".join(_where(place) for place in arrows[:3])
    return (
        f"Frames of {Path(found.path).name} with {len(arrows)} arrows from the query at "
        f"{_where(found.query)} to what the block {found.block} looks at"
        + (f", most at {first}." if first else ".")
    )


def _where(place: Place) -> str:
    return f"{place.seconds:.2f} s (frame {place.frame}), row {place.y:.0f}, column {place.x:.0f}"
