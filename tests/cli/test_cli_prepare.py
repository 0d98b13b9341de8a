"""``videonl prepare``: same frames, same times, fast access, resumable."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests.marks import mostly_slow
from tests.videos import numbered_frames, read_number, write_video
from videonl.cli.main import main
from videonl.data import read_catalogue
from videonl.video import Recipe, encode_file, open_video


def smooth(count: int, height: int, width: int) -> np.ndarray:
    """Slowly moving colours, which survive compression."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(x / 45 + t / 6), np.cos(y / 51 - t / 9), np.sin((x + y) / 63 + t / 5)]
    return (128 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("fps", "rotation"),
    mostly_slow([(fps, turn) for fps in (25, 30) for turn in (0, 90, 180)], quick=[(30, 90)]),
)
def test_frames_and_times_are_kept(fps: int, rotation: int, tmp_path: Path) -> None:
    ticks = [i + i * i // 30 for i in range(30)]
    path = write_video(
        tmp_path / "a.mp4",
        smooth(30, 128, 192),
        fps=fps,
        rotation=rotation,
        times=ticks,
        options={"crf": "10"},
    )
    out = tmp_path / "b.mp4"
    result = encode_file(path, out, Recipe(short_side=64, key_frames=6, quality=12))
    assert (result.frames, result.error) == (30, "")
    with open_video(path) as before, open_video(out) as after:
        assert min(after.height, after.width) == 64
        np.testing.assert_allclose(after.times(), before.times(), atol=1e-3)
        one, two = (v.read(range(30), short_side=64).numpy().astype(int) for v in (before, after))
    assert one.shape == two.shape
    assert np.abs(one - two).mean() < 3
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        keys = [p.is_keyframe for p in container.demux(stream) if p.size]
        assert not stream.codec_context.has_b_frames
    assert [i for i, key in enumerate(keys) if key] == [0, 6, 12, 18, 24]


@pytest.mark.parametrize("matrix", [1, 5])  # BT.709, BT.601
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_kept(matrix: int, full: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p" if full else "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        for array in smooth(8, 64, 64):
            frame = av.VideoFrame.from_ndarray(array, "rgb24")
            container.mux(
                stream.encode(
                    frame.reformat(
                        format=stream.pix_fmt,
                        dst_colorspace=matrix,
                        dst_color_range=2 if full else 1,
                    )
                )
            )
        container.mux(stream.encode())
    encode_file(path, tmp_path / "b.mp4", Recipe(quality=4))
    with open_video(path) as before, open_video(tmp_path / "b.mp4") as after:
        one, two = (v.read(range(8)).numpy().astype(int) for v in (before, after))
    assert np.abs(one - two).mean() < 2.5


def test_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "src", tmp_path / "dst"
    write_video(source / "train" / "1.avi", numbered_frames(20, 128, 96), codec="mpeg4")
    write_video(source / "train" / "2.mp4", 10)
    (source / "train.txt").write_text("1.avi 0\n2.mp4 1\n")
    (source / "train" / "bad.mp4").write_text("no video")
    arguments = [str(source), str(target), "--short-side", "64", "--workers", "2"]
    assert main(["prepare", *arguments]) == 1
    text = capsys.readouterr().out
    assert "prepared 2 of 3 files, 30 frames" in text
    assert "failed  train/bad.mp4  not a readable video file" in text
    assert not list(target.rglob("*.tmp"))
    catalogue = read_catalogue(target)
    assert [Path(r.path).name for r in catalogue.records["train"]] == ["1.mp4", "2.mp4"]
    with open_video(target / "train" / "1.mp4") as video:
        assert (video.num_frames, video.height, video.width) == (20, 86, 64)
        assert [read_number(f.numpy()) for f in video.read([0, 7, 19])] == [0, 7, 19]

    (source / "train" / "bad.mp4").unlink()
    (target / "train" / "2.mp4").unlink()
    before = (target / "train" / "1.mp4").stat().st_mtime_ns
    assert main(["prepare", *arguments]) == 0
    assert "already prepared: 1 of 2 files" in capsys.readouterr().out
    assert (target / "train" / "1.mp4").stat().st_mtime_ns == before
    assert main(["prepare", *arguments, "--quality", "30"]) == 0  # other settings: all anew
    assert (target / "train" / "1.mp4").stat().st_mtime_ns > before


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_video(tmp_path / "src" / "a.mp4", 5)
    shutil.copy(clip, tmp_path / "src" / "a.avi")
    for arguments, words in (
        ([str(tmp_path / "src"), str(tmp_path / "src" / "out")], "lies inside"),
        ([str(tmp_path / "src"), str(tmp_path)], "src lies inside"),
        ([str(tmp_path / "absent"), str(tmp_path / "out")], "is not a folder"),
        ([str(tmp_path / "src"), str(tmp_path / "out")], "would both become"),
    ):
        assert main(["prepare", *arguments]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", str(tmp_path / "src"), str(tmp_path / "out"), "--quality", "99"])
    assert "a whole number from 0 to 51" in capsys.readouterr().err


def test_damaged_sources_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40, container_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(data)
    result = encode_file(path, tmp_path / "b.mp4")
    if result.error:
        assert not (tmp_path / "b.mp4").exists()
    else:  # the decoder hides the damage; then all frames are there
        assert result.frames == 40
    assert not (tmp_path / "b.mp4.tmp").exists()


def test_files_on_the_skip_list_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "src", tmp_path / "dst"
    write_video(source / "train" / "a.mp4", 5)
    (source / "train" / "bad.mp4").write_text("no video")
    assert main(["prepare", str(source), str(target), "--workers", "1"]) == 1
    assert "failed  train/bad.mp4" in capsys.readouterr().out
    (source / "videonl_skip.tsv").write_text("train/bad.mp4\tunreadable\n")
    assert main(["prepare", str(source), str(target), "--workers", "1"]) == 0
    assert "left out by the skip list: 1 of 2 files" in capsys.readouterr().out
    (tmp_path / "other.tsv").write_text("bad.mp4\tunreadable\n")
    again = ["prepare", str(source), str(target), "--skip-list", str(tmp_path / "other.tsv")]
    assert main([*again, "--workers", "1"]) == 1
    assert "left out by the skip list: 0 of 2 files" in capsys.readouterr().out
    assert [p.name for p in (target / "train").iterdir()] == ["a.mp4"]


def test_the_short_side_is_what_the_training_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    words = ["prepare", str(tmp_path / "in"), str(tmp_path / "out")]
    config = tmp_path / "a.yaml"
    for text, more, said in (
        ("", [], "short side 320: videonl train fit takes clips of a short side of 256 to 320"),
        (
            "data: {jitter: [48, 48]}",
            ["--config"],
            f"48: {config} takes clips of a short side of 48",
        ),
        ("data: {crop: 112}", ["--config"], "160: "),
        ("data: {short_side: 72}", ["--config"], "of 72 to 90"),
        ("model: {name: tiny_c2d}", ["--config"], "of 48 to 60"),
        (
            "data: {short_side: 72}",
            ["--short-side", "60", "--config"],
            "60 (the training needs 90)",
        ),
    ):
        config.write_text(text, encoding="utf-8")
        main([*words, *more, *[str(config)] * bool(more)])
        assert said in capsys.readouterr().out
    for text in ("data: {jitter: [9, 4]}", "data: {crop: x}", "model: {name: nothing}"):
        config.write_text(text, encoding="utf-8")
        assert main([*words, "--config", str(config)]) == 2
