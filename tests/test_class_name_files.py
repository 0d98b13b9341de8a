"""Files of class names: one reader for training, classifying and converting."""

import json
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.videos import write_video
from videonl.class_names import kinetics400, read_class_names
from videonl.cli.main import main
from videonl.errors import VideoNLError


@pytest.mark.parametrize(
    "text",
    [
        "a b\nc\n",
        '\ufeff"a b"\r\n\r\n"c"\r\n',
        '["a b", "c"]',
        '{"c": 1, "a b": 0}',
        '{"\\"a b\\"": "0", "c": "1"}',
    ],
)
def test_every_form_that_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / "names") == ["a b", "c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "contains no class names"),
        (b"\n\n", "contains no class names"),
        (b"a\nb\na\n", "lists a class twice: a"),
        (b"caf\xe9\n", "not UTF-8 text"),
        (b"[1, 2]", "must be a list of names"),
        (b'{"a": 0, "b": 2}', "must be a list of names"),
        (b"[", "are not valid JSON"),
        (b"[" * 100000, "are not valid JSON"),
    ],
)
def test_refusals(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(VideoNLError, match=words):
        read_class_names(tmp_path / "names")
    with pytest.raises(VideoNLError, match=r"absent cannot be read \(No such file"):
        read_class_names(tmp_path / "absent")


def test_the_commands_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(write_checkpoint(tmp_path, class_names=None))
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"two": 2, "nought": 0, "one": 1}))
    video = str(write_video(tmp_path / "a.mp4", 12))
    words = ["--checkpoint", checkpoint, "--labels", str(names), "--views", "1x1", "--no-isolate"]
    assert main(["predict", video, *words, "--json", str(tmp_path / "a.json")]) == 0
    (entry,) = json.loads((tmp_path / "a.json").read_text())["predictions"]
    assert {choice["class"] for choice in entry["classes"]} == {"nought", "one", "two"}
    out = tmp_path / "named.safetensors"
    assert main(["convert", checkpoint, str(out), "--labels", str(names)]) == 0
    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert sidecar["class_names"] == ["nought", "one", "two"]
    (tmp_path / "train.csv").write_text("a.mp4 2\n")
    names.write_text("[")
    for data in ({"class_names_file": str(names)}, {"class_names_file": str(tmp_path / "x")}):
        flags = [text for key, value in data.items() for text in (f"--data.{key}", value)]
        assert main(["train", "fit", "--data.root", str(tmp_path), *flags]) == 2
        assert "the class names" in capsys.readouterr().err


def test_the_names_of_a_checkpoint_in_another_order_and_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names").write_text("Wave\nclap\nJU MP\n", encoding="utf-8")
    words = ["--checkpoint", str(write_checkpoint(tmp_path)), "--labels", str(tmp_path / "names")]
    assert main(["predict", str(write_video(tmp_path / "a.mp4", 12)), *words]) == 2
    assert "in another order" in capsys.readouterr().err


def test_the_names_of_kinetics_are_nobodys_to_change() -> None:
    kinetics400().clear()
    assert len(kinetics400()) == 400
