"""Classes and files of any name go through the commands unharmed, and reach nobody raw."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.serve.serving import serving
from tests.small_data import FLAGS
from tests.videos import write_video
from videonl.cli.main import main

NAMES = ["path", "class", "nan", "1e5", "null", "yes", "=1+1", "#x", "a|b", "<b>", "$x$", '"q"']
NAMES += ["\u4e2d\u6587", "\u0645\u0631\u062d\u0628\u0627", "\U0001f600", "bell\x07\x1b[2J"]
NAMES += ["line\nbreak", "tab\tx", "-dash", "a,b", "x" * 200, "caf\udce9"]
LONG = "v" * 251 + ".mp4"  # 255 bytes, the most that a file system takes
CPU = ["--trainer.accelerator", "cpu"]
# For programs: a path in them is the bytes that open the file.
RAW = ("videonl_check.jsonl", "videonl_extract.csv", "i.csv", "p.csv")
TEXTS = (".csv", ".json", ".jsonl", ".md", ".html", ".yaml")


def write_data(place: Path) -> Path:
    """One video per class and split; that of the first class has the longest name."""
    one = write_video(place / "one.mp4", 12)
    for split in ("train", "val", "test"):
        for number, name in enumerate(NAMES):
            folder = place / "data" / split / name
            folder.mkdir(parents=True)
            shutil.copy(one, folder / (f"{number}.mp4" if number else LONG))
    return one


def unharmed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    code = main(list(argv))
    shown = "".join(capsys.readouterr())
    assert code == 0, (argv, shown)
    assert "unexpected error" not in shown
    assert not any(sign in shown for sign in ("\x07", "\x1b[2J", "\udce9")), argv
    return shown


@pytest.mark.slow
@pytest.mark.usefixtures("real_plots")
@pytest.mark.skipif(os.name == "nt", reason="names that only POSIX file systems take")
def test_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, data = str(write_data(tmp_path)), tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    root = ["--data.root", str(data), *FLAGS, *CPU]
    network = ["--model.name", "tiny_i3d_nl1", "--model.options.width", "8"]
    fit = ["--trainer.max_epochs", "1", "--out", "runs", "--name", "\u4e2d|x"]
    unharmed(capsys, "train", "fit", *root, *network, *fit)
    (run,) = (str(path) for path in Path("runs").glob("*/*"))
    given = ["--checkpoint", run]
    unharmed(capsys, "train", "test", *root, *given, "--json", "t.json")
    unharmed(capsys, "train", "predict", *root, *given, "--split", "test", "--csv", "p.csv")
    many = ["predict", str(data / "test"), *given, "--views", "1x1"]
    unharmed(capsys, *many, "--csv", "i.csv", "--json", "i.json")
    last = str(data / "test" / NAMES[-1] / f"{len(NAMES) - 1}.mp4")
    for video in (str(data / "test" / "path" / LONG), last):
        alone = ["predict", video, *given, "--timeline"]
        unharmed(capsys, *alone, "--plot", "plot.png", "--report", "r.html")
    whole = ["--no-speed", "--data", str(data), "--views", "1x1", "--out", "compared"]
    unharmed(capsys, "compare", run, *whole)
    unharmed(capsys, "attend", one, *given, "--out", "attended")
    unharmed(capsys, "attend", "--data", str(data), *given, "--videos", "22")
    unharmed(capsys, "extract", str(data / "test"), *given, "--out", "features")
    unharmed(capsys, "extract", str(data / "test"), *given, "--out", "features")  # all there
    assert len(list(Path("features").rglob("*.npz"))) == len(NAMES)
    for rank in ("0/2", "1/2"):
        parts = ["extract", str(data / "test"), *given, "--out", "parts", "--shard", rank]
        unharmed(capsys, *parts)
    unharmed(capsys, "merge", "parts")
    unharmed(capsys, "predict", last, *given, "--overlay", "burnt.mp4")
    unharmed(capsys, "live", last, *given, "--json", "live.jsonl")
    served(Path(run), Path(one).read_bytes())
    unharmed(capsys, "export", *given, "--out", "net.onnx")
    unharmed(capsys, "convert", f"{run}/best.ckpt", "converted.safetensors")
    unharmed(capsys, "check", str(data), "--leaks")
    unharmed(capsys, "prepare", str(data), "prepared", "--short-side", "32")
    for path in tmp_path.rglob("*"):
        if path.suffix in TEXTS and path.name not in RAW:
            text = path.read_bytes().decode("utf-8")  # valid, or it raises
            assert "\x1b" not in text, path
            if path.suffix == ".json":
                json.loads(text, parse_constant=no_number)
    for file in ("i.csv", "p.csv"):  # programs read these: a path is the bytes that open the file
        with open(file, newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len(NAMES)
        below = data if file == "p.csv" else data / "test"
        assert all((below / row["path"]).is_file() for row in rows), file


def served(run: Path, video: bytes) -> None:
    """Every class, and an upload of an odd name, in the answers of a server."""
    with serving(run / "best.ckpt") as server:
        assert sorted(server.ask("GET", "/model")[1]["classes"]) == sorted(NAMES)
        asked = f"/predict?views=1x1&top_k={len(NAMES)}"
        status, answer, _ = server.upload(asked, video, "\u4e2d <b>$|.mp4")
        assert (status, answer["file"]) == (200, "\u4e2d <b>$|.mp4")
        assert {row["class"] for row in answer["classes"]} == set(NAMES)
        assert "\x1b" not in server.ask("GET", "/")[1]


def no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
