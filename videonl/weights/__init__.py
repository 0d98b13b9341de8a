"""Readers of published checkpoints, one file per format, and what they have in common."""

from videonl.doors import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "blocks": "load_block",
        "checkpoint": "LoadedModel load_checkpoint save_checkpoint",
        "loading": "load_pretrained network_of",
        "published": "PUBLISHED Published find_published",
        "report": "LoadReport",
        "run_folder": "checkpoint_in",
    },
)
