"""Order of the samples: seeded, split among processes without padding; it carries the epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

AGAIN = 1_000_000  # added to the epoch when a video comes again in it


class TrainingSampler(Sampler[tuple[int, int]]):
    """A new random order every epoch, equal shares for all processes; yields ``(epoch, index)``.

    The epoch is part of each index because persistent workers hold a copy of the data set that
    ``set_epoch`` does not reach. At most ``world_size - 1`` videos are left out of an epoch (other
    ones in each), so that no video counts twice.
    """

    def __init__(self, length: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self.epoch = 0
        self._skip = 0

    def skip(self, samples: int) -> None:
        """Leave out the first samples of this process in the next iteration only.

        A training that is resumed within an epoch skips what it has seen.
        """
        self._skip = samples

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size or 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = self._order(generator)
        while len(order) < self.world_size:  # every process needs one sample
            order = order + order
        mine = order[self.rank :: self.world_size][: len(self)]
        seen, self._skip = self._skip, 0
        return iter(mine[seen:])

    def _order(self, generator: np.random.Generator) -> list[tuple[int, int]]:
        """The samples of the epoch, over all processes."""
        return [(self.epoch, int(index)) for index in generator.permutation(self.length)]


class BalancedSampler(TrainingSampler):
    """Draws every class equally often, as many samples as there are videos; ``(key, index)``.

    The videos of a class are used in turn, so those of a frequent class are left out of some epochs
    and those of a rare one come several times. A video that comes again gets another key, so that
    its crop and augmentation differ.
    """

    def __init__(
        self, labels: Sequence[int], *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(len(labels), seed=seed, rank=rank, world_size=world_size)
        known = np.asarray(labels)
        self.members = [np.flatnonzero(known == label) for label in np.unique(known)]

    def _order(self, generator: np.random.Generator) -> list[tuple[int, int]]:
        share = -(-self.length // len(self.members))
        samples: list[tuple[int, int]] = []
        for members in self.members:
            passes = -(-share // len(members))
            turns = [
                (self.epoch + AGAIN * number, int(index))
                for number in range(passes)
                for index in generator.permutation(members)
            ]
            samples += turns[:share]
        return [samples[place] for place in generator.permutation(len(samples))][: self.length]


class EvaluationSampler(Sampler[int]):
    """Every video exactly once over all processes, never padded, never dropped."""

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def by_turns(labels: Sequence[int], *, seed: int) -> list[int]:
    """An order of all videos in which the classes alternate, so the first few show all classes.

    Example:
        >>> [label for label in map([0, 0, 0, 1, 1].__getitem__, by_turns([0, 0, 0, 1, 1], seed=0))]
        [0, 1, 0, 1, 0]
    """
    known = np.asarray(labels)
    order = np.random.default_rng(seed).permutation(len(known))
    turns = np.zeros(len(known), int)
    for label in np.unique(known):
        members = order[known[order] == label]
        turns[members] = np.arange(len(members))
    return sorted(range(len(known)), key=lambda index: (turns[index], known[index]))
