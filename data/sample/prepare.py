"""Write the sample data set: ``python data/sample/prepare.py`` is ``videonl sample``."""

import sys

from videonl.cli.main import run
from videonl.cli.sample import main

if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], "prepare.py"))
