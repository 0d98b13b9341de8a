"""A folder of small videos with a checkpoint, for the tests of the commands that classify."""

from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.videos import write_video


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4, sub/b.AVI, -dash.mp4, notes.txt, and model.safetensors."""
    folder = tmp_path_factory.mktemp("predict")
    write_checkpoint(folder)
    write_video(folder / "in/a.mp4", 30)
    write_video(folder / "in/sub/b.avi", 20, codec="mpeg4").rename(folder / "in/sub/b.AVI")
    write_video(folder / "in/-dash.mp4", 20)
    (folder / "in/notes.txt").write_text("no video")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder
