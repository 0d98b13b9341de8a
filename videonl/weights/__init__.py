"""Checkpoints: a file of any known format becomes a network, and no code in the file runs."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "blocks": "load_block",
        "checkpoint": "LoadedModel load_checkpoint save_checkpoint",
        "download": "cache_folder cached_path fetch",
        "hub": "hub_file is_hub parse_hub pinned_name push_folder stem_of",
        "loading": "load_pretrained network_of",
        "published": "PUBLISHED Published find_published",
        "report": "LoadReport",
        "run_folder": "checkpoint_in run_of",
        "safe": "Content read_content",
    },
)
