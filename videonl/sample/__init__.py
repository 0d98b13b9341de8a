"""The synthetic sample data set: two moving bodies, whose relation is the class."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "task": "RELATED RELATIONS SHAPES SPLITS SampleParameters draw_scene",
        "files": "read_sample sample_clips write_sample",
        "drawing": "encode_scene",
    },
)
