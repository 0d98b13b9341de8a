"""Non-local blocks in one dimension: a sequence network that relates its two ends.

A sequence of 128 steps carries one of four tones at its start and one at its end; the class is
whether they are the same. The convolutions alone see 9 steps; the block relates all. Run it:
``python examples/sequence.py``.
"""

import argparse

import torch
from torch import Tensor, nn

from videonl.layers import insert_non_local

LENGTH = 128


def make_sequences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (count, 4, LENGTH), one channel per tone, and whether both ends agree (count,)."""
    first = torch.randint(4, (count,), generator=generator)
    same = torch.randint(2, (count,), generator=generator)
    shift = torch.randint(1, 4, (count,), generator=generator)
    last = torch.where(same == 1, first, (first + shift) % 4)
    sequences = 0.1 * torch.randn(count, 4, LENGTH, generator=generator)
    rows = torch.arange(count)
    sequences[rows, first, :8] += 1
    sequences[rows, last, -8:] += 1
    return sequences, same


def build() -> nn.Module:
    """Two convolutions, each followed by a non-local block, and a classifier."""
    net = nn.Sequential(
        nn.Conv1d(4, 32, 5, padding=2),
        nn.ReLU(),
        nn.Conv1d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveMaxPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
    insert_non_local(net, {"1": {}, "3": {"affinity": "dot_product"}})
    return net


def train(net: nn.Module, *, steps: int, batch: int = 64, seed: int = 0) -> list[float]:
    """Train for some steps; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        sequences, labels = make_sequences(batch, generator)
        loss = nn.functional.cross_entropy(net(sequences), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 10 == 0:
            print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    train(build(), steps=parser.parse_args().steps)


if __name__ == "__main__":
    main()
