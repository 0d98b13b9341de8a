"""Who may talk to the server: pages of other sites may not, whatever name they reach it by."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class SiteGuard:
    """ASGI middleware: checks Host and Origin, and adds headers that browsers obey.

    A page from elsewhere can make a visitor's browser send requests to this computer. Those carry
    the page's ``Origin``, and are refused; and a page that gave its own name the address 127.0.0.1
    (DNS rebinding) is known by the ``Host``.

    Args:
        app: the application.
        hosts: names by which the server may be called; None: any.
        page_policy: the Content-Security-Policy of every answer.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, page_policy: str) -> None:
        self._app = app
        self._hosts = None if hosts is None else {name.lower() for name in hosts}
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
        status, sentence = refusal
        answer = JSONResponse({"error": sentence}, status, headers={"connection": "close"})
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return 421, "this server does not go by that name (Host header)"
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host.lower():
            return 403, "requests from pages of other sites are refused (Origin header)"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "requests from pages of other sites are refused (Sec-Fetch-Site header)"
        return None


def _name(host: str) -> str:
    """The name in ``name:port`` or ``[address]:port``."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
