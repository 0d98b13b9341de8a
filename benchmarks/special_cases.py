"""Do blocks help Mask R-CNN and Keypoint R-CNN, at equal cost? By average precision.

python benchmarks/special_cases.py                 12 trainings of about 5 minutes on one core

The networks and pictures of examples/detection.py, with its blocks and without. Where a block would
be, the network without has a residual block of convolutions (1x1, 3x3, 1x1, a batch norm whose
scale starts at 0) that costs the same. Average precision of boxes and masks is torchmetrics', of
keypoints (which torchmetrics has not) that of pycocotools, with 0.05 as the deviation of either
point; needs ``pip install pycocotools``. The result is written after each training, and none is
made again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from special_cases_plot import table
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

sys.path.append(str(Path(__file__).resolve().parents[1]))

from examples import detection
from videonl.cli.main import run
from videonl.cli.values import positive
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.evaluation import count_cost
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.layers import NonLocalBlock

RESULT = Path(__file__).parent / "results" / "special_cases.json"
CONVOLUTIONS, BLOCKS = "convolutions", "non-local blocks"
BATCH = 8
DEVIATION = 0.05  # of a keypoint, as COCO has 0.026 (eyes) to 0.107 (hips)
PROPOSALS, BODIES = 50, 2  # that a picture is counted with
PICTURE = (3, detection.SIZE, detection.SIZE)
Found = dict[str, Any]


class Residual(nn.Module):
    """What stands for a block: x plus three convolutions of it, the identity at first."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.convolutions[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x + self.convolutions(x)


class OnePicture(nn.Module):
    """What a network computes for a picture, with fixed numbers of proposals and bodies."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> None:
        """(1, 3, H, W) -> nothing: it is counted."""
        heads = self.net.roi_heads
        features = list(self.net.backbone(x).values())
        self.net.rpn.head(features)
        channels = features[0].shape[1]
        heads.box_predictor(heads.box_head(x.new_zeros(PROPOSALS, channels, 7, 7)))
        bodies = x.new_zeros(BODIES, channels, 14, 14)
        if heads.has_mask():
            heads.mask_predictor(heads.mask_head(bodies))
        if heads.has_keypoint():
            heads.keypoint_predictor(heads.keypoint_head(bodies))


def with_convolutions(task: str) -> nn.Module:
    """The network without blocks, and a residual block of the same cost in the place of each."""
    net = detection.plain_network(task)
    for name, (_, *shape) in shapes_of(net, detection.places(task)).items():
        channels = shape[0]
        block = count_cost(NonLocalBlock(channels, dim=2), tuple(shape)).macs
        per_position = block / (shape[1] * shape[2])
        width = round(((channels**2 + 9 * per_position) ** 0.5 - channels) / 9)  # 2 C w + 9 w^2
        parent, _, child = name.rpartition(".")
        place = net.get_submodule(parent)
        setattr(place, child, nn.Sequential(getattr(place, child), Residual(channels, width)))
    return net


ROWS = {CONVOLUTIONS: with_convolutions, BLOCKS: detection.build}


def shapes_of(net: nn.Module, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Submodule -> the shape of its output."""
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: tuple(output.shape)})
        )
        for name in names
    ]
    with torch.no_grad():
        OnePicture(net.eval())(torch.zeros(1, *PICTURE))
    for hook in hooks:
        hook.remove()
    return seen


def precisions(net: nn.Module, task: str, *, pictures: int, seed: int = 12345) -> dict[str, float]:
    """Average precision (IoU or OKS of 0.50 to 0.95) of each kind of a task, from 0 to 1."""
    images, targets = detection.make_images(pictures, torch.Generator().manual_seed(seed))
    net.eval()
    with torch.no_grad():
        answers = [net([image])[0] for image in images]
    box = MeanAveragePrecision(iou_type="bbox")
    box.update(answers, targets)
    found = {"box": float(box.compute()["map"])}
    if task == "keypoints":
        return found | {"keypoint": keypoint_precision(answers, targets)}
    mask = MeanAveragePrecision(iou_type="segm")
    for answer in answers:
        answer["masks"] = answer["masks"][:, 0] > 0.5
    mask.update(answers, targets)
    return found | {"mask": float(mask.compute()["map"])}


def keypoint_precision(answers: list[Found], targets: list[Found]) -> float:
    """COCO's average precision of keypoints, over the classes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, guesses = [], []
    for number, (answer, target) in enumerate(zip(answers, targets, strict=True)):
        truths += coco_rows(number, target)
        guesses += coco_rows(number, answer)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(targets))],
        "categories": [{"id": label} for label in range(1, detection.CLASSES)],
        "annotations": [{**one, "id": i} for i, one in enumerate(truths, start=1)],
    }
    with redirect_stdout(StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(guesses), "keypoints")
        judge.params.kpt_oks_sigmas = torch.full((2,), DEVIATION).numpy()
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])


def coco_rows(number: int, found: Found) -> list[Found]:
    """The bodies of a picture, as COCO writes them."""
    rows = []
    for index, (left, top, right, bottom) in enumerate(found["boxes"].tolist()):
        points = found["keypoints"][index].clone()
        points[:, 2] = 2  # visible
        width, height = right - left, bottom - top
        rows.append(
            {
                "image_id": number,
                "category_id": int(found["labels"][index]),
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": 0,
                "keypoints": points.flatten().tolist(),
                "num_keypoints": len(points),
                "score": float(found["scores"][index]) if "scores" in found else 1.0,
            }
        )
    return rows


def measure(given: argparse.Namespace) -> Found:
    """All trainings that are still to be made."""
    if find_spec("pycocotools") is None:
        raise VideoNLError("average precision needs pycocotools: pip install pycocotools")
    asked = {"steps": given.steps, "batch": BATCH, "pictures": given.pictures}
    found: Found = {**asked, "environments": [], "networks": {}, "trainings": []}
    if given.result.is_file():
        before = json.loads(given.result.read_text("utf-8"))
        if any(before[key] != value for key, value in asked.items()):
            raise VideoNLError(f"{given.result} was made with other numbers: give another --result")
        found = before
    machine = describe_environment(torch.device("cpu"))
    found["environments"] += [machine] if machine not in found["environments"] else []
    done = {(one["task"], one["row"], one["seed"]) for one in found["trainings"]}
    for seed in range(given.seeds):
        for task, row in product(detection.TASKS, ROWS):
            if (task, row, seed) in done:
                continue
            print(f"{task}, {row}, seed {seed}")
            torch.manual_seed(seed)
            net, start = ROWS[row](task), time.time()
            cost = count_cost(OnePicture(net), PICTURE)
            counts = {"params": cost.params, "macs": cost.macs}
            found["networks"].setdefault(task, {})[row] = counts
            losses = detection.train(net, steps=given.steps, batch=BATCH, seed=seed)
            last = mean(losses[-max(len(losses) // 20, 1) :])
            training = {"task": task, "row": row, "seed": seed, "last_loss": last}
            training |= {"precision": precisions(net, task, pictures=given.pictures)}
            found["trainings"].append({**training, "seconds": round(time.time() - start)})
            write_text(given.result, json_text(found, indent=1) + "\n")
    return found


def main(argv: Sequence[str]) -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=600, help=f"of {BATCH} pictures")
    parser.add_argument("--pictures", type=positive, default=500, help="of the test")
    parser.add_argument("--result", type=Path, default=RESULT)
    print(table(measure(parser.parse_args(argv))))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], "special_cases.py"))
