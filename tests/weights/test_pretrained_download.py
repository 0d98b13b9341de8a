"""Downloads: whole or not at all, resumed, checked, https only; a server on this machine."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from videonl.errors import CheckpointError
from videonl.weights import (
    PUBLISHED,
    Published,
    cached_path,
    fetch,
    find_published,
    load_checkpoint,
)
from videonl.weights import (
    cache_folder as weights_folder,
)

BODY = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if self.path == "/elsewhere.pth":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/a.pth")
            self.end_headers()
            return
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") == server.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(BODY):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        stop = len(BODY) if server.cut is None else server.cut
        self.wfile.write(BODY[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.ranges, found.cut, found.tag = [], None, '"one"'
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def entry(server, file="a.pth", digest=DIGEST[:8]):
    url = f"http://127.0.0.1:{server.server_port}/{file}"
    return Published(
        "test/a", url, "test", "i3d_r50", "8x8", 1.0, None, 1.0, "MIT", "10x3", digest=digest
    )


def quiet(done, total):
    assert total is None or done <= total


def test_download_and_cache(server):
    seen = []
    path = fetch(entry(server), progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"]
    fetch(entry(server), progress=quiet)
    assert len(server.ranges) == 1


def test_the_bar_draws(server, capsys):
    assert fetch(entry(server)).read_bytes() == BODY
    assert "a.pth" in capsys.readouterr().err


def test_resume(server):
    server.cut = 1_000_000
    with pytest.raises(CheckpointError, match=r"connection ended after 1000000 of 5120000"):
        fetch(entry(server), progress=quiet)
    assert not cached_path(entry(server)).exists()
    server.cut = None
    assert fetch(entry(server), progress=quiet).read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000000-"]


def test_another_file_is_begun_anew(server):
    server.cut = 1000
    with pytest.raises(CheckpointError):
        fetch(entry(server), progress=quiet)
    server.cut, server.tag = None, '"two"'
    assert fetch(entry(server), progress=quiet).read_bytes() == BODY


def test_a_part_that_is_too_long(server):
    part = cached_path(entry(server)).with_name("a.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY + b"more")
    part.with_name("a.pth.part.etag").write_text(server.tag)
    assert fetch(entry(server), progress=quiet).read_bytes() == BODY


def test_a_wrong_digest_is_deleted(server):
    with pytest.raises(CheckpointError, match="not 00000000; it was deleted"):
        fetch(entry(server, digest="00000000"), progress=quiet)
    assert list(cached_path(entry(server)).parent.iterdir()) == []


def test_offline_says_what_to_fetch_and_where_to_put_it(server):
    server.shutdown()
    server.server_close()
    wanted = entry(server)
    with pytest.raises(CheckpointError) as caught:
        fetch(wanted, progress=quiet)
    assert wanted.url in str(caught.value)
    assert f"put it at {cached_path(wanted)}" in str(caught.value)
    cached_path(wanted).parent.mkdir(parents=True, exist_ok=True)
    cached_path(wanted).write_bytes(BODY)
    assert fetch(wanted, progress=quiet).read_bytes() == BODY


@pytest.mark.parametrize(
    ("file", "message"), [("missing.pth", "Not Found"), ("elsewhere.pth", "is not https")]
)
def test_errors_and_redirects(server, file, message):
    with pytest.raises(CheckpointError, match=message):
        fetch(entry(server, file), progress=quiet)


@pytest.mark.parametrize("url", ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/passwd"])
def test_https_only(url, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="not https"):
        fetch(Published("test/a", url, "test", "i3d_r50", "8x8", 1.0, None, 1.0, "MIT", "10x3"))


def test_the_table():
    names = [entry.name for entry in PUBLISHED]
    assert len(set(names)) == len(names) >= 45
    from videonl.models import list_models

    for entry in PUBLISHED:
        assert entry.url.startswith("https://")
        assert entry.model in list_models(), entry.name
        assert len(entry.digest) in (0, 8)
        assert entry.licence
    official = find_published("official/i3d_nl_32x2")
    assert official.licence == "CC BY-NC 4.0"
    assert official.url == (
        "https://dl.fbaipublicfiles.com/video-nonlocal/i3d_nonlocal_32x2_IN_pretrain_400k.pkl"
    )
    dot = find_published("mmaction2/i3d_nl_dot")
    folder = "i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb"
    assert dot.url.endswith(f"/recognition/i3d/{folder}/{folder}_20220812-8e1f2148.pth")
    assert dot.digest == "8e1f2148"


def test_unknown_names_get_a_hint():
    with pytest.raises(CheckpointError, match=r"did you mean .*official/i3d_nl_32x2"):
        load_checkpoint("official/i3d_nl_32x")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX locks")
def test_of_several_processes_one_downloads(server):
    """Another one holds the claim, and ends with the whole file."""
    import fcntl

    target = cached_path(entry(server))
    target.parent.mkdir(parents=True)
    found = []
    thread = threading.Thread(target=lambda: found.append(fetch(entry(server), progress=quiet)))
    lock = target.with_name(".a.pth.lock")
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        target.write_bytes(BODY)
        lock.unlink()
    thread.join(10)
    assert found == [target]
    assert server.ranges == []
    assert list(target.parent.iterdir()) == [target]


def test_a_cache_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VIDEONL_CACHE", "~/c")
    from videonl.files import cache_folder

    assert cache_folder() == weights_folder() == tmp_path / "c"
