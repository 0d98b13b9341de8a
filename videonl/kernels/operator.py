"""A sum that cannot be traced, as two library operators: one node of a graph, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

_LIBRARY = torch.library.Library("videonl", "FRAGMENT")


def differentiable(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., tuple[Tensor, ...]],
    *,
    fake: Callable[..., Any],
) -> Callable[..., Any]:
    """``videonl::name`` and ``videonl::name_backward`` as one function, differentiable once.

    Args:
        name: of the operator.
        forward: three tensors, then numbers -> the sum, or the sum and what its gradient wants.
        backward: the gradient of the sum, the three tensors, what ``forward`` gave, the numbers ->
            the gradients of the three; without the sums if ``forward`` gives nothing else.
        fake: ``forward`` of tensors without data.
    """

    def shapes(_: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(t.new_empty(t.shape) for t in inputs[:3])

    for title, run, empty in ((name, forward, fake), (f"{name}_backward", backward, shapes)):
        schema = torch.library.infer_schema(run, mutates_args=())
        _LIBRARY.define(title + schema, tags=torch.Tag.pt2_compliant_tag)
        _LIBRARY.impl(title, run, "CompositeExplicitAutograd")
        torch.library.register_fake(f"videonl::{title}", empty, lib=_LIBRARY)
    operator = getattr(torch.ops.videonl, name)
    operator_backward = getattr(torch.ops.videonl, f"{name}_backward")

    class Gradients(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*arguments: Any) -> Any:
            return operator_backward(*arguments)

        @staticmethod
        def setup_context(*_: Any) -> None:
            """Nothing to keep."""

        @staticmethod
        def backward(*_: Any) -> None:
            raise RuntimeError(
                "this form of the non-local sum has no second-order gradients; "
                "use NonLocalBlock(implementation='reference')."
            )

    class Sum(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*arguments: Any) -> Any:
            return operator(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            kept = output if isinstance(output, tuple) else ()
            ctx.numbers = inputs[3:]
            ctx.save_for_backward(*inputs[:3], *kept)
            ctx.mark_non_differentiable(*kept[1:])

        @staticmethod
        def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
            grads = Gradients.apply(grad, *ctx.saved_tensors, *ctx.numbers)
            return (*grads, *[None] * len(ctx.numbers))

    return Sum.apply
