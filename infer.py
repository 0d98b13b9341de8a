"""Classify video files: ``python infer.py VIDEO [VIDEO ...] --checkpoint CKPT``.

The same as ``videonl predict``; ``python infer.py --help`` lists every option.
"""

import sys

from videonl.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]], script="infer.py"))
