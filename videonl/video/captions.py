"""Labels and bars drawn onto pictures: a panel per answer, drawn once and used for many frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from videonl.shares import percent

SMALLEST_SIDE = 240  # pixels; smaller videos are enlarged by a whole number, or no letter fits
LETTERS = 18  # text is so many times smaller than the shorter side ...
SMALLEST_TEXT = 14  # ... but never below this, in pixels
SHARE = 0.5  # of the height that the panel may take
OPAQUE = 0.72
COLOURS = ((86, 180, 233), (160, 160, 160))  # of the bar of the first class, and of the others
Row = tuple[str, float, str]  # what is written, the probability, the file of its font


@dataclass(frozen=True)
class Caption:
    """What is shown during some seconds.

    Attributes:
        start: first second, as a player shows it.
        end: second from which it is not shown any more.
        rows: the most probable class first.
    """

    start: float
    end: float
    rows: tuple[Row, ...]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> "Caption":
        """From JSON: ``[start, end, [[text, probability, font], ...]]``."""
        start, end, rows = values
        return cls(float(start), float(end), tuple((t, float(p), f) for t, p, f in rows))

    def as_list(self) -> list[object]:
        """For JSON."""
        return [self.start, self.end, [list(row) for row in self.rows]]


def enlarged(height: int, width: int) -> tuple[int, int]:
    """(height, width), even, of the written pictures: enlarged until text is readable."""
    factor = max(1, -(-SMALLEST_SIDE // min(height, width)))
    return height * factor // 2 * 2 or 2, width * factor // 2 * 2 or 2


class Painter:
    """Draws the caption of a second onto a picture.

    Args:
        captions: in order of time; where several apply, the first is shown.
    """

    def __init__(self, captions: Sequence[Caption]) -> None:
        self._captions = list(captions)
        self._first = 0

    def at(self, second: float) -> Caption | None:
        """The caption of a second; must be called with increasing seconds."""
        while self._first < len(self._captions) and self._captions[self._first].end <= second:
            self._first += 1
        if self._first == len(self._captions):
            return None
        caption = self._captions[self._first]
        return caption if caption.start <= second else None

    def paint(self, picture: np.ndarray, second: float) -> None:
        """Draw onto a picture in place, uint8 (H, W, 3), RGB."""
        caption = self.at(second)
        if caption is not None and caption.rows:
            lay(picture, caption.rows)


def lay(picture: np.ndarray, rows: tuple[Row, ...]) -> None:
    """Draw the panel of some rows onto a picture in place, uint8 (H, W, 3)."""
    height, width = picture.shape[:2]
    panel, solid = _panel(rows, height, width)
    margin = min(_text_size(height, width) // 2, height - panel.shape[0], width - panel.shape[1])
    part = picture[height - margin - panel.shape[0] : height - margin, margin:][:, : panel.shape[1]]
    mixed = np.where(solid, panel, (part * (1 - OPAQUE) + panel * OPAQUE).astype(np.uint8))
    part[:] = mixed


def _text_size(height: int, width: int) -> int:
    return max(SMALLEST_TEXT, min(height, width) // LETTERS)


@lru_cache(maxsize=64)
def _panel(rows: tuple[Row, ...], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (h, w, 3), bool (h, w, 1): where it is opaque), for pictures of that size.

    Each row is a name, its probability, and a bar below them.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = _text_size(height, width)
    step, pad = round(1.75 * size), size // 2
    most = max(1, int((SHARE * height - 2 * pad) // step))
    rows = rows[:most]
    wide = min(width - size, 24 * size)
    image = Image.new("RGB", (wide, step * len(rows) + 2 * pad), (0, 0, 0))
    draw = ImageDraw.Draw(image)
    for number, (text, probability, file) in enumerate(rows):
        font = ImageFont.truetype(file, size)
        top = pad + number * step
        share = percent(probability)
        room = wide - 2 * pad - int(draw.textlength(share + "  ", font=font))
        name = fitted(text, partial(draw.textlength, font=font), room)
        draw.text((pad, top), name, font=font, fill=(255, 255, 255))
        draw.text((wide - pad, top), share, font=font, fill=(255, 255, 255), anchor="ra")
        line = top + round(1.3 * size)
        end = pad + (wide - 2 * pad) * min(max(probability, 0.0), 1.0)
        thick = max(2, size // 5)
        draw.rectangle((pad, line, wide - pad, line + thick), fill=(60, 60, 60))
        if end >= pad + 1:
            draw.rectangle((pad, line, end, line + thick), fill=COLOURS[number > 0])
    panel = np.asarray(image)
    return panel, panel.max(axis=2, keepdims=True) > 0


def fitted(text: str, measure: Callable[[str], float], room: float) -> str:
    """A text cut to a length, with dots in place of what is left out."""
    if measure(text) <= room:
        return text
    while text and measure(text + "…") > room:
        text = text[:-1]
    return text + "…"
