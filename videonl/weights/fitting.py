"""A network and the tensors of a file: compared on the meta device, then made, then filled.

The skeleton of a network has shapes and no memory. What a file declares about its network (a width
of 20,000, 10^9 classes) costs nothing until its tensors are known to have that shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videonl.errors import CheckpointError, VideoNLError
from videonl.models.registry import NoValues, create_model, is_import_path
from videonl.weights.declared import check_options
from videonl.weights.report import LoadReport, check_fit, fill

# What a factory raises on values of odd types, such as a width that is a text.
ODD_VALUES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class Wanted:
    """The arguments of ``create_model`` for a network.

    Attributes:
        name: registered, or an import path of the user's.
        num_classes: K.
        options: of the network.
    """

    name: str
    num_classes: int
    options: Mapping[str, Any]

    def make(self, report: LoadReport) -> nn.Module:
        """Make the network.

        Raises:
            CheckpointError: it cannot be made; names the file.
        """
        try:
            return create_model(self.name, num_classes=self.num_classes, **self.options)
        except CheckpointError:
            raise
        except VideoNLError as error:
            raise CheckpointError(
                f"{report.source} ({report.family}): its network cannot be made: {error}"
            ) from error

    def skeleton(self, report: LoadReport, *, tensors: int) -> nn.Module:
        """The network without memory; a network from the user's own code is really made.

        Args:
            report: names the file.
            tensors: their number in the file, which limits the number of blocks.

        Raises:
            CheckpointError: it cannot be made; names the file.
        """
        if is_import_path(self.name):
            return self.make(report)
        check_options(self.options, tensors=tensors, source=report.source)
        try:
            with torch.device("meta"), NoValues():
                return self.make(report)
        except ODD_VALUES as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{report.source} ({report.family}): its network cannot be made: {self.name} with "
                f"{dict(self.options)} ({error})"[:500]
            ) from None

    def filled(
        self, skeleton: nn.Module, tensors: Mapping[str, Tensor], report: LoadReport, **how: Any
    ) -> nn.Module:
        """The network with the tensors, once they fit its skeleton.

        Args:
            skeleton: of ``skeleton``.
            tensors: by the network's keys.
            report: of the loading.
            how: ``fresh`` and ``about`` of ``fill``.

        Raises:
            CheckpointError: they do not fit.
        """
        check_fit(skeleton, tensors, report, **how)
        is_real = not any(value.is_meta for value in skeleton.state_dict().values())
        model = skeleton if is_real else self.make(report)
        fill(model, tensors, report, **how)
        return model


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Sequence[str]:
    """``name=value`` of the first's options that differ in the second."""
    return [f"{key}={value}" for key, value in first.items() if second.get(key) != value]
