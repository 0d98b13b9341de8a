from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fake_cuda import Event, Gpu, fake_cuda
from tests.inference.networks import NAMES, PREPROCESSING, write_checkpoint
from tests.videos import write_video
from videonl import Predictor
from videonl.errors import CheckpointError, VideoError, VideoNLError
from videonl.inference import Failure, Prediction, videos_ahead
from videonl.video import Preprocessing, Video, open_video, read_views, to_clips
from videonl.weights import load_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{count}.mp4", count) for count in (40, 9, 25)]


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(checkpoint, device="cpu")


def test_prediction_says_what_was_seen(predictor: Predictor, videos: list[Path]) -> None:
    prediction = predictor.predict(videos[0], top_k=2, views=(2, 3))
    assert prediction.label == prediction.classes[0]
    assert set(prediction.classes) <= set(NAMES)
    assert prediction.probabilities[0] >= prediction.probabilities[1]
    assert len(prediction.views) == 2
    clip = prediction.views[1]
    assert clip.crops == 3
    assert len(clip.frames) == PREPROCESSING["frames"]
    assert clip.seconds == pytest.approx([frame / 25 for frame in clip.frames])
    assert prediction.protocol["views"] == "2x3"
    assert prediction.protocol["decoder"] == "pyav"
    assert prediction.model["name"] == "tiny_i3d"
    assert len(str(prediction.model["sha256"])) == 64
    content = prediction.as_dict()
    assert content["path"] == str(videos[0])
    assert content["views"][0]["frames"] == list(prediction.views[0].frames)


def test_all_probabilities_sum_to_one(predictor: Predictor, videos: list[Path]) -> None:
    prediction = predictor.predict(videos[0], top_k=50, views=(3, 1))
    assert len(prediction.classes) == len(NAMES)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-12)


def test_probability_is_the_mean_of_the_softmax_of_every_view(
    predictor: Predictor, checkpoint: Path, videos: list[Path]
) -> None:
    loaded = load_checkpoint(checkpoint)
    with open_video(videos[0]) as video:
        views = read_views(video, Preprocessing.from_dict(loaded.preprocessing).with_views((3, 3)))
    clips = to_clips(views.frames, mean=PREPROCESSING["mean"], std=PREPROCESSING["std"])
    with torch.no_grad():
        each = torch.stack([loaded.model(clip[None])[0].softmax(0) for clip in clips])
    expected = dict(zip(NAMES, each.mean(0).tolist(), strict=True))
    prediction = predictor.predict(videos[0], views=(3, 3))
    for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
        assert probability == pytest.approx(expected[name], abs=1e-6)
    assert each.std(0).max() > 1e-4, "the views must differ, or the test shows nothing"


def test_each_needed_frame_is_decoded_once(
    predictor: Predictor, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    original = Video.read

    def read(self: Video, indices: list[int], **size: Any) -> torch.Tensor:
        asked.append(list(indices))
        return original(self, indices, **size)

    monkeypatch.setattr(Video, "read", read)
    prediction = predictor.predict(videos[0], views=(10, 3))
    assert len(asked) == 1
    needed = {frame for clip in prediction.views for frame in clip.frames}
    assert sorted(asked[0]) == sorted(needed)


@pytest.mark.parametrize("at_once", [1, 2, 4, 64])
def test_result_is_the_same_whatever_the_batch_size(
    predictor: Predictor, checkpoint: Path, videos: list[Path], at_once: int
) -> None:
    sizes: list[int] = []
    bounded = Predictor.from_checkpoint(checkpoint, device="cpu", max_views_per_forward=at_once)
    bounded.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = bounded.predict(videos[0], views=(3, 3))
    expected = predictor.predict(videos[0], views=(3, 3))
    assert max(sizes) <= at_once
    assert sum(sizes) == 9
    assert found.classes == expected.classes
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)


@pytest.mark.parametrize("workers", [None, 0, 1, 3])
def test_order_of_files_and_workers_change_nothing(
    predictor: Predictor, videos: list[Path], workers: int | None
) -> None:
    alone = {path: predictor.predict(path, views=(2, 1)) for path in map(str, videos)}
    found = list(predictor.predict_many(videos[::-1], views=(2, 1), workers=workers))
    assert [outcome.path for outcome in found] == [str(path) for path in videos[::-1]]
    for outcome in found:
        assert outcome == alone[outcome.path]  # to the last bit


def test_threads_may_share_a_predictor(predictor: Predictor, videos: list[Path]) -> None:
    expected = [predictor.predict(path, views=(2, 1)) for path in videos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: predictor.predict(path, views=(2, 1)), videos * 4))
    assert found == expected * 4


def test_a_bad_file_among_good_ones(
    predictor: Predictor, videos: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    outcomes = list(predictor.predict_many([text, videos[0], empty, videos[1]], views=(1, 1)))
    assert [type(outcome) for outcome in outcomes] == [Failure, Prediction, Failure, Prediction]
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].path == str(text)
    assert "\n" not in outcomes[0].error
    with pytest.raises(VideoError, match=r"empty\.mp4"):
        predictor.predict(empty)


def test_progress_counts_every_view(predictor: Predictor, videos: list[Path]) -> None:
    done: list[int] = []
    predictor.predict(videos[0], views=(4, 3), on_views=done.append)
    assert sum(done) == 12


def test_reads_no_further_ahead_than_the_workers(videos: list[Path], checkpoint: Path) -> None:
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    read: list[str] = []
    original = predictor.read
    predictor.read = lambda video, **views: (read.append(str(video)), original(video, **views))[1]
    results = predictor.predict_many(videos * 5, views=(1, 1), workers=2)
    next(results)
    assert len(read) <= 4  # the one that is out, two ahead, one being taken up
    assert len(list(results)) == 14


class Marks(torch.nn.Module):
    """A network that only marks its place in the queue of a GPU."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.mark, self.places = gpu.mark, []

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.places.append(self.mark("network"))
        return clips.flatten(1)[:, :3]


def test_a_gpu_copies_the_next_views_while_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies on a stream of their own; answers that nobody has waited for when all is queued."""
    frames = torch.zeros(5, 4, 16, 16, 3, dtype=torch.uint8)
    with fake_cuda(monkeypatch) as gpu:
        network = Marks(gpu)
        predictor = Predictor(
            network, class_names=NAMES, preprocessing=PREPROCESSING, device="cuda", fuse=False,
            max_views_per_forward=2,
        )  # fmt: skip
        for _ in range(2):
            predictor.queued(frames)
    assert gpu.waiting == []
    assert Event.waited_for == 0
    assert len(network.places) == 6  # two, two and one of each
    assert gpu.copies
    assert len(gpu.copies) == len(set(gpu.copies))
    before = [gpu.launched[place].before for place in network.places]
    for number, place in enumerate(gpu.copies[-6:]):
        assert not gpu.launched[place].before & set(network.places), "one after the other"
        assert place in before[number]


def test_on_a_gpu_the_next_video_is_queued_before_an_answer_is_waited_for(
    predictor: Predictor, videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    given = [*videos[:2], text, videos[2]]
    alone = list(predictor.predict_many(given, views=(2, 1)))
    done: list[str] = []
    take = Predictor.queued

    def queued(self: Predictor, frames: torch.Tensor, **more: Any) -> Any:
        number = sum(word.startswith("queue") for word in done)
        done.append(f"queue {number}")
        monkeypatch.setattr(self, "device", torch.device("cpu"))
        answer = take(self, frames, **more)

        def wait() -> torch.Tensor:
            done.append(f"answer {number}")
            return answer()

        return wait

    monkeypatch.setattr(Predictor, "queued", queued)
    monkeypatch.setattr(predictor, "device", torch.device("cuda:0"))
    assert list(predictor.predict_many(given, views=(2, 1))) == alone
    assert done == ["queue 0", "queue 1", "answer 0", "answer 1", "queue 2", "answer 2"]


def test_videos_that_are_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """None beside a network on a CPU; for a GPU as many as there are cores, in 2 GiB."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    shown = Preprocessing.from_dict(
        {**PREPROCESSING, "frames": 8, "short_side": 256, "crop": 224, "views": (10, 3)}
    )
    gpu = torch.device("cuda")
    assert videos_ahead(shown, device=torch.device("cpu")) == 0
    assert videos_ahead(shown, device=gpu) == 8
    assert videos_ahead(shown.changed(frames=128), device=gpu) == 2
    assert videos_ahead(shown.changed(frames=1024), device=gpu) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert videos_ahead(shown, device=gpu) == 1


@pytest.mark.parametrize("views", [(0, 1), (1, 2), (1, 0), (-1, 3)])
def test_impossible_views(predictor: Predictor, videos: list[Path], views: tuple[int, int]) -> None:
    with pytest.raises(VideoNLError, match="1 or 3 crops"):
        predictor.predict(videos[0], views=views)


def test_class_names_come_from_the_checkpoint_or_the_user(tmp_path: Path) -> None:
    own = write_checkpoint(tmp_path)
    assert Predictor.from_checkpoint(own, device="cpu").class_names == NAMES
    others = ["klatschen", "springen", "winken"]
    assert Predictor.from_checkpoint(own, class_names=others).class_names == others
    with pytest.raises(VideoNLError, match="another order"):
        Predictor.from_checkpoint(own, class_names=NAMES[::-1])
    with pytest.raises(VideoNLError, match=r"3 classes, but 2 labels"):
        Predictor.from_checkpoint(own, class_names=NAMES[:2])
    without = write_checkpoint(tmp_path, class_names=None, file="nameless.safetensors")
    assert Predictor.from_checkpoint(without).class_names == ["class 0", "class 1", "class 2"]


def test_folder_of_a_run_means_its_best_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no best\.ckpt and no last\.ckpt"):
        Predictor.from_checkpoint(tmp_path)
    loaded = load_checkpoint(checkpoint)
    about = {**loaded.model.config, "class_names": NAMES, "preprocessing": PREPROCESSING}
    state = {f"net.{key}": value for key, value in loaded.model.state_dict().items()}
    for name in ("last.ckpt", "best.ckpt"):
        content = {"hyper_parameters": {**about, "videonl_version": "0"}, "state_dict": state}
        torch.save(content, tmp_path / name)
        assert Predictor.from_checkpoint(tmp_path).about["checkpoint"] == name


def test_bad_checkpoint_and_device(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing\.ckpt"):
        Predictor.from_checkpoint(tmp_path / "missing.ckpt")
    with pytest.raises(VideoNLError, match="warp"):
        Predictor.from_checkpoint(checkpoint, device="warp")
    with pytest.raises(VideoNLError, match="at least 1"):
        Predictor.from_checkpoint(checkpoint, max_views_per_forward=0)


def test_a_device_that_is_not_there_names_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_checkpoint(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(VideoNLError, match=r"'cuda:9' cannot be used on this machine; it has cpu$"):
        Predictor.from_checkpoint(file, device="cuda:9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(VideoNLError, match=r"'gpu' cannot be .*; it has cpu, cuda:0, cuda:1$"):
        Predictor.from_checkpoint(file, device="gpu")
