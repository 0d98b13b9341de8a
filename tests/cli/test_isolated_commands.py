"""``attend`` and ``extract`` outlive a file on which the decoder crashes or hangs."""

import json
import signal
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.videos import write_video
from videonl.cli.main import main
from videonl.video import DecoderPool, SandboxedVideo


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos as a data set; the decoder of bad.mp4 gets a signal as soon as it is open."""
    write_checkpoint(tmp_path, name="tiny_i3d_nl2")
    for name in ("bad", "good"):
        write_video(tmp_path / "val" / name / f"{name}.mp4", 12)
        write_video(tmp_path / "train" / name / f"{name}.mp4", 12)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def break_decoder(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original = DecoderPool.open

    def opened(self: DecoderPool, path: str, **named: object) -> SandboxedVideo:
        video = original(self, path, **named)  # type: ignore[arg-type]
        if Path(path).name == "bad.mp4":
            assert video._child is not None
            video._child._process.send_signal(number)
            video._left = 0.2  # of the time limit: nothing is gained by waiting for it
        return video

    monkeypatch.setattr(DecoderPool, "open", opened)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("name", "words"), [("SIGSEGV", "SIGSEGV"), ("SIGSTOP", "takes longer than 3 s")]
)
def test_the_other_file_is_done(
    name: str,
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_decoder(monkeypatch, getattr(signal, name))
    common = ["--checkpoint", "model.safetensors", "--device", "cpu", "--time-limit", "3"]
    assert main(["extract", "val", "--window", "8", *common]) == 1
    error = capsys.readouterr().err
    assert "bad.mp4" in error
    assert words in error
    assert [path.name for path in (place / "features").rglob("*.npz")] == ["good.mp4.npz"]
    assert main(["attend", "--data", ".", "--queries", "2", "--json", "-", *common]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["videos"] == 1
    assert words in said.err


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_one_video_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_decoder(monkeypatch, signal.SIGSEGV)
    words = ["--checkpoint", "model.safetensors", "--device", "cpu"]
    assert main(["attend", "val/bad/bad.mp4", *words]) == 2
    error = capsys.readouterr().err
    assert "val/bad/bad.mp4: " in error
    assert "SIGSEGV" in error
    assert len(error.strip().splitlines()) == 1
