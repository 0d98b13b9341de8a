"""The server behind the proxy of docs/serving.md, and clients that never say what they want."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.serve.serving import Server, serving
from tests.videos import write_video
from videonl.cli.main import main

DOCS = Path(__file__).resolve().parents[2] / "docs/serving.md"
NAME = "videos.example.com"
SMALL = "predict?views=1x1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    write_checkpoint(folder)
    write_video(folder / "a.mp4", 20)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    hosts = ("localhost", "127.0.0.1", NAME)
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(folder / "model.safetensors", hosts=hosts, room=1, upload_bytes=10**6) as server,
    ):
        patch.setattr("videonl.serve.heads.HEAD_SECONDS", 1.0)
        yield server


def example() -> dict[str, str]:
    """The directives of the example in the docs."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    found = {}
    for line in re.sub(r"#.*", "", block).splitlines():
        if match := re.match(r"\s*(\S+)\s+(.*?)\s*[;{]\s*$", line):
            found[match[1]] = match[2]
    return found


@contextmanager
def proxy(target: int, rules: dict[str, str]) -> Iterator[int]:
    """What nginx makes of these directives, in front of a server on this computer."""
    place = rules["location"].split()[-1]
    inside = "/" + rules["proxy_pass"].split("://")[1].partition("/")[2]
    name, value = rules["proxy_set_header"].split()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.startswith(place)
            headers = dict(self.headers.items())
            host = headers["Host"].partition(":")[0]
            headers[name] = {"$host": host, "$http_host": headers["Host"]}[value]
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
            path = inside + self.path.removeprefix(place)
            connection.request(self.command, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("content-type", ""))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            connection.close()

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield listener.server_port
    finally:
        listener.shutdown()
        listener.server_close()


def test_the_example_of_the_docs(server: Server, folder: Path) -> None:
    rules = example()
    assert rules["server_name"] == NAME
    assert rules["proxy_set_header"] == "Host $host", "nginx's usual line"
    video = (folder / "a.mp4").read_bytes()
    with proxy(server.port, rules) as port:
        front = Server(port)
        place = rules["location"]
        for host in (NAME, f"{NAME}:8443", f"127.0.0.1:{port}"):
            status, page, _ = front.ask("GET", place, headers={"Host": host})
            assert status == 200
            links = re.findall(r'(?:action|href|src)="([^"]*)"', page)
            assert links, "the form leads somewhere"
            assert not [link for link in links if link.startswith("/") or "://" in link]
            headers = {"Host": host, "Origin": f"https://{host}", "Sec-Fetch-Site": "same-origin"}
            status, answer, _ = front.ask("POST", place + SMALL, video, headers)
            assert (status, "classes" in answer) == (200, True), (host, answer)
        for origin in ("https://evil.example", f"https://{NAME}.evil.example", "null"):
            headers = {"Host": NAME, "Origin": origin}
            status, answer, _ = front.ask("POST", place + SMALL, video, headers)
            assert (status, "--allow-host" in answer["error"]) == (403, True), origin


def test_a_proxy_that_keeps_its_own_host(server: Server, folder: Path) -> None:
    """nginx without that line: the name that --allow-host gave is enough."""
    own = f"127.0.0.1:{server.port}"
    video = (folder / "a.mp4").read_bytes()
    answers = {
        origin: server.post(f"/{SMALL}", video, Host=own, Origin=origin)[0]
        for origin in (f"https://{NAME}:9", "https://a.b", f"http://127.0.0.1:{server.port + 1}")
    }
    assert list(answers.values()) == [200, 403, 403]


def exchange(server: Server, *pieces: bytes, pause: float = 0.0) -> tuple[int, dict[str, str]]:
    """(status, JSON) of what a bare connection is answered."""
    with server.open() as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.getheader("content-type") == "application/json"
        return answer.status, json.loads(answer.read())


def test_heads_without_end_and_what_is_no_request(server: Server) -> None:
    start = time.monotonic()
    with server.open() as first:
        drops = [b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 40]
        assert exchange(server, *drops, pause=0.05)[0] == 408
        assert first.recv(1000).startswith(b"HTTP/1.1 408"), "nothing was said at all"
    assert time.monotonic() - start < 30
    lines = [b"GET / HTTP/1.1\r\n", *(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(40))]
    status, answer = exchange(server, b"".join(lines))
    assert (status, "longer than 32768 bytes" in answer["error"]) == (431, True)
    status, answer = exchange(server, b"\x16\x03\x01 hello\r\n\r\n")
    assert (status, "not an HTTP/1.1" in answer["error"]) == (400, True)
    with server.open() as connection:  # a second head on the same connection has its time, too
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert json.loads(answer.read())["status"] == "ok"
        connection.sendall(b"GET /hea")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_every_refusal_is_json_with_the_way_out(server: Server) -> None:
    wanted = [
        ("GET", "/nothing", {}, 404, "POST /predict"),
        ("GET", "/predict", {}, 405, "POST /predict"),
        ("GET", "/model", {"Host": "evil.example"}, 421, "--allow-host NAME"),
        ("POST", "/predict", {}, 400, "send the file's content"),
        ("POST", "/predict?x=1", {}, 400, "views and top_k"),
    ]
    for method, path, headers, status, words in wanted:
        got, answer, _ = server.ask(method, path, headers=headers)
        assert (got, words in answer["error"]) == (status, True), (path, answer)


def test_a_refusal_holds_no_place(server: Server, folder: Path) -> None:
    """There is one place: while an upload is refused and still read, the next one is taken."""
    video = (folder / "a.mp4").read_bytes()
    with server.open() as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 900000000\r\n\r\n"
        connection.sendall(head.encode() + b"\0" * 1000)
        end = time.monotonic() + 2  # the refusal lingers for three seconds
        while server.ask("GET", "/health")[1]["busy"] and time.monotonic() < end:
            time.sleep(0.01)
        assert server.post(f"/{SMALL}", video)[0] == 200
        assert time.monotonic() < end
        for _ in range(20):
            assert server.post("/predict", b"")[0] == 400
        assert server.post(f"/{SMALL}", video)[0] == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_both_families(folder: Path, monkeypatch, capsys) -> None:
    reached = []

    def try_it(predictor, listener, limits, names) -> None:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=10).close()
            reached.append(address)

    monkeypatch.setattr("videonl.cli.serve.serve", try_it)
    checkpoint = str(folder / "model.safetensors")
    assert main(["serve", "--checkpoint", checkpoint, "--host", "::", "--port", "0"]) == 0
    assert reached == ["127.0.0.1", "::1"]
