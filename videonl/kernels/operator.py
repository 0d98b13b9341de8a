"""A sum that cannot be traced, as two library operators: one node of a graph, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

_LIBRARY = torch.library.Library("videonl", "FRAGMENT")


def define(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., tuple[Tensor, ...]],
    *,
    fake: Callable[..., Any],
) -> None:
    """Make ``videonl::name`` and ``videonl::name_backward`` for ``run(name, ..)``.

    Args:
        name: of the operator.
        forward: three tensors, then numbers -> the sum, or the sum and what its gradient wants.
        backward: the gradient of the sum, the three tensors, the tuple that ``forward`` gave, the
            numbers -> the gradients of the three.
        fake: ``forward`` of tensors without data.
    """

    def shapes(_: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(t.new_empty(t.shape) for t in inputs[:3])

    for title, compute, empty in ((name, forward, fake), (f"{name}_backward", backward, shapes)):
        schema = torch.library.infer_schema(compute, mutates_args=())
        _LIBRARY.define(title + schema, tags=torch.Tag.pt2_compliant_tag)
        _LIBRARY.impl(title, compute, "CompositeExplicitAutograd")
        torch.library.register_fake(f"videonl::{title}", empty, lib=_LIBRARY)


class _Call(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(name: str, *arguments: Any) -> Any:
        return getattr(torch.ops.videonl, name)(*arguments)


class _Sum(_Call):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        kept = output if isinstance(output, tuple) else ()
        ctx.name, ctx.numbers = f"{inputs[0]}_backward", inputs[4:]
        ctx.save_for_backward(*inputs[1:4], *kept)
        if kept:  # torch 2.15 compiles no empty mark of a single result
            ctx.mark_non_differentiable(*kept[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # Torch 2.10 compiles no Function where nothing learns.
        gradients = _Gradients.apply if torch.is_grad_enabled() else _Call.forward
        grads = gradients(ctx.name, grad, *ctx.saved_tensors, *ctx.numbers)
        return (None, *grads, *[None] * len(ctx.numbers))


class _Gradients(_Call):
    @staticmethod
    def setup_context(*_: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(*_: Any) -> None:
        raise RuntimeError(
            "this form of the non-local sum has no second-order gradients; "
            "use NonLocalBlock(implementation='reference')."
        )


# run(name, *arguments): what ``forward`` gives; its first result can be differentiated once.
run = _Sum.apply
