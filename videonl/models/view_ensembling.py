"""From the logits of views to the answer for a video, with one class or several per video."""

import torch
from torch import Tensor, nn


def probabilities_of(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Probabilities of every view, in double precision where the device has it.

    Args:
        logits: (..., K).
        multi_label: every class has a probability of its own (sigmoid); else they sum to 1.

    Example:
        >>> probabilities_of(torch.tensor([0.0, 0.0]), multi_label=True).tolist()
        [0.5, 0.5]
    """
    wide = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    return wide.sigmoid() if multi_label else wide.softmax(-1)


def over_views(
    probabilities: Tensor, *, multi_label: bool = False, average: str | None = None
) -> Tensor:
    """Combine the probabilities of the views: (..., V, K) -> (..., K).

    Args:
        probabilities: of every view.
        multi_label: whether a video may have several classes.
        average: ``"mean"``; ``"max"``; ``"logits"``: the mean of the logits before the softmax;
            None: the mean for one class per video (the paper, section 4.1), the maximum for
            several, since an action fills only a part of its video (section 4.3 of the paper, on
            Charades).
    """
    if average == "logits":
        if multi_label:
            return probabilities.logit(torch.finfo(probabilities.dtype).eps).mean(-2).sigmoid()
        tiny = torch.finfo(probabilities.dtype).tiny
        return probabilities.clamp_min(tiny).log().mean(-2).softmax(-1)
    largest = multi_label if average is None else average == "max"
    return probabilities.amax(-2) if largest else probabilities.mean(-2)


def average_name(*, multi_label: bool = False, average: str | None = None) -> str:
    """The name of that average in a protocol."""
    if average == "logits":
        return f"{'sigmoid' if multi_label else 'softmax'} of the mean logits over views"
    largest = multi_label if average is None else average == "max"
    how = "maximum over views" if largest else "mean over views"
    usual = largest == multi_label
    if not multi_label:
        return "softmax" if usual else f"softmax, {how}"
    return f"sigmoid, {how}"


def average_words(name: str) -> str:
    """That name as a note says it."""
    return "softmax averaged" if name == "softmax" else name


def average_logits(net: nn.Module, *, multi_label: bool) -> None:
    """Let a head with many cells (a large frame) average their logits.

    Some published heads average softmaxes, which have no meaning for classes that do not exclude
    each other, or sigmoids, which have none for those that do.

    Args:
        net: changed.
        multi_label: whether a video may have several classes.
    """
    head = getattr(net, "head", None)
    if getattr(head, "average", None) == ("probabilities" if multi_label else "sigmoids"):
        head.average = "logits"  # type: ignore[union-attr]
        config: dict[str, object] = net.config  # type: ignore[assignment]
        options = dict(config["options"])  # type: ignore[call-overload]
        net.config = {**config, "options": {**options, "head_average": "logits"}}  # type: ignore[assignment]
