"""Limits for connections before there is a request: heads have a time and size; errors are JSON."""

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from videonl.escapes import json_text

HEAD_SECONDS = 20.0  # from the first byte, or from the connection, to the end of a head
HEAD_BYTES = 1 << 15


class CarefulProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with a time limit for a request's head, and errors as JSON."""

    def __init__(self, config: Config, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        # Refused here, when they connect: uvicorn would read a request of each first.
        self.limit_concurrency, self._most = None, config.limit_concurrency
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a head."""
        super().connection_made(transport)
        if self._most is not None and len(self.connections) > self._most:
            self._refuse(503, "too many connections at a time; try again soon")
            return
        self._late = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle new data; an incomplete head keeps its time limit."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self._late is None and self.conn.trailing_data[0]:
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_slow(self) -> None:
        self._refuse(408, f"no complete request within {HEAD_SECONDS:g} s; send its head at once")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's method)
        """Refuse data that is not HTTP."""
        if len(self.conn.trailing_data[0]) > HEAD_BYTES:
            self._refuse(431, f"the head is longer than {HEAD_BYTES} bytes; send fewer headers")
        else:
            self._refuse(400, "this is not an HTTP/1.1 request; docs/serving.md has two with curl")

    def _refuse(self, status: int, sentence: str) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json_text({"error": sentence}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events = (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
