"""A server as a process of its own or in a thread of the tests, and clients for it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOUNDARY = "xXboundaryXx"


class Server:
    """Where a server listens, and ways to talk to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.service: Any = None
        self.process: Any = None
        self.before: list[str] = []

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or text, headers)."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=240)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
            names = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        is_json = names.get("content-type") == "application/json"
        return answer.status, json.loads(text) if is_json else text, names

    def post(self, path: str, video: bytes, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Send a video as the body."""
        return self.ask("POST", path, video, {"Content-Type": "video/mp4", **headers})

    def upload(
        self, path: str, video: bytes, name: str = "clip.mp4", field: str = "video"
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a video as a browser's form does."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", path, form(video, name, field), kind)

    def open(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def idle(self, seconds: float = 60.0) -> bool:
        """Whether it has nothing to do, soon."""
        end = time.monotonic() + seconds
        while self.ask("GET", "/health")[1]["busy"]:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def form(video: bytes, name: str = "clip.mp4", field: str = "video") -> bytes:
    """A form with a text field and a file."""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + video + f"\r\n--{BOUNDARY}--\r\n".encode()  # fmt: skip


@contextmanager
def serving(checkpoint: Path, *, hosts: Any = ("127.0.0.1",), **limits: Any) -> Iterator[Server]:
    """A server in a thread of this process, on a real socket."""
    pytest.importorskip("starlette", reason="needs videonl[serve]")
    uvicorn = pytest.importorskip("uvicorn", reason="needs videonl[serve]")
    from videonl import Predictor
    from videonl.serve import HEAD_BYTES, CarefulProtocol, Limits, make_app

    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(predictor, limits=Limits(**limits), hosts=hosts)
    config = uvicorn.Config(
        app,
        log_level="warning",
        http=CarefulProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]})
    thread.start()
    server = Server(listener.getsockname()[1])
    server.service = app.state.service
    try:
        yield server
    finally:
        runner.should_exit = True
        thread.join(timeout=120)
        listener.close()
    assert not thread.is_alive()
    assert not server.service.desk.pool._all, "decoding processes were left"


@contextmanager
def served(checkpoint: Path, *options: str, temporary: Path | None = None) -> Iterator[Server]:
    """``videonl serve`` as a process, ended at the end if it still runs."""
    pytest.importorskip("starlette", reason="needs videonl[serve]")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if temporary:
        environment["TMPDIR"] = str(temporary)
    command = [sys.executable, "-m", "videonl.cli.main", "serve", "--checkpoint", str(checkpoint)]
    command += ["--port", "0", "--device", "cpu", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.stderr.read() if process.stderr else line
        server = Server(int(line.split("http://127.0.0.1:")[1].split()[0]))
        server.process = process
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)
