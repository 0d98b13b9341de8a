"""The predictor over HTTP."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "app": "Limits make_app",
        "heads": "CarefulProtocol HEAD_BYTES",
    },
)
