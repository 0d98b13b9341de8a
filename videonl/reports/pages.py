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

from videonl.escapes import visible
from videonl.json_text import json_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(template: str, **values: object) -> Markup:
    """A page, or a part of one.

    Args:
        template: name of a file in ``reports/templates``.
        values: what it shows; text is escaped, ``Markup`` is not.
    """
    return Markup(_environment().get_template(template).render(**values))


def source(name: str) -> Markup:
    """A style or a script as it stands in its file."""
    environment = _environment()
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


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("videonl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["source"] = source
    environment.policies["json.dumps_function"] = json_text
    environment.policies["json.dumps_kwargs"] = {"ascii": True}  # in its order; nothing acts unseen
    return environment


def _shown(value: object) -> object:
    """A value as it goes into a page: plain text without what acts unseen."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t")
    return value
