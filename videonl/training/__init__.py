"""Training with Lightning: the module, its metrics and recipes, checkpoints, the result files."""

from videonl.training.checkpoints import read_checkpoint
from videonl.training.classifier import VideoClassifier

__all__ = ["VideoClassifier", "read_checkpoint"]
