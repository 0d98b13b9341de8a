"""Every option that names an output: links, pipes, full disks, folders in its place."""

import csv
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
NETWORK = ["--checkpoint", "model.safetensors", "--device", "cpu", "--no-isolate"]
PREDICT = ["predict", *NETWORK, "in/a.mp4"]
TIMELINE = [*PREDICT, "--timeline", "--window", "500ms", "--hop", "500ms"]
# The words before the name of the output, and its ending.
OUTPUTS = {
    "predict json": ([*PREDICT, "--views", "1x1", "--json"], ".json"),
    "predict jsonl": ([*PREDICT, "--views", "1x1", "--json"], ".jsonl"),
    "predict csv": ([*PREDICT, "--views", "1x1", "--csv"], ".csv"),
    "predict report": ([*PREDICT, "--views", "1x1", "--report"], ".html"),
    "timeline json": ([*TIMELINE, "--json"], ".json"),
    "timeline csv": ([*TIMELINE, "--csv"], ".csv"),
    "timeline windows": ([*TIMELINE, "--windows-csv"], ".csv"),
    "timeline plot": ([*TIMELINE, "--plot"], ".png"),
    "merge csv": (["merge", "shards.jsonl", "--csv"], ".csv"),
    "convert": (["convert", "model.safetensors"], ".safetensors"),
    "export": (
        ["export", "--checkpoint", "model.safetensors", "--format", "torch-export", "--out"],
        ".pt2",
    ),
}
STREAMED = [name for name in OUTPUTS if name != "convert"]


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices"
)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sharded(here: Path) -> Path:
    """The folder of the small checkpoint, with the result file of a shard in it."""
    if not Path("shards.00000.jsonl").exists():
        words = ["--views", "1x1", "--shard", "0/1", "--json", "shards.jsonl"]
        assert main([*PREDICT, *words]) == 0
    return here


@pytest.fixture
def work(sharded: Path, capsys: Capture) -> Path:
    capsys.readouterr()
    return sharded


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process and its children may grow beyond: a disk that is full."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def one_sentence(capsys: Capture) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    "name", mostly_slow(OUTPUTS, quick=["predict json", "timeline plot", "convert"])
)
def test_links_are_followed(work: Path, tmp_path: Path, name: str) -> None:
    words, ending = OUTPUTS[name]
    target, link = tmp_path / "there" / f"t{ending}", tmp_path / f"link{ending}"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o604)
    link.symlink_to(target)
    assert main([*words, str(link)]) == 0
    assert link.is_symlink()
    assert target.stat().st_size > 20
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize(
    "name", mostly_slow(STREAMED, quick=["predict csv", "timeline json", "timeline plot"])
)
def test_pipes_are_answered(work: Path, tmp_path: Path, name: str) -> None:
    words, ending = OUTPUTS[name]
    pipe = tmp_path / f"pipe{ending}"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert main([*words, str(pipe)]) == 0
    reader.join(20)
    assert len(heard[0]) > 20
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_weights_are_no_stream(work: Path, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert main(["convert", "model.safetensors", str(tmp_path / "pipe.safetensors")]) == 2
    assert "pipe.safetensors is not a regular file" in one_sentence(capsys)


@needs_root
@pytest.mark.parametrize(
    "name", mostly_slow(STREAMED, quick=["predict jsonl", "predict report", "merge csv"])
)
def test_a_full_device_is_a_sentence(
    work: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    words, ending = OUTPUTS[name]
    full = tmp_path / f"full{ending}"
    os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    assert main([*words, str(full)]) == 2
    assert f"{full} cannot be written (No space left on device)" in one_sentence(capsys)
    assert stat.S_ISCHR(full.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == [full.name]


FULL = ["predict jsonl", "predict report", "timeline windows", "merge csv", "convert", "export"]


@pytest.mark.parametrize("name", mostly_slow(OUTPUTS, quick=FULL))
def test_a_full_disk_leaves_the_old_file(
    work: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    words, ending = OUTPUTS[name]
    output = tmp_path / f"out{ending}"
    output.write_text("old")
    with file_size_limit(25):
        assert main([*words, str(output)]) == 2
    shown = "shards.jsonl" if name == "merge csv" else output  # merged first
    assert f"{shown} cannot be written (File too large)" in one_sentence(capsys)
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_folder_in_its_place(work: Path, tmp_path: Path, capsys: Capture, name: str) -> None:
    words, ending = OUTPUTS[name]
    (tmp_path / f"out{ending}").mkdir()
    assert main([*words, str(tmp_path / f"out{ending}")]) == 2
    assert f"out{ending}" in (text := one_sentence(capsys))
    assert "is a folder" in text


# Commands that fill a folder, which is the last word.
FOLDERS = {
    "extract": ["extract", *NETWORK, "in/a.mp4", "--window", "8", "--out"],
    "compare": ["compare", "tiny_i3d", "--clip", "4x24", "--no-speed", "--out"],
    "sample": ["sample", "--train", "4", "--val", "2", "--test", "2", "--workers", "0", "--root"],
    "sample processes": [
        *("sample", "--train", "8", "--val", "2", "--test", "2", "--workers", "2", "--root"),
    ],
    "check": ["check", "in", "--workers", "1", "--out"],
    "prepare": ["prepare", "in", "--workers", "1"],
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_full_disk_below_a_folder(work: Path, tmp_path: Path, capsys: Capture, name: str) -> None:
    out = tmp_path / "out"
    with file_size_limit(120 if name == "check" else 400):
        assert main([*FOLDERS[name], str(out)]) == 2
    text = one_sentence(capsys)
    assert str(out) in text
    assert "cannot be written (File too large)" in text
    left = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(".")]
    assert not [path for path in left if path.suffix in (".npz", ".mp4", ".png", ".html")]
    assert main([*FOLDERS[name], str(out)]) == 0  # and when there is room again, it goes on


def test_a_killed_encoder_leaves_nothing(work: Path, tmp_path: Path, capsys: Capture) -> None:
    write_video(tmp_path / "in" / "long.mp4", 400)
    words = ["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--timeout", "0.7", "--short-side", "700", "--enlarge"]) == 1
    assert "timeout while encoding" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["videonl_prepare.jsonl"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_place_of_the_folder(
    work: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    (tmp_path / "out").write_text("mine")
    assert main([*FOLDERS[name], str(tmp_path / "out")]) == 2
    assert str(tmp_path / "out") in one_sentence(capsys)
    assert (tmp_path / "out").read_text() == "mine"


def test_attend_follows_links_and_says_that_the_disk_is_full(
    tmp_path: Path, capsys: Capture
) -> None:
    from tests.inference.networks import write_checkpoint

    write_checkpoint(tmp_path, name="tiny_i3d_nl1")
    video = write_video(tmp_path / "v.mp4", 16)
    words = ["attend", str(video), "--checkpoint", str(tmp_path / "model.safetensors"), "--gif"]
    words += ["--no-isolate", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [path.suffix for path in files] == [".gif", ".json", ".mp4", ".png"]
    (tmp_path / "kept").mkdir()
    for path in files:
        path.unlink()
        path.symlink_to(tmp_path / "kept" / path.name)
    assert main(words) == 0
    assert all(path.is_symlink() and path.stat().st_size for path in files)
    capsys.readouterr()
    with file_size_limit(1000):
        assert main(words) == 2
    assert "cannot be written (File too large)" in one_sentence(capsys)
    assert len(list((tmp_path / "kept").iterdir())) == 4


@contextmanager
def piped_output() -> Iterator[list[bytes]]:
    """Descriptor 1 is a pipe of which the bytes are heard at the end."""
    before, (reader, writer), heard = os.dup(1), os.pipe(), []
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield heard
    finally:
        os.dup2(before, 1)
        os.close(before)
        with os.fdopen(reader, "rb") as file:
            heard.append(file.read())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux names descriptors so")
def test_a_link_to_standard_output(work: Path, tmp_path: Path) -> None:
    link = tmp_path / "stdout.csv"
    link.symlink_to("/proc/self/fd/1")
    with piped_output() as heard:
        assert main([*PREDICT, "--views", "1x1", "--quiet", "--csv", str(link)]) == 0
    assert heard[0].startswith(b"path,model,views,error,class_1")
    assert link.is_symlink()


@pytest.mark.slow  # test_terminal has the same of a help text, which needs no torch
@needs_root
def test_standard_output_that_is_full_or_closed(tmp_path: Path) -> None:
    full = tmp_path / "full"
    os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    words = [sys.executable, "-m", "videonl.cli.main", "cost", "tiny_i3d", "--json"]
    for shell, sentence in (
        (f'"$@" > {full}', "standard output cannot be written: No space left on device"),
        ('"$@" >&-', "standard output cannot be written: it is closed"),
    ):
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_outputs_of_a_training(tmp_path: Path, capsys: Capture) -> None:
    data = write_small_data(tmp_path / "data", test=1)
    common = ["--data.root", str(data), *FLAGS, "--trainer.accelerator", "cpu"]
    fit = ["train", "fit", *common, "--model.name", "tiny_i3d_nl1", "--model.options.width", "8"]
    fit += ["--name", "x", "--trainer.max_epochs", "1", "--out"]
    (tmp_path / "file").write_text("mine")
    assert main([*fit, str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'} is a file" in one_sentence(capsys)
    assert main([*fit, str(tmp_path / "file"), "--dry-run"]) == 2
    assert f"{tmp_path / 'file'} is a file" in one_sentence(capsys)
    with file_size_limit(100):
        assert main([*fit, str(tmp_path / "full")]) == 2
    assert "cannot be written (File too large); free some space" in one_sentence(capsys)
    assert not [path for path in (tmp_path / "full").rglob("*") if path.is_file()]
    assert main([*fit, str(tmp_path / "runs")]) == 0
    (run,) = (tmp_path / "runs" / "x").iterdir()
    assert not list(run.glob(".*"))
    for command, option, name in (
        ("test", "--json", "t.json"),
        ("predict", "--csv", "p.csv"),
        ("predict", "--json", "p.jsonl"),
    ):
        words = ["train", command, "--checkpoint", str(run), *common, option]
        link, target = tmp_path / name, tmp_path / f"kept_{name}"
        link.symlink_to(target)
        assert main([*words, str(link)]) == 0
        assert link.is_symlink()
        assert target.stat().st_size
        content = target.read_bytes()
        capsys.readouterr()
        with file_size_limit(10):
            assert main([*words, str(link)]) == 2
        assert f"{name} cannot be written (File too large)" in one_sentence(capsys)
        assert target.read_bytes() == content
        (tmp_path / f"folder_{name}").mkdir()
        assert main([*words, str(tmp_path / f"folder_{name}")]) == 2
        assert "it is a folder" in one_sentence(capsys)


@pytest.mark.usefixtures("sharded")
def test_a_dash_is_standard_output(tmp_path: Path, capfd: Capture) -> None:
    """The result alone: what else is said goes to standard error."""
    capfd.readouterr()
    for words in ([*PREDICT, "--views", "1x1"], ["merge", "shards.jsonl"]):
        assert main([*words, "--csv", "-"]) == 0
        rows = list(csv.reader(capfd.readouterr().out.splitlines()))
        assert rows[0][0] == "path"
        assert {row[0] for row in rows[1:]} == {"in/a.mp4"}
    assert main([*PREDICT, "--csv", "-", "--json", "-"]) == 2
    assert "two outputs are standard output" in one_sentence(capfd)
    assert not Path("-").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_dash_in_a_timeline_and_in_tests(tmp_path: Path, capfd: Capture) -> None:
    assert main([*TIMELINE, "--csv", "-"]) == 0
    assert capfd.readouterr().out.startswith("path,start,end,class")
    write_small_data(tmp_path / "clips", train=0, val=1)
    for old, new in (("dark", "clap"), ("light", "jump")):
        (tmp_path / f"clips/val/{old}").rename(tmp_path / f"clips/val/{new}")
    words = ["--data.root", str(tmp_path / "clips"), *NETWORK[:2], "--trainer.accelerator", "cpu"]
    assert main(["train", "test", *words, "--data.views", "1x1", "--json", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["scores"]["videos"] == 2
    assert main(["train", "predict", *words, "--data.views", "1x1", "--csv", "-"]) == 0
    assert len(list(csv.reader(capfd.readouterr().out.splitlines()))) == 3
    assert not Path("-").exists()


OVER_INPUTS = {
    "checkpoint": [*PREDICT, "--json", "model.safetensors"],
    "description": [*PREDICT, "--json", "model.json"],
    "folder": ["predict", "in/a.mp4", "--checkpoint", ".", "--csv", "model.json"],
    "attend": ["attend", "--data", "data", *NETWORK[:2], "--json", "model.json"],
    "video": [*PREDICT, "--csv", "link.csv"],
    "list": [*PREDICT, "--from-list", "list.txt", "--windows-csv", "list.txt", "--timeline"],
    "labels": ["convert", "model.safetensors", "n.safetensors", "--labels", "n.json"],
    "export": ["export", *NETWORK[:2], "--out", "model.safetensors"],
    "live": ["live", *NETWORK[:2], "in/a.mp4", "--json", "in/a.mp4"],
    "test": ["train", "predict", "--data.root", "data", *NETWORK[:2], "--csv", "model.json"],
    "own list": ["attend", *NETWORK[:2], "--data", "listed", "--json", "listed/val.csv"],
    "predict's own list": [
        *["train", "predict", "--data.root", "listed", *NETWORK[:2]],
        *["--csv", "listed/val.csv"],
    ],
    "merge": ["merge", "shards.jsonl", "--csv", "shards.00000.jsonl"],
    "twice": [*PREDICT, "--json", "out.csv", "--csv", "./out.csv"],
}


@pytest.mark.parametrize("name", OVER_INPUTS)
def test_no_output_is_an_input_or_another_output(work: Path, capsys: Capture, name: str) -> None:
    if not Path("data").exists():
        write_small_data(work / "data", train=1, val=1)
        Path("list.txt").write_text("in/a.mp4\n", encoding="utf-8")
        Path("n.json").write_text('["wave", "clap", "jump"]', encoding="utf-8")
        Path("link.csv").hardlink_to("in/a.mp4")
        Path("listed").mkdir()
        Path("listed/val.csv").write_text("../in/a.mp4 wave\n", encoding="utf-8")
    files = {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()}
    assert main(OVER_INPUTS[name]) == 2
    assert ("are one file" if name == "twice" else "would be written over") in one_sentence(capsys)
    assert {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()} == files
