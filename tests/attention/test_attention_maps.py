"""The interface around the map: queries, blocks, memory, pictures."""

import dataclasses
import json
from collections import Counter

import av
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.attention.attentive import PREPROCESSING, bright_predictor, planted_video
from tests.marks import mostly_slow
from tests.videos import write_video
from videonl import Predictor
from videonl.attention import (
    KINDS,
    Place,
    arrows_of,
    attend,
    clip_frame,
    draw_figure,
    frames_to_draw,
    heat,
    overlay,
    save_figure,
    trace_blocks,
    write_gif,
    write_mp4,
)
from videonl.errors import VideoError, VideoNLError
from videonl.layers import NonLocalBlock, attention_rows
from videonl.models import create_model
from videonl.video import to_clips


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("attention") / "a.mp4"
    return planted_video(path, size=(96, 176), at=(40, 90), frames=range(14, 26))


@pytest.fixture(scope="module")
def found(video):
    return attend(bright_predictor(), video)


class Largest(TorchDispatchMode):
    """Sees every allocation: new memory, so neither views nor the values-free meta device."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                memory = tensor.untyped_storage()
                if memory.data_ptr() not in given:
                    self.numel = max(self.numel, memory.nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize(
    "affinity", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
)
def test_rows_never_hold_more_than_the_keys(affinity, position):
    block = NonLocalBlock(8, affinity=affinity, subsample_position=position).eval()
    x = torch.randn(1, 8, 8, 16, 16)
    queries, keys = 8 * 16 * 16, 8 * 8 * 8
    with Largest() as largest:
        rows = list(attention_rows(block, x, [0, 77, (3, 5, 5)]))
    assert [tuple(row.shape) for row in rows] == [(1, 8, 8, 8)] * 3
    assert largest.numel <= keys * 8  # M·C; x itself has N·C = 4 times that
    assert largest.numel < queries * keys / 100


def test_a_whole_map_never_holds_the_matrix(tmp_path):
    net = create_model("tiny_i3d_nl1", num_classes=2, width=4, non_local={"res2": (0,)})
    size = {"frames": 8, "stride": 1, "short_side": 96, "crop": 96}
    predictor = Predictor(
        net, class_names=["a", "b"], preprocessing={**PREPROCESSING, **size}, device="cpu"
    )
    path = write_video(tmp_path / "a.mp4", 12)
    with Largest() as largest:
        found = attend(predictor, path)
    queries, keys = 8 * 48 * 48, found.weights.numel()
    assert keys == 8 * 24 * 24
    assert largest.numel < queries * keys / 50


@pytest.mark.parametrize("at", [(0, 40, 90), (7, 20, 60), (3.4, 71, 120)])
def test_a_given_query_is_the_position_nearest_to_it(video, at):
    found = attend(bright_predictor(), video, at=at)
    height, width = found.clip.pixel
    assert abs(found.query.y - at[1]) <= 4 * height / 2 + 1e-6  # features have stride 4
    assert abs(found.query.x - at[2]) <= 4 * width / 2 + 1e-6
    assert abs(found.query.time - at[0]) <= 1
    assert found.chosen == "given by --at"


@pytest.mark.parametrize(
    ("at", "words"),
    [((8, 40, 90), "frames 0 to 7"), ((0, 40, 3), "columns 48 to 127"), ((0, 95, 90), "rows 8 to")],
)
def test_a_query_outside_is_refused(video, at, words):
    with pytest.raises(VideoNLError, match=words) as caught:
        attend(bright_predictor(), video, at=at)
    assert str(caught.value).count("outside of") <= 1


def small_predictor(*, adds: float) -> Predictor:
    """A network with something behind its block; ``adds``: the scale of what the block adds."""
    torch.manual_seed(0)
    net = create_model("tiny_i3d_nl1", num_classes=2, width=8)
    (block,) = (m for m in net.modules() if isinstance(m, NonLocalBlock))
    torch.nn.init.constant_(block.norm.weight, adds)
    for conv in (block.theta, block.phi, block.g, block.out):
        torch.nn.init.normal_(conv.weight, std=0.5)
    torch.nn.init.normal_(net.head.projection.weight)
    shown = {**PREPROCESSING, "short_side": 28, "crop": 24}
    return Predictor(net, class_names=["a", "b"], preprocessing=shown, device="cpu", fuse=False)


def test_the_query_is_the_one_whose_replacement_moves_the_score_most(video):
    """Against brute force: z_i = x_i at every position in turn."""
    predictor = small_predictor(adds=0.2)
    found = attend(predictor, video)
    net = predictor.model
    ((name, block),) = ((n, m) for n, m in net.named_modules() if isinstance(m, NonLocalBlock))
    lattice = trace_blocks(net, found.clip.view.shape[:3])[name]
    clips = to_clips(found.clip.view[None], mean=(0, 0, 0), std=(1, 1, 1))
    place: list[tuple[int, ...]] = []

    def replaced(_, given, output):
        for index in place:
            output[:, :, *index] = given[0][:, :, *index]
        return output

    handle = block.register_forward_hook(replaced)
    with torch.no_grad():
        whole = net(clips)[0]
        best = int(whole.argmax())
        changes = {}
        for index in np.ndindex(*lattice.shape):
            place[:] = [index]
            changes[index] = float(whole[best] - net(clips)[0][best])
    handle.remove()
    index = max(changes, key=lambda i: abs(changes[i]))
    time, row, column = lattice.at(index)
    assert (found.query.time, found.query.y, found.query.x) == pytest.approx(
        (time, *found.clip.to_file(row, column))
    )
    assert found.moved.name == found.classes[0][0]
    assert found.moved.score == pytest.approx(float(whole[best]), abs=1e-4)
    assert found.moved.change == pytest.approx(changes[index], rel=1e-2)
    verb = "raises" if changes[index] > 0 else "lowers"
    assert f"there {verb} its logit of" in found.chosen
    assert found.as_dict()["moves_score"]["change"] == found.moved.change


def test_a_block_that_adds_nothing_moves_nothing(video):
    found = attend(small_predictor(adds=0.0), video)
    assert found.chosen.startswith("the middle: the block adds nothing")
    assert found.moved.change == 0


@pytest.mark.parametrize(
    ("affinity", "strength", "kind"),
    [
        ("embedded_gaussian", 3e5, "saturated"),
        ("embedded_gaussian", 1e-3, "nearly even"),
        ("dot_product", 0.0, "zero"),
        pytest.param("dot_product", -1.0, "", marks=pytest.mark.slow),
        ("concatenation", 50.0, ""),
    ],
)
def test_rows_that_say_little_are_called_so(video, tmp_path, affinity, strength, kind):
    if kind == "saturated":  # one position is the brightest
        noise = np.random.default_rng(0).integers(0, 255, (40, 96, 176, 3), np.uint8)
        video = write_video(tmp_path / "noise.mp4", noise, fps=20)
    found = attend(bright_predictor(affinity=affinity, strength=strength), video, at=(3, 40, 90))
    shares = found.weights.double().abs().flatten()
    shares = shares / shares.sum() if kind != "zero" else torch.full_like(shares, 1 / len(shares))
    spread = found.spread
    assert spread.kind == kind
    assert spread.largest == pytest.approx(float(shares.max()))
    assert spread.entropy == pytest.approx(float(torch.special.entr(shares).sum()), abs=1e-9)
    assert spread.diagonals == pytest.approx(spread.pixels / np.hypot(96, 176))
    content = found.as_dict()
    assert content["row"] == (kind or None)
    words = [text.get_text() for text in draw_figure(found).texts]
    called = [name for name in KINDS if any(f"{name}: " in text for text in words)]
    assert called == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("folders", "truth"),
    mostly_slow(
        [("b", "b"), ("val/a/deep", "a"), ("A", "a"), ("elsewhere", None), ("a/elsewhere", None)],
        quick=["val/a/deep", "A", "a/elsewhere"],
    ),
)
def test_the_true_class_is_what_the_folder_tells(video, tmp_path, folders, truth):
    path = tmp_path / folders / "x.mp4"
    path.parent.mkdir(parents=True)
    path.symlink_to(video)
    found = attend(bright_predictor(), path)
    assert found.truth == found.as_dict()["true_class"] == truth
    words = " ".join(text.get_text() for text in draw_figure(found).texts)
    assert (f"true class: {truth}" in words) == (truth is not None)


def test_frames_in_memory_lie_in_no_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
    assert attend(bright_predictor(), frames, fps=8).truth is None


def test_blocks_by_name(video):
    with pytest.raises(VideoNLError, match=r"--block res9: the network has block$"):
        attend(bright_predictor(), video, block="res9")
    plain = Predictor(
        create_model("tiny_i3d", num_classes=2, width=4),
        class_names=["a", "b"],
        preprocessing=PREPROCESSING,
        device="cpu",
    )
    with pytest.raises(VideoNLError, match="tiny_i3d has no non-local block"):
        attend(plain, video)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clip": 10}, "0 to 9"),
        ({"clip": 1, "start": 1.0}, "give one of them"),
        ({"start": 99.0}, "0 to 2.00 s"),
        ({"crop": "left"}, "use one of centre"),
    ],
)
def test_clips_that_do_not_exist(video, given, words):
    with pytest.raises(VideoNLError, match=words):
        attend(bright_predictor(), video, **given)


def test_the_network_is_left_as_it_was(video):
    predictor = bright_predictor()
    attend(predictor, video)
    assert not predictor.model.block._forward_pre_hooks
    assert not predictor.model.block._forward_hooks


def test_weights_that_are_not_finite_are_refused(video):
    predictor = bright_predictor()
    predictor.model.block.phi.weight.data.fill_(float("nan"))
    with pytest.raises(VideoError, match="the weights of block are not finite"):
        attend(predictor, video, at=(0, 40, 90))


def test_json_holds_everything_but_the_pictures(found):
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["affinity"] == "dot_product"
    assert "not normalised" in content["shown_as"]
    assert content["clip"]["frames"] == [9, 12, 15, 18, 21, 24, 27, 30]
    assert content["clip"]["seen"]["left"] == pytest.approx(48)
    assert len(content["strongest"]) == 20
    weights = [abs(place["weight"]) for place in content["strongest"]]
    assert weights == sorted(weights, reverse=True)
    values = np.array(content["weights"]["values"])
    assert list(values.shape) == content["weights"]["shape"]
    assert weights[0] == pytest.approx(np.abs(values).max())


def test_the_overlay_is_hottest_on_the_square(found):
    hot = heat(found)
    assert hot.shape == found.clip.pictures.shape[:3]
    frame, row, column = np.unravel_index(hot.argmax(), hot.shape)
    assert found.clip.indices[frame] in range(14, 26)
    assert abs(row - 40) <= 12
    assert abs(column - 90) <= 12
    pictures = overlay(found, mark_query=False)
    red, blue = pictures[frame, row, column, 0], pictures[frame, row, column, 2]
    assert red > 1.5 * blue
    outside = pictures[:, :, :40].reshape(-1, 3)
    assert (outside == outside[:, :1]).all()  # grey: the network does not see it


def test_negative_weights_are_blue(video):
    found = attend(bright_predictor(strength=-1.0), video)
    assert found.signed
    assert found.strongest[0].weight < 0
    pictures = overlay(found, mark_query=False)
    assert pictures[3, 40, 90, 2] > 1.2 * pictures[3, 40, 90, 0]


def test_files_are_written_whole(found, tmp_path):
    save_figure(found, tmp_path / "a.png")
    write_mp4(found, tmp_path / "a.mp4")
    write_gif(found, tmp_path / "a.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4", "a.png"]
    for name in ("a.mp4", "a.gif"):
        with av.open(str(tmp_path / name)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 8 or (name == "a.gif" and len(frames) >= 3)  # equal ones are joined
        assert frames[0].shape == (96, 176, 3)
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= 1400


def test_frames_of_all_arrows_are_drawn(found):
    assert frames_to_draw(found) == list(range(8))
    for place in arrows_of(found):
        assert clip_frame(place) in range(8)


def at_frames(found, count: int, targets: list[int], *, size: tuple[int, int]):
    """The map with a clip of so many frames, and arrows to some of them."""
    height, width = size
    clip = dataclasses.replace(
        found.clip,
        indices=tuple(range(100, 100 + count)),
        seconds=tuple(n / 25 for n in range(count)),
        pictures=torch.full((count, height, width, 3), 90, dtype=torch.uint8),
        size=size,
        scaled=size,
        corner=(0, 0),
    )
    random = np.random.default_rng(0)
    strongest = tuple(
        Place(t, 100 + t, t / 25, *(random.uniform(2, side - 2) for side in size), 1 / (2 + n))
        for n, t in enumerate(targets)
    )
    query = Place(targets[0], 100, 0.0, 1.0, 1.0)
    return dataclasses.replace(found, clip=clip, strongest=strongest, query=query)


@pytest.mark.parametrize(
    ("size", "count", "arrows"),
    mostly_slow(
        [
            ((72, 128), 1, 1),
            ((96, 96), 7, 2),
            ((128, 72), 9, 9),
            ((72, 128), 11, 11),
            ((72, 128), 32, 20),
        ],
        quick=[((96, 96), 7, 2), ((72, 128), 11, 11)],
    ),
)
def test_the_picture_has_full_lines_and_words_one_can_read(found, size, count, arrows):
    targets = np.linspace(0, count - 1, arrows).astype(int).tolist()[::-1]
    made = at_frames(found, count, targets, size=size)
    frames = frames_to_draw(made)
    assert min(8, count) <= len(frames) + 1
    assert set(frames) >= set(targets) or len(frames) < count
    figure = draw_figure(made)
    figure.canvas.draw()
    wide, tall = figure.get_size_inches()
    # A page shows it 928 to 1018 pixels wide.
    assert min(text.get_fontsize() for text in figure.texts) * 928 / wide / 72 >= 11
    panels = [axes for axes in figure.axes if axes.images][: 2 * len(frames)]
    boxes = [axes.get_position() for axes in panels]
    lines = Counter(round(box.y0, 4) for box in boxes)
    assert len(set(lines.values())) == 1, "a ragged line"
    edges = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= edges.x1, text.get_text()  # noqa: PT018
        for axes in panels:
            assert not box.padded(-1).overlaps(axes.get_window_extent()), text.get_text()
    labels = [text for text in figure.texts if text.get_text().startswith("frame ")]
    assert len(labels) == len(panels)
    bands = [artist for artist in figure.artists if artist.get_gid() == "band"]
    arrows = [artist for artist in figure.artists if artist not in bands]
    assert len(arrows) == len(arrows_of(made)) > 0
    above = max(arrow.get_zorder() for arrow in arrows)
    for text, band in zip(labels, bands, strict=True):  # no arrow is seen behind words
        assert text.get_zorder() > band.get_zorder() > above
        box, room = text.get_window_extent(), band.get_window_extent().padded(1)
        assert room.x0 <= box.x0 and box.x1 <= room.x1, text.get_text()  # noqa: PT018
        assert room.y0 <= box.y0 and box.y1 <= room.y1, text.get_text()  # noqa: PT018
    upper = max(box.y1 for box in boxes) * tall * figure.dpi
    lower = min(box.y0 for box in boxes[: len(frames)]) * tall * figure.dpi
    for arrow in arrows:
        box = arrow.get_window_extent()
        assert lower - 5 <= box.y0
        assert box.y1 <= upper + 5


def test_long_names_are_wrapped(found):
    made = dataclasses.replace(found, path="x" * 300 + " " + "y" * 40, truth="word " * 60)
    figure = draw_figure(made)
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.texts)
