"""A file becomes exact frames, or one error."""

from videonl.doors import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "video": "Video open_video",
        "sampling": "ClipShape random_clip sample_generator timeline uniform_clips",
        "views": "Views clip_shape read_views",
        "transforms": "center_crop crop random_resized_crop spatial_views three_crops to_clips",
        "sandbox": "DecoderPool SandboxedVideo",
        "encoding": "Recipe encode_file",
        "inspection": "Finding inspect_file",
    },
)
