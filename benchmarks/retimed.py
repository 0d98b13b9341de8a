"""How much an answer depends on the frame rate of the file: the same videos at 60, 30 and 15 fps.

python benchmarks/retimed.py CHECKPOINT FOLDER        writes benchmarks/results/retimed.json

FFmpeg's filter ``fps`` repeats or drops frames of every video; the copies are encoded without loss,
so that their rate is all that differs. For every pair of rates the JSON holds the largest
difference of a class probability over all videos and classes, the mean over the videos of the
largest one of each, and how many videos change their most probable class.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.filter import Graph

from videonl.escapes import json_text
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.inference import Predictor, find_videos

RESULT = Path(__file__).parent / "results" / "retimed.json"
EXTENSIONS = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def retime(source: Path, target: Path, rate: int) -> Path:
    """Write a video again at a rate, in H.264 without loss; odd sides lose their last pixels."""
    options = {"qp": "0", "preset": "ultrafast"}
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        graph = Graph()
        nodes = [
            graph.add_buffer(template=stream),
            graph.add("fps", f"fps={rate}"),
            graph.add("crop", "trunc(iw/2)*2:trunc(ih/2)*2"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        copy: Any = None
        for frame in [*reader.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    pulled: Any = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break
                if copy is None:
                    copy = writer.add_stream("libx264", rate=rate, options=options)
                    copy.width, copy.height, copy.pix_fmt = pulled.width, pulled.height, "yuv420p"
                pulled.pict_type = av.video.frame.PictureType.NONE
                writer.mux(copy.encode(pulled))
        writer.mux(copy.encode())
    return target


def probabilities(predictor: Predictor, video: Path) -> np.ndarray:
    """float64 (K,): one probability per class, in the order of the network."""
    found = predictor.predict(str(video), top_k=len(predictor.class_names))
    by_name = dict(zip(found.classes, found.probabilities, strict=True))
    return np.array([by_name[name] for name in predictor.class_names])


def compare(
    predictor: Predictor, folder: Path, rates: Sequence[int]
) -> tuple[int, list[dict[str, Any]]]:
    """The number of videos, and one row per pair of rates.

    Raises:
        SystemExit: the folder holds no video.
    """
    videos = [Path(path) for path in find_videos([str(folder)], extensions=EXTENSIONS)[0]]
    if not videos:
        raise SystemExit(f"{folder} holds no video ({' '.join(EXTENSIONS)})")
    answers = np.empty((len(rates), len(videos), len(predictor.class_names)))
    with tempfile.TemporaryDirectory() as made:
        for column, video in enumerate(videos):
            for row, rate in enumerate(rates):
                copy = retime(video, Path(made) / "copy.mp4", rate)
                answers[row, column] = probabilities(predictor, copy)
    rows = []
    for one, two in combinations(range(len(rates)), 2):
        apart = np.abs(answers[one] - answers[two])  # (videos, K)
        changed = (answers[one].argmax(1) != answers[two].argmax(1)).sum()
        rows.append(
            {
                "rates": [rates[one], rates[two]],
                "largest_difference": round(float(apart.max()), 6),
                "mean_of_largest": round(float(apart.max(1).mean()), 6),
                "changed_labels": int(changed),
                "farthest": str(videos[int(apart.max(1).argmax())].relative_to(folder)),
            }
        )
    return len(videos), rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="file, run folder or name of published weights")
    parser.add_argument("folder", type=Path, help="of videos, with its subfolders")
    parser.add_argument("--rates", type=int, nargs="+", default=[60, 30, 15])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE")
    given = parser.parse_args(argv)
    predictor = Predictor.from_checkpoint(given.checkpoint, device=given.device)
    videos, rows = compare(predictor, given.folder, given.rates)
    found = {
        "machine": {**describe_environment(predictor.device), "load_average": os.getloadavg()},
        "checkpoint": {k: predictor.about.get(k) for k in ("name", "num_classes", "sha256")},
        "trained_at": predictor.preprocessing.rate,
        "protocol": predictor.protocol(),
        "videos": videos,
        "pairs": rows,
    }
    write_text(given.json, json_text(found, indent=1) + "\n")
    for row in rows:
        print(f"{row['rates'][0]} and {row['rates'][1]} fps: {row['largest_difference']:.4f}")
    return 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
