"""The sample data set on disk: real H.264, whole files, nothing mixed."""

import json
from dataclasses import replace

import av
import numpy as np
import pytest

from tests.sample.oracle import relation_of
from videonl.errors import DatasetError
from videonl.sample import (
    SampleParameters,
    draw_scene,
    encode_scene,
    read_sample,
    sample_clips,
    write_sample,
)

SMALL = SampleParameters(train=6, val=3, test=3, size=64, frames=8, distance=(16, 30))


def decode(path):
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context.name
        return codec, np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "set"
    return root, write_sample(root, parameters=SMALL, workers=0)


def test_files_are_h264_of_the_asked_size(written):
    root, made = written
    assert (made.written, made.skipped) == (12, 0)
    files = sorted(root.rglob("*.mp4"))
    assert len(files) == 12
    assert {file.relative_to(root).parts[0] for file in files} == {"train", "val", "test"}
    for file in files:
        codec, frames = decode(file)
        assert codec == "h264"
        assert frames.shape == (8, 64, 64, 3)


def test_the_manifest_tells_what_the_files_show(written):
    root, _ = written
    parameters, clips = read_sample(root)
    assert parameters == SMALL
    assert clips == list(sample_clips(SMALL))
    for clip in clips:
        assert (root / clip.path).is_file()
        assert clip.path.split("/")[1] == clip.scene.relation
        tracks = np.stack([body.track(SMALL.frames) for body in clip.scene.bodies])
        assert relation_of(tracks) == clip.scene.relation


def test_bodies_are_seen_where_the_tracks_say_after_the_codec(tmp_path):
    """Luma at the centre of a filled body is far from the background's, in every frame."""
    parameters = SampleParameters()
    for index in range(5):
        scene = draw_scene(parameters, "same", split="test", index=index)
        encode_scene(scene, tmp_path / "clip.mp4", parameters=replace(parameters, size=128))
        luma = decode(tmp_path / "clip.mp4")[1].astype(float) @ [0.299, 0.587, 0.114]
        for body in scene.bodies:
            x, y = np.round(body.track(32)).astype(int).T
            steps = np.arange(32)
            assert np.abs(luma[steps, y, x] - np.median(luma)).min() > 30


def test_with_a_gap_a_body_is_gone_before_the_other_comes(tmp_path):
    parameters = SampleParameters(gap=16)
    first, second = parameters.shown
    assert (first, second) == (slice(0, 8), slice(24, 32))
    for index in range(4):
        scene = draw_scene(parameters, "opposite", split="test", index=index)
        encode_scene(scene, tmp_path / "clip.mp4", parameters=parameters)
        luma = decode(tmp_path / "clip.mp4")[1].astype(float) @ [0.299, 0.587, 0.114]
        assert luma[8:24].max() < 180
        tracks = np.stack([body.track(8) for body in scene.bodies])
        assert relation_of(tracks) == "opposite"
        assert (np.linalg.norm(tracks[:, -1] - tracks[:, 0], axis=1) > 0.22 * 0.5 * 96).all()
        for track, shown, other in zip(tracks, (first, second), (second, first), strict=True):
            x, y = np.round(track).astype(int).T
            place = np.arange(8)
            assert luma[shown][place, y, x].min() > 180
            if scene.distance > 40:
                assert luma[other][place, y, x].max() < 180


def test_hues_are_seen_after_the_codec(tmp_path):
    parameters = SampleParameters(of="colour", classes=("same", "opposite", "perpendicular"))
    for index in range(6):
        relation = parameters.classes[index % 3]
        scene = draw_scene(parameters, relation, split="test", index=index)
        encode_scene(scene, tmp_path / "clip.mp4", parameters=parameters)
        rgb = decode(tmp_path / "clip.mp4")[1].astype(float)
        hues = []
        for body in scene.bodies:
            x, y = np.round(body.track(32)).astype(int).T
            red, green, blue = rgb[np.arange(32), y, x].mean(0)
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            hues.append([[0, 0], [(blue - luma) / 1.772, (red - luma) / 1.402]])
        assert relation_of(np.array(hues)) == relation


def test_a_folder_from_before_the_gap_is_known(written):
    root, _ = written
    manifest = root / "manifest.json"
    known = json.loads(manifest.read_text())
    assert known.pop("gap") is None
    assert known.pop("of") == "motion"
    manifest.write_text(json.dumps(known))
    assert write_sample(root, parameters=SMALL, workers=0).written == 0
    assert read_sample(root)[0] == SMALL
    with pytest.raises(DatasetError, match=r"gap=None \(asked: 2\)"):
        write_sample(root, parameters=replace(SMALL, gap=2), workers=0)


def test_a_second_run_keeps_what_is_there_and_restores_what_is_missing(written):
    root, _ = written
    victim = root / read_sample(root)[1][4].path
    before = victim.read_bytes()
    victim.unlink()
    calls = []
    made = write_sample(root, parameters=SMALL, workers=0, progress=lambda *n: calls.append(n))
    assert (made.written, made.skipped) == (1, 11)
    assert calls == [(12, 12)]
    assert victim.read_bytes() == before


def test_workers_write_the_same_bytes(written, tmp_path):
    root, _ = written
    write_sample(tmp_path / "set", parameters=SMALL, workers=2)
    for clip in read_sample(root)[1]:
        assert (tmp_path / "set" / clip.path).read_bytes() == (root / clip.path).read_bytes()


def test_other_parameters_are_refused(written):
    root, _ = written
    with pytest.raises(DatasetError, match=r"seed=0 \(asked: 1\)"):
        write_sample(root, parameters=replace(SMALL, seed=1), workers=0)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="not empty"):
        write_sample(tmp_path, parameters=SMALL, workers=0)
    with pytest.raises(DatasetError, match="is a file"):
        write_sample(tmp_path / "holiday.mp4", parameters=SMALL, workers=0)


def test_reading_what_is_no_sample_set_says_how_to_make_one(tmp_path):
    with pytest.raises(DatasetError, match="data/sample/prepare"):
        read_sample(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_sample(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,split\na.mp4,train\n")
    for manifest in ('{"size": "96"}', "{}"):
        (tmp_path / "manifest.json").write_text(manifest)
        with pytest.raises(DatasetError, match="not those of a sample data set"):
            read_sample(tmp_path)


def test_nothing_unfinished_is_left(written):
    assert not list(written[0].rglob("*.part"))
