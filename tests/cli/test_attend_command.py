"""``videonl attend`` as it is called."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.odd_videos import write_odd
from tests.videos import write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.layers import NonLocalBlock
from videonl.models import create_model
from videonl.shares import paired_interval
from videonl.video import to_clips
from videonl.weights import LoadedModel, load_checkpoint, save_checkpoint

PREPROCESSING = {
    "frames": 4,
    "stride": 2,
    "short_side": 24,
    "crop": 16,
    "mean": [0.45] * 3,
    "std": [0.225] * 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attend")
    torch.manual_seed(0)
    net = create_model("tiny_i3d_nl2", num_classes=2, width=8)
    for block in (m for m in net.modules() if isinstance(m, NonLocalBlock)):
        torch.nn.init.normal_(block.norm.weight)  # it adds something
        torch.nn.init.normal_(block.norm.bias)
        for conv in (block.theta, block.phi, block.g, block.out):
            torch.nn.init.normal_(conv.weight, std=0.5)
    torch.nn.init.normal_(net.head.projection.weight, std=2.0)
    save_checkpoint(LoadedModel(net.eval(), ["a", "b"], PREPROCESSING), folder / "m.safetensors")
    for number, name in enumerate(("a", "b")):
        for split in ("train", "val"):
            write_video(folder / "data" / split / name / f"{number}.mp4", 16)
    random = np.random.default_rng(0)
    for number in range(6):
        frames = random.integers(0, 255, (10, 32, 40, 3), np.uint8)
        write_video(folder / f"data/test/{'ab'[number % 2]}/{number}.mp4", frames)
    return folder


def run(folder: Path, *words: str) -> int:
    words = ("--checkpoint", str(folder / "m.safetensors"), "--no-isolate", *words)
    return main(["attend", *words])


def test_pictures_of_a_video(folder, tmp_path, capsys):
    video = str(folder / "data/val/a/0.mp4")
    out = tmp_path / "out"
    assert run(folder, video, "--block", "res3.0", "--at", "1,30,30", "--out", str(out)) == 0
    names = ["0.res3.0.json", "0.res3.0.mp4", "0.res3.0.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    said = capsys.readouterr().out
    assert "softmax weights" in said
    assert "given by --at" in said
    assert "true class: a" in said
    assert json.loads((out / names[0]).read_text())["block"] == "res3.0"


def test_one_pixel_has_pictures_too(folder, tmp_path):
    assert run(folder, str(write_odd("-one_pixel-.mp4", tmp_path)), "--out", str(tmp_path)) == 0


def test_without_a_query_the_rule_is_stated(folder, tmp_path, capsys):
    assert run(folder, str(folder / "data/val/b/1.mp4"), "--gif", "--out", str(tmp_path)) == 0
    assert "the position that changes the score of" in capsys.readouterr().out
    assert (tmp_path / "1.res4.0.gif").is_file()


def test_numbers_of_a_data_set(folder, tmp_path, capsys):
    words = ["--data", str(folder / "data"), "--queries", "4", "--json"]
    assert run(folder, *words, str(tmp_path / "a.json")) == 0
    text = capsys.readouterr().out
    table = text.split("\n\n")[0]
    assert [line.split()[0] for line in table.splitlines()] == ["block", "res3.0", "res4.0", "8"]
    assert run(folder, *words, str(tmp_path / "b.json")) == 0
    first, again = ((tmp_path / name).read_text() for name in ("a.json", "b.json"))
    assert first == again
    content = json.loads(first)
    assert content["videos"] == 2
    row = content["blocks"]["res4.0"]
    assert 0 < row["entropy_relative"]["mean"] <= 1 + 1e-9
    assert row["reach_pixels"]["mean"] > 0
    assert row["reach_seconds"]["mean"] > 0
    assert row["reach_of_diagonal"]["mean"] == pytest.approx(
        row["reach_pixels"]["mean"] / (64 * 2**0.5)
    )
    assert row["equal_weights"]["entropy_relative"] == pytest.approx(1)
    assert row["random_weights"]["entropy_relative"] > 0.99  # θ and φ start near zero
    assert row["rows"].keys() == {"saturated", "nearly even", "zero"}
    trained, random = row["entropy_relative"]["mean"], row["random_weights"]["entropy_relative"]
    how = "as selective as in" if random - trained <= 0.02 else "more selective than in"
    assert f"{how} the same network with random weights ({100 * random:.0f} %)" in text
    pixels = row["reach_pixels"]["mean"]
    assert f"res4.0 attends to places {pixels:.0f} pixels (" in text
    assert "equal weights would reach" in text


def by_hand(folder: Path, paths: list[str]) -> dict[str, list[tuple[str, float]]]:
    """(answer, probability of the true class) per video, by loops over the unfused network."""
    net = load_checkpoint(folder / "m.safetensors").model.eval()
    blocks = [m for m in net.modules() if isinstance(m, NonLocalBlock)]
    views = {
        path: Predictor.from_checkpoint(folder / "m.safetensors", device="cpu")
        .read(path, views=(2, 1))
        .frames
        for path in paths
    }

    def answers() -> list[tuple[str, float]]:
        found = []
        for path in paths:
            clips = to_clips(views[path][None], mean=[0.45] * 3, std=[0.225] * 3)[0]
            with torch.no_grad():
                shares = sum(net(clip[None])[0].softmax(-1) for clip in clips) / len(clips)
            truth = "ab".index(Path(path).parent.name)
            found.append(("ab"[int(shares.argmax())], float(shares[truth])))
        return found

    added: list[list[torch.Tensor]] = [[], []]
    handles = [
        block.register_forward_hook(lambda _, given, z, i=i: added[i].append(z - given[0]))
        for i, block in enumerate(blocks)
    ]
    found = {"whole": answers()}
    for handle in handles:
        handle.remove()
    means = [torch.stack(each).mean((0, 1, 3, 4, 5)) for each in added]
    for name, which in (("res3.0", [0]), ("res4.0", [1]), ("all blocks", [0, 1])):
        for how in ("removed", "replaced_by_mean"):
            handles = [
                blocks[i].register_forward_hook(
                    lambda _, given, _z, i=i, how=how: (
                        given[0] + (how != "removed") * means[i][None, :, None, None, None]
                    )
                )
                for i in which
            ]
            found[f"{how} {name}"] = answers()
            for handle in handles:
                handle.remove()
    return found


def test_accuracy_without_a_block_against_loops_by_hand(folder, tmp_path, capsys):
    words = ["--data", str(folder / "data"), "--split", "test", "--views", "2x1"]
    assert run(folder, *words, "--queries", "2", "--json", str(tmp_path / "a.json")) == 0
    text = capsys.readouterr().out
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["protocol"]["views"] == "2x1"
    paths = [entry["path"] for entry in content["answers"]]
    assert len(paths) == 6
    truth = [entry["true_class"] for entry in content["answers"]]
    assert truth == [Path(path).parent.name for path in paths]
    expected = by_hand(folder, paths)
    whole = [answer for answer, _ in expected["whole"]]
    changed = 0
    for key, by_loop in expected.items():
        how, _, name = key.partition(" ")
        scores = content[how][name] if name else content[how]
        given = [entry[how][name] if name else entry[how] for entry in content["answers"]]
        assert given == [answer for answer, _ in by_loop], key
        right = sum(map(str.__eq__, given, truth))
        assert scores["accuracy"]["correct"] == right
        assert scores["true_class_probability"] == pytest.approx(
            sum(p for _, p in by_loop) / 6, abs=1e-5
        )
        if not name:
            continue
        lost = sum(w == t != g for w, g, t in zip(whole, given, truth, strict=True))
        won = sum(g == t != w for w, g, t in zip(whole, given, truth, strict=True))
        assert scores["fall"]["value"] == pytest.approx((lost - won) / 6)
        assert scores["fall"]["interval95"] == pytest.approx(paired_interval(lost, won, 6))
        assert scores["other_answers"] == sum(map(str.__ne__, given, whole))
        changed += scores["other_answers"]
        label = f"{'without' if how == 'removed' else 'mean of'} {name} "
        (line,) = (line for line in text.splitlines() if line.startswith(label))
        assert f"{scores['other_answers']} of 6" in line
    assert changed, "nothing was changed: the test shows nothing"
    assert "Without it (z = x) the accuracy " in text
    assert "Where it adds its mean over these videos the accuracy " in text


def test_one_video_has_no_interval_and_other_classes_no_accuracy(folder, tmp_path, capsys):
    for number, name in enumerate(("a", "run")):
        root = tmp_path / str(number)
        (root / "test" / name).mkdir(parents=True)
        (root / "test" / name / "x.mp4").symlink_to(folder / "data/test/a/0.mp4")
        words = ["--data", str(root), "--split", "test", "--queries", "1", "--block", "res3.0"]
        assert run(folder, *words, "--json", str(root / "a.json")) == 0
        text = capsys.readouterr().out
        content = json.loads((root / "a.json").read_text())
        removed = content["removed"]["res3.0"]
        assert removed["other_answers"] in (0, 1)
        if name == "a":
            assert removed["fall"]["interval95"] is None
            assert text.count("one video has no interval") == 2
        else:
            assert "accuracy" not in removed
            assert "the network has none of these videos' classes" in text
            assert "of 1 answer changed" in text
        assert list(content["removed"]) == ["res3.0"]


def test_a_broken_file_is_named_and_the_others_count(folder, tmp_path, capsys):
    broken = folder / "data/train/a/broken.mp4"
    broken.write_bytes(b"no video")
    try:
        code = run(folder, "--data", str(folder / "data"), "--split", "train", "--json", "-")
    finally:
        broken.unlink()
    said = capsys.readouterr()
    assert code == 1
    assert "broken.mp4" in said.err
    content = json.loads(said.out)
    assert content["videos"] == 2
    assert content["notes"] == ["1 of 3 videos cannot be read, counted as wrong answers"]
    assert content["whole"]["accuracy"]["total"] == 3


def test_the_bar_counts_every_video(folder, monkeypatch):
    broken = folder / "data/val/a/broken.mp4"
    broken.write_bytes(b"no video")
    seen = []
    monkeypatch.setattr(
        "videonl.inference.show.StepBar.report", lambda _, *given: seen.append(given)
    )
    try:
        assert run(folder, "--data", str(folder / "data"), "--queries", "2") == 1
    finally:
        broken.unlink()
    assert seen == [("videos", done, 6) for done in range(1, 7)]  # every video is read twice


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give either a video file or --data ROOT"),
        (["a.mp4", "--data", "."], "give either a video file or --data ROOT"),
        (["--data", ".", "--at", "1,2,3"], "--at is for a single video"),
        (["--data", ".", "--out", "pictures"], "--out is for a single video"),
        (["a.mp4", "--split", "test"], "--split is for --data"),
        (["a.mp4", "--json", "x.json"], "--json needs --data"),
        (["a.mp4", "--views", "1x1"], "--views needs --data"),
        (["gone.mp4"], "gone.mp4"),
        (["a.mp4", "--block", "res9"], "the network has res3.0, res4.0"),
    ],
)
def test_bad_usage_is_one_sentence(folder, words, sentence, capsys):
    assert run(folder, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_a_query_that_is_none(folder, capsys):
    with pytest.raises(SystemExit):
        run(folder, "a.mp4", "--at", "1,2")
    assert "is not T,Y,X" in capsys.readouterr().err


@pytest.mark.slow
def test_parts_of_a_video_and_long_names_have_pictures_of_their_own(folder, tmp_path):
    video, long = folder / "data/val/a/0.mp4", tmp_path / f"{'v' * 251}.mp4"
    long.write_bytes(video.read_bytes())
    for name in (f"{video}#t=0.1", f"{video}#t=0.1,0.4", str(long)):
        assert run(folder, name, "--out", str(tmp_path / "out")) == 0
    assert len(list((tmp_path / "out").iterdir())) == 9
