"""The committed network and clip: an answer in a fresh clone, before any training."""

import hashlib
import re
import shutil
from pathlib import Path

from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "data" / "sample" / "clip.mp4"
WEIGHTS = ROOT / "checkpoints" / "sample_nl.safetensors"


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


def test_the_committed_files_are_small_and_the_card_names_their_hash():
    card = WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in card
    assert WEIGHTS.stat().st_size <= 200_000
    assert CLIP.stat().st_size <= 20_000
