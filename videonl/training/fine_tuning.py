"""Fine-tuning: which parameters are new, and batch norms that keep their statistics.

The paper trains its long-clip networks with frozen batch norms ("affine"), and fine-tuning on few
videos per device needs them: the statistics of two clips are noise. ``requires_grad = False`` alone
does not freeze one, nor does one ``eval()``, which Lightning's ``train()`` at every epoch undoes.
"""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videonl.layers import NonLocalBlock


def fresh_parameters(net: nn.Module) -> frozenset[str]:
    """Names of the tensors that the pretrained weights did not fill.

    Args:
        net: of ``create_model(..., pretrained=...)``, which notes them in ``net.load_report``.
            Where nothing was noted: the non-local blocks that still add exactly nothing.
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
    """Whether a block adds exactly nothing, as only an untrained one does."""
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
