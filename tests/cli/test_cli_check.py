"""``videonl check``: what it finds, killing, resuming, the skip list."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.marks import mostly_slow
from tests.odd_videos import ODD, write_odd
from tests.videos import sequential_decode, write_video
from videonl.cli.main import main
from videonl.data import read_skip_list
from videonl.video import inspect_file

FAULTS = {name for name, odd in ODD.items() if odd.status != "ok"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_video(root / "train" / "a" / "good.mp4", 20)
    whole = write_video(
        root / "train" / "a" / "cut.mp4", 60, container_options={"movflags": "faststart"}
    )
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 7 // 10])
    (root / "train" / "a" / "zero.mp4").touch()
    (root / "train" / "a" / "text.mp4").write_text("no video\n" * 50)
    return root


def report(root: Path) -> dict[str, dict[str, str]]:
    with (root / "videonl_check.csv").open() as handle:
        return {Path(row["path"]).name: row for row in csv.DictReader(handle)}


def test_videos_of_a_list_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "a/1.mp4", 8)
    lines = "a/1.mp4 a\nb/2.mp4 b\n"
    (tmp_path / "train.txt").write_text(lines)
    assert main(["check", str(tmp_path)]) == 1
    assert (
        "train: 1 of 2 videos of its list are not there (e.g. b/2.mp4)" in capsys.readouterr().err
    )
    (tmp_path / "train.txt").write_text(lines.replace("b/2", "a/./1").replace(" b", " a"))
    assert main(["check", str(tmp_path)]) == 0


def test_check_reports_and_writes_the_skip_list(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--workers", "2"]) == 1
    rows = report(folder)
    assert {name: row["status"] for name, row in rows.items()} == {
        "good.mp4": "ok",
        "cut.mp4": rows["cut.mp4"]["status"],
        "zero.mp4": "unreadable",
        "text.mp4": "unreadable",
    }
    assert rows["cut.mp4"]["status"] in ("truncated", "damaged")
    assert rows["good.mp4"]["frames"] == "20"
    skip = (folder / "videonl_skip.tsv").read_text()
    assert "train/a/zero.mp4\tunreadable: the file is empty (0 bytes)" in skip
    assert "good.mp4" not in skip
    text = capsys.readouterr().out
    assert "checked 4 files" in text

    assert main(["check", str(folder)]) == 1
    assert "already checked: 4 of 4 files" in capsys.readouterr().out
    write_video(folder / "train" / "a" / "zero.mp4", 5)  # mended: looked at again
    (folder / "train" / "a" / "text.mp4").unlink()
    main(["check", str(folder)])
    assert "already checked: 2 of 3 files" in capsys.readouterr().out
    assert report(folder)["zero.mp4"]["status"] == "ok"


def test_a_link_that_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a"
    write_video(folder / "good.mp4", 5)
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for _ in range(2):
        assert main(["check", str(tmp_path)]) == 1
        rows = report(tmp_path)
        assert rows["gone.mp4"]["status"] == "unreadable"
        assert rows["good.mp4"]["status"] == "ok"


def test_out_folder_and_wrong_arguments(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--out", str(tmp_path / "out"), "--quick"]) == 1
    assert not (folder / "videonl_check.csv").exists()
    assert (tmp_path / "out" / "videonl_skip.tsv").is_file()
    assert main(["check", str(tmp_path / "absent")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(folder), "--timeout", "0"])
    (tmp_path / "none").mkdir()
    assert main(["check", str(tmp_path / "none")]) == 2
    errors = capsys.readouterr().err
    assert "is not a folder" in errors
    assert "contains no video files" in errors


WORKER = """
import os, sys, time
from videonl.video.sandbox import worker
def odd(job):
    what = os.path.basename(job["path"])
    if what == "hang.mp4": time.sleep(60)
    if what == "die.mp4": os._exit(3)
    if what == "eat.mp4": x = bytearray(3 << 30)
    print("noise on stdout")
    return whole_file(job)
whole_file, worker._whole_file = worker._whole_file, odd
worker.main(sys.argv[1:])
"""


def test_jobs_survive_hanging_dying_and_greedy_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("videonl.video.sandbox.process.MODULE", "odd_worker")
    names = ("well.mp4", "hang.mp4", "fine.mp4", "die.mp4", "eat.mp4", "good.mp4")
    for name in names:
        write_video(tmp_path / name, 8)
    limits = ["--workers", "2", "--timeout", "2", "--memory", "2000"]
    assert main(["check", str(tmp_path), *limits]) == 1
    found = {Path(path).name: reason for path, reason in read_skip_list(tmp_path).items()}
    outcome = {name: reason.partition(":")[0] for name, reason in found.items()}
    assert outcome == {"die.mp4": "crash", "eat.mp4": "memory", "hang.mp4": "timeout"}


def test_a_worker_that_does_not_start_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("videonl.video.sandbox.process.MODULE", "videonl.nowhere")
    assert main(["check", str(folder)]) == 2
    assert "the decoding process does not start" in capsys.readouterr().err


@pytest.mark.parametrize("name", mostly_slow(ODD, quick=FAULTS | {"one_frame.mp4"}))
def test_odd_files(name: str, tmp_path: Path) -> None:
    assert inspect_file(str(write_odd(name, tmp_path))).status == ODD[name].status


def test_frame_count_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A header's count is nothing that a person can mend: one line for all such files."""
    first = write_odd("packed_b_frames.avi", tmp_path)
    finding = inspect_file(str(first))
    assert (finding.status, finding.declared, finding.frames) == ("frame_count", 62, 60)
    for number in range(3):
        shutil.copy(first, tmp_path / f"z{number}.avi")
    assert main(["check", str(tmp_path), "--workers", "1"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  note")]
    assert len(notes) == 1
    assert (
        "the header says 62 frames, but 60 decode (and 3 more files with the same status)"
        in notes[0]
    )


def test_worker_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, videonl.video.inspection; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def leaky(root: Path) -> Path:
    """Two classes told by the size of their pictures; a copy at half the size in another split."""
    random = np.random.default_rng(0)
    for split, take in (("train", range(1, 7)), ("val", range(5, 9))):
        for place, name in enumerate("ab"):
            for number in take:
                frames = random.integers(0, 255, (6, 48 + 16 * place, 64, 3), np.uint8)
                shown = frames.repeat(2, 1).repeat(2, 2)
                write_video(root / split / name / f"x_seq{number:02}_c.mp4", shown)
    source = next(root.glob("train/a/x_seq01*"))
    decoded = np.stack(sequential_decode(source))[:, ::2, ::2]
    write_video(root / "val" / "a" / "x_seq09_c.mp4", np.ascontiguousarray(decoded))
    return root


def test_leaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = leaky(tmp_path / "data")
    assert main(["check", str(root), "--quick"]) == 0
    assert main(["check", str(root), "--leaks"]) == 0
    told = capsys.readouterr().out
    assert "class (quartiles)" in told
    assert "are shorter and loop" in told
    assert "size alone" in told
    assert "a network may score as much without seeing what happens" in told
    assert "1 pair of nearly identical videos in different splits" in told
    assert "train/a/x_seq01_c.mp4 ~ val/a/x_seq09_c.mp4" in told
    assert "in more than one split: 2 of 9 groups (the sequence at the start)" in told
    copies = (root / "videonl_copies.csv").read_text().splitlines()
    assert len(copies) == 2
    assert main(["check", str(root), "--leaks", "--group", r"/(a|b)/"]) == 0
    told = capsys.readouterr().out
    assert "already checked" in told
    assert "in more than one split: 2 of 2 groups (--group /(a|b)/)" in told


@pytest.mark.slow
def test_leaks_of_single_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/a/one", "train/b/two", "val/a/three"):
        write_video(tmp_path / "data" / f"{name}.mp4", 4)
    assert main(["check", str(tmp_path / "data"), "--leaks"]) == 0
    words = "0 of 3 groups (single files (--group REGEX keeps some together))"
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--leaks", "--quick"], "leave --quick out"),
        (["--group", "x"], "--group needs --leaks"),
        (["--leaks", "--group", "x("], "not a regular expression"),
        (["--leaks", "--group", "zzz"], "matches nothing in"),
    ],
)
def test_leaks_that_can_not_be_looked_for(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_video(tmp_path / "data" / name / "1.mp4", 5)
    assert main(["check", str(tmp_path / "data"), *words]) == 2
    assert sentence in capsys.readouterr().err
