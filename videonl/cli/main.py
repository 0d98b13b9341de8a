"""``videonl COMMAND ...``: the whole command line is the one table ``COMMANDS``."""

import argparse
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from videonl import __version__
from videonl.cli.terminal import (
    asked_for_trace,
    give_up_output,
    shown_streams,
    tell_unforeseen,
)
from videonl.errors import ENDING, Ended, OutputLost, Stopped, VideoNLError
from videonl.escapes import shortened
from videonl.files import explain_full

# name -> (module with ``main(argv) -> int``, one line of help). Modules are imported when called.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("videonl.cli.train", "fit, validate, test or predict with a network, like train.py"),
    "predict": ("videonl.cli.predict", "classify video files, like infer.py"),
    "live": ("videonl.cli.live", "classify a camera, a stream, or a file in real time"),
    "merge": ("videonl.cli.merge", "merge the results of several processes, and name missing ones"),
    "extract": ("videonl.cli.extract", "write the features of videos, one .npz each"),
    "serve": ("videonl.cli.serve", "serve a web page and an HTTP endpoint that classify videos"),
    "compare": ("videonl.cli.compare", "compare networks: parameters, FLOPs, speed, accuracy"),
    "cross": (
        "videonl.cli.cross",
        "train and test on every fold or official split",
    ),
    "attend": ("videonl.cli.attend", "draw what a non-local block looks at in a video"),
    "cost": ("videonl.cli.cost", "count the parameters, MACs and FLOPs of a network"),
    "models": ("videonl.cli.models", "list the networks and the published weights"),
    "convert": ("videonl.cli.convert", "convert a published checkpoint to safetensors"),
    "export": ("videonl.cli.export", "write a network as ONNX or as a PyTorch program"),
    "push": ("videonl.cli.push", "upload a network with its model card to the Hugging Face hub"),
    "demo": ("videonl.cli.demo", "train, compare and classify on a small data set, like make demo"),
    "sample": ("videonl.cli.sample", "write the synthetic sample data set"),
    "check": ("videonl.cli.check", "find the unreadable files of a data set"),
    "prepare": ("videonl.cli.prepare", "re-encode a data set for fast random access"),
    "doctor": ("videonl.cli.doctor", "print versions and what is missing"),
}

# The script of a clone that runs in place of ``videonl COMMAND``; None: ``videonl`` itself.
SCRIPT: ContextVar[str | None] = ContextVar("SCRIPT", default=None)
SCRIPTS = {"train": "train.py", "predict": "infer.py"}

LONGEST = 2000  # letters of a message

# Errors of files that no program can prevent; a sentence says all that there is to say.
OF_THE_MACHINE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


def usage() -> str:
    """The help text: one line per command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: videonl COMMAND [options]   (videonl COMMAND --help lists the options)",
            "",
            *lines,
            "",
            "  --debug (or VIDEONL_DEBUG=1) shows the traceback of an unexpected error.",
            "  Exit code: 0 done; 1 some input failed, or an unexpected error; 2 wrong usage.",
        ]
    )


def run(main: Callable[[Sequence[str]], int], argv: Sequence[str], prog: str) -> int:
    """Call a command; every error is one sentence on stderr, with exit code 2 for bad input.

    An unexpected error ends with 1; the sentence says in which file its traceback is. ``--debug``
    among the arguments, or ``VIDEONL_DEBUG=1``, prints the traceback instead.

    Args:
        main: the command, from its arguments to its exit code.
        argv: the arguments after the command's name.
        prog: what to call the program in the message.
    """
    argv, debug = asked_for_trace(argv)
    try:
        with shown_streams(), ended_like_ctrl_c():
            try:
                return _told(main, argv, prog)
            except Exception as error:
                return tell_unforeseen(error, prog=prog, debug=debug)
    except OutputLost as lost:
        if not lost.quiet and sys.stderr is not None:
            print(f"{prog}: error: {lost.reason}", file=sys.stderr)
        give_up_output()
        return 1


def _told(main: Callable[[Sequence[str]], int], argv: Sequence[str], prog: str) -> int:
    try:
        _check_folder()
        return main(argv)
    except VideoNLError as error:
        text = str(error)  # may quote a line of a list, of any length
        shown = text if len(text) <= LONGEST else shortened(text, LONGEST)
        print(f"{prog}: error: {shown}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"{prog}: {stop}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt as stop:
        print(f"{prog}: stopped", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Ended) else 130
    except OSError as error:
        words = explain_full(error)
        if words is not None:
            place = error.filename or "a temporary file"
            sentence = f"{place} cannot be written ({words})"
        elif error.filename is not None and error.errno in OF_THE_MACHINE:
            sentence = f"{os.fsdecode(error.filename)}: {error.strerror}"
        else:
            raise
        print(f"{prog}: error: {sentence}", file=sys.stderr)
        return 2


def _check_folder() -> None:
    """Refuse to start in a folder that was removed, where torch's libraries end the process.

    Raises:
        VideoNLError: it was.
    """
    try:
        os.getcwd()
    except OSError:
        raise VideoNLError(
            "the current folder was removed, or cannot be entered; go to another one (cd ~)"
        ) from None


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`Ended` in here, unless they have another handler already.

    A process that was forked in here, such as a decoding worker, ends at once.
    """
    is_main = threading.current_thread() is threading.main_thread()
    numbers = ENDING if is_main else []
    mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    process = os.getpid()

    def end(signum: int, _: object) -> None:
        if os.getpid() == process:
            raise Ended(signum)
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are one sentence that names the flag and a near one."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Refuse unknown flags first, and take files and names wherever they stand.

        argparse would complain of what is missing instead, and of a second place with names.
        """
        words = list(sys.argv[1:] if args is None else args)
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.split("=")[0]
            if flag.startswith("--") and flag not in self._option_string_actions:
                near = get_close_matches(flag, self._option_string_actions, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.error(f"{flag} is not an option{hint}")
        return super().parse_known_args(self._options_first(words), namespace)

    def _options_first(self, words: Sequence[str]) -> list[str]:
        """The same words, those that belong to no option behind all others and one ``--``."""
        options: list[str] = []
        rest: list[str] = []
        queue = list(words)
        while queue:
            word = queue.pop(0)
            if word == "--":
                rest += queue
                break
            if self._parse_optional(word) is None:
                rest.append(word)
                continue
            options.append(word)
            flag, equals, value = word.partition("=")
            if (equals and not value) or queue[:1] == [""]:  # of a variable that is not set
                self.error(f"{flag} has an empty value; give one, or leave out {flag}")
            action = self._option_string_actions.get(word)  # None: it has its value behind a "="
            many: dict[Any, Any] = {None: 1, "+": len(queue)}
            values = many.get(action.nargs, action.nargs) if action else 0
            while values and queue and queue[0] != "--" and self._parse_optional(queue[0]) is None:
                options.append(queue.pop(0))
                values -= 1
        if "" in rest:
            self.error("one of the words is empty; leave it out")
        return [*options, "--", *rest] if rest else options

    def format_help(self) -> str:
        """The help as a terminal shows it, without the markup of docstrings."""
        return super().format_help().replace("`", "")

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and the sentence; "argument --x: 'y': why" of argparse is "--x 'y': why"."""
        message = re.sub(r"^argument (\S+): (?='[^']*': )", r"\1 ", message)
        message = message.removeprefix("argument ").replace("arguments: -- ", "arguments: ")
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help lists the options)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults of the options, except for those that have none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        if isinstance(action.default, tuple):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def called(command: str) -> str:
    """What the user types for a command: ``train.py`` after ``python train.py`` or ``infer.py``."""
    return SCRIPTS.get(command, f"videonl {command}") if SCRIPT.get() else f"videonl {command}"


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The parser of a command: no abbreviated flags, defaults in the help."""
    return Parser(
        prog=SCRIPT.get() or prog,
        description=description,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )


def main(argv: Sequence[str] | None = None, *, script: str | None = None) -> int:
    """Entry point of the console command ``videonl``.

    Args:
        argv: command and arguments; default: those of the process.
        script: the script that was started in place of ``videonl COMMAND``, such as "train.py";
            messages use this name.
    """
    before = SCRIPT.set(script)
    try:
        return run(_main, sys.argv[1:] if argv is None else argv, script or "videonl")
    finally:
        SCRIPT.reset(before)


def _main(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] in ("--version", "version"):
        print(f"videonl {__version__}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        print(
            f"videonl: error: unknown command {name!r}{hint} (videonl --help lists them)",
            file=sys.stderr,
        )
        return 2
    return _told(import_module(COMMANDS[name][0]).main, rest, SCRIPT.get() or f"videonl {name}")


if __name__ == "__main__":
    sys.exit(main())
