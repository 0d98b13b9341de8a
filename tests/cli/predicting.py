"""The command as the tests call it, in the folder of conftest.py."""

from videonl.cli.main import main


def predict(*arguments: str) -> int:
    return main(["predict", "--checkpoint", "model.safetensors", "--device", "cpu", *arguments])


def predict_here(*arguments: str) -> int:
    """Decoded in this process, where the decoding is not what is tested."""
    return predict("--no-isolate", *arguments)
