"""Read a pickle without running it: nothing is imported and nothing is called.

A pickle is a program; the standard unpickler runs it. This one interprets the few instructions
that data needs and turns every "import" and "call" into an inert description, :class:`Name` and
:class:`Call`, which a reader may recognise or refuse. So ``os.system`` is just two words here.

The instructions are limited, too. The standard unpickler allocates what a file claims (a memo of
64 GB for one instruction of five bytes, a byte array of any size) and hashes what a file nests
(exponential time for a few hundred bytes); here a claim is checked against the bytes that are
there, the memo is a dict, keys are primitives, and nothing recurses.
"""

import codecs
import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from videonl.errors import CheckpointError

# A checkpoint of a thousand tensors has some 30,000 instructions; a file of many bytes may have
# more. Half a second of reading, whatever a small file asks for.
MAX_INSTRUCTIONS = 200_000
BYTES_PER_INSTRUCTION = 1000
MAX_DEPTH = 30
UNFOLDED = 16  # what a pickle unfolds to, in characters and values per byte of it
MAX_INTEGER_BYTES = 64
_MARK = object()
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"BYTEARRAY8"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_KEY_TYPES = (str, float, bytes, type(None))  # and integers
MAX_KEY_BITS = 60  # larger integers may all have one hash, and a table of them takes hours
MAX_KEY_PARTS = 8  # the hash of a tuple is computed anew for each use


@dataclass(frozen=True)
class Name:
    """What a pickle asks to import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What a pickle asks to call, and the state that it would then set on the result."""

    function: Name
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to data outside of the pickle (torch's storages)."""

    identifier: Any


_NESTED = (dict, list, tuple, Call, Persistent)


def read_pickle(
    stream: IO[bytes], *, allow: Callable[[Name], bool], source: str = "the file", size: int = 0
) -> Any:
    """Interpret one pickle from the current position of a stream.

    Args:
        stream: bytes in memory or a mapped file; a length is never read that is not there.
        allow: which imported names may occur; any other is refused at once.
        source: what to call the file in messages.
        size: bytes of the whole file; a larger one may have more instructions.

    Returns:
        dict, list, tuple, str, bytes, numbers, and :class:`Call`, :class:`Name` or
        :class:`Persistent` where the pickle meant anything else.

    Raises:
        CheckpointError: a name that is not allowed, or a damaged or hostile pickle.
    """
    machine = _Machine(allow, source)
    start = stream.tell()
    most = MAX_INSTRUCTIONS + max(size, 0) // BYTES_PER_INSTRUCTION
    try:
        for count, (name, argument) in enumerate(_instructions(stream)):
            if count > most:
                raise CheckpointError(
                    f"{source}: a pickle of over {most} instructions, which no checkpoint of its "
                    "size needs; the file is refused"
                )
            if name == "STOP":
                content = machine.pop()
                check_nest(content, most=UNFOLDED * (stream.tell() - start) + 1000, source=source)
                return content
            machine.step(name, argument)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        text = f"{source}: a damaged pickle ({error}); download or copy the file again"
        raise CheckpointError(text) from None
    raise CheckpointError(f"{source}: the pickle is cut off; download or copy the file again")


def _instructions(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """(name, argument) of the instructions, also of Python 2, whose texts may be any bytes."""
    while code := stream.read(1):
        found = _OPCODES[code.decode("latin1")]
        if found.name == "STRING":
            text = pickletools.read_stringnl(stream, decode=False)
            yield found.name, codecs.escape_decode(text)[0].decode("latin1")
        else:
            yield found.name, found.arg.reader(stream) if found.arg else None


def parts_of(value: Any) -> list[Any]:
    """The values inside a container, a call or a reference; empty for any other value."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Call):
        inner = [*value.items, *value.items.values(), *value.members]
        return [*value.arguments, *inner, *([] if value.state is None else [value.state])]
    return [value.identifier] if isinstance(value, Persistent) else []


def check_nest(content: Any, *, most: int, source: str) -> None:
    """Refuse data that is nested deeply, contains itself, or is small only because it is shared.

    A list of ten times the same list of ten times the same … takes a few bytes and unfolds to
    billions of values when it is traversed. Here every container is visited once.

    Args:
        content: what a pickle holds.
        most: number of values and characters to which it may unfold.
        source: what to call the file in messages.

    Raises:
        CheckpointError: names the limit.
    """
    known: dict[int, tuple[int, int]] = {}  # container -> (values that it unfolds to, depth)
    path: set[int] = set()
    waiting = [(content, False)]
    while waiting:
        value, done = waiting.pop()
        if id(value) in known:
            continue
        parts = parts_of(value)
        if not done:
            if id(value) in path:
                raise CheckpointError(f"{source}: the pickle contains itself; the file is refused")
            path.add(id(value))
            waiting.append((value, True))
            # Not parts_of(part): what is named a thousand times would be copied as often.
            waiting += [(part, False) for part in parts if isinstance(part, _NESTED)]
            continue
        path.discard(id(value))
        inside = [known.get(id(part), (leaf_size(part), 0)) for part in parts]
        total = 1 + sum(size for size, _ in inside)
        depth = 1 + max((below for _, below in inside), default=0)
        if depth > MAX_DEPTH:
            raise CheckpointError(
                f"{source}: nested deeper than any checkpoint ({MAX_DEPTH}); the file is refused"
            )
        if total > most:
            raise CheckpointError(
                f"{source}: the pickle unfolds to over {most} values, which no checkpoint of its "
                "size does; the file is refused"
            )
        known[id(value)] = (total, depth)


def leaf_size(value: Any) -> int:
    """Characters of a text, 1 for anything else."""
    return 1 + len(value) if isinstance(value, (str, bytes)) else 1


class Converter(ABC):
    """Replaces what a pickle describes; what occurs twice is replaced once.

    Args:
        source: what to call the file in messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._done: dict[int, Any] = {}

    def convert(self, value: Any) -> Any:
        """The same containers, with what the descriptions inside stand for."""
        if not isinstance(value, (*_NESTED, Name)):
            return value
        if id(value) not in self._done:
            if isinstance(value, dict):
                made: Any = {key: self.convert(each) for key, each in value.items()}
            elif isinstance(value, (list, tuple)):
                made = type(value)(map(self.convert, value))
            else:
                made = self.made(value)
            self._done[id(value)] = made
        return self._done[id(value)]

    @abstractmethod
    def made(self, value: Call | Name | Persistent) -> Any:
        """What a description stands for."""


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, allow: Callable[[Name], bool], source: str) -> None:
        self.allow, self.source = allow, source
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction."""
        if name in ("PROTO", "FRAME"):
            return
        if name in _LITERALS:
            if type(argument) is int and argument.bit_length() > 8 * MAX_INTEGER_BYTES:
                raise ValueError("an integer that is far too long")
            self.stack.append(bytes(argument) if name == "BYTEARRAY8" else argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "BINPERSID":
            self.stack.append(Persistent(self.pop()))
        elif name == "GLOBAL":
            self._import(*argument.split(" ", 1))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple([self.pop() for _ in range(int(name[-1]))][::-1]))
        else:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise CheckpointError(
                    f"{self.source}: the pickle has the instruction {name}, which no checkpoint "
                    "needs; the file is refused"
                )
            handler()

    def pop(self) -> Any:
        """The top of the stack."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def _pop_mark(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        items = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self._import(module, name)

    def _import(self, module: str, name: str) -> None:
        found = Name(str(module), str(name))
        if not self.allow(found):
            raise CheckpointError(
                f"{self.source}: the pickle asks for {found}, which no checkpoint needs; loading "
                "it could run a program, so the file is refused (nothing was run)"
            )
        self.stack.append(found)

    def _reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise CheckpointError(
                f"{self.source}: the pickle makes an unknown call; the file is refused"
            )
        self.stack.append(Call(function, arguments))

    _newobj = _reduce

    def _build(self) -> None:
        state = self.pop()
        if not isinstance(self.stack[-1], Call):
            raise CheckpointError(
                f"{self.source}: the pickle changes an unknown object; the file is refused"
            )
        self.stack[-1].state = state

    def _pop(self) -> None:
        self.stack.pop()

    def _dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _tuple(self) -> None:
        self.stack.append(tuple(self._pop_mark()))

    def _list(self) -> None:
        self.stack.append(self._pop_mark())

    def _dict(self) -> None:
        items = self._pop_mark()
        self.stack.append({})
        self._store(items)

    def _append(self) -> None:
        self._extend([self.pop()])

    def _appends(self) -> None:
        self._extend(self._pop_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        members = target.members if isinstance(target, Call) else target
        if not isinstance(members, list):
            raise TypeError("an append to something that is not a list")
        members.extend(items)

    def _setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self._store([key, value])

    def _setitems(self) -> None:
        self._store(self._pop_mark())

    def _store(self, items: list[Any]) -> None:
        target = self.stack[-1]
        mapping = target.items if isinstance(target, Call) else target
        if not isinstance(mapping, dict) or len(items) % 2:
            raise TypeError("items for something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            flat = key if isinstance(key, tuple) else (key,)
            if len(flat) > MAX_KEY_PARTS or not all(map(_is_key, flat)):
                raise TypeError("a key that is neither a name nor a number")
            mapping[key] = value


def _is_key(part: Any) -> bool:
    if isinstance(part, int):
        return part.bit_length() <= MAX_KEY_BITS
    return isinstance(part, _KEY_TYPES)
