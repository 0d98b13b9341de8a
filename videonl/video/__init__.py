"""Video files as exact frames, and what a network is shown of them."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "video": "Video open_video",
        "preprocessing": "Preprocessing check_entries rectangle_of sample_generator",
        "protocols": "PROTOCOLS checked_protocol under_protocol",
        "clock": "timeline",
        "views": "Views read_views settled",
        "given": "Frames",
        "spool": "Spool",
        "live": "Ended LiveReader Newest open_live played",
        "transfer": "Arrival lane sent sent_together",
        "transforms": "crop random_resized_crop to_clips",
        "sandbox": "DecoderPool SandboxedVideo",
        "encoding": "Recipe encode_file",
        "inspection": "Finding inspect_file",
    },
)
