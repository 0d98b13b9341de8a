"""Videos that are not there: dangling links, linked folders, circles, no permission."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.cli.main import main
from videonl.data import FolderIndex, read_catalogue
from videonl.errors import DatasetError
from videonl.evaluation import read_set

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A data set as people have it on several disks.

    A class that is a link, a video that is one, a circle, a dangling video, a class without any.
    """
    root, disk = tmp_path / "data", tmp_path / "disk"
    clip = write_video(disk / "jump" / "1.mp4", 12)
    for name in ("clap", "wave", "empty"):
        (root / "train" / name).mkdir(parents=True)
    shutil.copy(clip, root / "train" / "clap" / "1.mp4")
    (root / "train" / "wave" / "2.mp4").symlink_to(clip)
    (root / "train" / "jump").symlink_to(disk / "jump")
    (root / "train" / "clap" / "back").symlink_to(root)
    (root / "train" / "clap" / "gone.mp4").symlink_to("/mnt/absent/gone.mp4")
    return root


def names(root: Path, paths: list[str]) -> list[str]:
    return sorted(os.path.relpath(path, root / "train") for path in paths)


def test_training_sees_links_and_what_is_behind_none(linked: Path) -> None:
    catalogue = read_catalogue(linked)
    assert catalogue.class_names == ["clap", "empty", "jump", "wave"]
    found = names(linked, [record.path for record in catalogue.records["train"]])
    assert found == ["clap/1.mp4", "clap/gone.mp4", "jump/1.mp4", "wave/2.mp4"]


def test_links_of_two_classes_to_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / f"{name}.mp4").touch()
        (tmp_path / "train" / name / "more").symlink_to(tmp_path / "train" / other)
    found = names(tmp_path, [record.path for record in read_catalogue(tmp_path).records["train"]])
    assert found == ["a/a.mp4", "a/more/b.mp4", "b/b.mp4", "b/more/a.mp4"]


def test_infer_lists_the_missing_and_follows_links(
    linked: Path, tmp_path: Path, capsys: Capture
) -> None:
    checkpoint = str(write_checkpoint(tmp_path))
    words = ["predict", str(linked), "--checkpoint", checkpoint, "--views", "1x1"]
    words += ["--no-isolate"]
    (linked / "train" / "lost").symlink_to("/mnt/absent/class")
    assert main([*words, "--json", str(tmp_path / "out.json")]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    assert len(content["predictions"]) == 3
    assert len(content["failures"]) == 2
    err = capsys.readouterr().err
    assert "gone.mp4" in err
    assert "the link leads to /mnt/absent/class, which does not exist" in err


@pytest.mark.parametrize(
    ("pattern", "count"),
    mostly_slow(
        [("train/*/*.mp4", 4), ("**/*.mp4", 4), ("train/**", 4), ("train/[jw]*", 2), ("**/1.*", 2)],
        quick=["**/*.mp4", "train/[jw]*"],
    ),
)
def test_patterns_follow_links_and_come_to_an_end(
    linked: Path, tmp_path: Path, capsys: Capture, pattern: str, count: int
) -> None:
    checkpoint = str(write_checkpoint(tmp_path))
    output = tmp_path / "out.json"
    words = ["--checkpoint", checkpoint, "--views", "1x1", "--json", str(output), "--no-isolate"]
    code = main(["predict", str(linked / pattern), *words])
    content = json.loads(output.read_text())
    assert len(content["predictions"]) + len(content["failures"]) == count
    assert code == len(content["failures"]) == int("gone.mp4" in capsys.readouterr().err)


def test_a_name_that_leads_nowhere_is_explained(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.mp4").symlink_to("/mnt/absent/a.mp4")
    checkpoint = str(write_checkpoint(tmp_path))
    assert main(["predict", str(tmp_path / "a.mp4"), "--checkpoint", checkpoint]) == 1
    assert "the link leads to /mnt/absent/a.mp4" in capsys.readouterr().err


def test_check_counts_them(linked: Path, tmp_path: Path, capsys: Capture) -> None:
    (linked / "train" / "lost").symlink_to("/mnt/absent/class")
    words = ["check", str(linked), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "checked 4 files: 3 ok, 1 unreadable" in out
    assert "1 folder cannot be listed" in err
    assert "train/lost: the link leads to /mnt/absent/class" in err
    report = (tmp_path / "out" / "videonl_check.csv").read_text()
    assert "train/clap/gone.mp4,unreadable,No such file" in report
    assert 'train/lost,lost,"the link leads to' in report
    (linked / "train" / "lost").unlink()
    (linked / "train" / "clap" / "gone.mp4").unlink()
    assert main(words) == 0


def test_a_prepared_copy_has_the_classes_that_training_sees(
    linked: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["prepare", str(linked), str(tmp_path / "copy"), "--workers", "1"]
    assert main(words) == 1
    assert "failed  train/clap/gone.mp4" in capsys.readouterr().out
    copy = read_catalogue(tmp_path / "copy")
    assert copy.class_names == read_catalogue(linked).class_names
    found = names(tmp_path / "copy", [record.path for record in copy.records["train"]])
    assert found == ["clap/1.mp4", "jump/1.mp4", "wave/2.mp4"]
    (linked / "train" / "copied").symlink_to(tmp_path / "copy")
    assert main(words) == 2
    assert "copied is a link into" in capsys.readouterr().err


def test_training_and_evaluation_count_the_missing(tmp_path: Path, capsys: Capture) -> None:
    data = write_small_data(tmp_path / "data", test=2)
    for split in ("train", "val", "test"):
        (data / split / "dark" / "gone.mp4").symlink_to("/mnt/absent/gone.mp4")
    common = ["--data.root", str(data), *FLAGS, "--trainer.accelerator", "cpu"]
    fit = [*common, "--model.name", "tiny_i3d_nl1", "--model.options.width", "8", "--name", "x"]
    fit += ["--out", str(tmp_path / "runs"), "--trainer.max_epochs", "1"]
    assert main(["train", "fit", *fit]) == 0
    (run,) = (tmp_path / "runs" / "x").iterdir()
    text = "".join(capsys.readouterr())
    assert "1 video cannot be read; others were used instead" in text
    assert "1 video cannot be read and count as wrong" in text
    assert main(["train", "test", "--checkpoint", str(run), *common]) == 0
    assert "test: 5 videos" in capsys.readouterr().out
    compare = ["compare", str(run / "best.ckpt"), "--data", str(data), "--no-speed"]
    assert main([*compare, "--device", "cpu", "--views", "1x1"]) == 0
    assert "1 cannot be read and count as wrong" in "".join(capsys.readouterr())


def test_a_listed_video_that_is_gone_is_not_one_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    (data / "test").mkdir(parents=True)
    (data / "test" / "a.mp4").touch()
    (data / "test.csv").write_text("a.mp4 wave\nb.mp4 wave\n")
    monkeypatch.chdir(tmp_path)
    shutil.copy(data / "test" / "a.mp4", "b.mp4")  # of the same name, but no video of the set
    found = read_set("data", "test")
    assert found.paths == [os.path.join("data", "test", "a.mp4"), os.path.join("data", "b.mp4")]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("train/cat", "train/cat: the link leads to /mnt/absent/x, which does not exist"),
        ("train/St. Moritz", "train/St. Moritz: the link leads to"),
        ("val", "val: the link leads to /mnt/absent/x, which does not exist"),
        ("test", "test: the link leads to"),
        ("train/loop", "train/loop: Too many levels of symbolic links"),
    ],
)
def test_a_class_or_split_that_leads_nowhere_is_said_before_the_start(
    tmp_path: Path, capsys: Capture, link: str, words: str
) -> None:
    (tmp_path / "train" / "dog").mkdir(parents=True)
    (tmp_path / "train" / "dog" / "1.mp4").touch()
    (tmp_path / link).symlink_to("loop" if "loop" in link else "/mnt/absent/x")
    assert main(["train", "fit", "--data.root", str(tmp_path)]) == 2
    assert f"{tmp_path}/{words}" in capsys.readouterr().err


def test_a_list_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "1.mp4").touch()
    (tmp_path / "train.csv").symlink_to("/mnt/absent/train.csv")
    with pytest.raises(DatasetError, match=r"the list .*train\.csv cannot be read"):
        read_catalogue(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv").write_text("1.mp4 a\n")
    (tmp_path / "videonl_skip.tsv").symlink_to("/mnt/absent/skip.tsv")
    with pytest.raises(DatasetError, match=r"the skip list .* cannot be read"):
        read_catalogue(tmp_path)


def test_a_list_names_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "1.mp4").touch()
    (tmp_path / "2.mp4").symlink_to("/mnt/absent/2.mp4")
    (tmp_path / "train.csv").write_text("1.mp4 a\n2.mp4 b\n3.mp4 b\n")
    catalogue = read_catalogue(tmp_path)
    assert len(catalogue.records["train"]) == 2
    assert [record.path for record in catalogue.missing["train"]] == [str(tmp_path / "3.mp4")]


def test_the_index_cache_notices_links_that_are_turned_and_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videonl.data.walk._WORTH_KEEPING", 1)
    monkeypatch.setattr("videonl.data.walk._SETTLED_NS", 0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.mp4").touch()
    os.utime(tmp_path / "one", ns=(10**18, 10**18))
    os.utime(tmp_path / "two", ns=(10**18, 10**18))
    link = tmp_path / "data" / "class"
    link.parent.mkdir()

    def listed() -> tuple[list[str], int]:
        index = FolderIndex(link.parent, cache=tmp_path / "cache")
        files = index.files(link)
        index.save()
        return files, index.listed

    link.symlink_to(tmp_path / "one")
    assert listed() == (["one.mp4"], 1)
    assert listed() == (["one.mp4"], 0)
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert listed() == (["two.mp4"], 1)
    assert listed() == (["two.mp4"], 0)
    (tmp_path / "two").chmod(0o700)
    assert listed() == (["two.mp4"], 1)


DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # capabilities by which root reads what is forbidden


def give_up_rights() -> None:
    """Root without these two, also in what it starts; the rest of the installation stays readable.

    Another user might not be allowed to read that.
    """
    if os.geteuid() != 0:
        return
    c = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then those above 31
    assert c.capget(head, sets) == 0
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        assert c.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
        for which in range(3):
            sets[which] &= ~(1 << capability)
    assert c.capset(head, sets) == 0


def as_bound(words: list[str], out: str, err: str) -> None:
    """Run a command without these rights, its outputs in files, and exit with its code."""
    with open(out, "w", encoding="utf-8") as said, open(err, "w", encoding="utf-8") as told:
        for number, file in ((1, said), (2, told)):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = said, told
        give_up_rights()
        code: object = 0
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            traceback.print_exc()
            code = 99
    os._exit(int(str(code or 0)))


Bound = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Bound]:
    """``videonl`` as a user whom permissions bind, in a process that has its imports already."""
    numbers = count()

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        files = [str(tmp_path / f"{next(numbers)}.{name}.txt") for name in ("out", "err")]
        process = get_context("fork").Process(target=as_bound, args=(list(map(str, words)), *files))
        process.start()
        process.join()
        out, err = (Path(file).read_text("utf-8") for file in files)
        return subprocess.CompletedProcess(words, process.exitcode or 0, out, err)

    if run("--version").returncode:
        pytest.skip("no way to give up root's rights here")
    yield run
    for place in [tmp_path, *tmp_path.rglob("*")]:
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o755)


def forbidden(folder: Path) -> Path:
    """A data set with a file, a folder, and two links to folders that may not be read."""
    data = folder / "data"
    clip = write_video(data / "train" / "clap" / "1.mp4", 12)
    secret = data / "train" / "secret"
    shutil.copytree(clip.parent, secret)
    shutil.copy(clip, data / "train" / "clap" / "2.mp4")
    (data / "train" / "clap" / "2.mp4").chmod(0)
    (data / "train" / "jump").symlink_to(secret)
    (data / "train" / "wave").symlink_to(secret / "below")
    secret.chmod(0)
    return data


def refused(done: "subprocess.CompletedProcess[str]", code: int) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    assert "no permission to list this folder" in said, said
    if code == 1:
        assert "train/secret: no permission" in said, said
        assert "2.mp4" in said, said


def test_folders_and_files_without_permission(tmp_path: Path, bound: Bound) -> None:
    data = forbidden(tmp_path)
    refused(bound("check", data, "--out", tmp_path / "out", "--workers", "1"), 1)
    refused(bound("prepare", data, tmp_path / "copy", "--workers", "1"), 1)
    (data / "train").chmod(0)
    done = bound("check", data, "--out", tmp_path / "out2")
    refused(done, 2)
    assert "contains no video files" in done.stderr
    (tmp_path / "copy").chmod(0o555)
    done = bound("check", tmp_path / "copy")
    assert done.returncode == 2
    assert "cannot be written (Permission denied); name another folder" in done.stderr


def test_outputs_below_a_folder_that_is_closed(tmp_path: Path, bound: Bound) -> None:
    closed, clips = tmp_path / "closed", tmp_path / "clips"
    closed.mkdir(mode=0)
    write_video(clips / "1.mp4", 12)
    for words in (
        ("check", clips, "--out", closed / "below"),
        ("prepare", clips, closed / "below"),
        ("sample", "--root", closed / "below", "--train", "2", "--val", "2", "--test", "2"),
    ):
        done = bound(*words)
        assert done.returncode == 2, done.stderr
        assert f"{closed}/below" in done.stderr
        assert "Permission denied" in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_the_same_where_a_network_is_asked(tmp_path: Path, bound: Bound) -> None:
    data, checkpoint = forbidden(tmp_path), write_checkpoint(tmp_path)
    network = ["--checkpoint", checkpoint]
    refused(bound("predict", data, *network, "--views", "1x1"), 1)
    refused(bound("predict", f"{data}/**/*.mp4", *network, "--views", "1x1"), 1)
    refused(bound("predict", f"{data}/train/*/*.mp4", *network, "--views", "1x1"), 1)
    refused(bound("extract", data, *network, "--out", tmp_path / "features"), 1)
    refused(bound("train", "fit", "--data.root", data), 2)
    refused(bound("compare", checkpoint, "--data", data, "--split", "train", "--no-speed"), 2)
    closed, clip = tmp_path / "closed", data / "train" / "clap" / "1.mp4"
    closed.mkdir(mode=0)
    common = ["--views", "1x1", *network]
    for words in (
        *(["predict", clip, *common, option, closed / "x.csv"] for option in ("--csv", "--json")),
        ["predict", clip, *network, "--report", closed / "x.html"],
        ["predict", clip, *network, "--timeline", "--plot", closed / "x.png"],
        ["extract", clip, *network, "--out", closed / "x"],
        ["convert", checkpoint, closed / "x.safetensors"],
        ["export", *network, "--format", "torch-export", "--out", closed / "x.pt2"],
        ["compare", "tiny_i3d", "--no-speed", "--clip", "4x24", "--out", closed / "x"],
        ["attend", clip, *network, "--out", closed / "x"],
    ):
        done = bound(*words)
        assert done.returncode in (1, 2), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        if words[0] != "attend":  # this network has no block
            assert str(closed) in done.stderr
            assert "Permission denied" in done.stderr
    (data / "train" / "wave").unlink()
    (data / "train").chmod(0)
    refused(bound("train", "fit", "--data.root", data), 2)
    done = bound("predict", data / "train" / "clap" / "1.mp4", *network)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
