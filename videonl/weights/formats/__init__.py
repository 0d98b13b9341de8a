"""Readers of published checkpoints, one file per publisher: its keys, its options."""
