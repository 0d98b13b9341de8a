"""``videonl serve``: classify videos in a browser or over HTTP."""

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from videonl.cli.main import make_parser
from videonl.cli.values import (
    add_engine_flags,
    add_network_flags,
    network_options,
    parse_views,
    positive,
    say_protocol,
    use_engine,
)
from videonl.errors import VideoNLError
from videonl.limits import whole

if TYPE_CHECKING:
    from videonl.inference.predictor import Predictor
    from videonl.serve.app import Limits

DRAIN_SECONDS = 10  # after a signal, for the requests at work


def parser_of_serve() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "videonl serve",
        "Serve a page that classifies videos dropped on it, and POST /predict, GET /model and GET "
        "/health for programs. Only this computer can reach it, unless --host is another address.",
    )
    parser.add_argument(
        "--checkpoint", metavar="CKPT", required=True, help="as for videonl predict"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=whole(0, 65_535), default=8000, help="port; 0: any free one")
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="host name that requests may use (Host header); may be repeated; default: localhost "
        "on a loopback address, else any name",
    )
    parser.add_argument(
        "--views",
        type=parse_views,
        metavar="CLIPSxCROPS",
        help="views per video: the default of a request, and the most that it may ask for "
        "(default: as the network was validated or published, and at most 10x3 or those)",
    )
    parser.add_argument(
        "--max-upload", type=positive, default=256, metavar="MB", help="largest video"
    )
    parser.add_argument(
        "--time-limit",
        type=positive,
        default=60,
        metavar="SECONDS",
        help="time for an answer, from the end of the upload",
    )
    parser.add_argument(
        "--memory-limit",
        type=positive,
        default=2048,
        metavar="MB",
        help="memory for decoding a video",
    )
    parser.add_argument(
        "--queue",
        type=positive,
        default=16,
        metavar="N",
        help="uploads at a time, including waiting ones; further ones are asked to try again later",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add_engine_flags(parser)
    add_network_flags(parser, videos=True)
    parser.add_argument(
        "--labels", metavar="FILE", help="class names, one per line, if the checkpoint has none"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    arguments = parser_of_serve().parse_args(argv)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        from python_multipart import MultipartParser  # noqa: F401
    except ImportError as error:
        raise VideoNLError(
            f"videonl serve needs the package {error.name}: pip install 'videonl[serve]'"
        ) from error
    listener = listen(arguments.host, arguments.port)
    with listener:
        from videonl.class_names import read_class_names
        from videonl.inference.predictor import Predictor
        from videonl.serve.app import Limits

        predictor = Predictor.from_checkpoint(
            arguments.checkpoint,
            device=arguments.device,
            class_names=read_class_names(arguments.labels) if arguments.labels else None,
            options=network_options(arguments),
            network=arguments.network,
        )
        use_engine(arguments, predictor, predictor.preprocessing, predictor.view_probabilities)
        say_protocol(arguments.protocol, predictor.preprocessing)
        limits = Limits(
            upload_bytes=arguments.max_upload * 10**6,
            seconds=float(arguments.time_limit),
            room=arguments.queue,
            memory_mb=arguments.memory_limit,
            views=arguments.views,
        )
        serve(predictor, listener, limits, arguments.allow_host)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, opened before the network is loaded, since a taken port is common.

    Raises:
        VideoNLError: no such address, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Every address there is: those of IPv4, too.
        both = host in ("", "::") and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:  # a name such as a..b
        reason = getattr(error, "strerror", None) or error
        raise VideoNLError(
            f"cannot listen on {host}, port {port} ({reason}); choose another with --host or --port"
        ) from error


def serve(
    predictor: "Predictor", listener: socket.socket, limits: "Limits", names: list[str] | None
) -> None:
    """Run the server on a socket until a signal ends it.

    Args:
        predictor: classifies.
        listener: a listening socket.
        limits: of the requests.
        names: accepted in the Host header; None: those of this computer, or any elsewhere.
    """
    import uvicorn

    from videonl.serve.app import LOOPBACK_NAMES, is_this_computer, make_app
    from videonl.serve.heads import HEAD_BYTES, CarefulProtocol

    address, port = listener.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    hosts: list[str] | None = names
    if is_this_computer(address):
        hosts = [*LOOPBACK_NAMES, address, *(names or [])]
    else:
        print(warning(address, names), file=sys.stderr)
    config = uvicorn.Config(
        make_app(predictor, limits=limits, hosts=hosts),
        log_level="warning",
        http=CarefulProtocol,
        ws="none",
        h11_max_incomplete_event_size=HEAD_BYTES,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        limit_concurrency=limits.room + 500,
    )
    # uvicorn ends its work on these signals, and then raises them once more: they were heard.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    print(f"videonl serve: {url} (Ctrl-C ends it)", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def warning(address: str, names: list[str] | None) -> str:
    """The warning for a server that other computers can reach."""
    called = (
        ""
        if names
        else " Give its name with --allow-host, so that requests for other names are refused."
    )
    return (
        f"videonl serve: WARNING: everyone who can reach {address} can use this server: it has no "
        "passwords and no encryption. Put a reverse proxy with both before it, or keep "
        "--host 127.0.0.1 and reach it by: ssh -L 8000:127.0.0.1:8000 THIS_COMPUTER "
        f"(docs/serving.md).{called}"
    )
