"""A non-local block in Mask R-CNN: detection and instance segmentation (PAPER section 6).

One block right before the last residual block of res4 of the backbone, as in the paper. The
images hold one bright rectangle each. Run it: ``python examples/detection.py``.
"""

import argparse

import torch
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

from videonl.layers import insert_non_local

SIZE = 96
Target = dict[str, Tensor]


def make_images(count: int, generator: torch.Generator) -> tuple[list[Tensor], list[Target]]:
    """Images (3, SIZE, SIZE) with one rectangle each: its box, class and mask."""
    images, targets = [], []
    for _ in range(count):
        left, top = torch.randint(8, 40, (2,), generator=generator).tolist()
        width, height = torch.randint(24, 48, (2,), generator=generator).tolist()
        image = 0.2 * torch.rand(3, SIZE, SIZE, generator=generator)
        mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
        image[:, top : top + height, left : left + width] += 0.7
        mask[:, top : top + height, left : left + width] = 1
        box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
        images.append(image)
        targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "masks": mask})
    return images, targets


def build() -> nn.Module:
    """Mask R-CNN with a ResNet-50-FPN, and one block after residual block 4 of res4's six."""
    net = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=2,
        min_size=SIZE,
        max_size=SIZE,
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=50,
        box_batch_size_per_image=16,
        box_detections_per_img=5,
    )
    insert_non_local(net, {"backbone.body.layer3.4": {}})
    return net


def train(net: nn.Module, *, steps: int, batch: int = 2, seed: int = 0) -> list[float]:
    """Train for some steps; returns the sums of the five losses."""
    torch.manual_seed(seed)  # the proposals are sampled
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    losses = []
    net.train()
    for step in range(steps):
        images, targets = make_images(batch, generator)
        loss = torch.stack(list(net(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    train(build(), steps=parser.parse_args().steps)


if __name__ == "__main__":
    main()
