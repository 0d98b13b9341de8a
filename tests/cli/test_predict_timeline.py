"""``videonl predict --timeline``: many files in one call, exit codes and refusals."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.inference.networks import write_checkpoint
from tests.marks import mostly_slow
from tests.videos import write_video
from videonl.cli.main import main


def predict(*words: object) -> int:
    return main(["predict", *map(str, words), "--no-isolate", "--device", "cpu"])


def test_many_files_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_checkpoint(tmp_path)
    first = write_video(tmp_path / "a.mp4", 100)
    second = write_video(tmp_path / "b.avi", 30, codec="mpeg4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = [first, second, tmp_path / "bad.mp4", "--checkpoint", model, "--timeline", "--quiet"]
    words += ["--window", "2s", "--hop", "1s"]
    written = ["--csv", tmp_path / "s.csv", "--windows-csv", tmp_path / "w.csv"]
    assert predict(*words, *written, "--json", tmp_path / "o.json") == 1
    output = capsys.readouterr()
    assert "1 of 3 could not be classified" in output.err
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert [row["path"] for row in rows if row["error"]] == [str(tmp_path / "bad.mp4")]
    good = [row for row in rows if not row["error"]]
    assert {row["path"] for row in good} == {str(first), str(second)}
    assert len(output.out.splitlines()) == len(good)
    assert len((tmp_path / "w.csv").read_text().splitlines()) == 1 + 3 + 1
    content = json.loads((tmp_path / "o.json").read_text())
    assert [len(entry["windows"]) for entry in content["timelines"]] == [3, 1]
    assert content["protocol"]["window_seconds"] == 2.0
    lines = tmp_path / "o.jsonl"
    assert predict(*words, "--quiet", "--json", lines) == 1
    header, *entries = map(json.loads, lines.read_text().splitlines())
    assert entries == [*content["timelines"], *content["failures"]]
    assert header["protocol"] == content["protocol"]
    capsys.readouterr()
    assert predict(*words[:2], "--checkpoint", model, "--timeline", "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["timelines"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "2s"], "--window belongs to --timeline"),
        (["--timeline", "--hop", "0"], "--hop must be at least"),
        (["--timeline", "--csv", "x.csv", "--resume"], "--resume does not work with"),
        (["--timeline", "--views", "3x3"], "--views is for whole videos"),
        (["--timeline", "--workers", "2"], "--workers is for predictions of whole videos"),
        (["--timeline", "--shard", "1/2"], "--shard 0/1 classifies all of them"),
        (["--report", "x.html", "--json", "x.json"], "--report without --timeline"),
    ],
)
def test_refusals(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "a.mp4", 5)
    assert predict(video, "--checkpoint", "none.ckpt", *words) == 2
    assert message in capsys.readouterr().err


def test_a_timeline_is_kept_where_what_comes_after_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("videonl.inference.overlay.write_overlay", stop)
    words = [write_video(tmp_path / "a.mp4", 5), "--checkpoint", write_checkpoint(tmp_path)]
    words += ["--timeline", "--overlay", tmp_path / "o.mp4", "--json", tmp_path / "o.json"]
    assert predict(*words) == 130
    assert len(json.loads((tmp_path / "o.json").read_text())["timelines"]) == 1


def test_a_task_of_an_array_that_has_its_own_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in (("ID", "1"), ("MIN", "0"), ("MAX", "3"), ("COUNT", "4")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{key}", value)
    video = write_video(tmp_path / "a.mp4", 5)
    words = [video, "--checkpoint", write_checkpoint(tmp_path), "--csv", tmp_path / "o.csv"]
    for more in ([], ["--timeline"]):
        assert predict(*words, *more) == 2
        assert "--shard 0/1 classifies all of them in this process" in capsys.readouterr().err
        assert predict(*words, *more, "--shard", "0/1") == 0
        assert str(video) in (tmp_path / "o.csv").read_text()


def test_a_part_of_a_video_has_a_page(tmp_path: Path) -> None:
    video, page = write_video(tmp_path / "a.mp4", 12), tmp_path / "a.html"
    words = ["--checkpoint", write_checkpoint(tmp_path), "--views", "1x1", "--report", page]
    assert predict(f"{video}#t=0.1,0.4", *words) == 0
    assert "data:video/mp4" in page.read_text("utf-8")


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, class_names=["$x", "_y", "$\\bad$"])
    video = write_video(tmp_path / "$\\a$.mp4", 100)
    plot = tmp_path / "plot.png"
    assert predict(video, "--checkpoint", model, "--timeline", "--plot", plot, "--quiet") == 0
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1400, 672)
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert len(colours) > 50
    drawn = sum(count for count, (r, g, b) in colours if max(r, g, b) - min(r, g, b) > 60)
    assert drawn > 0.02 * 1320 * 504, "the segments' bars alone are more than that"


@pytest.mark.parametrize(
    "said", mostly_slow(["2s", "2000ms", "2", "0.0333333333333m"], quick=["2000ms", "2"])
)
def test_seconds(said: str, tmp_path: Path) -> None:
    words = [write_video(tmp_path / "a.mp4", 100), "--checkpoint", write_checkpoint(tmp_path)]
    words += ["--timeline", "--quiet", "--window", said, "--windows-csv", tmp_path / "w.csv"]
    assert predict(*words) == 0
    first = next(csv.DictReader((tmp_path / "w.csv").open()))
    assert float(first["end"]) == pytest.approx(2, abs=0.01)


def test_what_is_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict("a.mp4", "--timeline", "--window=-1s")
    assert "is not a time" in capsys.readouterr().err
