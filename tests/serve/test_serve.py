"""The server over a real socket: answers, refusals, and nothing left behind."""

import os
import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.checkpoints import write_ckpt
from tests.inference.networks import NAMES, write_checkpoint
from tests.serve.serving import BOUNDARY, Server, form, serving
from tests.videos import write_video

SMALL = "/predict?views=1x1"
LIMIT = 3_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_checkpoint(folder)
    write_video(folder / "a.mp4", 30)
    return folder


@pytest.fixture(scope="module")
def video(folder: Path) -> bytes:
    return (folder / "a.mp4").read_bytes()


@pytest.fixture(scope="module")
def server(folder: Path):
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(folder / "model.safetensors", upload_bytes=LIMIT, room=64, seconds=120.0) as server,
    ):
        patch.setattr("videonl.serve.app.LINGER_SECONDS", 0.5)
        server.before = open_uploads()  # pytest's own, that catch the output
        yield server


def open_uploads() -> list[str]:
    """Temporary files of uploads that this process holds."""
    targets = []
    for number in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    folder = tempfile.gettempdir()
    return sorted(t for t in targets if "(deleted)" in t and t.startswith(folder))


def test_a_network_whose_answers_are_not_finite_is_not_the_visitor_s_fault(
    tmp_path: Path, video: bytes
) -> None:
    write_ckpt(
        tmp_path / "huge.ckpt",
        lambda content: content["state_dict"]["net.stem.conv.weight"].fill_(3e38),
    )
    with serving(tmp_path / "huge.ckpt", upload_bytes=LIMIT) as server:
        status, answer, _ = server.post(SMALL, video)
        assert status == 500
        assert "not finite" in answer["error"]
        assert server.idle()


def test_the_answer_is_that_of_the_predictor(server: Server, folder: Path, video: bytes) -> None:
    from videonl import Predictor

    predictor = Predictor.from_checkpoint(folder / "model.safetensors", device="cpu")
    expected = predictor.predict(folder / "a.mp4", views=(2, 3), top_k=2).as_dict()
    for send in (server.post, server.upload):
        status, answer, _ = send("/predict?views=2x3&top_k=2", video)
        assert status == 200
        for key in ("classes", "model", "protocol"):
            assert answer[key] == expected[key]
        frames = [view["frames"] for view in expected["views"]]
        assert [view["frames"] for view in answer["views"]] == frames
    assert answer["file"] == "clip.mp4"


def test_health_and_model(server: Server) -> None:
    assert server.ask("GET", "/health")[1] == {"status": "ok", "busy": 0, "room": 64}
    model = server.ask("GET", "/model")[1]
    assert model["classes"] == NAMES
    assert model["limits"]["upload_bytes"] == LIMIT
    assert server.ask("GET", "/elsewhere")[0] == 404
    assert server.ask("GET", "/predict")[0] == 405


def test_the_page_and_its_headers(server: Server) -> None:
    status, page, headers = server.ask("GET", "/")
    assert status == 200
    assert "tiny_i3d: 3 classes" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page), "the page must need nothing else"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no video at all", "not a readable video"), (b"\0" * 100, "not a readable video")],
)
def test_broken_files(server: Server, content: bytes, words: str) -> None:
    status, answer, _ = server.upload(SMALL, content, name="broken.mp4")
    assert (status, answer["error"][:12]) == (422, "broken.mp4: ")
    assert words in answer["error"]
    assert "/proc/" not in answer["error"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/predict?views=0x1", 400, "views"),
        ("/predict?views=11x3", 400, "allows at most 10x3"),
        ("/predict?views=99999999x1", 400, "views"),
        ("/predict?top_k=0", 400, "top_k"),
        ("/predict?path=/etc/passwd", 400, "'path' is not an option"),
    ],
)
def test_wishes_are_checked(
    server: Server, video: bytes, path: str, status: int, words: str
) -> None:
    got, answer, _ = server.post(path, video)
    assert got == status
    assert words in answer["error"]


def test_forms_that_are_none(server: Server, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videonl.serve.app.LINGER_SECONDS", 60.0)
    start = time.monotonic()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    whole = form(video)
    part = whole[: whole.rindex(b"--" + BOUNDARY.encode())]
    bodies = {
        "is incomplete": whole[:-30],
        "one video at a time": part + form(video),
        "contains no file": whole[: whole.index(b"hello") + 7] + f"--{BOUNDARY}--\r\n".encode(),
        "cannot be read": b"not a form",
    }
    for words, body in bodies.items():
        status, answer, _ = server.ask("POST", SMALL, body, kind)
        assert (status, words in answer["error"]) == (400, True), answer
    small = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()
    for body in (small * 2000 + whole, small + b"x" * 70_000):
        status, answer, _ = server.ask("POST", SMALL, body, kind)
        assert (status, "beside the video" in answer["error"]) == (413, True)
    assert server.ask("POST", SMALL, small * 200 + whole, kind)[0] == 200
    status, answer, _ = server.ask("POST", SMALL, whole, {"Content-Type": "multipart/form-data"})
    assert (status, "boundary" in answer["error"]) == (400, True)
    assert server.ask("POST", SMALL, b"{}", {"Content-Type": "application/json"})[0] == 415
    assert server.post(SMALL, b"")[0] == 400
    assert time.monotonic() - start < 60, "what was read to its end is answered at once"
    assert server.idle()


def test_names_of_clients_are_only_shown(server: Server, video: bytes, tmp_path: Path) -> None:
    names = {
        f"..\\\\..{tmp_path}/evil.mp4": "evil.mp4",
        "../../../etc/cron.d/x.mp4": "x.mp4",
        "http://example.org/a.mp4": "a.mp4",
        "concat:a|b.mp4": "concat:a|b.mp4",
        "x" * 900 + ".mp4": "x" * 200,
    }
    for name, shown in names.items():
        status, answer, _ = server.upload(SMALL, video, name=name)
        assert (status, answer["file"]) == (200, shown)
    assert not list(tmp_path.iterdir())


def test_too_large_by_its_own_word(server: Server) -> None:
    status, answer, _ = server.post(SMALL, b"\0" * (LIMIT + (1 << 17)))
    assert (status, "larger than 3 MB" in answer["error"]) == (413, True)
    assert server.post(SMALL, b"\0" * (LIMIT + 1))[0] == 413
    assert server.upload(SMALL, b"\0" * (LIMIT + 1))[0] == 413
    assert server.post(SMALL, b"\0" * LIMIT)[0] == 422
    assert server.idle()


def test_too_large_without_a_word(server: Server) -> None:
    def endless():
        while True:
            yield b"\0" * (1 << 16)

    with server.open() as connection:
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Content-Type: video/mp4\r\n\r\n".encode())
        sent = 0
        try:
            for piece in endless():
                connection.sendall(b"10000\r\n" + piece + b"\r\n")
                sent += len(piece)
                assert sent < 1 << 30
        except OSError:
            pass  # it hung up
    assert sent > LIMIT
    assert server.idle()
    assert open_uploads() == server.before


@pytest.mark.parametrize("asked", [LIMIT // 2, 10**12])
def test_a_false_content_length(server: Server, asked: int) -> None:
    with server.open() as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {asked}\r\n\r\n"
        connection.sendall(head.encode() + b"\0" * 1000)
        if asked > LIMIT:
            assert b"413" in connection.recv(100)
    assert server.idle()  # hung up in the middle of the body


def test_hanging_up_while_it_works(server: Server, video: bytes) -> None:
    for _ in range(5):
        with server.open() as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(video)}\r\n"
            connection.sendall(head.encode() + b"\r\n" + video)
    assert server.idle()
    assert open_uploads() == server.before
    assert server.post(SMALL, video)[0] == 200


def test_fifty_at_once(server: Server, video: bytes) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(
            threads.map(
                lambda number: server.upload(SMALL, video if number % 5 else b"broken"), range(50)
            )
        )
    assert [answer[0] for answer in answers] == [200 if n % 5 else 422 for n in range(50)]
    first = answers[1][1]["classes"]
    assert all(answer[1]["classes"] == first for answer in answers if answer[0] == 200)
    assert server.idle()
    assert open_uploads() == server.before
    assert threading.active_count() < 60


def test_other_sites_are_refused(server: Server, video: bytes) -> None:
    own = f"127.0.0.1:{server.port}"
    for headers, expected in [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": f"http://127.0.0.1:{server.port + 1}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}, 200),
    ]:
        assert server.post(SMALL, video, **headers)[0] == expected, headers
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "["):
        assert server.ask("GET", "/model", headers={"Host": host})[0] in (400, 421), host
        assert server.post(SMALL, video, Host=host)[0] in (400, 421), host
