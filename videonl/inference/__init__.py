"""From a video file and a checkpoint to class names with probabilities."""
