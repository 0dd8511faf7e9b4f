"""Reading pickles with a machine that can build plain values, and has no means to do more.

Python's own unpickler imports what a file names, calls it, and reserves the memory that a file asks
for. This one imports nothing; it calls what its caller gave it a table of, by name; and it takes no
more memory than a multiple of the file's size.
"""

import codecs
import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from d2seg.core.runtime.untrusted.parts import (
    Known,
    Names,
    OversizedError,
    Readable,
    RefusedError,
    Unfinished,
    as_key,
    require_plausible,
    weight,
)

MOST_INSTRUCTIONS = 20_000_000
"""Proposals for the 118,000 images of COCO take four million. An instruction is one byte or more,
and takes up to 200 of memory."""

MOST_TIMES_BUILT = 32
"""A list of a single number takes six bytes of a pickle, and with its place in the memo 200."""

_BYTES_BUILT = {
    "EMPTY_DICT": 72,
    "EMPTY_LIST": 64,
    "EMPTY_SET": 224,
    "MARK": 64,
    "MEMOIZE": 100,
    "TUPLE1": 56,
    "TUPLE2": 64,
    "TUPLE3": 72,
}
"""About what instructions of a single byte take, which a file could repeat without end."""

MOST_TIMES_READ = 8
"""Weights are copied twice: out of a text of Python 2, and into an array."""

_NEW: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
    "NEWFALSE": bool,
    "NEWTRUE": lambda: True,
    "NONE": lambda: None,
}


def read_pickle(
    file: Readable, names: Names, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Return the object of the pickle at the file's position; strings of Python 2 are Latin-1.

    Args:
        file: Is left behind the pickle.
        names: What the pickle may refer to.
        persistent: Returns what an id stands for that lies outside of the pickle.

    Raises:
        RefusedError: It refers to something else.
        OversizedError: It promises more than it holds.
        pickle.UnpicklingError: Truncated, damaged, or not a pickle.
    """
    try:
        return _Machine(file, names, persistent).run()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged instructions end in an error of almost any type
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


class _Machine:
    """Follows the instructions of one pickle, which `pickletools.opcodes` describes."""

    def __init__(
        self, file: Readable, names: Names, persistent: Callable[[Any], Any] | None
    ) -> None:
        self._file, self._names, self._persistent = file, names, persistent
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._num_unfinished = 0
        self._start, self._built, self._copied = file.tell(), 0, 0

    def run(self) -> Any:
        for _ in range(MOST_INSTRUCTIONS):
            code = self._file.read(1)
            if code not in _INSTRUCTIONS:
                raise pickle.UnpicklingError(f"{code!r} is no instruction")
            name, read_argument = _INSTRUCTIONS[code]
            if name == "STOP":
                return self._result()
            if name in _BYTES_BUILT:
                self._built += _BYTES_BUILT[name]
                require_plausible(self._file.tell() - self._start, self._built, MOST_TIMES_BUILT)
            if read_argument is None:
                self._follow(name)
            else:
                self._follow_with(name, read_argument(self._file))
        raise OversizedError(f"has more than {MOST_INSTRUCTIONS:,} instructions")

    def _result(self) -> Any:
        (result,) = self._stack
        if self._num_unfinished or self._marked or isinstance(result, Known):
            raise pickle.UnpicklingError("it ends before everything is complete")
        return result

    def _follow_with(self, name: str, argument: Any) -> None:
        """Follow an instruction that comes with an argument."""
        match name:
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._remember(argument)
            case "BINGET" | "LONG_BINGET" | "GET":
                self._stack.append(self._memo[argument])
            case "GLOBAL":
                self._name(*argument.split(" ", 1))
            case "INST":
                raise RefusedError(argument.replace(" ", ".", 1))
            case "PERSID":
                self._load_persistent(argument)
            case "EXT1" | "EXT2" | "EXT4":
                raise RefusedError(f"extension {argument}")
            case "PROTO" | "FRAME":
                pass
            case _:  # numbers, bytes and text, which are what their reader returned
                self._stack.append(argument)

    def _follow(self, name: str) -> None:
        """Follow an instruction that works with what is on the stack."""
        if name in _NEW:
            self._stack.append(_NEW[name]())
            return
        match name:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._stack.append(tuple(self._pop(int(name[-1]))))
            case "MARK":
                self._marked.append(self._stack)
                self._stack = []
            case "MEMOIZE":
                self._remember(len(self._memo))
            case "POP":
                self._pop(1)
            case "REDUCE" | "NEWOBJ":
                self._call()
            case "BUILD":
                self._build()
            case "STACK_GLOBAL":
                self._name(*self._pop(2))
            case "BINPERSID":
                self._load_persistent(*self._pop(1))
            case "APPEND" | "SETITEM":
                self._fill(name, self._pop(1 if name == "APPEND" else 2))
            case "OBJ" | "NEWOBJ_EX" | "DUP" | "NEXT_BUFFER" | "READONLY_BUFFER":
                raise RefusedError(f"pickle instruction {name}")
            case _:
                self._fill(name, self._pop_marked())

    def _fill(self, name: str, items: list[Any]) -> None:
        """Put items into a new container, or into the one on the stack."""
        match name:
            case "APPEND" | "APPENDS":
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                self._top(dict, OrderedDict, Counter).update(_as_dict(items))
            case "ADDITEMS":
                self._top(set).update(map(as_key, items))
            case "TUPLE":
                self._stack.append(tuple(items))
            case "LIST":
                self._stack.append(items)
            case "DICT":
                self._stack.append(_as_dict(items))
            case "FROZENSET":
                self._stack.append(frozenset(map(as_key, items)))
            case "POP_MARK":
                pass
            case _:
                raise pickle.UnpicklingError(f"the instruction {name} is unknown")

    def _top(self, *types: type) -> Any:
        if type(self._stack[-1]) not in types:
            raise pickle.UnpicklingError(f"{type(self._stack[-1]).__name__} takes no items")
        return self._stack[-1]

    def _pop(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise pickle.UnpicklingError("the stack is empty")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _pop_marked(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _remember(self, place: int) -> None:
        value = self._stack[-1]
        if isinstance(value, Unfinished):
            value.places.append(place)
        self._memo[place] = value

    def _name(self, module: Any, name: Any) -> None:
        full_name = f"{module}.{name}" if type(module) is type(name) is str else ""
        if full_name not in self._names:
            raise RefusedError(full_name)
        self._stack.append(Known(full_name, self._names[full_name]))

    def _call(self) -> None:
        known, arguments = self._pop(2)
        if not isinstance(known, Known) or type(arguments) is not tuple:
            raise pickle.UnpicklingError("it calls what is no function")
        self._require_room(arguments)
        made = known.make(*arguments)
        self._num_unfinished += isinstance(made, Unfinished) and made.must_finish
        self._stack.append(made)

    def _build(self) -> None:
        begun, state = self._pop(2)
        if isinstance(begun, Unfinished):
            self._require_room(state if type(state) is tuple else (state,))
            self._stack.append(begun.finish(state))
            self._num_unfinished -= begun.must_finish
            for place in begun.places:
                self._memo[place] = self._stack[-1]
        elif type(begun) is OrderedDict and type(state) is dict:
            # A state dict has the versions of its modules as an attribute.
            begun.__dict__["_metadata"] = state.get("_metadata")
            self._stack.append(begun)
        else:
            raise pickle.UnpicklingError(f"a {type(begun).__name__} has no state")

    def _require_room(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to copy again and again what the file holds once and only refers to later."""
        self._copied += weight(arguments)
        require_plausible(self._file.tell() - self._start, self._copied, MOST_TIMES_READ)

    def _load_persistent(self, identity: Any) -> None:
        if self._persistent is None:
            # Not refused: Python's reader could do nothing with it either.
            raise pickle.UnpicklingError("it refers to an object outside of the file")
        self._stack.append(self._persistent(identity))


def _as_dict(items: list[Any]) -> dict[Any, Any]:
    return {as_key(key): value for key, value in zip(items[0::2], items[1::2], strict=True)}


def _read_quoted(file: Readable) -> str:
    """Read a string of Python 2 in quotes, with any bytes; pickletools' reader takes ASCII only."""
    line = file.readline()
    if len(line) < 3 or line[0] not in b"'\"" or line[-2:] != line[:1] + b"\n":
        raise pickle.UnpicklingError("a text is not in quotes")
    raw: bytes = codecs.escape_decode(line[1:-2])[0]
    return raw.decode("latin-1")


_INSTRUCTIONS: dict[bytes, tuple[str, Callable[[Any], Any] | None]] = {
    one.code.encode("latin-1"): (one.name, one.arg.reader if one.arg else None)
    for one in pickletools.opcodes
} | {b"S": ("STRING", _read_quoted)}
"""By their codes: what they are called, and what reads their argument."""
