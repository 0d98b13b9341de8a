"""Non-local blocks in Keypoint R-CNN: in the backbone and in the keypoint head (PAPER section 6).

One block right before the last residual block of res4, and one after every two of the head's
eight convolutions: 4 + 1, the paper's best. The images hold one bright rectangle, whose keypoints
are its corners. Run it: ``python examples/keypoints.py``.
"""

import argparse

import torch
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from videonl.layers import insert_non_local

SIZE = 96
CORNERS = 4
HEAD = "roi_heads.keypoint_head"  # convolution, ReLU, convolution, ReLU, …
Target = dict[str, Tensor]


def make_images(count: int, generator: torch.Generator) -> tuple[list[Tensor], list[Target]]:
    """Images (3, SIZE, SIZE) with one rectangle each: its box, class and corners."""
    images, targets = [], []
    for _ in range(count):
        left, top = torch.randint(8, 40, (2,), generator=generator).tolist()
        width, height = torch.randint(24, 48, (2,), generator=generator).tolist()
        right, bottom = left + width, top + height
        image = 0.2 * torch.rand(3, SIZE, SIZE, generator=generator)
        image[:, top:bottom, left:right] += 0.7
        corners = [[left, top], [right - 1, top], [right - 1, bottom - 1], [left, bottom - 1]]
        visible = [[float(x), float(y), 1.0] for x, y in corners]
        images.append(image)
        targets.append(
            {
                "boxes": torch.tensor([[left, top, right, bottom]], dtype=torch.float32),
                "labels": torch.ones(1, dtype=torch.int64),
                "keypoints": torch.tensor([visible]),
            }
        )
    return images, targets


def build() -> nn.Module:
    """Keypoint R-CNN with a ResNet-50-FPN, one block in res4 and four in the keypoint head."""
    net = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=2,
        num_keypoints=CORNERS,
        min_size=SIZE,
        max_size=SIZE,
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=50,
        box_batch_size_per_image=16,
        box_detections_per_img=5,
    )
    in_head = {f"{HEAD}.{4 * pair + 3}": {} for pair in range(4)}
    insert_non_local(net, {"backbone.body.layer3.4": {}, **in_head})
    return net


def train(net: nn.Module, *, steps: int, batch: int = 2, seed: int = 0) -> list[float]:
    """Train for some steps; returns the sums of the losses."""
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
