"""Readers of published checkpoints, one file per format, and what they have in common."""

from videonl.weights.loading import load_pretrained, network_of
from videonl.weights.published import PUBLISHED, Published, find_published
from videonl.weights.report import LoadReport

__all__ = [
    "PUBLISHED",
    "LoadReport",
    "Published",
    "find_published",
    "load_pretrained",
    "network_of",
]
