"""Answers for videos: prediction, timelines, features, export of a network."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "predictor": "Predictor",
        "prediction": "Clip Failure Prediction",
        "features": "FeatureExtractor Features load_features save_features",
        "timeline": "Segment Timeline Window timeline_of",
        "export": "export_model",
        "network": "videos_ahead",
        "inputs": "find_videos read_list",
        "live": "watch",
        "overlay": "captions_of overlay_paths write_overlay",
        "show": "StepBar list_failures rich_table",
        "timeline_output": "draw_timeline",
        "windows": "Windows stream_windows",
    },
)
