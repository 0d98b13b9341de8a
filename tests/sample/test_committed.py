"""The committed network and clip: an answer in a fresh clone, before any training."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "data" / "sample" / "clip.mp4"
WEIGHTS = ROOT / "checkpoints" / "sample_nl.safetensors"
UT_INTERACTION = WEIGHTS.with_name("ut_interaction_nl.safetensors")


def test_the_committed_clip_is_classified_without_any_option(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # wherever the command is started
    assert main(["predict", str(CLIP)]) == 0
    said = capsys.readouterr()
    assert re.search(r"opposite +(99\.\d|100\.0) %\s+perpendicular", said.out)
    assert f"checkpoint {WEIGHTS}" in said.err


def test_other_videos_need_a_network_that_is_named(capsys, tmp_path):
    other = shutil.copy(CLIP, tmp_path / "other.mp4")
    for videos in ([other], [str(CLIP), other]):
        assert main(["predict", *map(str, videos)]) == 2
        assert "--checkpoint is missing" in capsys.readouterr().err


@pytest.mark.parametrize("weights", [WEIGHTS, UT_INTERACTION])
def test_the_committed_files_are_small_and_the_card_names_their_hash(weights):
    card = weights.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert weights.stat().st_size <= 200_000
    assert CLIP.stat().st_size <= 20_000


def test_the_network_of_real_videos_answers_by_its_own_classes(tmp_path, capsys):
    """Its accuracy stands in its card: no real video is in the clone."""
    argv = ["predict", str(CLIP), "--checkpoint", str(UT_INTERACTION), "--json", "-"]
    assert main([*argv, "--top-k", "6"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["predictions"]
    names = {one["class"] for one in answer["classes"]}
    assert names == {"handshake", "hug", "kick", "point", "punch", "push"}
