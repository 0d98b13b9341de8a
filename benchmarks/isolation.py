"""What decoding in a child process costs: the same views read here and there, file by file.

python benchmarks/isolation.py [--files 20] [--rounds 3]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.videos import numbered_frames, write_video  # noqa: E402
from videonl.video.preprocessing import Preprocessing  # noqa: E402
from videonl.video.sandbox import DecoderPool  # noqa: E402
from videonl.video.video import open_video  # noqa: E402
from videonl.video.views import read_views  # noqa: E402

PREPROCESSING = Preprocessing(frames=8, stride=8, short_side=256, crop=224)


def seconds_of(opener: Callable[..., Any], files: list[Path], views: tuple[int, int]) -> float:
    start = time.perf_counter()
    for file in files:
        with opener(file) as video:
            read_views(video, PREPROCESSING.with_views(views))
    return (time.perf_counter() - start) / len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, DecoderPool() as pool:
        frames = numbered_frames(250, 240, 320)
        files = [write_video(Path(folder) / f"{i}.mp4", frames) for i in range(arguments.files)]
        start = time.perf_counter()
        pool.open(files[0]).close()
        result: dict[str, Any] = {"start_seconds": round(time.perf_counter() - start, 3)}
        for views in ((1, 1), (10, 3)):
            here, there = [], []
            for _ in range(arguments.rounds):
                here.append(seconds_of(open_video, files, views))
                there.append(seconds_of(pool.open, files, views))
            first, second = statistics.median(here), statistics.median(there)
            result[f"{views[0]}x{views[1]}"] = {
                "same_process_ms": round(1000 * first, 2),
                "child_process_ms": round(1000 * second, 2),
                "ratio": round(second / first, 3),
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
