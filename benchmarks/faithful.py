"""How faithful each family of published files is: largest differences, as a table for the docs.

    PYTHONPATH=. python benchmarks/faithful.py

writes benchmarks/results/faithful.json and docs/faithfulness.md.

Every family's network and test are written down a second time in the tests, operation by operation
and from the publishers' sources; a file in the family's own format with made-up weights is loaded
as a person loads it, and both are compared. What needs the published weights themselves is named.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
import torchvision.models.video as torchvision_networks
from torch import Tensor

from tests.models.peer_networks import PEERS, Forward, make_state
from tests.weights import test_publishers_tests as publishers
from tests.weights.test_pretrained_caffe2 import make_blobs, plain_network, written
from tests.weights.test_pretrained_networks import FILES, clip_for
from videonl.escapes import json_text
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.models.view_ensembling import over_views
from videonl.video import Preprocessing, to_clips
from videonl.video.decoding.pictures import size_of
from videonl.weights import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/faithful.json", ROOT / "docs/faithfulness.md"
LENGTHS, SIDES, WIDTHS = range(1, 401), range(240, 1101), range(256, 700)
SHAPES = ((8, 8), (32, 2), (4, 16))
SOURCES = ((240, 320), (360, 640), (270, 481), (1080, 1920), (640, 360))
# Network of the tests, configs that train it by the recipe of its accuracy.
FAMILIES = {
    "PySlowFast": ("pyslowfast i3d nln", None),
    "PyTorchVideo": ("pytorchvideo i3d", None),
    "the authors' (Caffe2)": ("official", "kinetics400_i3d_r50_nl5_8x8"),
    "MMAction2": ("mmaction2 i3d embedded gaussian", None),
    "GluonCV": ("gluoncv nl5", None),
    "torchvision": ("torchvision", None),
}
COLUMNS = {
    "network": "logits or probabilities, float64",
    "gradients": "by the clip, float64, relative",
    "indices": f"of {len(LENGTHS)} lengths × {len(SHAPES)} clip shapes, how many differ (not of "
    "torchvision where the video is shorter than a clip: it leaves such out)",
    "sizes": f"of {len(SIDES)} short sides × {len(SOURCES)} sources, how many differ",
    "crops": f"of {2 * len(WIDTHS)} pictures, how many differ",
    "normalisation": "float32 against float64",
    "averaging": "of 30 views, float64",
    "recipe": "config of that accuracy's recipe",
}
STRETCHES = {
    "gluoncv": "keeps the shape; theirs stretches to 340×256",
    "torchvision": "keeps the shape; theirs stretches to 171×128",
}
NOT_VERIFIED = (
    "the accuracies themselves: no published weights and no Kinetics videos were at hand; the "
    "networks are compared with made-up weights in each publisher's own keys",
    "pixels: publishers decode with other versions of FFmpeg, or OpenCV; see docs/data.md for the "
    "distance of scaled frames to a full decode",
    "S3D of torchvision was tested with one clip of 128 frames; its preset has the 16 that its "
    "published cost was counted at",
    "recipes of PySlowFast, PyTorchVideo, MMAction2, GluonCV and torchvision: their networks are "
    "read and tested, not trained, as their publishers did; the configs follow the paper's and its "
    "released code's",
)


def of_network(family: str, folder: Path) -> tuple[dict[str, float], Preprocessing]:
    """(largest difference of outputs and of their gradients, how videos are looked at)."""
    name, _ = FAMILIES[family]
    if name == "official":
        blobs = make_blobs()
        path = written(folder / "a.pkl", {"blobs": blobs})
        loaded = load_checkpoint(path, options={"preset": "official_8x8"})
        clip = clip_for(name, side=72)
        peer: Callable[[Tensor], Tensor] = lambda x: (  # noqa: E731
            plain_network(blobs, "official_8x8", x).softmax(1).mean((2, 3, 4))
        )
        probabilities = True
    elif name == "torchvision":
        torch.manual_seed(0)
        peer = torchvision_networks.r3d_18(num_classes=5).eval()
        torch.save(peer.state_dict(), folder / "a.pth")
        loaded = load_checkpoint(folder / "a.pth")
        peer, probabilities = peer.double(), False
        clip = torch.randn(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    else:
        wrapper, options, _ = FILES[name]
        state = make_state(PEERS[name])
        torch.save({wrapper: state} if wrapper else state, folder / "a.pth")
        loaded = load_checkpoint(folder / "a.pth", options=options)
        clip, peer = clip_for(name), Forward(PEERS[name], state)
        probabilities = PEERS[name].probabilities
    clip = clip.double().requires_grad_()
    found = loaded.model.double()(clip)
    found, wanted = found.softmax(1) if probabilities else found, peer(clip)
    by_us, by_them = (torch.autograd.grad(out.square().sum(), clip)[0] for out in (found, wanted))
    differences = {
        "network": (found - wanted).abs().max().item(),
        "gradients": ((by_us - by_them).abs().max() / by_them.abs().max()).item(),
    }
    return differences, Preprocessing.from_dict(loaded.preprocessing)


def indices(key: str, own: Preprocessing) -> int:
    """Lengths and shapes whose frame numbers differ."""
    wrong = 0
    for frames, stride in SHAPES:
        shown = own.for_rate(30.0).changed(frames=frames, stride=stride)
        for length in LENGTHS:
            if key == "torchvision":
                wanted = publishers.uniform_indices(length, frames, 15.0 * stride)
                differs = bool(wanted) and shown.indices(length) != wanted
            else:
                differs = shown.indices(length) != publishers.INDICES[key](length, frames, stride)
            wrong += differs
    return wrong


def sizes(key: str, own: Preprocessing) -> int:
    """Short sides at which the scaled picture has another size."""
    return sum(
        size_of(*source, short_side=side, rounding=own.rounding)
        != publishers.wanted_size(key, *source, side)
        for source in SOURCES
        for side in SIDES
    )


def crops(key: str, own: Preprocessing) -> int:
    """Pictures whose crops lie elsewhere."""
    side, wrong = own.view_side, 0
    for long in WIDTHS:
        rest = long - side
        places = [round(rest / 2)] if own.views[1] == 1 else publishers.wanted_places(key, rest)
        short = own.short_side
        middle = round((short - side) / 2)
        wide, high = own.boxes(short, long), own.boxes(long, short)
        wrong += [box[:2] for box in wide] != [(middle, place) for place in places]
        wrong += [box[:2] for box in high] != [(place, middle) for place in places]
    return wrong


def normalisation(own: Preprocessing) -> float:
    """Largest difference of (x / 255 - mean) / std over all 256 values."""
    mean, std = own.colours
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(1, 1, 16, 16, 3)
    found = to_clips(values[None], mean=mean, std=std)[0, 0, :, 0].permute(1, 2, 0).double()
    wanted = (values[0, 0].double() / 255 - torch.tensor(mean).double()) / torch.tensor(
        std
    ).double()
    return (found - wanted).abs().max().item()


def averaging(key: str, own: Preprocessing) -> float:
    """Largest difference of the answer of 30 views."""
    logits = torch.randn(30, 400, generator=torch.Generator().manual_seed(0)).double()
    found = over_views(logits.softmax(1), average=own.average)
    wanted = logits.mean(0).softmax(0) if key == "gluoncv" else logits.softmax(1).mean(0)
    return (found - wanted).abs().max().item()


def measure() -> dict[str, dict[str, Any]]:
    """Family -> column -> largest difference."""
    table: dict[str, dict[str, Any]] = {}
    for family, (name, config) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            found, own = of_network(family, Path(folder))
        key = name.partition(" ")[0]
        row: dict[str, Any] = {**found, "indices": indices(key, own)}
        row["sizes"] = STRETCHES.get(key) or sizes(key, own)
        row["crops"] = crops(key, own)
        row |= {"normalisation": normalisation(own), "averaging": averaging(key, own)}
        table[family] = {**row, "recipe": config}
        print(family, table[family], file=sys.stderr)
    return table


def shown(value: Any) -> str:
    """A cell: counts as they are, differences with one digit."""
    if value is None:
        return "not verified"
    if isinstance(value, float):
        return f"{value:.0e}" if value else "0"
    return str(value)


def wrapped(text: str) -> str:
    """A paragraph or an item of a list, as wide as the docs are."""
    hang = "  " if text.startswith("- ") else ""
    return fill(text, 100, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False)


def page(results: dict[str, Any]) -> str:
    """The page of the docs."""
    lines = [
        "# How faithful published files are",
        "",
        wrapped(
            "Largest difference between this library and a second, independent statement of every "
            "publisher's network and test (`tests/models/peer_networks.py`, `tests/weights/`), "
            "with a file in the publisher's own format. Written by `benchmarks/faithful.py` from "
            "[faithful.json](../benchmarks/results/faithful.json); change neither by hand."
        ),
        "",
        f"| family | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for family, row in results["families"].items():
        cells = [shown(row[column]) for column in COLUMNS]
        if row["recipe"] is not None:
            cells[-1] = f"[{row['recipe']}](../configs/{row['recipe']}.yaml)"
        lines.append(f"| {family} | {' | '.join(cells)} |")
    lines += ["", *(wrapped(f"- **{column}**: {text}.") for column, text in COLUMNS.items())]
    lines += ["", "Not verified, for want of the published weights or of their data:", ""]
    lines += [wrapped(f"- {text}.") for text in results["not_verified"]]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE")
    arguments = parser.parse_args(argv)
    results = {
        "machine": describe_environment(torch.device("cpu")),
        "families": measure(),
        "not_verified": list(NOT_VERIFIED),
    }
    write_text(arguments.json, json_text(results, indent=1) + "\n")
    write_text(arguments.page, page(results))
    return 0


if __name__ == "__main__":
    np.seterr(all="raise")
    sys.exit(main(sys.argv[1:]))
