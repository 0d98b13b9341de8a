"""Non-local layers: plain torch, at home in any network (image, sequence or video)."""

from videonl.layers.affinity import (
    AFFINITIES,
    Affinity,
    Concatenation,
    DotProduct,
    EmbeddedGaussian,
    Gaussian,
)
from videonl.layers.block import NonLocalBlock
from videonl.layers.insertion import insert_non_local, remove_non_local

__all__ = [
    "AFFINITIES",
    "Affinity",
    "Concatenation",
    "DotProduct",
    "EmbeddedGaussian",
    "Gaussian",
    "NonLocalBlock",
    "insert_non_local",
    "remove_non_local",
]
