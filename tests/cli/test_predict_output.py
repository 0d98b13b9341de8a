import csv
import json
from pathlib import Path

import pytest

from tests.cli.predicting import predict_here as predict
from tests.inference.networks import NAMES
from tests.marks import mostly_slow
from tests.videos import write_video
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
RANKS = ",".join(f"class_{rank},probability_{rank}" for rank in (1, 2, 3))
HEADER = f"path,model,views,error,{RANKS}"


def test_json_says_class_probability_frames_seconds_model_and_protocol(
    here: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new/out.json"
    assert predict("in", "--views", "2x3", "--top-k", "2", "--json", str(output)) == 0
    content = json.loads(output.read_text())
    assert content["protocol"]["views"] == "2x3"
    assert content["model"]["checkpoint"] == "model.safetensors"
    assert [entry["path"] for entry in content["predictions"]] == [
        "in/-dash.mp4",
        "in/a.mp4",
        "in/sub/b.AVI",
    ]
    entry = content["predictions"][1]
    assert [sorted(choice) for choice in entry["classes"]] == [["class", "probability"]] * 2
    assert [view["crops"] for view in entry["views"]] == [3, 3]
    for view in entry["views"]:
        assert view["seconds"] == pytest.approx([frame / 25 for frame in view["frames"]])
    assert content["failures"] == []
    assert [path.name for path in output.parent.iterdir()] == ["out.json"], "no temporary files"


def test_nothing_but_the_output_goes_to_standard_output(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict("in/a.mp4", "--views", "1x1", "--json", "/dev/stdout") == 0
    assert len(json.loads(capfd.readouterr().out)["predictions"]) == 1
    assert predict("in/a.mp4", "--json", "/dev/stdout", "--csv", "-") == 2
    assert "two outputs are standard output" in capfd.readouterr().err


def test_csv_has_a_row_per_file(here: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    assert predict("in/a.mp4", "gone.mp4", "--views", "1x1", "--csv", str(output)) == 1
    rows = list(csv.DictReader(output.open(newline="")))
    assert {row["path"]: row["error"] for row in rows} == {
        "in/a.mp4": "",
        "gone.mp4": "no such file",
    }
    good = rows[1]
    assert good["class_1"] in NAMES
    assert 0 < float(good["probability_1"]) <= 1
    assert list(rows[0])[-1] == "probability_3", "no more columns than classes"


@pytest.mark.parametrize(
    "name", mostly_slow(["out.json", "out.jsonl", "out.csv"], quick=["out.jsonl", "out.csv"])
)
def test_resume_skips_what_is_there_and_tries_failures_again(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    output, late = tmp_path / name, tmp_path / "late.mp4"
    option = "--csv" if name.endswith(".csv") else "--json"
    common = ["--views", "1x1", option, str(output)]
    assert predict("in/a.mp4", str(late), *common) == 1
    before = output.read_text()
    write_video(late, 12)
    half = '{"path": "in/sub'  # an interrupted run leaves half a line behind
    if option == "--csv":  # with all its cells, but not all digits of the last one
        half = before.splitlines()[-1].replace("in/a.mp4", "in/sub/b.AVI")[:-3]
    if name != "out.json":
        with output.open("a") as file:
            file.write(half)
    capsys.readouterr()
    assert predict("in/a.mp4", str(late), "in/sub", *common, "--resume") == 0
    out, err = capsys.readouterr()
    assert "in/a.mp4" not in out
    assert "already in the output: 1 of 3 files" in err
    after = output.read_text()
    assert after != before
    for path in ("in/a.mp4", str(late), "in/sub/b.AVI"):
        assert after.count(path + ('"' if option == "--json" else ",")) == 1, path
    assert "no such file" not in after
    assert half not in after.splitlines()


def test_resume_refuses_another_run(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, option in (("o.json", "--json"), ("o.jsonl", "--json"), ("o.csv", "--csv")):
        output = str(tmp_path / name)
        assert predict("in/a.mp4", "--views", "1x1", option, output) == 0
        assert predict("in/a.mp4", "--views", "2x1", option, output, "--resume") == 2
        assert "another protocol" in capsys.readouterr().err
    (tmp_path / "other.json").write_text("[]")
    assert predict("in/a.mp4", "--json", str(tmp_path / "other.json"), "--resume") == 2
    assert "not an output of videonl" in capsys.readouterr().err


def test_an_interrupted_run_leaves_a_valid_file_to_resume(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videonl.inference import Predictor

    output, original, calls = tmp_path / "out.json", Predictor.queued, []

    def interrupted(self: Predictor, *arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments, **named)

    monkeypatch.setattr(Predictor, "queued", interrupted)
    assert predict("in", "--views", "1x1", "--json", str(output)) == 130
    assert len(json.loads(output.read_text())["predictions"]) == 1
    monkeypatch.setattr(Predictor, "queued", original)
    assert predict("in", "--views", "1x1", "--json", str(output), "--resume") == 0
    assert len(json.loads(output.read_text())["predictions"]) == 3


def test_output_that_can_not_be_written_is_known_at_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--json", "in/a.mp4/x.json"), ("--csv", "in/a.mp4/x.csv")):
        assert predict("in/a.mp4", "--views", "1x1", option, name) == 2
        out, err = capsys.readouterr()
        assert f"{name} cannot be written" in err
        assert out == ""


@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl", "wide.csv", "wide row.csv"])
def test_resume_refuses_what_no_reader_takes(
    name: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets nested deeper than Python's stack, and a cell longer than its reader takes."""
    content = ("x" if name.endswith(".csv") else "[") * 200_000 + "\n"
    if name == "wide row.csv":
        content = f"{HEADER}\n{content}"
    (tmp_path / name).write_text(content)
    option = "--csv" if name.endswith(".csv") else "--json"
    assert predict("in/a.mp4", "--resume", option, str(tmp_path / name)) == 2
    assert "is not an output of videonl: --resume cannot" in capsys.readouterr().err


def test_journals_that_are_nested_too_deeply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.00000.jsonl").write_text("[" * 200_000 + "\n")
    assert main(["merge", str(tmp_path / "p.jsonl")]) == 2
    assert "error: " in capsys.readouterr().err
    write_video(tmp_path / "data" / "a.mp4", 4)
    (tmp_path / "data" / "videonl_check.jsonl").write_text("[" * 200_000 + "\n")
    assert main(["check", str(tmp_path / "data"), "--workers", "1"]) == 0
