"""Non-local blocks in a video network of torchvision: r3d_18 on clips that it makes.

Two squares move in every clip; the class is whether they move the same way. Run it:
``python examples/video_classification.py``.
"""

import argparse

import torch
from torch import Tensor, nn
from torchvision.models.video import r3d_18

from videonl.layers import insert_non_local

FRAMES, SIZE = 8, 48


def make_clips(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips (count, 3, FRAMES, SIZE, SIZE) and whether their squares agree (count,)."""
    same = torch.randint(2, (count,), generator=generator)
    steps = torch.randint(2, (count,), generator=generator) * 2 - 1  # left or right
    clips = 0.1 * torch.randn(count, 3, FRAMES, SIZE, SIZE, generator=generator)
    for clip, step, agree in zip(clips, steps.tolist(), same.tolist(), strict=True):
        for time in range(FRAMES):
            left = 20 + 2 * step * time
            other = 20 + 2 * (step if agree else -step) * time
            clip[:, time, 6:14, left : left + 8] += 1
            clip[:, time, 34:42, other : other + 8] += 1
    return clips, same


def build() -> nn.Module:
    """r3d_18 with one block right before the last residual block of its third stage."""
    net = r3d_18(weights=None, num_classes=2)
    insert_non_local(net, {"layer3.0": {"affinity": "concatenation"}})
    return net


def train(net: nn.Module, *, steps: int, batch: int = 8, seed: int = 0) -> list[float]:
    """Train for some steps; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4)
    losses = []
    for step in range(steps):
        clips, labels = make_clips(batch, generator)
        loss = nn.functional.cross_entropy(net(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    train(build(), steps=parser.parse_args().steps)


if __name__ == "__main__":
    main()
