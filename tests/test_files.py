"""The atomic writer and the reader of YAML: links, pipes, devices, full disks, signals."""

import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.marks import mostly_slow
from videonl.errors import OutputError, OutputLost, VideoNLError
from videonl.files import (
    GrowingFile,
    parse_yaml,
    read_yaml,
    remove_part,
    whole_file,
    whole_stream,
    write_text,
)

ROOT = Path(__file__).resolve().parents[1]
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices"
)


def by_text(path: Path, text: str) -> None:
    write_text(path, text)


def by_stream(path: Path, text: str) -> None:
    with whole_stream(path) as stream:
        stream.write(text.encode())


def by_path(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text)


def by_growing(path: Path, text: str) -> None:
    file = GrowingFile(path, start=[text[:1]])
    file.write(text[1:])
    file.close()


WRITERS = [by_text, by_stream, by_path, by_growing]
Writer = Callable[[Path, str], None]


def always_full(folder: Path) -> Path:
    """A device of our own that takes nothing, like /dev/full."""
    path = folder / "full"
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    return path


@pytest.mark.parametrize("write", WRITERS)
def test_the_file_a_link_leads_to_is_written_and_keeps_its_mode(
    tmp_path: Path, write: Writer
) -> None:
    target, link = tmp_path / "there" / "a.txt", tmp_path / "here" / "link.txt"
    target.parent.mkdir()
    link.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("../there/a.txt")
    write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.unlink()
    write(link, "made")  # a link to what is not there yet
    assert link.is_symlink()
    assert target.read_text() == "made"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.txt", "link.txt"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path, write: Writer) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new" / "folder" / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new/folder/a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("write", WRITERS)
def test_a_pipe_is_answered_and_stays(tmp_path: Path, write: Writer) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write(pipe, "all of it")
    reader.join(10)
    assert heard == ["all of it"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@needs_root
@pytest.mark.parametrize("write", WRITERS)
def test_a_device_is_written_into_and_a_full_one_is_a_sentence(
    tmp_path: Path, write: Writer
) -> None:
    null = tmp_path / "null"
    os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    write(null, "gone")
    assert stat.S_ISCHR(null.stat().st_mode)
    full = always_full(tmp_path)
    with pytest.raises(OutputError, match=r"full cannot be written .No space left on device"):
        write(full, "never")
    assert stat.S_ISCHR(full.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "null"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux names descriptors so")
@pytest.mark.parametrize(
    ("write", "kind"),
    mostly_slow(
        [(writer.__name__, kind) for writer in WRITERS for kind in ("file", "pipe")],
        quick=[
            ("by_text", "file"),
            ("by_stream", "pipe"),
            ("by_path", "pipe"),
            ("by_growing", "file"),
        ],
    ),
)
def test_standard_output_is_written_behind_what_stands_there(
    tmp_path: Path, write: str, kind: str
) -> None:
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    code = f"from tests.test_files import *\nprint('first')\n{write}(Path({str(link)!r}), 'second')"
    out = tmp_path / "out"
    with out.open("wb") as file:
        shown = subprocess.PIPE if kind == "pipe" else file
        done = subprocess.run(
            [sys.executable, "-c", code + "\nprint('third')"], cwd=ROOT, stdout=shown, check=True
        )
    assert (done.stdout or out.read_bytes()) == b"first\nsecondthird\n"
    assert link.is_symlink()


@pytest.mark.parametrize("write", WRITERS)
def test_what_can_not_be_a_file_is_named(tmp_path: Path, write: Writer) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, word in (
            ("folder", "it is a folder"),
            ("file/below", "what should be its folder is a file"),
            ("socket", "it is a socket"),
            ("circle", "symbolic links"),
        ):
            with pytest.raises(OutputError, match=f"{name} cannot be written .*{word}"):
                write(tmp_path / name, "x")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["circle", "file", "folder", "socket"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, write: Writer) -> None:
    import resource

    path = tmp_path / "a.txt"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"a.txt cannot be written .File too large"):
            write(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == ("x" if write is by_growing else "old")  # "x": how it began
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_what_was_interrupted(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "a.txt").write_text("old")
    for context in (whole_file, whole_stream):
        with pytest.raises(error), context(tmp_path / "a.txt"):
            raise error
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: " + "x" * 70_000, "too long for a configuration"),
        ("a: " + "[" * 60_000, "nested too deeply"),
        ("a: " + "9" * 60_000, "a number of 60000 digits"),
        ("a: 1" + ":1" * 30_000, "a number of 60001 digits"),
        (
            "a0: &a0 {k: 1}\n"
            + "\n".join(
                f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 20)
            ),
            "a table of over 10000 keys",
        ),
    ],
    ids=["long", "deep", "digits", "sexagesimal", "merged"],
)
def test_yaml_that_asks_for_much_is_refused_at_once(text: str, sentence: str) -> None:
    start = time.process_time()
    with pytest.raises(VideoNLError, match=sentence):
        parse_yaml(text, source="x.yaml")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_leaves_nothing(tmp_path: Path, number: int) -> None:
    code = (
        "import sys, time\nfrom videonl.files import whole_file\n"
        "with whole_file(sys.argv[1]) as part, whole_file(sys.argv[1] + '2') as other:\n"
        "    part.write_text('half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.bin")], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(number)
    assert process.wait(30) == -number
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_cleaned_up_after_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    code = (
        "import sys, time\nfrom videonl.files import whole_file\n"
        "with whole_file(sys.argv[1]) as part:\n"
        "    part.write_text('theirs')\n    print('writing', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    write_text(path, "ours")
    assert path.read_text() == "ours"
    remove_part(path)
    process.communicate(timeout=30)
    assert path.read_text() == "theirs"

    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    write_text(path, "ours")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("a.bin", "ours")]


def test_two_writers_in_one_process_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as one:
        with whole_file(path) as other:
            other.write_text("other")
        one.write_text("one")
    assert path.read_text() == "one"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_the_longest_name_that_a_disk_takes(tmp_path: Path) -> None:
    path = tmp_path / ("ß" * 125 + ".json")
    write_text(path, "x")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_names_that_are_no_utf_8_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_text(tmp_path / "a.txt", [name, "\n"])
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9.mp4\n"


def test_a_growing_file_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("one\ntw")
    file = GrowingFile(path)
    file.write("three\n")
    file.close()
    assert path.read_text() == "one\ntw\nthree\n"


def test_a_growing_file_ends_where_it_did_when_the_disk_is_full(tmp_path: Path) -> None:
    import resource

    file = GrowingFile(tmp_path / "a.csv", start=["one\n"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError):
            file.write("x" * 5000 + "\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.write("two\n")
    file.close()
    assert (tmp_path / "a.csv").read_text() == "one\ntwo\n"


def test_the_error_passes_between_processes() -> None:
    error = pickle.loads(pickle.dumps(OutputError("a.csv", "the disk is full")))
    assert str(error) == "a.csv cannot be written (the disk is full)"


def test_an_error_of_what_is_read_stays_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_stream(tmp_path / "a.bin"):
        (tmp_path / "absent").read_bytes()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("model:\n  name: x\n  options: {depth: 1, width: 2, depth: 3}\n", "line 3: the key 'dep"),
        ("model: {}\ndata: {}\nmodel: {}\n", "line 3: the key 'model'"),
        ("- a: 1\n- b: 1\n  b: 2\n", "line 3: the key 'b'"),
        ('a: 1\n"a": 2\n', "line 2: the key 'a'"),
        ("1: a\n1: b\n", "line 2: the key '1'"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_line(
    tmp_path: Path, text: str, line: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(VideoNLError) as error:
        read_yaml(file)
    assert str(error.value).startswith(f"{file}, {line}")


def test_yaml_as_people_write_it() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nday: 2020-01-01\nrate: 1e-4\n"
    assert parse_yaml(text, source="x") == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 3},
        "day": "2020-01-01",
        "rate": 1e-4,
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "!!python/object/apply:os.getcwd []",
        "? [a, b]\n: 1\n",
        "a: \x00",
        pytest.param("[" * 5000, marks=pytest.mark.slow),
    ],
)
def test_what_is_no_yaml_is_one_sentence(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(VideoNLError, match=r"^here is not YAML"):
        parse_yaml(text, source="here")
    assert time.monotonic() - start < 20  # a busy machine; it was minutes


def test_a_reader_of_standard_output_that_went_away() -> None:
    """No error of a file: ``| head`` ends a command without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    before = os.dup(1)
    os.dup2(writer, 1)
    try:
        for write in (lambda: write_text("-", "x"), lambda: GrowingFile("-", start=["x"])):
            with pytest.raises(OutputLost) as lost:
                write()
            assert lost.value.quiet
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writer)
