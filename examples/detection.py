"""Non-local blocks in Mask R-CNN and in Keypoint R-CNN (section 6 of the paper).

Every picture holds two bodies far apart. The class of a body says whether it is the brighter one of
the two; its keypoints are the corners of its box that are nearest to the other body and farthest
from it. So a body is found by looking at it, and understood by looking at both.

One block sits right before the last residual block of res4, as in the paper, and for keypoints one
more after every two of the head's eight convolutions (4 + 1, the paper's best). The networks are
small, to learn on a CPU in minutes; the same call puts blocks into torchvision's own.
benchmarks/special_cases.py trains them beside the same networks without blocks. Run it:
``python examples/detection.py``, or ``python examples/detection.py --task keypoints``.
"""

import argparse
from colorsys import hsv_to_rgb
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, ResNet

from videonl.layers import insert_non_local

SIZE = 96
CLASSES = 3  # background, the brighter body, the darker one
WIDTH = 64  # channels of the feature pyramid and of the heads
TASKS = ("masks", "keypoints")
RATE = 1e-3
Target = dict[str, Tensor]


def make_images(count: int, generator: torch.Generator) -> tuple[list[Tensor], list[Target]]:
    """Images (3, SIZE, SIZE) of two bodies: boxes, classes, masks and keypoints (x, y, visible)."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    images, targets = [], []
    for _ in range(count):
        image = 0.2 * torch.rand(3, SIZE, SIZE, generator=generator)
        ellipse = draw(0, 1) < 0.5
        across = draw(0, 1) < 0.5  # one body left and one right, or one above and one below
        first, apart = draw(0.2, 0.7), draw(0.05, 0.3)
        bright = [first, first + apart] if draw(0, 1) < 0.5 else [first + apart, first]
        boxes, masks = [], []
        for half in range(2):
            width, height = int(draw(14, 28)), int(draw(14, 28))
            near = int(draw(0, 32 - (width if across else height))) + 64 * half
            along = int(draw(0, SIZE - (height if across else width)))
            left, top = (near, along) if across else (along, near)
            inside = _shape(left, top, width, height, ellipse=ellipse)
            colour = torch.tensor(hsv_to_rgb(draw(0, 1), 0.5, bright[half]))
            image += inside * colour[:, None, None]
            boxes.append([left, top, left + width, top + height])
            masks.append(inside.to(torch.uint8))
        images.append(image)
        targets.append(
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32),
                "labels": torch.tensor([1, 2] if bright[0] > bright[1] else [2, 1]),
                "masks": torch.stack(masks),
                "keypoints": torch.tensor([_corners(*boxes), _corners(*boxes[::-1])]),
            }
        )
    return images, targets


def _shape(left: int, top: int, width: int, height: int, *, ellipse: bool) -> Tensor:
    """A rectangle, or the ellipse in it: (SIZE, SIZE) of 0 and 1."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    u, v = (x + 0.5 - left) / width, (y + 0.5 - top) / height
    rectangle = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    return (((u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25) if ellipse else rectangle).float()


def _corners(box: list[int], other: list[int]) -> list[list[float]]:
    """The corners of a box nearest to the middle of another and farthest from it."""
    left, top, right, bottom = box
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    corners = [[float(a), float(b), 1.0] for a in (left, right - 1) for b in (top, bottom - 1)]
    corners.sort(key=lambda corner: (corner[0] - x) ** 2 + (corner[1] - y) ** 2)
    return [corners[0], corners[-1]]


def places(task: str) -> list[str]:
    """The submodules that a block follows; res4 of a whole ResNet-50 has its at layer3.4."""
    head = [f"roi_heads.keypoint_head.{4 * pair + 3}" for pair in range(4)]
    return ["backbone.body.layer3.0", *(head if task == "keypoints" else [])]


def plain_network(task: str) -> nn.Module:
    """A small Mask R-CNN or Keypoint R-CNN: a ResNet to res4 and a feature pyramid."""
    body = ResNet(BasicBlock, [1, 1, 2, 1])  # two residual blocks in res4
    del body.layer4, body.fc
    stages = {"layer1": "0", "layer2": "1", "layer3": "2"}
    backbone = BackboneWithFPN(body, stages, [64, 128, 256], WIDTH)
    scores = FastRCNNPredictor(256, CLASSES)
    options: dict[str, Any] = {
        "min_size": SIZE,
        "max_size": SIZE,
        "rpn_anchor_generator": AnchorGenerator(((12,), (20,), (28,), (40,)), ((0.5, 1, 2),) * 4),
        "rpn_pre_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 200,
        "rpn_post_nms_top_n_train": 50,
        "rpn_post_nms_top_n_test": 50,
        "box_batch_size_per_image": 16,
        "box_detections_per_img": 10,
        "box_head": TwoMLPHead(7 * 7 * WIDTH, 256),
        "box_predictor": scores,
    }
    if task == "masks":
        heads = MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1)
        predictor = MaskRCNNPredictor(WIDTH, WIDTH, CLASSES)
        return MaskRCNN(backbone, mask_head=heads, mask_predictor=predictor, **options)
    head = KeypointRCNNHeads(WIDTH, (WIDTH,) * 8)
    points = KeypointRCNNPredictor(WIDTH, 2)
    return KeypointRCNN(backbone, keypoint_head=head, keypoint_predictor=points, **options)


def build(task: str = "masks") -> nn.Module:
    """The network with its blocks."""
    return insert_non_local(plain_network(task), {name: {} for name in places(task)})


def train(net: nn.Module, *, steps: int, batch: int = 8, seed: int = 0) -> list[float]:
    """Train on pictures that are new in every step; returns the sums of the losses."""
    torch.manual_seed(seed)  # the proposals are sampled
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, max(steps, 2), pct_start=0.1)
    losses = []
    net.train()
    for step in range(steps):
        images, targets = make_images(batch, generator)
        loss = torch.stack(list(net(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % max(steps // 20, 1) == 0:
            print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--steps", type=int, default=600, help="of 8 pictures")
    given = parser.parse_args()
    torch.manual_seed(0)
    train(build(given.task), steps=given.steps)


if __name__ == "__main__":
    main()
