"""The door to ``reports/templates``: pages that need no network and no other file.

Values are escaped by jinja2 (autoescape) and what would act unseen is shown (``visible``); a value
that a template wants and does not get is an error. Style and script of a page stand in files of
their own, and inside the page when it is rendered.
"""

import base64
import hashlib
import io
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from videonl.escapes import json_text, markdown_text, shortened, visible
from videonl.shares import counted, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from videonl.inference.predictor import Predictor


def render(template: str, **values: object) -> Markup:
    """A page, or a part of one.

    Args:
        template: name of a file in ``reports/templates``, HTML or Markdown (``.md``).
        values: what it shows; text is escaped, ``Markup`` is not.
    """
    environment = _environment(markdown=template.endswith(".md"))
    return Markup(environment.get_template(template).render(**values))


def source(name: str) -> Markup:
    """A style or a script as it stands in its file."""
    environment = _environment(markdown=False)
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0].strip() + "\n")


def content_hash(name: str) -> str:
    """What a Content-Security-Policy calls a style or script that ``source`` puts into a page."""
    digest = hashlib.sha256(source(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def data_address(kind: str, content: bytes) -> Markup:
    """A file as an address inside the page; ``kind`` is such as ``image/png``."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")


def png_address(figure: "Figure", *, dpi: int) -> Markup:
    """A figure as such an address."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return data_address("image/png", file.getvalue())


def tinted(colour: str, strength: float) -> Markup:
    """The style of an area and of the words on it, which anyone can read (WCAG 2 AA and more).

    Black or white has a contrast of at least 4.58 to any colour.

    Args:
        colour: such as ``#2f6fb2``.
        strength: 0 (white) to 1 (the colour itself).
    """
    parts = [round(255 - strength * (255 - part)) for part in bytes.fromhex(colour[1:])]
    shares = (part / 255 for part in parts)
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    words = "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"
    return Markup(f"background:#{bytes(parts).hex()};color:{words}")


@cache
def _environment(*, markdown: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("videonl.reports"),
        autoescape=not markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=markdown,
        finalize=_in_markdown if markdown else _shown,
    )
    environment.globals |= {"source": source, "tinted": tinted, "shortened": shortened}
    environment.globals["counted"] = counted
    environment.filters["percent"] = percent
    environment.policies["json.dumps_function"] = json_text
    environment.policies["json.dumps_kwargs"] = {"ascii": True}  # in its order; nothing acts unseen
    return environment


def _shown(value: object) -> object:
    """A value as it goes into a page: plain text without what acts unseen, no line before a %."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t").replace(" %", "\xa0%")
    return value


def _in_markdown(value: object) -> object:
    return value if isinstance(value, Markup) else markdown_text(str(value))


def server_page(predictor: "Predictor", *, limit: int, views: tuple[int, int]) -> str:
    """The page of ``videonl serve``: one file, no requests to anywhere else, usable by keyboard.

    Args:
        predictor: the network.
        limit: bytes of a video.
        views: (clips, crops) of a full look.
    """
    return render(
        "server.html",
        limit=limit,
        clips=views[0],
        crops=views[1],
        name=predictor.about["name"],
        checkpoint=predictor.about.get("checkpoint"),
        classes=counted(len(predictor.class_names), "class"),
    )


def server_policy() -> str:
    """The Content-Security-Policy that lets this page work and nothing else."""
    return (
        f"default-src 'none'; style-src '{content_hash('server.css')}'; "
        f"script-src '{content_hash('server.js')}'; connect-src 'self'; form-action 'self'; "
        "img-src data:; media-src blob:; base-uri 'none'; frame-ancestors 'none'"
    )
