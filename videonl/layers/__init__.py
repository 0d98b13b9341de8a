"""Non-local layers in plain torch, for any network (image, sequence or video)."""

from videonl.layers.affinity import (
    AFFINITIES,
    Affinity,
    Concatenation,
    DotProduct,
    EmbeddedGaussian,
    Gaussian,
    affinity_name,
)
from videonl.layers.attention_row import attention_rows
from videonl.layers.channel_attention import ChannelAttention
from videonl.layers.insertion import insert_non_local, remove_non_local
from videonl.layers.non_local import NonLocalBlock
from videonl.layers.operation import NonLocalOperation

__all__ = [
    "AFFINITIES",
    "Affinity",
    "ChannelAttention",
    "Concatenation",
    "DotProduct",
    "EmbeddedGaussian",
    "Gaussian",
    "NonLocalBlock",
    "NonLocalOperation",
    "affinity_name",
    "attention_rows",
    "insert_non_local",
    "remove_non_local",
]
