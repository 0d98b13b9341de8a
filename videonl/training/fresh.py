"""Which parameters of a network start afresh after pretrained weights were loaded."""

from torch import nn

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
