"""Docstrings as the site shows them (an extension of griffe, which reads them)."""

import re
from typing import Any

from griffe import Extension, Object

# Docstrings are written for Sphinx's roles too: :func:`~videonl.video.open_video` is open_video.
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc):`~?(?:[\w.]*\.)?(\w+)`")
# "Example:" would be a box of text; "Examples:" is what is shown as code.
EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Docstrings(Extension):
    """Takes the roles off, and lets examples be code."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", text)
