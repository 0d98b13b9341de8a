"""Readers of untrusted files: nothing in a file is run."""
