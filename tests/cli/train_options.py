"""The options of ``train.py COMMAND`` as a person can list them."""

import io
import re
from contextlib import redirect_stdout
from functools import cache

from videonl.cli.main import main

COMMANDS = ("fit", "validate", "test", "predict")


@cache
def shown_by(*words: str) -> str:
    """What ``train.py WORDS`` prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["train", *words]) == 0
    return out.getvalue()


def listed(command: str) -> dict[str, str]:
    """The options of ``--help_all``: dotted name -> what it says, on one line."""
    parts = re.split(r"^  --([\w.]+)", shown_by(command, "--help_all"), flags=re.MULTILINE)
    return {key: " ".join(text.split()) for key, text in zip(parts[1::2], parts[2::2], strict=True)}
