"""Running a template that came with a checkpoint: sandboxed, and within bounds of work and memory.

jinja2's sandbox keeps a template away from Python's internals, but lets it loop, multiply and print without end.
Here every template is rewritten before it is compiled, so that each of its steps goes through one meter::

    {% for x in xs %}                                     one step a turn
    {{ text }}, a == b, x is in(b), a|filter, a ~ b       one, and more for what is looked at
    [a, b], a + b, a[1:], a.method(b)                     one, and more for what is made

This module imports jinja2, so it is itself imported only where a template is rendered.
"""

import json
import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sized, ValuesView
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, wraps
from string import Formatter
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["MAX_SIZE", "MAX_WORK", "RaisedError", "TooMuchError", "compile_template", "run"]

MAX_SIZE = 16_000_000
"""The largest text, list or output that a template may make, in characters and entries."""
MAX_WORK = 1_000_000
"""The most steps of one rendering; a step that handles much counts once more for every 256 characters or entries."""
_MAX_NUMBER = 10_000
"""The largest width or count, and the most bytes of a whole number, whose products take long."""
_MAX_DEPTH = 100
"""How deep containers may lie in each other: Python's own hashing of them ends the process where it is too deep."""
_PER_STEP = 256
_CONTAINERS = (list, tuple, Mapping, set, frozenset, KeysView, ValuesView, ItemsView)


class RaisedError(TemplateError):
    """The template called ``raise_exception``: it refuses the conversation."""


class TooMuchError(Exception):
    """The template wants more work or memory than any conversation needs."""


@dataclass(slots=True)
class _Run:
    """One rendering: what it has cost, what it has written, and where the assistant's own words are in that.

    ``sizes`` are those of the containers met so far, which nothing can change in the sandbox, by their identity;
    ``depths`` how deep they are.
    """

    work: int = 0
    written: int = 0
    chunks: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, tuple[Any, int]] = field(default_factory=dict)
    depths: dict[int, int] = field(default_factory=dict)


_RUN: ContextVar[_Run] = ContextVar("template run")


def run(template: Template, variables: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]]]:
    """The text that a template makes, and the characters ``[start, end)`` inside its ``{% generation %}`` tags.

    Raises:
        TooMuchError: it goes over :data:`MAX_WORK` or :data:`MAX_SIZE`.
        RaisedError: it refuses the conversation.
        Exception: whatever jinja2 raises.
    """
    current = _Run()
    token = _RUN.set(current)
    try:
        for chunk in template.generate(variables):
            current.chunks.append(chunk)
            current.written += len(chunk)
            if current.written > MAX_SIZE:
                raise TooMuchError(f"it writes more than {MAX_SIZE:,} characters")
    finally:
        _RUN.reset(token)
    return "".join(current.chunks), current.spans


@lru_cache(maxsize=64)
def compile_template(text: str) -> Template:
    """A template ready to run; raises what jinja2 raises for one that is broken."""
    environment = _Bounded()
    tree = _Metering().visit(environment.parse(text))
    tree.set_environment(environment)
    return Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


# ── the meter ────────────────────────────────────────────────────────────────


def _spend(steps: int) -> None:
    current = _RUN.get()
    current.work += steps
    if current.work > MAX_WORK:
        raise TooMuchError(f"it takes more than {MAX_WORK:,} steps")


def _size(value: Any) -> int:
    """Characters and entries of a value with all that is in it; a container is counted once and then known."""
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, int):
        return 1 + value.bit_length() // 8
    if not isinstance(value, _CONTAINERS):
        return 1
    sizes, depths = _RUN.get().sizes, _RUN.get().depths
    if (known := sizes.get(id(value))) is not None:
        return known[1]
    total, depth = 1, 1
    for each in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
        total += _size(each)
        depth = max(depth, 1 + depths.get(id(each), 0))
        if total > MAX_SIZE:
            raise TooMuchError(f"it makes a value of more than {MAX_SIZE:,} characters and entries")
    if depth > _MAX_DEPTH:
        raise TooMuchError(f"it puts more than {_MAX_DEPTH} lists or mappings into each other")
    _spend(len(value) // 4)
    sizes[id(value)] = value, total  # the value itself is kept, so that no other gets its identity
    depths[id(value)] = depth
    return total


def _seen(value: Any) -> Any:
    """A value that is looked at as a whole."""
    _spend(1 + _size(value) // _PER_STEP)
    return value


def _made(value: Any) -> Any:
    """A value that was made: a text in full, a container from parts that exist already."""
    size = _size(value)
    _limit(size, _MAX_NUMBER if isinstance(value, int) else MAX_SIZE)
    _spend(1 + (size if isinstance(value, str) else len(value) if hasattr(value, "__len__") else 0) // _PER_STEP)
    return value


def _metered(values: Iterable[Any], steps: int = 1) -> Iterator[Any]:
    for value in values:
        _spend(steps)
        yield value


def _whole(value: Any) -> Any:
    """A list for what would be made while it is read, so that its size can be known before."""
    return list(_metered(value)) if isinstance(value, Iterator) and not isinstance(value, LoopContext) else value


def _joined(values: list[Any]) -> str:
    _seen(values)
    return "".join(map(str, values))


def _foresee(operation: str, left: Any, right: Any) -> None:
    """Refuse a multiplication whose result would be too large, before it is made."""
    if operation == "**" and isinstance(left, int) and isinstance(right, int):
        return _limit(left.bit_length() * abs(right) // 8, _MAX_NUMBER)
    if operation == "*" and isinstance(left, int) and isinstance(right, int):
        return _limit(_size(left) + _size(right), _MAX_NUMBER)
    if operation == "*" and isinstance(left, int) != isinstance(right, int):
        times, what = (left, right) if isinstance(left, int) else (right, left)
        size = times * _size(what) if isinstance(what, str | list | tuple) else 0
    elif operation == "%" and isinstance(left, str):
        size = _formatted(left, right)
    else:
        return None
    return _limit(size)


def _limit(size: int, most: int = MAX_SIZE) -> None:
    if size > most:
        raise TooMuchError(f"it makes a value of {size:,} characters or entries")


def _formatted(text: str, arguments: Any) -> int:
    """The most characters that a format can make; a width that is itself an argument can't be foreseen."""
    if re.search(r"\d{5}|%[^a-zA-Z%]*\*", text) or _asks_for_width(text):
        raise TooMuchError(f"it formats with a very large or unknown width: {text[:60]!r}")
    fields = text.count("%") + text.count("{")
    return len(text) + fields * (_size(arguments) + _MAX_NUMBER)


def _asks_for_width(text: str) -> bool:
    try:
        return any("{" in (form or "") for _, _, form, _ in Formatter().parse(text))
    except ValueError:  # no such format, or one of the other kind
        return False


# name → how often the number that it takes, a width for example, may stand in what it makes
_WITH_NUMBER: Mapping[str, Callable[[Any], int]] = {
    **dict.fromkeys(("round", "center", "batch", "slice", "ljust", "rjust", "zfill"), lambda value: 1),
    "indent": lambda value: str(value).count("\n") + 1,
    "tojson": _size,
}
# filters whose arguments count by their place → the names that they may be given by instead
_BY_NAME: Mapping[str, tuple[str, ...]] = {"replace": ("old", "new"), "join": ("d",)}
# what looks at the whole argument for every character, at worst
_PRODUCTS = frozenset({"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip", "trim"})


def _foresee_call(name: str, value: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Refuse a method or filter of text whose result would be too large, before it runs."""
    everything = (*arguments, *named.values())
    arguments += tuple(named[each] for each in _BY_NAME.get(name, ()) if each in named)
    if name in _PRODUCTS:
        _spend(_size(value) * sum(len(each) for each in everything if isinstance(each, str)) // _PER_STEP)
    if name in _WITH_NUMBER:
        number = max((each if isinstance(each, int) else _size(each) for each in everything), default=0)
        if number > _MAX_NUMBER:
            raise TooMuchError(f"it calls {name} with {number:,}")
        _limit(number * _WITH_NUMBER[name](value))
    elif name == "replace" and len(arguments) > 1 and all(isinstance(each, str) for each in (value, *arguments[:2])):
        _limit(len(value) + value.count(arguments[0]) * len(arguments[1]))
    elif name == "join":
        between, parts = (value, arguments[0]) if isinstance(value, str) and arguments else (arguments[:1], value)
        _limit((len(parts) if isinstance(parts, Sized) else 1) * _size(between) + _size(parts))
    elif name == "format" and isinstance(value, str):
        _limit(_formatted(value, everything))


# ── what a template finds ────────────────────────────────────────────────────


class _Names(Namespace):
    """``namespace()``, without names that would reach into Python, and with a text of its own that stays short."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        Namespace.__init__(self, {_checked(name): value for name, value in dict(*rest, **kwargs).items()})

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(_checked(name), value)

    def __repr__(self) -> str:
        return "<namespace>"


def _checked(name: str) -> str:
    if name.startswith("_"):
        raise SecurityError(f"a namespace can't hold {name!r}: names that start with an underscore are Python's")
    return name


def _refuse(message: str) -> None:
    raise RaisedError(str(message))


def _now(form: str) -> str:
    _limit(_formatted(form, ()))
    return datetime.now().strftime(form)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is: jinja2's own filter writes ``<`` and ``&`` as escapes, for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


# Their cost can't be foreseen, and no chat template needs them.
_WITHOUT = frozenset({"lipsum", "urlize", "xmlattr", "wordwrap", "translate", "format_map", "expandtabs"})
_WITHOUT |= {"encode", "to_bytes"}
_CHEAP = frozenset({"length", "count", "first", "last", "default", "d", "safe"})
_MANY = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with the settings that the field's chat templates are written for."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _to_json
        self.filters = {
            name: _bounded_filter(name, each) for name, each in self.filters.items() if name not in _WITHOUT
        }
        self.filters |= {"_seen": _seen, "_made": _made, "_metered": _metered, "_joined": _joined}
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now, "dict": _dict, "namespace": _Names}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _foresee(operator, left, right)
        return _made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _spend(1)
        method = getattr(obj, "__wrapped__", obj)
        name = getattr(method, "__name__", "")
        if name in _WITHOUT:
            raise SecurityError(f"the method {name} is not safe to call")
        if not isinstance(obj, Macro):
            args = tuple(_seen(_whole(each)) for each in args)
            _spend(sum(map(_size, kwargs.values())) // _PER_STEP)
        if isinstance(receiver := getattr(method, "__self__", None), str):
            _seen(receiver)
            _foresee_call(name, receiver, args, kwargs)
        result = super().call(context, obj, *args, **kwargs)
        return result if isinstance(obj, Macro) else _made(result)


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value, *rest = args[first:]
        given = sum(map(_size, (*rest, *kwargs.values())))
        if name in _MANY and value:
            # it applies another filter, or a test, to each entry, which looks at what that is given as often
            value = _metered(value, 1 + given // _PER_STEP)
        elif name not in _CHEAP:
            value = _whole(value)
            _spend(1 + (_size(value) + given) // _PER_STEP)
        _foresee_call(name, value, tuple(rest), kwargs)
        return _made(function(*args[:first], value, *rest, **kwargs))

    return bounded


class _Generation(Extension):
    """``{% generation %}``: around what the assistant says itself. It changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012 as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Macro) -> str:
        text: str = caller()
        current = _RUN.get()
        current.spans.append((current.written, current.written + len(text)))
        return text


class _Metering(NodeTransformer):
    """Puts the meter into a template's tree."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [
            _through(
                "_seen", nodes.Const(each.data, lineno=each.lineno) if isinstance(each, nodes.TemplateData) else each
            )
            for each in node.nodes
        ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _through("_metered", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        return _through("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("_seen", node.expr)
        for each in node.ops:
            each.expr = _through("_seen", each.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
            node.node = _through("_seen", node.node)
            node.args = [_through("_seen", each) for each in node.args]
            node.dyn_args = node.dyn_args and _through("_seen", node.dyn_args)
            node.dyn_kwargs = node.dyn_kwargs and _through("_seen", node.dyn_kwargs)
            for each in node.kwargs:
                each.value = _through("_seen", each.value)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _through("_made", node)
        node.arg = _hashed(node.arg)
        return node

    def visit_List(self, node: nodes.List) -> Any:
        self.generic_visit(node)
        return _through("_made", node)

    def visit_Dict(self, node: nodes.Dict) -> Any:
        self.generic_visit(node)
        for pair in node.items:
            pair.key = _hashed(pair.key)
        return _through("_made", node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:
        self.generic_visit(node)
        return node if node.ctx == "store" else _through("_made", node)


def _through(name: str, node: nodes.Node) -> Any:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _hashed(key: nodes.Expr) -> Any:
    """A key: of all of it a hash is made."""
    return key if isinstance(key, nodes.Const) else _through("_seen", key)
