"""Mutated and malicious videos through infer.py and the server: a defined outcome for each.

28 mutations by default; ``pytest -m slow`` takes 1,000.
"""

import json
import math
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.inference.networks import write_checkpoint
from tests.odd_videos import ODD, write_odd
from tests.serve.serving import serving
from tests.videos import write_video
from videonl.cli.main import main

SEED = 20261123
TIME_LIMIT = 60  # generous: the machines that test are busy
WORDS = (b"moov", b"stts", b"stsz", b"stco", b"stsc", b"ctts", b"elst", b"avcC", b"tkhd", b"mdhd",
         b"avih", b"strh", b"idx1", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def seeds(folder: Path) -> list[Path]:
    """Small videos of several containers and codecs."""
    front = {"movflags": "faststart"}
    return [
        write_video(folder / "end.mp4", 12),
        write_video(folder / "front.mp4", 12, container_options=front),
        write_video(folder / "b.mkv", 12, options={"bf": "2"}),
        write_video(folder / "vp9.webm", 8, codec="libvpx-vp9", options={"cpu-used": "8"}),
        write_video(folder / "mpeg4.avi", 12, codec="mpeg4"),
        write_video(folder / "mjpeg.avi", 8, codec="mjpeg", pixel_format="yuvj420p"),
        write_video(folder / "ts.ts", 12, codec="mpeg2video"),
    ]


def mutate(content: bytes, random: np.random.Generator, kind: int) -> bytes:
    """Bit flips, a truncation, a lie in a header, or a block moved, zeroed or repeated."""
    data = bytearray(content)
    if kind == 0:
        for place in random.integers(0, len(data) * 8, int(random.choice([1, 8, 64, 512]))):
            data[place >> 3] ^= 1 << (place & 7)
    elif kind == 1:
        data = data[: int(random.integers(0, len(data)))]
    elif kind == 2:
        found = [data.find(word) for word in WORDS if word in data]
        start = int(random.choice(found)) if found else 0
        place = min(start + int(random.integers(-4, 40)), len(data) - 4)
        lies = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, int(random.integers(1 << 32))]
        lie = random.choice(lies)
        data[max(place, 0) : max(place, 0) + 4] = struct.pack(">I", int(lie))
    else:
        first, second = sorted(int(i) for i in random.integers(0, len(data), 2))
        block = data[first:second]
        data[first:second] = bytes(len(block)) if random.integers(2) else block + block
    return bytes(data)


def make_mutants(folder: Path, seeds: list[Path], number: int) -> list[Path]:
    random = np.random.default_rng(SEED)
    folder.mkdir()
    files = []
    for index in range(number):
        seed = seeds[index % len(seeds)]
        file = folder / f"{index:04d}{seed.suffix}"
        file.write_bytes(mutate(seed.read_bytes(), random, index // len(seeds) % 4))
        files.append(file)
    return files


def through_infer(folder: Path, files: list[Path]) -> dict[str, object]:
    """Path -> probability, or the sentence of its failure."""
    out = folder / "out.json"
    options = ["--checkpoint", str(folder / "model.safetensors"), "--device", "cpu"]
    options += ["--views", "2x1", "--json", str(out), "--quiet", "--time-limit", str(TIME_LIMIT)]
    options += ["--memory-limit", "1024", "--workers", "2"]
    code = main(["predict", *options, *map(str, files)])
    content = json.loads(out.read_text())
    results = {r["path"]: r["classes"][0]["probability"] for r in content["predictions"]}
    failures = {r["path"]: r["error"] for r in content["failures"]}
    assert code == (1 if failures else 0)
    assert sorted([*results, *failures]) == sorted(map(str, files))
    assert all(math.isfinite(value) for value in results.values())
    assert all(failures.values())
    return {**results, **failures}


def through_server(folder: Path, files: list[Path]) -> dict[str, object]:
    """The same over HTTP; 4xx and 5xx with a sentence for failures."""
    with serving(
        folder / "model.safetensors", room=8, seconds=float(TIME_LIMIT), memory_mb=1024
    ) as server:

        def ask(file: Path) -> object:
            status, answer, _ = server.post("/predict?views=2x1", file.read_bytes())
            assert status in (200, 400, 422, 504), answer
            assert "/proc/" not in answer.get("error", "")
            return answer["classes"][0]["probability"] if status == 200 else answer["error"]

        with ThreadPoolExecutor(4) as threads:
            outcomes = list(threads.map(ask, files))
        assert server.idle()
    return {str(file): outcome for file, outcome in zip(files, outcomes, strict=True)}


def both_roads(folder: Path, files: list[Path]) -> tuple[dict[str, object], dict[str, object]]:
    """Outcomes of both, which agree on what decodes and to what."""
    before = open_files()
    start = time.monotonic()
    infer = through_infer(folder, files)
    server = through_server(folder, files)
    assert time.monotonic() - start < 30 + 2 * TIME_LIMIT * len(files)
    assert open_files() - before <= 2, "files were left open"
    for path, outcome in infer.items():
        other = server[path]
        timed = "limit" in str(outcome) or "limit" in str(other)
        assert isinstance(outcome, str) == isinstance(other, str) or timed, (path, outcome, other)
        if isinstance(outcome, float) and isinstance(other, float):
            assert outcome == other, path
    return infer, server


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize(
    "number", [28, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
def test_mutated_videos(number: int, folder: Path, seeds: list[Path]) -> None:
    files = make_mutants(folder / f"mutants{number}", seeds, number)
    infer, _ = both_roads(folder, files)
    errors = [outcome for outcome in infer.values() if isinstance(outcome, str)]
    assert number * 0.1 < len(errors) < number * 0.95, "the mutations are too mild or too wild"


def lie_in(content: bytes, box: bytes, offset: int, value: int) -> bytes:
    """A box of an MP4 with another 32-bit number at an offset behind its name."""
    place = content.index(box) + 4 + offset
    return content[:place] + struct.pack(">I", value) + content[place + 4 :]


def test_bombs(folder: Path, seeds: list[Path]) -> None:
    mp4, avi = seeds[1].read_bytes(), seeds[5].read_bytes()
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF0, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 8000, 8000, 0) + b"\x02\x02\x4c\x01\x00"
    many = b"GIF89a" + struct.pack("<HHBBB", 8000, 8000, 0xF0, 0, 0) + bytes(6) + frame * 20000
    rate = avi.index(b"avih") + 8 + 16
    bombs = {
        "frames_stts.mp4": lie_in(mp4, b"stts", 8, 0xFFFFFFFF),
        "entries_stts.mp4": lie_in(mp4, b"stts", 4, 0xFFFFFFF0),
        "frames_stsz.mp4": lie_in(lie_in(mp4, b"stsz", 8, 0x7FFFFFFF), b"stsz", 4, 1),
        "entries_stsz.mp4": lie_in(mp4, b"stsz", 8, 0x7FFFFFFF),
        "size_tkhd.mp4": lie_in(mp4, b"avc1", 24, 0xFFFFFFFF),
        "frames.avi": avi[:rate] + struct.pack("<I", 0xFFFFFFFF) + avi[rate + 4 :],
        "canvas.gif": gif,
        "many_large.gif": many + b";",
        "boxes.mp4": b"\0\0\0\x08moov" * 50000,
        "nested.mp4": b"".join(struct.pack(">I", 8 * (3000 - i)) + b"moov" for i in range(3000)),
        "zeros.mp4": mp4[:100] + bytes(1 << 20),
    }
    place = folder / "bombs"
    place.mkdir()
    files = []
    for name, content in bombs.items():
        (place / name).write_bytes(content)
        files.append(place / name)
    infer, _ = both_roads(folder, files)
    for name in ("canvas.gif", "boxes.mp4", "nested.mp4", "zeros.mp4"):
        assert isinstance(infer[str(place / name)], str), name


@pytest.mark.slow
def test_odd_videos(folder: Path) -> None:
    (folder / "odd").mkdir()
    files = [write_odd(name, folder / "odd") for name in ODD]
    infer, _ = both_roads(folder, files)
    read = {Path(path).name for path, outcome in infer.items() if isinstance(outcome, float)}
    refused = {Path(path).name for path in infer} - read
    assert refused >= {name for name, odd in ODD.items() if isinstance(odd.frames, str)}
    assert read >= {name for name, odd in ODD.items() if odd.status in ("ok", "frame_count")}
