"""Load a single non-local block of another library: its keys, its form, and our block.

| peer | keys | keys pooled | scale |
|---|---|---|---|
| AlexHex7 | g, theta, phi (``.0`` where pooled), W or W.0, W.1, concat_project.0 | after | no |
| tea1528 | g, theta, phi, W_z or W_z.0, W_z.1, W_f.0 | after | no |
| mmcv | g.conv (``.0.conv`` where pooled), conv_out.conv, conv_out.bn | after | option |
| PySlowFast, PyTorchVideo | conv_theta, conv_phi, conv_g, conv_out, bn or norm | before | yes |
| GluonCV | theta, phi, g, W, bn and tied copies W_bn | none | yes |
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.layers import Concatenation, NonLocalBlock
from videonl.weights.report import LoadReport, fill
from videonl.weights.translated import NORM, Rules, rename

PARTS = "(theta|phi|g)"
END = "(weight|bias)"
POOL_BEFORE = {"subsample_position": "before"}
POOL_AFTER = {"subsample_position": "after"}


@dataclass(frozen=True)
class Peer:
    """The block of one code base.

    Attributes:
        name: for messages.
        marks: whether these are its keys.
        rules: its keys -> ours.
        options: of our block.
        pooled: pattern of a key that only a block with pooled keys has; None if the keys do not
            show it.
        pools: whether the block pools its keys at all.
    """

    name: str
    marks: Callable[[Mapping[str, Tensor]], bool]
    rules: Rules
    options: Mapping[str, Any]
    pooled: str | None = None
    pools: bool = True


PEERS = (
    Peer(
        "PySlowFast",
        lambda t: "conv_g.weight" in t,
        [
            (rf"conv_(theta|phi|g|out)\.{END}", r"\1.\2"),
            (rf"(?:bn|norm)\.{NORM}", r"norm.\1"),
        ],
        POOL_BEFORE,
    ),
    Peer(
        "mmcv",
        lambda t: "conv_out.conv.weight" in t,
        [
            (rf"{PARTS}(?:\.0)?\.conv\.{END}", r"\1.\2"),
            (rf"conv_out\.conv\.{END}", r"out.\1"),
            (rf"conv_out\.bn\.{NORM}", r"norm.\1"),
            (r"concat_project\.conv\.weight", "affinity.weight"),
        ],
        POOL_AFTER,
        pooled=r"g\.0\.conv\.weight",
    ),
    Peer(
        "GluonCV",
        lambda t: {"W.weight", "bn.weight"} <= set(t),
        [(rf"{PARTS}\.{END}", r"\1.\2"), (rf"W\.{END}", r"out.\1"), (rf"bn\.{NORM}", r"norm.\1")],
        {},
        pools=False,
    ),
    Peer(
        "AlexHex7",
        lambda t: any(re.match(r"(W|W_z)(\.0)?\.weight", key) for key in t),
        [
            (rf"{PARTS}(?:\.0)?\.{END}", r"\1.\2"),
            (rf"(?:W|W_z)(?:\.0)?\.{END}", r"out.\1"),
            (rf"(?:W|W_z)\.1\.{NORM}", r"norm.\1"),
            (r"(?:concat_project|W_f)\.0\.weight", "affinity.weight"),
            (r"W_f\.0\.bias", "affinity.bias"),
        ],
        {**POOL_AFTER, "use_scale": False},
        pooled=r"g\.0\.weight",
    ),
)


def load_block(
    tensors: Mapping[str, Tensor],
    *,
    affinity: str | None = None,
    use_scale: bool | None = None,
    subsample: bool | int | tuple[int, ...] | None = None,
) -> NonLocalBlock:
    """Our block with the weights, and the function, of another library's single block.

    Args:
        tensors: its state dict.
        affinity: if θ and φ exist, the keys do not distinguish "embedded_gaussian" and
            "dot_product".
        use_scale: the embedded Gaussian's 1/sqrt(inner channels); None for the library's default,
            if the keys show which library it is.
        subsample: for PySlowFast and PyTorchVideo, whose keys do not show it: False or the pool
            sizes.

    Raises:
        CheckpointError: unknown keys, or a form that is not determined.
    """
    peer = next((peer for peer in PEERS if peer.marks(tensors)), None)
    if peer is None:
        raise CheckpointError(
            f"no block with the keys {', '.join(list(tensors)[:8])} is supported; supported are "
            f"those of {', '.join(p.name for p in PEERS)} and tea1528"
        )
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith("W_bn.")}
    ours, _ = rename(kept, peer.rules, family=f"{peer.name} block")
    if "affinity.weight" in ours:
        ours["affinity.weight"] = ours["affinity.weight"].flatten()
    value = ours.get("g.weight")
    if value is None or value.dim() not in (3, 4, 5):
        raise CheckpointError(f"this {peer.name} block has no valid g; it is incomplete")
    form = form_of(ours, affinity)
    options = dict(peer.options)
    if use_scale is not None:
        options["use_scale"] = use_scale
    elif (
        form == "embedded_gaussian"
        and {"W.weight", "g.weight"} <= set(kept)
        and "norm.weight" not in ours
    ):
        raise CheckpointError(
            "theta, phi, g and W without a norm belong to a block of AlexHex7 or of GluonCV, which "
            "differ by 1/sqrt(inner channels); give use_scale=False (AlexHex7) or "
            "use_scale=True (GluonCV)"
        )
    block = NonLocalBlock(
        value.shape[1],
        dim=value.dim() - 2,
        inner_channels=value.shape[0],
        affinity=form,
        subsample=pools(peer, kept, subsample),
        out_bias="out.bias" in ours,
        norm="batch" if "norm.weight" in ours else None,
        **options,
    )
    if "affinity.bias" in ours:
        assert isinstance(block.affinity, Concatenation)
        block.affinity.add_bias()
    fill(block, ours, LoadReport("the block", peer.name))
    return block.eval()


def form_of(tensors: Mapping[str, Tensor], affinity: str | None) -> str:
    """The affinity that the keys allow.

    Raises:
        CheckpointError: not determined, or not one that the keys allow.
    """
    if "affinity.weight" in tensors:
        found: tuple[str, ...] = ("concatenation",)
    elif "theta.weight" in tensors:
        found = ("embedded_gaussian", "dot_product")
    else:
        found = ("gaussian",)
    if affinity is None and len(found) == 1:
        return found[0]
    if affinity not in found:
        raise CheckpointError(
            f"the keys of this block are those of affinity={' or '.join(found)}; give that"
        )
    return affinity


def pools(
    peer: Peer, tensors: Mapping[str, Tensor], subsample: bool | int | tuple[int, ...] | None
) -> bool | int | tuple[int, ...]:
    """How the keys are pooled.

    Raises:
        CheckpointError: it is not known.
    """
    if not peer.pools:
        return False
    if peer.pooled is not None:
        return any(re.fullmatch(peer.pooled, key) for key in tensors)
    if subsample is None:
        raise CheckpointError(
            f"the keys of a {peer.name} block do not show whether its keys are pooled; give "
            "subsample=False or subsample=(1, 2, 2)"
        )
    return subsample
