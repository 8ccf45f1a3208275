"""A reader for pickles that hold data, in which nothing a pickle says is ever executed.

`pickletools` splits a pickle into opcodes without running it; this module gives meaning to the few that data
needs. A global is only a name here: where it is called, a function that the user of this module lists
under that name computes the value, and any other name is refused.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = ["KEYS", "Name", "PickleData", "PickleDataError"]

_LITERALS: Final = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# Tuples aren't admitted as keys: hashing a nested one can take time without bound.
KEYS: Final = (str, bytes, int, float, type(None))


class PickleDataError(Exception):
    """A pickle that breaks off, contradicts itself or uses an opcode that data doesn't need."""


class Stream(Protocol):
    """What a pickle is read from: an open file, a memory map or bytes in memory."""

    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


@dataclass(frozen=True)
class Name:
    """A global of a pickle, as ``module.name``."""

    path: str


class PickleData:
    """Reads pickles; `functions` gives names a meaning when called, `names` lists those that may only stand.

    `persistent` turns the tuple of a persistent id into its object. Names that were met but not listed are
    kept in `refused`, also those that are never called, so that all of them can be reported.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        names: frozenset[str],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.refused: dict[str, None] = {}
        self._functions = functions
        self._names = names
        self._persistent = persistent

    def read(self, stream: Stream) -> Any:
        """The object of one pickle; leaves `stream` right behind it.

        Raises:
            PickleDataError: the bytes aren't a pickle of data.
        """
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except PickleDataError:
            raise
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise PickleDataError(str(error) or type(error).__name__) from error
        raise PickleDataError("the pickle has no end")

    def call(self, function: Any, arguments: Any) -> Any:
        """What calling the global `function` gives; a refused name stands for its own result."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise PickleDataError("a call of something that isn't a global")
        if function.path in self.refused:
            return function
        if function.path not in self._functions:
            raise PickleDataError(f"a call of {function.path}")
        return self._functions[function.path](*arguments)

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        else:
            match opcode:
                case "PROTO" | "FRAME":
                    pass
                case "GLOBAL":
                    stack.append(self._name(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(self._name(module, name))
                case "INST":  # protocol 0's way to make an object
                    self.refused[argument.replace(" ", ".")] = None
                    raise PickleDataError("an object of a class")
                case "REDUCE" | "NEWOBJ":
                    arguments = stack.pop()
                    stack.append(self.call(stack.pop(), arguments))
                case "BUILD":  # attributes of an object; data has none that matter (``_metadata`` of state dicts)
                    stack.pop()
                case "BINPERSID":
                    stack.append(self._persistent(stack.pop()))
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    self._memo[argument] = stack[-1]
                case "MEMOIZE":
                    self._memo[len(self._memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(self._memo[argument])
                case _:
                    self._collect(opcode)

    def _collect(self, opcode: str) -> None:
        """The opcodes of marks and containers."""
        stack = self._stack
        match opcode:
            case "MARK":
                self._marks.append(stack)
                self._stack = []
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                if len(stack) < count:
                    raise PickleDataError("a tuple of more than there is")
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                items = self._since_mark()
                self._stack.append(tuple(items))
            case "LIST":
                items = self._since_mark()
                self._stack.append(items)
            case "DICT":
                items = self._since_mark()
                self._stack.append({})
                self._set_items(items)
            case "APPEND":
                items = [stack.pop()]
                self._extend(items)
            case "APPENDS":
                self._extend(self._since_mark())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._since_mark())
            case _:
                raise PickleDataError(f"the opcode {opcode}, which data doesn't need")

    def _name(self, module: Any, name: Any) -> Name:
        path = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "(no name)"
        if path not in self._functions and path not in self._names:
            self.refused[path] = None
        return Name(path)

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise PickleDataError("items appended to something that isn't a list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Name) and target.path in self.refused:
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleDataError("keys and values for something that isn't a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, KEYS):
                raise PickleDataError(f"a key of type {type(key).__name__}")
            target[key] = value
