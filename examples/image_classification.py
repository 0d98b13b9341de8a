"""Non-local blocks in an image network: torchvision's ResNet-18 tells twins from strangers.

Every image shows two textured patches, far apart; the class is whether they are the same. Run it:
``python examples/image_classification.py``. It starts from the very outputs of the plain network.
"""

import argparse

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from videonl.layers import insert_non_local


def make_images(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 64, 64) with two patches each, and whether these are alike (count,)."""
    images = 0.1 * torch.randn(count, 3, 64, 64, generator=generator)
    patches = torch.randn(count, 2, 3, 12, 12, generator=generator)
    alike = torch.randint(2, (count,), generator=generator)
    patches[:, 1] = torch.where(alike[:, None, None, None] == 1, patches[:, 0], patches[:, 1])
    images[:, :, 4:16, 4:16] = patches[:, 0]
    images[:, :, 48:60, 48:60] = patches[:, 1]
    return images, alike


def build() -> nn.Module:
    """A ResNet-18 with one block right before the last residual block of its third stage."""
    net = resnet18(weights=None, num_classes=2)
    insert_non_local(net, {"layer3.0": {"affinity": "embedded_gaussian"}})
    return net


def train(net: nn.Module, *, steps: int, batch: int = 16, seed: int = 0) -> list[float]:
    """Train for some steps; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        images, labels = make_images(batch, generator)
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    train(build(), steps=parser.parse_args().steps)


if __name__ == "__main__":
    main()
