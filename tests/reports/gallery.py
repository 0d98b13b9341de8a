"""Every kind of page that videonl writes, once per session; a new kind is one line of ``PAGES``."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, write_video
from videonl import Predictor
from videonl.evaluation import Comparison, Row, Score, differences, paired_tests
from videonl.inference import Timeline, Window, draw_timeline, timeline_of
from videonl.reports import (
    attention_section,
    comparison_page,
    save_chart,
    server_page,
    video_page,
)
from videonl.training import plot_confusion, plot_curves

LONG = "putting something that cannot actually stand upright on the table, so it falls on its side"
WORD = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 2
NAMES = [LONG, WORD, "<b>$x$ & y</b>", *"defghijkl"]


class Studio:
    """What the pages are made from: a small network with a block, and two small videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def predictor(self) -> Predictor:
        """A network of ``NAMES``."""
        options = {"name": "tiny_i3d_nl2", "class_names": NAMES, "num_classes": len(NAMES)}
        return Predictor.from_checkpoint(write_checkpoint(self.folder, **options), device="cpu")

    @cached_property
    def played(self) -> Path:
        """A video that browsers play, wider than the thumbnails."""
        frames = numbered_frames(30, 72, 128)
        return write_video(self.folder / "a wide one.webm", frames, fps=5, codec="libvpx")

    @cached_property
    def filmed(self) -> Path:
        """A video that they do not play, upright as a phone films, of a long name."""
        frames = numbered_frames(60, 160, 90)
        return write_video(self.folder / f"{'long-name' * 12}.avi", frames, codec="mpeg4")

    def timeline(self) -> str:
        """A page of the real road: a timeline, and what the block looks at."""
        found = timeline_of(self.predictor, self.played, window=2.0, hop=1.0)
        prediction = self.predictor.predict(self.played, views=(1, 1))
        section = attention_section(self.predictor, self.played)
        return video_page(prediction, (found, found.segments()), attention=section)

    def busy_timeline(self) -> str:
        """Many short segments of many classes, of every confidence."""
        prediction = self.predictor.predict(self.played, views=(1, 1))
        found = busy(self.played)
        return video_page(prediction, (found, found.segments()))

    def overlapping_timeline(self) -> str:
        """Several labels at a time."""
        prediction = self.predictor.predict(self.played, views=(1, 1))
        found = busy(self.played)
        shares = np.stack([np.roll(found.probabilities[:, 0] > 0.1, 3 * k) for k in range(12)], 1)
        found = replace(found, probabilities=np.where(shares, 0.8, 0.1), multi_label=True)
        return video_page(prediction, (found, found.segments(threshold=0.5)))

    def key_frames(self) -> str:
        """No video, no timeline, but the attention on an upright picture."""
        prediction = self.predictor.predict(self.filmed, views=(1, 1))
        return video_page(
            prediction, None, attention=attention_section(self.predictor, self.filmed)
        )

    def server(self) -> str:
        """The page of ``serve``."""
        return server_page(self.predictor, limit=256 * 10**6, views=(10, 3))


def busy(path: Path) -> Timeline:
    """Every half of a second another class, more and more probable."""
    spans = [(0.15 * k, 0.15 * k + 0.3) for k in range(40)]
    shares = np.full((40, len(NAMES)), 0.01)
    for k in range(40):
        shares[k, k // 2 % len(NAMES)] = 0.12 + 0.88 * k / 40
    return Timeline(str(path), NAMES, [Window(*s, 0, 8) for s in spans], shares, 6.15, False, {})


def compared(names: list[str], classes: list[str], *, videos: int = 600) -> Comparison:
    """Networks with everything that a comparison can hold, and one that failed."""
    each = videos // len(classes)
    rows = []
    for number, name in enumerate(names):
        row = Row(name, clip_shape=(3, 32, 224, 224), sampling="stride 2", views=(10, 3))
        row.params, row.macs, row.non_local_macs = 35_390_000, 10**10 * (number + 2), number % 2
        wrong = max(1, each // 5 - number)
        right = len(classes) * (each - wrong)
        row.top1 = Score(right, each * len(classes)).as_dict()
        row.top5 = Score(right + 9, each * len(classes)).as_dict()
        speed = {"clips_per_second": 12.3 / (number + 1), "low": 9.25, "high": 13.5}
        row.inference = row.training = {**speed, "peak_memory": 10**9 * (1 + number)}
        places = np.arange(len(classes))
        counts = np.diag(np.full(len(classes), each - wrong))
        counts[places, (places + 1) % len(classes)] = wrong
        row.confusion = counts.tolist()
        row.unread = [0] * len(classes)
        row.answers = [
            (f"{k}.mp4", classes[0], classes[(k % 40 < 9 - number) * 1]) for k in range(videos)
        ]
        row.own = {"views": "10x1", "top1": Score(451, 600).as_dict()}
        rows.append(row)
    tests, found = paired_tests(rows[:3]), differences(rows[:3])
    rows.append(Row("broken", error=f"no network is named {WORD!r}; did you mean i3d_r50?"))
    protocol = {
        "convention": "FLOPs = 2 x MACs",
        "views": "10x3",
        "timing": {"rounds": 5, "batch_size": 1},
        "environment": {"processor": "a processor", "threads": 2, "versions": {"torch": "2.15.0"}},
        "data": {
            "root": "data/" + WORD, "split": "test", "videos": videos, "unreadable": {"a.mp4": ""},
            "interval": "Wilson score interval, 95 %", "census": dict.fromkeys(classes, each),
        },
    }  # fmt: skip
    return Comparison(rows, tests, found, protocol, classes)


@dataclass(frozen=True)
class Page:
    """A kind of page, and scripts that bring it into the states in which a person meets it."""

    make: Callable[[Studio], str]
    states: tuple[str, ...] = ("",)
    dark: bool = False


ANSWER = """show({file: %r, views: [1], protocol: {crops: 3}, seconds: 1.25,
classes: [{class: %r, probability: 0.99968}, {class: "jump", probability: 0.0625}]})"""
WORKING = "$('working').hidden = false; say('Classifying ' + %r); $('clock').textContent = '3 s'"
SERVER = ("", ANSWER % (WORD, LONG), f"fail({(WORD + ' is no video')!r})", WORKING % WORD)
NETWORKS = ["i3d_r50", "i3d_r50_nl5 with a dot product and ReLU in place of the softmax", "x3d_m"]

MANY = [f"{name} {name}_{k}" for k, name in enumerate(NETWORKS * 4)]
CLASSES = [f"{LONG[: 9 + k]} {k}" for k in range(60)]


FAILED = Comparison(
    [Row("a", error=WORD)], protocol={"views": "1x1", "convention": "FLOPs = 2 x MACs"}
)


def comparing(*given: list[str], **options: int) -> Page:
    """The page of ``compared``."""
    return Page(lambda _: comparison_page(compared(*given, **options)))


PAGES = {
    "timeline": Page(Studio.timeline, ("", "go(4)")),
    "busy_timeline": Page(Studio.busy_timeline),
    "overlapping_timeline": Page(Studio.overlapping_timeline),
    "key_frames": Page(Studio.key_frames),
    "compared": comparing(NETWORKS, NAMES),
    "many_networks": comparing(MANY, ["a", "b"]),
    "many_classes": comparing(["a", "b"], CLASSES[:30], videos=60_000),
    "confused_pairs": comparing(["a", "b"], CLASSES),
    "nothing_compared": Page(lambda _: comparison_page(FAILED)),
    "server": Page(Studio.server, SERVER, dark=True),
}


def confusion(classes: int, each: int, *, unread: int = 0) -> Callable[[Path], object]:
    """The picture of a training with so many classes of long names."""
    names = [f"{LONG[:40]} {k}" for k in range(classes)]
    counts = (np.eye(classes, dtype=int) * each + 1).tolist()
    return lambda path: plot_confusion(counts, names, path, unread=[unread] * classes)


def curves(epochs: int) -> Callable[[Path], object]:
    """The picture of a training of so many epochs."""
    rows = [
        {"epoch": k, "step": 10 * k + 9, "train/epoch_loss": 2 / (k + 1), "train/top1": 0.5,
         "val/loss": 2.2 / (k + 1), "val/top1": 0.4}
        for k in range(epochs)
    ]  # fmt: skip
    return lambda path: plot_curves(rows, path, videos=600, best=epochs)


def segments(path: Path) -> None:
    """The plot of a timeline."""
    found = busy(path.with_name("a name " * 30))
    draw_timeline(found, found.segments(), path)


PICTURES: dict[str, Callable[[Path], object]] = {
    "segments": segments,
    "one_epoch": curves(1),
    "many_epochs": curves(200),
    "two_classes": confusion(2, 30_000, unread=1),
    "twenty_classes": confusion(20, 300),
    "sixty_classes": confusion(60, 30),
    "all_classes": confusion(400, 30, unread=1),
    "chart": lambda path: save_chart(compared(NETWORKS, NAMES), path),
    "crowded_chart": lambda path: save_chart(compared(MANY, ["a", "b"]), path),
}
