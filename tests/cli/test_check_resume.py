"""``videonl check``: killed and taken up again, limits raised, the census."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.videos import write_video
from videonl.cli.main import main
from videonl.data import read_skip_list

REPOSITORY = Path(__file__).resolve().parents[2]


def journal_paths(root: Path) -> list[str]:
    file = root / "videonl_check.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return [Path(json.loads(line)["path"]).name for line in lines if line.endswith("}")]


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_a_killed_check_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    first = write_video(root / "00.mp4", 60, options={"preset": "ultrafast"})
    for number in range(1, 40):
        shutil.copy(first, root / f"{number:02d}.mp4")
    running = subprocess.Popen(
        [sys.executable, "-m", "videonl.cli.main", "check", str(root), "--workers", "1"],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(journal_paths(root)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = journal_paths(root)
    assert 3 <= len(done) < 40
    assert not (root / "videonl_check.csv").exists()

    assert main(["check", str(root), "--workers", "2"]) == 0
    assert f"already checked: {len(done)} of 40 files" in capsys.readouterr().out
    assert set(Counter(journal_paths(root)).values()) == {1}  # no file was decoded twice
    assert len(journal_paths(root)) == 40


def test_a_file_over_a_limit_is_bad_until_the_limit_is_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_video(tmp_path / "a.mp4", 20)
    assert main(["check", str(tmp_path), "--timeout", "0.0001"]) == 1
    assert read_skip_list(tmp_path) == {str(path): "timeout: takes longer than 0.0001 s to decode"}
    assert main(["check", str(tmp_path), "--timeout", "0.0001"]) == 1
    assert "already checked: 1 of 1 file " in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--timeout", "60"]) == 0
    assert read_skip_list(tmp_path) == {}


def test_half_a_line_and_a_changed_file_are_looked_at_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, 20)
    assert main(["check", str(tmp_path)]) == 0
    with (tmp_path / "videonl_check.jsonl").open("a") as journal:
        journal.write('{"path": "half')
    assert main(["check", str(tmp_path)]) == 0
    assert "already checked: 2 of 2 files" in capsys.readouterr().out
    write_video(tmp_path / "b.mp4", 21)
    assert main(["check", str(tmp_path)]) == 0
    assert "already checked: 1 of 2 files" in capsys.readouterr().out


def test_census(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.mp4", 20)
    write_video(tmp_path / "b.avi", 30, codec="mpeg4")
    (tmp_path / "c.mp4").touch()
    assert main(["check", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "50 frames, 0.00 hours" in text
    assert "h264 (1)" in text
    assert "mpeg4 (1)" in text
    assert "sizes: 64x64 (2)" in text
