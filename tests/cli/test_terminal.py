"""Standard output in any encoding, closed, full or left by its reader; names that act there."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl import files
from videonl.cli.main import main, run
from videonl.data import FolderIndex
from videonl.errors import VideoNLError
from videonl.inference import StepBar, list_failures, rich_table
from videonl.weights import cache_folder

ROOT = Path(__file__).resolve().parents[2]
ODD = "caf\udce9 \x1b[2J[red]\r\u4e2d"


def start(arguments: list[str], *, shell_end: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m videonl.cli.main`` through a shell."""
    line = f'"$0" -m videonl.cli.main "$@" {shell_end}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    assert main(["models"]) == 0
    text = raw.getvalue().decode(encoding)
    assert ("\u2248" in text) == (encoding == "utf-8")
    assert ("\\u2248" in text) == (encoding != "utf-8")


def test_a_closed_output_is_one_sentence() -> None:
    for arguments in (["--help"], ["cost", "--help"]):
        done = start(arguments, shell_end=">&-")
        assert done.returncode == 1
        assert done.stderr.decode().count("\n") == 1
        assert b"standard output cannot be written: it is closed" in done.stderr
    both = start(["nosuch"], shell_end=">&- 2>&-")
    assert both.returncode == 2


def test_a_reader_that_went_away_is_silence() -> None:
    done = start(["cost", "--help"], shell_end="| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_a_full_output_is_one_sentence(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    done = start(["cost", "--help"], shell_end=f'> "{full}"')
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert b"No space left on device" in done.stderr


class Drawn(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printing(text: str) -> Callable[[Sequence[str]], int]:
    """A command that prints."""

    def command(_: Sequence[str]) -> int:
        print(text)
        return 0

    return command


def test_control_characters_are_shown_and_bars_still_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    assert run(printing(f"{ODD}\tx"), [], "videonl") == 0
    assert raw.getvalue() == b"caf\\udce9 \\x1b[2J[red]\\r\\u4e2d\tx\n"
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Drawn(raw, "utf-8"))
    bar = "\r\x1b[2K\x1b[1A\x1b[31mred\x1b[0m\x1b[?25l \x1b]0;title\x07 \x1b[2J"
    assert run(printing(bar), [], "videonl") == 0
    drawn, _, shown = raw.getvalue().partition(b" ")
    assert drawn == b"\r\x1b[2K\x1b[1A\x1b[31mred\x1b[0m\x1b[?25l"
    assert shown == b"\\x1b]0;title\\x07 \\x1b[2J\n"


def test_what_can_not_be_written_is_no_error_of_a_video(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:  # noqa: ARG002
            raise OSError(28, "No space left on device")

    def command(_: Sequence[str]) -> int:
        with suppress(Exception):  # as a command goes on after a broken video
            print("x")
        return 0

    def noting(_: Sequence[str]) -> int:
        print("x", file=sys.stderr)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert run(command, [], "videonl") == 1
    assert "standard output cannot be written: No space left" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", Full())
    assert run(noting, [], "videonl") == 0


def test_names_are_no_markup_and_stay_on_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from videonl.inference import Failure, Prediction

    told = Prediction("p", (ODD, "[bold]b[/]\\"), (0.6, 0.4), (), {}, {})
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    console.print(rich_table(told))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "caf\\udce9 \\x1b[2J[red]\\r\u4e2d" in text
    assert "[bold]b[/]\\" in text
    listed = list_failures([Failure("a\nb", "c\x07")], total=1)
    assert listed.splitlines()[1:] == ["  a\\nb: c\\x07"]
    with StepBar() as bar:
        bar.report("[nosuchstyle]x[/y]", 1, 2)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.usefixtures("real_plots")
def test_class_folders_and_files_of_any_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_small_data(tmp_path / "data", train=2, val=1, test=1)
    names = {"dark": os.fsdecode(b"caf\xe9"), "light": "[red]\x1b[2J|<b>$x$"}
    for split in ("train", "val", "test"):
        for old, new in names.items():
            folder = (root / split / old).rename(root / split / new)
            for file in list(folder.iterdir()):
                file.rename(folder / (os.fsdecode(b"v\xe8\x07") + file.name))
    data = ["--data.root", str(root), *FLAGS, "--trainer.accelerator", "cpu"]
    fit = ["train", "fit", *data, "--model.name", "tiny_i3d", "--out", str(tmp_path / "runs")]
    assert main([*fit, "--trainer.max_epochs", "1"]) == 0
    (best,) = (tmp_path / "runs").rglob("best.ckpt")
    checkpoint = ["--checkpoint", str(best)]
    assert main(["train", "test", *data, *checkpoint]) == 0
    out = tmp_path / "out"
    for kind in ("json", "jsonl", "csv"):
        infer = ["predict", str(root / "test"), *checkpoint, "--views", "1x1", "--device", "cpu"]
        option = "csv" if kind == "csv" else "json"
        assert main([*infer, f"--{option}", str(out / f"p.{kind}")]) == 0
    compare = ["compare", str(best), "--data", str(root), "--split", "test", "--views", "1x1"]
    assert main([*compare, "--no-speed", "--out", str(out / "cmp"), "--device", "cpu"]) == 0
    told = json.loads((out / "p.json").read_text("utf-8"))
    assert {entry["classes"][0]["class"] for entry in told["predictions"]} <= set(names.values())
    for file in [*best.parent.glob("*.json"), *best.parent.glob("*.md"), *out.rglob("compare.*")]:
        if file.suffix == ".json":
            json.loads(file.read_text("utf-8"))
        elif file.suffix not in (".png", ".csv"):
            assert "\x1b" not in file.read_text("utf-8")
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert "\x1b" not in text
        assert "\udce9" not in text
    assert "caf\\udce9" in shown.out


def test_a_user_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("VIDEONL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(Path, "expanduser", no_home)
    (tmp_path / "a.mp4").touch()
    index = FolderIndex(tmp_path)
    assert index.files(tmp_path) == ["a.mp4"]
    index.save()
    with pytest.raises(VideoNLError, match="VIDEONL_CACHE"):
        cache_folder()
    with pytest.raises(VideoNLError, match="~/x: there is no such home folder"):
        files.expanded("~/x")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs user namespaces")
@pytest.mark.slow
def test_a_user_id_without_a_name(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 12)
    checkpoint = write_checkpoint(tmp_path)
    bare = {k: v for k, v in os.environ.items() if k not in ("HOME", "USER", "LOGNAME")}
    line = ["unshare", "--user", "--map-user=54321", "--map-group=54321", sys.executable]
    probe = subprocess.run([*line, "-c", ""], env=bare, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no user namespaces here")
    infer = [*line, str(ROOT / "infer.py"), str(video), "--checkpoint", str(checkpoint), "--quiet"]
    done = subprocess.run(infer, env=bare, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
