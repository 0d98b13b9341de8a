"""How published non-local blocks name their weights, and which options they compute with.

One table. ``rename_peer_keys`` turns a peer's state dict into that of
:class:`~videonl.layers.NonLocalBlock`; the tests hold every entry against outputs of the peer's
own code to 1e-9. Readers of whole networks (videonl/models/pretrained) use the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Peer:
    """One published implementation.

    Attributes:
        keys: their prefix -> ours; the longest prefix that fits counts. None drops the key, a copy
            of another one.
        options: what its blocks compute, as options of NonLocalBlock.
    """

    keys: Mapping[str, str | None]
    options: Mapping[str, Any] = field(default_factory=dict)


_SLOWFAST = {
    "conv_theta": "theta",
    "conv_phi": "phi",
    "conv_g": "g",
    "conv_out": "out",
    "bn": "norm",
    "norm": "norm",
}

PEERS: dict[str, Peer] = {
    # facebookresearch/SlowFast nonlocal_helper.py; PyTorchVideo create_nonlocal (norm for bn).
    "pyslowfast": Peer(_SLOWFAST, {"subsample_position": "before", "use_scale": True}),
    "pytorchvideo": Peer(_SLOWFAST, {"subsample_position": "before", "use_scale": True}),
    # open-mmlab/mmcv non_local.py: its use_scale is an option of the checkpoint's config; the
    # output projection has no bias if a norm follows.
    "mmcv": Peer(
        {
            "theta.conv": "theta",
            "phi.conv": "phi",
            "phi.0.conv": "phi",
            "g.conv": "g",
            "g.0.conv": "g",
            "conv_out.conv": "out",
            "conv_out.bn": "norm",
            "concat_project.conv": "affinity",
        },
        {"subsample_position": "after"},
    ),
    # AlexHex7/Non-local_pytorch.
    "alexhex7": Peer(
        {
            "theta": "theta",
            "phi": "phi",
            "phi.0": "phi",
            "g": "g",
            "g.0": "g",
            "W": "out",
            "W.0": "out",
            "W.1": "norm",
            "concat_project.0": "affinity",
        },
        {"subsample_position": "after", "use_scale": False},
    ),
    # dmlc/gluon-cv (torch): W_bn holds tied copies of W and bn; no pooling.
    "gluoncv": Peer(
        {"theta": "theta", "phi": "phi", "g": "g", "W": "out", "bn": "norm", "W_bn": None},
        {"subsample": False, "use_scale": True},
    ),
}


def rename_peer_keys(state: Mapping[str, Tensor], peer: str) -> dict[str, Tensor]:
    """A peer's non-local block as a state dict of NonLocalBlock.

    Args:
        state: the peer's weights, names relative to the block.
        peer: a name of :data:`PEERS`.

    Raises:
        ValueError: an unknown peer, or a key that its table does not know.
    """
    if peer not in PEERS:
        raise ValueError(f"peer={peer!r} is not known; use one of {', '.join(PEERS)}.")
    renamed = {}
    for key, value in state.items():
        ours = rename_peer_key(key, peer)
        if ours is not None:
            renamed[ours] = value.flatten() if ours == "affinity.weight" else value
    return renamed


def rename_peer_key(key: str, peer: str) -> str | None:
    """One key of a peer's block as ours, or None for a copy that is dropped.

    Raises:
        ValueError: a key that the table does not know.
    """
    table = PEERS[peer].keys
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in table:
            ours = table[prefix]
            return None if ours is None else ".".join([ours, *parts[length:]])
    raise ValueError(f"{key!r} is not a weight of a non-local block of {peer}.")
