"""The version of videonl, in one place."""

__version__ = "0.1.0"
