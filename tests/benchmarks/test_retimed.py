"""``benchmarks/retimed.py`` with the network and the clip of the clone."""

import json
from pathlib import Path

import av
import pytest

from tests.videos import read_number, sequential_decode, write_video

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def retimed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import retimed

    return retimed


def test_copies_show_the_same_pictures_at_another_rate(retimed, tmp_path):
    source = write_video(tmp_path / "30.mp4", 12, fps=30)
    for rate, numbers in ((60, [i // 2 for i in range(24)]), (15, list(range(0, 12, 2)))):
        copy = retimed.retime(source, tmp_path / f"{rate}.mp4", rate)
        with av.open(str(copy)) as container:
            assert container.streams.video[0].average_rate == rate
        assert [read_number(frame) for frame in sequential_decode(copy)] == numbers


def test_differences_are_written_with_machine_and_protocol(retimed, tmp_path, capsys):
    (tmp_path / "videos" / "a").mkdir(parents=True)
    clip = tmp_path / "videos" / "a" / "clip.mp4"
    clip.write_bytes((ROOT / "data/sample/clip.mp4").read_bytes())
    out = tmp_path / "out.json"
    network = str(ROOT / "checkpoints/sample_nl.safetensors")
    words = [network, str(clip.parents[1]), "--json", str(out), "--device", "cpu"]
    assert retimed.main([*words, "--rates", "50", "25"]) == 0
    found = json.loads(out.read_text())
    (pair,) = found["pairs"]
    assert (pair["rates"], pair["farthest"]) == ([50, 25], "a/clip.mp4")
    assert 0 <= pair["mean_of_largest"] <= pair["largest_difference"] <= 1
    assert found["videos"] == 1
    assert "torch" in found["machine"]["versions"]
    assert found["checkpoint"]["sha256"]
    assert "50 and 25 fps: " in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="holds no video"):
        retimed.main([network, str(tmp_path / "empty"), "--json", str(out)])
