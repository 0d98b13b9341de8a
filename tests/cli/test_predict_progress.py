import io
import os
import re
import sys
import threading
from pathlib import Path

import pytest

from videonl.cli.main import main


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("redirected", [True, False])
def test_progress_bar_and_output_do_not_mix(
    here: Path, redirected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, terminal = os.openpty()
    shown: list[bytes] = []

    def watch() -> None:
        while True:
            try:
                part = os.read(control, 4096)
            except OSError:  # the other side was closed
                return
            if not part:
                return
            shown.append(part)

    watching = threading.Thread(target=watch)
    watching.start()
    out = io.BytesIO()
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    errors = os.fdopen(terminal, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", errors)
    output = io.TextIOWrapper(out, "utf-8") if redirected else errors
    monkeypatch.setattr(sys, "stdout", output)
    words = ["predict", "in", "--checkpoint", "model.safetensors", "--device", "cpu"]
    code = main([*words, "--views", "1x1"])
    output.flush()
    errors.close()
    watching.join(60)
    os.close(control)
    assert code == 0
    screen = b"".join(shown).decode()
    assert "3/3 files" in screen
    assert "left" in screen
    table = out.getvalue().decode() if redirected else screen
    assert table.count("in/sub/b.AVI") == 1
    assert ("in/sub/b.AVI" in screen) is not redirected
    if redirected:
        assert "\x1b" not in table, "no colours in a file"
    else:
        assert "━" in screen, "a drawn table"
        # A path never begins in the line of the bar.
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen))
        assert not [line for line in lines if "files" in line and "in/" in line]
