# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     name: python3
#     display_name: Python 3
# ---
# %% [markdown]
# # Is the non-local block worth its cost on my data?
#
# From a folder of clips to a comparison with its interval, a picture of what the block looks at,
# and one sentence. This text is a notebook: `jupytext --to ipynb examples/worth_it.py`.
#
# Set `VIDEOS` to your own folder (`train/<class>/<video>`, `val/…`, `test/…`). By default a few
# clips of the synthetic sample task are made, and the budget is tiny: seconds on a CPU, and nothing
# is learned in them. For an answer take your own clips, `EPOCHS = "30"` and `SEEDS = "5"`.

# %%
"""From a folder of clips to a comparison, a picture of the block and a sentence."""

import json
import os
from pathlib import Path

from videonl import Predictor
from videonl.attention import attend, save_figure
from videonl.cli.main import main
from videonl.sample import SampleParameters, write_sample

WORK = Path(os.environ.get("WORTH_IT", "runs/worth_it"))
VIDEOS = WORK / "videos"
EPOCHS, SEEDS = "1", "2"

# %%
write_sample(VIDEOS, parameters=SampleParameters(train=24, val=6, test=12, frames=16), workers=0)

# %% [markdown]
# ## The comparison
#
# The same trunk without and with one block: the same clips, order, budget and seeds.

# %%
code = main(
    [
        *("compare", "plain=tiny_i3d", "block=tiny_i3d_nl1", "--train", "--data", str(VIDEOS)),
        *("--epochs", EPOCHS, "--seeds", SEEDS, "--clip", "4x48", "--no-speed"),
        *("--out", str(WORK / "compare")),
    ]
)
assert code == 0

# %% [markdown]
# Accuracy of every training, with the 95 % interval of its videos:

# %%
found = json.loads((WORK / "compare" / "compare.json").read_text(encoding="utf-8"))
for row in found["rows"]:
    top1 = 100 * row["top1"]["value"]
    low, high = (100 * bound for bound in row["top1"]["wilson95"])
    print(f"{row['name']:16} {top1:.1f} % [{low:.1f}, {high:.1f}]")

# %% [markdown]
# ## What the block looks at
#
# One query (the dot: the place that moves the score most), and arrows to what it weighs most.

# %%
checkpoint = WORK / "compare" / "training" / "block" / "seed-0" / "best.ckpt"
clip = sorted((VIDEOS / "test").rglob("*.mp4"))[0]
map_of_clip = attend(Predictor.from_checkpoint(checkpoint, device="cpu"), clip)
save_figure(map_of_clip, WORK / "attention.png")
print(WORK / "attention.png")

# %% [markdown]
# ## The sentence
#
# Its interval is for other seeds and other videos. Where no network beats the constant answer there
# is no verdict, and the sentence says why.

# %%
table = (WORK / "compare" / "compare.md").read_text(encoding="utf-8")
print(table[table.index("Verdict") :])
