"""Train, validate or test a video classifier: ``python train.py fit --data.root DIR``.

The same as ``videonl train``; ``python train.py fit --help`` lists every option.
"""

import sys

from videonl.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], script="train.py"))
