"""Order of the samples: seeded, split among processes without padding, the epoch travels along."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class TrainingSampler(Sampler[tuple[int, int]]):
    """A new random order every epoch, equal shares for all processes; yields ``(epoch, index)``.

    The epoch travels with the index because persistent workers hold a copy of the data set that no
    ``set_epoch`` reaches. At most ``world_size - 1`` videos are left out of an epoch (other ones in
    each), so that no video counts twice.
    """

    def __init__(self, length: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self.epoch = 0
        self._skip = 0

    def skip(self, samples: int) -> None:
        """Leave out the first samples of this process in the next iteration, and only there.

        A training that goes on within an epoch skips what it has seen.
        """
        self._skip = samples

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size or 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.length)
        if self.length < self.world_size:  # every process needs one sample
            order = np.resize(order, self.world_size)
        mine = order[self.rank :: self.world_size][: len(self)]
        seen, self._skip = self._skip, 0
        return iter([(self.epoch, int(i)) for i in mine[seen:]])


class EvaluationSampler(Sampler[int]):
    """Every video exactly once over all processes, never padded, never dropped."""

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
