from pathlib import Path

import pytest

from videonl.inference import find_videos

MP4 = (".mp4",)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.mp4", "a.MP4", "x/c.mp4", ".hidden/d.mp4", "x/.e.mp4", "x/f.txt", "[1].mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folder_is_searched_in_order_without_hidden_files(tree: Path) -> None:
    videos, failures = find_videos(["."], extensions=MP4)
    assert videos == ["./[1].mp4", "./a.MP4", "./b.mp4", "./x/c.mp4"]
    assert failures == []


def test_every_file_once_in_the_order_given(tree: Path) -> None:
    videos, _ = find_videos(["x", "b.mp4", "x/c.mp4", "*.mp4"], extensions=MP4)
    assert videos == ["x/c.mp4", "b.mp4", "[1].mp4"]


def test_a_named_file_is_taken_whatever_it_is_called(tree: Path) -> None:
    assert find_videos(["x/f.txt", "[1].mp4"], extensions=MP4)[0] == ["x/f.txt", "[1].mp4"]


def test_inputs_that_lead_nowhere(tree: Path) -> None:
    (tree / "none").mkdir()
    inputs = ["none", "*.avi", "gone.mp4", "http://example.org/a.mp4"]
    videos, failures = find_videos(inputs, extensions=MP4)
    assert videos == []
    assert [failure.path for failure in failures] == inputs
    words = ("no video in this folder", "pattern", "no such file", "download")
    for failure, word in zip(failures, words, strict=True):
        assert word in failure.error
