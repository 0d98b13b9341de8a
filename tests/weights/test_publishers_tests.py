"""A published file is shown what its publisher's own test shows, without any option.

The formulas are written from the papers and the publishers' sources; none of them is videonl's.
"""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.marks import mostly_slow
from tests.models.peer_networks import PEERS, make_state
from tests.videos import numbered_frames, write_video
from tests.weights.test_pretrained_caffe2 import make_blobs, written
from videonl.cli.main import main
from videonl.models import create_model
from videonl.video import Preprocessing, open_video, read_views
from videonl.weights import load_checkpoint

Indices = Callable[[int, int, int], list[list[int]]]
Box = tuple[int, int]
FAMILIES = ("pyslowfast", "pytorchvideo", "official", "mmaction2", "gluoncv")
TOLD = (25.0, 30000 / 1001, 60.0)  # frames per second that are tried by default
IN_THIRTIETHS = ("pyslowfast", "pytorchvideo", "torchvision")
EXAMPLE = [0, 23, 47, 70, 94, 118, 141, 165, 188, 212]


def make_file(folder: Path, family: str) -> tuple[Path, list[str]]:
    """(a file of the family's own format, what it does not say)."""
    if family == "official":
        blobs = make_blobs(non_local=False)
        return written(folder / "official.pkl", blobs), ["preset=official_8x8"]
    name = {"pyslowfast": "pyslowfast i3d", "pytorchvideo": "pytorchvideo i3d"}.get(
        family, "mmaction2 i3d"
    )
    if family == "torchvision":
        net = create_model("r3d_18", num_classes=5)
        torch.save(net.state_dict(), folder / "r3d_18.pth")
        return folder / "r3d_18.pth", []
    if family == "gluoncv":
        torch.save(make_state(PEERS["gluoncv nl0"], width=2), folder / "gluoncv.pth")
        return folder / "gluoncv.pth", []
    wrapper = "state_dict" if family == "mmaction2" else "model_state"
    torch.save({wrapper: make_state(PEERS[name], width=2)}, folder / f"{family}.pth")
    return folder / f"{family}.pth", []


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Preprocessing]:
    """Family -> what a file of it is shown."""
    folder, found = tmp_path_factory.mktemp("files"), {}
    for family in FAMILIES:
        path, words = make_file(folder, family)
        options = dict(word.split("=") for word in words)
        found[family] = Preprocessing.from_dict(
            load_checkpoint(path, options=options).preprocessing
        )
    return found


def even_indices(length: int, frames: int, stride: int, *, ratio: float = 1.0) -> list[list[int]]:
    """PySlowFast: clip i starts at i/10 of the free length; T places over T·τ frames, truncated."""
    covered = frames * stride * ratio
    clips = []
    for i in range(10):
        start = max(length - covered, 0) * i / 10
        places = np.linspace(start, start + covered - 1, frames)
        places = np.where(abs(places - places.round()) < 1e-9, places.round(), places)
        clips.append(np.clip(places, 0, length - 1).astype(int).tolist())
    return clips


def released_indices(length: int, frames: int, stride: int) -> list[list[int]]:
    """The paper's released code: from floor(j·N/10) on, modulo N."""
    return [[(j * length // 10 + k * stride) % length for k in range(frames)] for j in range(10)]


def openmmlab_indices(length: int, frames: int, stride: int) -> list[list[int]]:
    """MMAction2: rounded starts from the first to the last place, modulo N."""
    free = max(length - (frames - 1) * stride - 1, 0)
    starts = np.round(np.arange(10) * (free / 9)).astype(int)
    return [((start + np.arange(frames) * stride) % length).tolist() for start in starts]


def gluon_indices(length: int, frames: int, stride: int) -> list[list[int]]:
    """GluonCV: every τ-th frame, the last one repeated up to T of them; then starts cut down."""
    left = list(range(0, length, stride))
    left += [left[-1]] * (frames - len(left))
    step = max(1.0 * (len(left) - frames) / 9, 0)
    return [left[int(i * step) : int(i * step) + frames] for i in range(10)]


def uniform_indices(length: int, frames: int, rate: float) -> list[list[int]]:
    """torchvision: the video at 15 frames per second, all its clips, five of them."""
    step = rate / 15
    if step.is_integer():
        left = list(range(0, length, int(step)))
    else:
        left = [math.floor(k * step + 1e-9) for k in range(math.floor(length / step + 1e-9))]
    clips = [left[k : k + frames] for k in range(len(left) - frames + 1)]
    if not clips:
        return []  # it leaves such videos out
    return [clips[int(k)] for k in np.floor(np.linspace(0, len(clips) - 1, 5) + 1e-9)]


INDICES: dict[str, Indices] = {
    "pyslowfast": even_indices,
    "pytorchvideo": even_indices,
    "official": released_indices,
    "mmaction2": openmmlab_indices,
    "gluoncv": gluon_indices,
}


@pytest.mark.parametrize(
    ("frames", "stride", "family"),
    mostly_slow(
        [(*size, family) for size in ((8, 8), (32, 2), (4, 16)) for family in FAMILIES],
        quick=[8, (32, 2, "mmaction2"), (32, 2, "gluoncv")],
    ),
)
def test_indices_of_every_length(
    shown: dict[str, Preprocessing], family: str, frames: int, stride: int
) -> None:
    own = shown[family].for_rate(30.0).changed(frames=frames, stride=stride)
    assert own.views == (10, 3)
    for length in range(1, 401):
        assert own.indices(length) == INDICES[family](length, frames, stride), length


@pytest.mark.parametrize(
    "rate", mostly_slow([15.0, 24.0, 25.0, 29.97, 30000 / 1001, 50.0, 60.0], quick=TOLD)
)
def test_facebook_counts_in_thirtieths_of_a_second(
    shown: dict[str, Preprocessing], rate: float
) -> None:
    assert shown["pyslowfast"].fps == 30.0
    own = shown["pyslowfast"].for_rate(rate)
    for length in range(1, 401):
        assert own.indices(length) == even_indices(length, 8, 8, ratio=rate / 30), length


@pytest.mark.parametrize(
    "rate", mostly_slow([15.0, 24.0, 25.0, 30000 / 1001, 30.0, 60.0], quick=TOLD)
)
def test_torchvision_counts_in_fifteenths_of_a_second(rate: float) -> None:
    with torch.device("meta"):
        net = create_model("r3d_18", num_classes=2)
    own = Preprocessing.from_dict(net.preprocessing)  # type: ignore[arg-type]
    assert own.views == (5, 1)
    for length in range(1, 401):
        wanted = uniform_indices(length, 16, rate)
        if wanted:
            assert own.for_rate(rate).indices(length) == wanted, length


@pytest.mark.parametrize(("rate", "ticks"), [(30, 15360), (25, 1000), (30000 / 1001, 30000)])
def test_rates_of_files_are_read_as_they_are_meant(
    rate: float, ticks: int, shown: dict[str, Preprocessing], tmp_path: Path
) -> None:
    """Whole numbers of ticks are not quite whole rates: 0 9 18 ..., not 0 8 17."""
    small = shown["pyslowfast"].changed(views=(10, 1), short_side=32, crop=32)
    for length in (70, 83, 97):
        times = [round(k * ticks / rate) for k in range(length)]
        path = write_ticks(tmp_path / "a.mp4", times, ticks, rate)
        with open_video(path) as video:
            found = read_views(video, small)
        assert found.indices == even_indices(length, 8, 8, ratio=rate / 30), length


def write_ticks(path: Path, times: list[int], ticks: int, rate: float) -> Path:
    base = Fraction(1, ticks)
    with av.open(str(path), "w", options={"video_track_timescale": str(ticks)}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width = stream.height = 32
        stream.codec_context.time_base = stream.time_base = base
        for array, time in zip(numbered_frames(len(times), 32, 32), times, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_the_centre_of_three_clips_rounds_as_numpy(shown: dict[str, Preprocessing]) -> None:
    three = shown["mmaction2"].changed(views=(3, 1))
    for length in range(64, 400):
        starts = [clip[0] for clip in three.indices(length)]
        assert starts == np.round(np.arange(3) * ((length - 63) / 2)).astype(int).tolist()
    one = shown["mmaction2"].changed(views=(1, 1))
    assert [one.indices(n)[0][0] for n in (64, 66, 68, 70)] == [0, 1, 2, 3]


def wanted_size(family: str, height: int, width: int, side: int) -> Box:
    short = min(height, width)
    more = 0.5 if family == "mmaction2" else 0.0  # int(x + 0.5); the others cut
    return (
        side if height == short else math.floor(height / short * side + more + 1e-9),
        side if width == short else math.floor(width / short * side + more + 1e-9),
    )


def wanted_places(family: str, rest: int) -> list[int]:
    if family in ("pyslowfast", "pytorchvideo"):
        return [0, math.ceil(rest / 2), rest]
    if family == "gluoncv":
        return [int(i * (1.0 * rest / 2)) for i in range(3)]
    return [0, rest // 2, rest // 2 * 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_crops_at_odd_widths(shown: dict[str, Preprocessing], family: str) -> None:
    for long in range(256, 600):
        wide = shown[family].boxes(256, long)
        assert [box[:2] for box in wide] == [(0, x) for x in wanted_places(family, long - 256)]
        high = shown[family].boxes(long, 256)
        assert [box[:2] for box in high] == [(y, 0) for y in wanted_places(family, long - 256)]


@pytest.mark.parametrize(
    "size", [(48, 62), *(pytest.param(s, marks=pytest.mark.slow) for s in ((94, 52), (46, 90)))]
)
def test_sizes(shown: dict[str, Preprocessing], tmp_path: Path, size: Box) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(3, *size))
    with open_video(path) as video:
        for family, own in shown.items():
            for side in range(240, 1101, 20):
                scaling = {**own.scaling, "short_side": side}
                found = tuple(video.read([0], **scaling).shape[1:3])
                assert found == wanted_size(family, *size, side), (family, side)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        n: write_video(folder / f"{n}.mp4", numbered_frames(n, 48, 62), fps=30) for n in (40, 300)
    }


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "torchvision"])
def test_one_command_shows_it(family: str, videos: dict[int, Path], tmp_path: Path) -> None:
    path, words = make_file(tmp_path, family)
    out = tmp_path / "out.json"
    files = [str(videos[40]), str(videos[300])]
    argv = ["predict", *files, "--checkpoint", str(path), "--json", str(out), "--device", "cpu"]
    assert main([*argv, *(part for word in words for part in ("--option", word))]) == 0
    content: dict[str, Any] = json.loads(out.read_text("utf-8"))
    shape = (32, 2) if family in ("mmaction2", "gluoncv") else (8, 8)
    for length, entry in zip((40, 300), content["predictions"], strict=True):
        seen = [view["frames"] for view in entry["views"]]
        if family == "torchvision":
            assert seen == uniform_indices(length, 16, 30.0)
        else:
            assert seen == INDICES[family](length, *shape)
        if family in ("pyslowfast", "pytorchvideo"):
            firsts = EXAMPLE if length == 300 else [0] * 10
            assert [clip[0] for clip in seen] == firsts
            assert length == 300 or seen[0] == [0, 9, 18, 27, 36, 39, 39, 39]
    protocol = content["protocol"]
    wanted = {"views": "10x3", "view_side": 256, "short_side": 256, "crop": 224}
    if family == "torchvision":
        wanted = {"views": "5x1", "view_side": 112, "short_side": 128, "crop": 112}
    assert {key: protocol[key] for key in wanted} == wanted
    assert protocol.get("fps") == (30.0 if family in IN_THIRTIETHS else None)
    grey = family in ("pyslowfast", "pytorchvideo", "official")
    mean = 0.45 if grey else 0.43216 if family == "torchvision" else 0.485
    assert protocol["mean"][0] == mean
    assert ("logits" in protocol["average"]) == (family == "gluoncv")


def test_every_entry_is_changed_by_an_option_and_kept(tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, "mmaction2")
    entries: dict[str, Any] = {"places": "free", "span": "even", "short_video": "pad", "fps": 25.0}
    entries |= {"rounding": "down", "crop_places": "up", "average": "logits"}
    assert not entries.items() & load_checkpoint(path).preprocessing.items()
    words = [word for key, value in entries.items() for word in ("--option", f"{key}={value}")]
    out = tmp_path / "kept.safetensors"
    assert main(["convert", str(path), str(out), *words]) == 0
    assert entries.items() <= load_checkpoint(out).preprocessing.items()


CFG = """
MODEL: {ARCH: i3d, DROPOUT_RATE: 0.3}
DATA:
  NUM_FRAMES: 16
  SAMPLING_RATE: 4
  TRAIN_CROP_SIZE: 64
  TEST_CROP_SIZE: 72
  TRAIN_JITTER_SCALES: [80, 100]
  TARGET_FPS: 25
  REVERSE_INPUT_CHANNEL: true
  MEAN: [0.4, 0.5, 0.6]
  STD: [0.2, 0.25, 0.3]
TEST: {NUM_ENSEMBLE_VIEWS: 4, NUM_SPATIAL_CROPS: 3}
"""


def pyslowfast_file(folder: Path, cfg: str) -> Path:
    state = make_state(PEERS["pyslowfast i3d"], width=2)
    torch.save({"model_state": state, "cfg": cfg}, folder / "own.pyth")
    return folder / "own.pyth"


def test_ones_own_pyslowfast_training_keeps_its_settings(tmp_path: Path) -> None:
    loaded = load_checkpoint(pyslowfast_file(tmp_path, CFG))
    shown = Preprocessing.from_dict(loaded.preprocessing)
    assert (shown.frames, shown.stride, shown.crop, shown.short_side) == (16, 4, 64, 72)
    assert (shown.fps, shown.views, shown.view_side) == (25.0, (4, 3), 72)
    assert shown.colours == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert loaded.model.config["options"]["dropout"] == 0.3
    (note,) = [note for note in loaded.report.notes if "read from the file's cfg" in note]
    for name in ("TARGET_FPS", "REVERSE_INPUT_CHANNEL", "DROPOUT_RATE", "NUM_SPATIAL_CROPS"):
        assert name in note
    plain = load_checkpoint(
        pyslowfast_file(tmp_path, CFG.replace("CHANNEL: true", "CHANNEL: false"))
    )
    clip = torch.randn(1, 3, 16, 72, 72)
    with torch.no_grad():  # it was shown blue, green, red
        wanted = plain.model.eval()(clip.flip(1))
        torch.testing.assert_close(loaded.model.eval()(clip), wanted, rtol=1e-4, atol=1e-5)


def test_one_crop_of_pyslowfast_and_what_is_not_understood(tmp_path: Path) -> None:
    one = CFG.replace("CROPS: 3", "CROPS: 1").replace("TARGET_FPS: 25", "TARGET_FPS: fast")
    loaded = load_checkpoint(pyslowfast_file(tmp_path, one))
    shown = Preprocessing.from_dict(loaded.preprocessing)
    assert (shown.views, shown.short_side, shown.view_side) == ((4, 1), 80, 72)
    assert shown.fps == 30.0
    notes = " ".join(loaded.report.notes)
    assert "not read from the file's cfg: TARGET_FPS (fast; --option fps=...)" in notes


PIPELINE = """
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=3, num_clips=5, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 80)),
    dict(type='{crop}', crop_size={size}),
    dict(type='FormatShape', input_format='NCTHW'),
]
model = dict(
    cls_head=dict(type='I3DHead', dropout_ratio=0.2),
    data_preprocessor=dict(
        mean=[102, 127.5, 153], std=[51, 63.75, 76.5], to_rgb={turned}, format_shape='NCTHW'))
work_dir = __import__('os').system('touch {mark}')
"""


def mmaction2_file(folder: Path, cfg: Any) -> Path:
    state = make_state(PEERS["mmaction2 i3d"], width=2)
    torch.save({"state_dict": state, "meta": {"cfg": cfg}}, folder / "own.pth")
    return folder / "own.pth"


@pytest.mark.parametrize("as_table", [False, True])
def test_ones_own_mmaction2_training_keeps_its_settings(tmp_path: Path, as_table: bool) -> None:
    mark = tmp_path / "executed"
    cfg: Any = PIPELINE.format(crop="ThreeCrop", size=72, turned=False, mark=mark)
    if as_table:
        scope: dict[str, Any] = {}
        exec(cfg.rpartition("work_dir")[0], scope)  # the test's own text
        cfg = {name: scope[name] for name in ("test_pipeline", "model")}
    loaded = load_checkpoint(mmaction2_file(tmp_path, cfg))
    shown = Preprocessing.from_dict(loaded.preprocessing)
    assert (shown.frames, shown.stride, shown.views) == (16, 3, (5, 3))
    assert (shown.short_side, shown.view_side) == (80, 72)
    assert shown.colours[0] == pytest.approx((0.4, 0.5, 0.6))
    assert shown.colours[1] == pytest.approx((0.2, 0.25, 0.3))
    assert loaded.model.config["options"]["dropout"] == 0.2
    (note,) = [note for note in loaded.report.notes if "read from the file's meta" in note]
    for name in ("clip_len", "frame_interval", "num_clips", "scale", "crop_size", "to_rgb"):
        assert name in note
    assert not mark.exists()


def test_turned_colours_and_what_is_not_understood_of_mmaction2(tmp_path: Path) -> None:
    words = {"size": 72, "mark": tmp_path / "executed"}
    plain, turned = (
        load_checkpoint(
            mmaction2_file(tmp_path, PIPELINE.format(crop="TenCrop", turned=flag, **words))
        )
        for flag in (False, True)
    )
    assert turned.preprocessing["mean"] == pytest.approx([0.6, 0.5, 0.4])
    clip = torch.randn(1, 3, 16, 64, 64)
    with torch.no_grad():
        wanted = plain.model.eval()(clip.flip(1))
        torch.testing.assert_close(turned.model.eval()(clip), wanted, rtol=1e-4, atol=1e-5)
    notes = " ".join(turned.report.notes)
    assert "not read from the file's meta: TenCrop (72; --option views=...)" in notes
    broken = load_checkpoint(mmaction2_file(tmp_path, "(" * 100_000))
    assert broken.preprocessing["frames"] == 32
