"""The interface around the map: queries, blocks, memory, pictures."""

import json

import av
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.attention.attentive import PREPROCESSING, bright_predictor, planted_video
from tests.videos import write_video
from videonl import Predictor
from videonl.attention import (
    arrows_of,
    attend,
    clip_frame,
    frames_to_draw,
    heat,
    overlay,
    save_figure,
    write_gif,
    write_mp4,
)
from videonl.attention.attention import most_certain
from videonl.errors import VideoError, VideoNLError
from videonl.layers import NonLocalBlock, attention_rows
from videonl.models import create_model


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
    with pytest.raises(VideoNLError, match=words):
        attend(bright_predictor(), video, at=at)


def test_the_query_of_the_lowest_entropy_is_taken():
    predictor = bright_predictor(affinity="gaussian")
    block = predictor.model.block
    x = torch.zeros(1, 4, 4, 6, 6)
    x[0, :, 2, 3, 3] = 3  # the only position that does not look at all alike
    from videonl.attention import Lattice
    from videonl.attention.attention import Seen

    index, rule = most_certain(Seen("block", block, x, Lattice((4, 6, 6), (1, 1, 1), (0, 0, 0))))
    assert index == (2, 3, 3)
    assert "lowest entropy among a grid of 144 (4 times x 6 rows x 6 columns)" in rule


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
        assert image.width > 1500


def test_frames_of_all_arrows_are_drawn(found):
    assert frames_to_draw(found) == list(range(8))
    for place in arrows_of(found):
        assert clip_frame(place) in range(8)
