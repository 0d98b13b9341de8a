import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("redirected", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_progress_bar_and_output_do_not_mix(folder: Path, redirected: bool) -> None:
    control, terminal = os.openpty()
    command = [sys.executable, str(ROOT / "infer.py"), "in", "--checkpoint", "model.safetensors"]
    process = subprocess.Popen(
        [*command, "--views", "1x1"],
        cwd=folder,
        stdout=subprocess.PIPE if redirected else terminal,
        stderr=terminal,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "",
            "TERM": "xterm",
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
        },
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(control, 4096)
        except OSError:  # the other side was closed
            break
        if not part:
            break
        shown += part
    os.close(control)
    out = process.stdout.read() if process.stdout else b""
    assert process.wait() == 0
    screen = shown.decode()
    assert "3/3 files" in screen
    assert "left" in screen
    table = out.decode() if redirected else screen
    assert table.count("in/sub/b.AVI") == 1
    assert ("in/sub/b.AVI" in screen) is not redirected
    if redirected:
        assert "\x1b" not in table, "no colours in a file"
    else:
        assert "━" in screen, "a drawn table"
        # A path never begins in the line of the bar.
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen))
        assert not [line for line in lines if "files" in line and "in/" in line]
