"""Readers of published checkpoints, one file per format, and what they have in common."""
