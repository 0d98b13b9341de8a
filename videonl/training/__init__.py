"""Training with Lightning: the module, its metrics and recipes, checkpoints, the result files."""

from videonl.training.classifier import VideoClassifier

__all__ = ["VideoClassifier"]
