"""``videonl serve``: a web page on which to drop a video, and the same as JSON.

``POST /predict`` takes one video, as a form or as the body; ``GET /health`` and ``GET /model``
describe the server. Uploads go to nameless files, are decoded in processes that can be killed
(video/sandbox), and are deleted in every case.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videonl.errors import VideoError, VideoNLError
from videonl.escapes import json_text
from videonl.inference.predictor import Predictor, short_reason
from videonl.reports.pages import server_page, server_policy
from videonl.serve.queue import DECODERS, Desk, StoppedError
from videonl.serve.uploads import UploadError, receive_upload
from videonl.video.sandbox import DecoderPool
from videonl.video.spool import Spool, SpoolFile

FULL_LOOK = (10, 3)  # views that a visitor may ask for by default

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class SiteGuard:
    """ASGI middleware: checks Host and Origin, and adds security headers.

    A page of another site can make a visitor's browser send requests to this computer. Those carry
    that page's ``Origin`` and are refused. A site that points its own name to 127.0.0.1 (DNS
    rebinding) is recognised by the ``Host``. Names are compared without ports where a proxy may
    have removed them from ``Host``, or where the server was given a name.

    Args:
        app: the application.
        hosts: names that the server accepts as its own; None: any.
        page_policy: the Content-Security-Policy of every answer but that to an unexpected error.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, page_policy: str) -> None:
        self._app = app
        self._hosts = None if hosts is None else {_name(name) for name in hosts}
        self._headers = [
            (b"content-security-policy", page_policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403 or 421."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope["method"], headers)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        answer = await refuse(Request(scope, receive), *refusal)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return 421, (
                f"this server does not have the name {_name(host)[:80]!r} (Host header); start it "
                "with videonl serve --allow-host NAME to accept that name"
            )
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return 403, (
                "requests from pages of other sites are refused (Origin header): use the page of "
                "this server; a proxy must forward the Host header, or give --allow-host NAME"
            )
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, (
                "requests from pages of other sites are refused (Sec-Fetch-Site header): use the "
                "page of this server"
            )
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page of that origin is one of ours."""
        page, asked = _name(origin), _name(host)
        if not page:
            return False
        if self._hosts is not None and page in self._hosts and not is_this_computer(page):
            return True  # a name that somebody gave this server
        return page == asked and _port(host) in (None, _port(origin))


def _split(host: str) -> SplitResult:
    """Split ``name:port``, ``[address]:port``, an address, or these after ``https://``."""
    if "://" not in host:
        host = f"//[{host}]" if host.count(":") > 1 and "[" not in host else f"//{host}"
    try:
        found = urlsplit(host)
        _ = found.port
    except ValueError:
        return urlsplit("")
    return found


def _name(host: str) -> str:
    """The name in lower case; "" if there is none."""
    return (_split(host).hostname or "").rstrip(".")


def _port(host: str) -> int | None:
    """The port, or that of the scheme; None if neither is given."""
    found = _split(host)
    return found.port or {"http": 80, "https": 443}.get(found.scheme)


def is_this_computer(name: str) -> bool:
    """Whether only this computer reaches a name or an address."""
    return name in LOOPBACK_NAMES or name.startswith("127.")


LINGER_SECONDS = 3.0
LINGER_BYTES = 64 << 20


class Json(JSONResponse):
    """A JSON response; names that are not UTF-8 (class folders) are escaped."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json_text(content, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Limits:
    """The limits of the server.

    Attributes:
        upload_bytes: size of one video.
        seconds: from the end of the upload to the answer.
        room: uploads at a time, waiting ones included.
        memory_mb: memory for decoding one video.
        views: (clips, crops) by default and at most; None: by default the network's own, and at
            most 10 x 3 or those, whichever is more.
    """

    upload_bytes: int = 256 * 10**6
    seconds: float = 60.0
    room: int = 16
    memory_mb: int = 2048
    views: tuple[int, int] | None = None


class Service:
    """The routes of the server.

    Args:
        predictor: classifies.
        limits: see :class:`Limits`.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.limits = limits
        self.predictor = predictor
        self.usual_views = predictor.preprocessing.with_views(limits.views).views
        pool = DecoderPool(keep=DECODERS, time_limit=limits.seconds, memory_mb=limits.memory_mb)
        pool.start(DECODERS)
        self.desk = Desk(predictor, pool, room=limits.room)
        self.spool = Spool()

    def close(self) -> None:
        """Stop decoding and delete the remaining uploads."""
        self.desk.pool.close()
        self.desk.close()
        self.spool.close()

    async def home(self, _request: Request) -> Response:
        """The page."""
        return HTMLResponse(
            server_page(self.predictor, limit=self.limits.upload_bytes, views=self.usual_views)
        )

    async def health(self, _request: Request) -> Response:
        """The state of the server, and how many uploads it has."""
        busy = self.desk.active
        return Json({"status": "ok", "busy": busy, "room": self.limits.room})

    async def model(self, _request: Request) -> Response:
        """The network, its classes and the limits."""
        limits = self.limits
        return Json(
            {
                "model": self.predictor.made_by(),
                "classes": self.predictor.class_names,
                "protocol": self.predictor.protocol(self.usual_views),
                "limits": {
                    "upload_bytes": limits.upload_bytes,
                    "seconds": limits.seconds,
                    "uploads_at_a_time": limits.room,
                },
            }
        )

    async def predict(self, request: Request) -> Response:
        """Classify one upload."""
        try:
            views, top_k = self._wishes(request)
        except VideoNLError as error:
            return await refuse(request, 400, str(error))
        if not self.desk.enter():
            wait = {"retry-after": str(self.desk.retry_after)}
            return await refuse(request, 503, "the server is busy; try again soon", wait)
        received = await self._receive(request)
        if isinstance(received, UploadError):  # its place is free again before it is refused
            return await refuse(request, received.status, str(received))
        if received is None:
            return Response(status_code=499)  # nobody reads it
        return await self._answer(request, *received, views, top_k)

    async def _receive(self, request: Request) -> tuple[SpoolFile, str] | UploadError | None:
        """The upload and its name; or why it is refused, or None if the client disconnected.

        If there is no upload, the place in the queue is released and the file deleted.
        """
        file = None
        try:
            file = self.spool.new()
            name = await receive_upload(request, file, limit=self.limits.upload_bytes)
        except BaseException as error:
            self.desk.leave()
            if file:
                file.close()
            if isinstance(error, UploadError):
                return error
            if isinstance(error, ClientDisconnect):
                return None
            raise
        return file, name

    async def _answer(
        self, request: Request, file: SpoolFile, name: str, views: tuple[int, int], top_k: int
    ) -> Response:
        start = time.monotonic()
        try:
            prediction = await self.desk.classify(
                file, views=views, top_k=top_k, gone=lambda: asyncio.ensure_future(_gone(request))
            )
        except TimeoutError:
            limit = f"it takes longer than {self.limits.seconds:g} s, the limit of this server"
            return error_response(504, f"{name}: {limit}; ask for views=1x1, or send a shorter one")
        except StoppedError:
            return Response(status_code=499)
        except VideoError as error:
            reason = short_reason(error, file.path).replace(file.path, name)
            status = 504 if "the time limit" in reason else 422
            return error_response(status, f"{name}: {reason}")
        except VideoNLError as error:  # the network, or the machine: not the visitor's file
            return error_response(500, str(error))
        answer = prediction.as_dict()
        answer.pop("path")
        seconds = round(time.monotonic() - start, 3)
        return Json({"file": name, "seconds": seconds, **answer})

    def _wishes(self, request: Request) -> tuple[tuple[int, int], int]:
        """(views, top_k) of the query ``?views=10x3&top_k=5``."""
        unknown = set(request.query_params) - {"views", "top_k"}
        if unknown:
            raise VideoNLError(f"{min(unknown)!r} is not an option; there are views and top_k")
        text, views = request.query_params.get("views"), self.usual_views
        most = self.limits.views or max(views, FULL_LOOK, key=prod)
        if text is not None:
            clips, _, crops = text.partition("x")
            if not (clips.isdecimal() and len(clips) < 5 and int(clips) and crops in ("1", "3")):
                raise VideoNLError(f"views={text!r} is not CLIPSxCROPS, such as 10x3 or 1x1")
            views = int(clips), int(crops)
            if views[0] * views[1] > most[0] * most[1]:
                raise VideoNLError(f"views={text}: this server allows at most {most[0]}x{most[1]}")
        top_k = request.query_params.get("top_k", "5")
        if not (top_k.isdecimal() and len(top_k) < 7 and int(top_k)):
            raise VideoNLError(f"top_k={top_k!r} is not a whole number of at least 1")
        return views, int(top_k)


async def _gone(request: Request) -> None:
    """Ends when the client disconnects; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def error_response(status: int, sentence: str, headers: dict[str, str] | None = None) -> Json:
    """One sentence as JSON."""
    return Json({"error": sentence}, status, headers=headers)


async def refuse(
    request: Request, status: int, sentence: str, headers: dict[str, str] | None = None
) -> Response:
    """Refuse an upload whose body is still arriving.

    A client whose connection is closed while it sends may never see the answer, so a part of the
    rest is read and dropped first, unless the client asked before sending (``Expect:
    100-continue``). If the body was read completely, the answer is sent at once.
    """
    if request.headers.get("expect", "").lower() != "100-continue":
        left = LINGER_BYTES
        # starlette says RuntimeError of a body that was read to its end.
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
            async with asyncio.timeout(LINGER_SECONDS):
                async for chunk in request.stream():
                    left -= len(chunk)
                    if left <= 0:
                        break
    return error_response(status, sentence, {**(headers or {}), "connection": "close"})


ROUTES = "GET /, GET /health, GET /model and POST /predict"


async def no_such_page(_request: Request, error: Exception) -> Response:
    """The answer to another path or method."""
    assert isinstance(error, HTTPException)
    sentence = f"{str(error.detail).lower()}: there are {ROUTES}; a proxy must remove its own path"
    return error_response(error.status_code, sentence, dict(error.headers or {}))


async def failed(_request: Request, _error: Exception) -> Response:
    """The answer to an unexpected error; the log has the traceback."""
    return error_response(500, "the server failed; try again, or tell its operator (see its log)")


def make_app(
    predictor: Predictor, *, limits: Limits | None = None, hosts: Sequence[str] | None = None
) -> Starlette:
    """The ASGI application.

    Args:
        predictor: classifies.
        limits: see :class:`Limits`.
        hosts: names that the server accepts as its own; None: any.
    """
    service = Service(predictor, limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = Starlette(
        routes=[
            Route("/", service.home),
            Route("/health", service.health),
            Route("/model", service.model),
            Route("/predict", service.predict, methods=["POST"]),
        ],
        middleware=[Middleware(SiteGuard, hosts=hosts, page_policy=server_policy())],
        exception_handlers={HTTPException: no_such_page, Exception: failed},
        lifespan=lifespan,
    )
    app.state.service = service
    return app
