"""Fine-tuning: which parameters are new, and batch norms that keep their statistics.

The paper trains its long-clip networks with frozen batch norms ("affine"), and fine-tuning on few
videos per device needs them: the statistics of two clips are too noisy. ``requires_grad = False``
does not stop the statistics, and Lightning's ``train()`` in every epoch undoes a single ``eval()``.
"""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videonl.layers import NonLocalBlock


def fresh_parameters(net: nn.Module) -> frozenset[str]:
    """Names of the tensors that the pretrained weights did not fill.

    Args:
        net: of ``create_model(..., pretrained=...)``, which lists them in ``net.load_report``.
            Without a report: those of non-local blocks that are still the identity.
    """
    report = getattr(net, "load_report", None)
    if report is not None:
        return frozenset(report.new)
    return frozenset(
        f"{name}.{leaf}"
        for name, module in net.named_modules()
        if isinstance(module, NonLocalBlock) and starts_as_identity(module)
        for leaf, _ in module.named_parameters()
    )


def starts_as_identity(block: NonLocalBlock) -> bool:
    """Whether the residual of a block is exactly zero, as at its initialisation."""
    scale = getattr(block.norm, "weight", None)
    last = block.out.weight if scale is None else scale
    return not bool(last.any())


def batch_norms(net: nn.Module, *, exclude: Collection[str] = ()) -> list[_BatchNorm]:
    """The batch norms of a network.

    Args:
        net: any network.
        exclude: parameter names; a batch norm that owns one of them is left out.
    """
    return [
        module
        for name, module in net.named_modules()
        if isinstance(module, _BatchNorm)
        and not any(f"{name}.{leaf}" in exclude for leaf, _ in module.named_parameters())
    ]


def freeze(norms: Collection[_BatchNorm]) -> None:
    """Use the stored statistics and stop the gradients; call it again after every ``train()``."""
    for norm in norms:
        norm.eval()
        norm.requires_grad_(False)
