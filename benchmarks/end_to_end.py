"""Does the network get its clips in time? Data alone, network alone, and both together.

    python benchmarks/end_to_end.py        # writes benchmarks/results/end_to_end.json

For every network three rates in clips per second, measured in turns so that a busy machine hurts
all alike: the loader of ``VideoDataModule`` with nobody waiting for the network; training steps
(augment, normalise, forward, backward, SGD) on a batch that is there already; and both as a
training runs them. The last one can at most be the smaller of the first two. Worker processes and
the network share the machine's cores: with as many busy processes as cores, the two rates are those
of a machine that does one thing at a time, and the share of the third shows what the other costs.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from decode_videos import write_original
from torch import nn

from videonl.data.datamodule import VideoDataModule
from videonl.escapes import json_text
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.models import create_model
from videonl.video.encoding import encode_file
from videonl.video.transforms import to_clips

RESULTS = Path(__file__).resolve().parent / "results" / "end_to_end.json"
# name -> frames, stride, crop, clips per batch, batches per measurement
SETTINGS: dict[str, tuple[int, int, int, int, int]] = {
    "tiny_i3d_nl2": (8, 8, 112, 8, 12),
    "i3d_r50": (4, 8, 112, 4, 6),
}
TARGET = 0.95  # of the smaller rate
MEAN, STD = [0.45] * 3, [0.225] * 3


def make_data(folder: Path, videos: int, *, prepared: bool) -> Path:
    """Two classes of ``videos`` files in all: two different videos, linked."""
    sources = []
    for number in range(2):
        path = folder / f"source{number}.mp4"
        if not path.is_file():
            write_original(path, 340, 256, seed=number)
        if prepared:
            path, original = folder / f"prepared{number}.mp4", path
            outcome = None if path.is_file() else encode_file(original, path)
            if outcome and outcome.error:
                raise SystemExit(f"{original}: {outcome.error}")
        sources.append(path)
    root = folder / ("prepared" if prepared else "original")
    for split, count in (("train", videos), ("val", 2)):
        for index in range(count):
            place = root / split / f"class{index % 2}" / f"{index}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_file():
                os.link(sources[index % 2], place)
    return root


class Bench:
    """One network and the loader that feeds it."""

    def __init__(self, name: str, root: Path, workers: int, device: torch.device) -> None:
        frames, stride, crop, batch, self.batches = SETTINGS[name]
        self.data = VideoDataModule(
            str(root), frames=frames, stride=stride, crop=crop, short_side=crop * 8 // 7,
            batch_size=batch, num_workers=workers,
        )  # fmt: skip
        self.data.setup("fit")
        self.loader = self.data.train_dataloader()
        self.batch = batch
        self.device = device
        self.precision: Callable[[], AbstractContextManager[Any]] = nullcontext  # of the forward
        self.model: nn.Module = create_model(name, num_classes=2).to(device).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001, momentum=0.9)
        self.ready = next(iter(self.loader))

    def step(self, batch: dict[str, Any]) -> None:
        """One training step; like a training it does not wait for a GPU."""
        batch = self.data.on_before_batch_transfer(batch, 0)
        batch = self.data.transfer_batch_to_device(batch, self.device, 0)
        video = self.data.augmented(batch)
        clips = to_clips(video, mean=MEAN, std=STD).flatten(0, 1)  # (B, 3, T, H, W)
        with self.precision():
            loss = F.cross_entropy(self.model(clips).float(), batch["label"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def settle(self) -> None:
        """Wait for what a GPU still has to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def rate(self, batches: Iterator[dict[str, Any]], work: Callable[[Any], None]) -> float:
        """Clips per second after the first two batches, when the workers' queues have filled."""
        begin, done = 0.0, 0
        for number, batch in enumerate(batches):
            work(batch)
            if number == 1:
                self.settle()
                begin = time.perf_counter()
            done = number - 1
            if done == self.batches:
                break
        self.settle()
        return done * self.batch / (time.perf_counter() - begin)

    def round(self) -> dict[str, float]:
        """The three rates once."""
        again = iter([self.ready] * (self.batches + 2))
        return {
            "data": self.rate(iter(self.loader), lambda _: None),
            "model": self.rate(again, self.step),
            "together": self.rate(iter(self.loader), self.step),
        }


def measure(
    name: str, root: Path, workers: int, rounds: int, device: torch.device
) -> dict[str, Any]:
    """Median rates and the share of the bound that is reached."""
    bench = Bench(name, root, workers, device)
    found = [bench.round() for _ in range(rounds)]
    rates = {key: statistics.median(r[key] for r in found) for key in found[0]}
    shares = [r["together"] / min(r["data"], r["model"]) for r in found]
    return {
        "network": name,
        "workers": workers,
        **{f"{key}_clips_per_second": round(value, 2) for key, value in rates.items()},
        "bound_by": "data" if rates["data"] < rates["model"] else "model",
        "share": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
        "target": TARGET,
    }


def main() -> int:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the network, on the CPU")
    parser.add_argument("--kinds", nargs="+", default=["original", "prepared"])
    parser.add_argument("--work", help="folder that keeps the videos made (default: none kept)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.work or made)
        folder.mkdir(parents=True, exist_ok=True)
        most = max((batches + 3) * batch for *_, batch, batches in SETTINGS.values())
        for kind in options.kinds:
            root = make_data(folder, most, prepared=kind == "prepared")
            for name in options.networks:
                for workers in options.workers:
                    row = {"files": kind, **measure(name, root, workers, options.rounds, device)}
                    rows.append(row)
                    print(row, flush=True)
    facts = {
        "machine": {**describe_environment(device), "load_average": os.getloadavg()},
        "settings": {n: dict(zip(("frames", "stride", "crop", "batch", "batches"), s, strict=True))
                     for n, s in SETTINGS.items()},
        "rows": rows,
    }  # fmt: skip
    write_text(options.out, json_text(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
