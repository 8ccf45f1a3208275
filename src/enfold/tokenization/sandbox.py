"""Running a template that came with a checkpoint: sandboxed, and within bounds of work, time and memory.

jinja2's sandbox keeps a template away from Python's internals, but lets it loop, multiply and print without end.
Here every template is rewritten before it is compiled (``sandbox_rewriting``), so that each of its steps goes through
one meter (``sandbox_meter``)::

    {% for x in xs %}                                     one step a turn
    {{ text }}, a == b, x is in(b), a|filter, a ~ b       one, and more for what is looked at
    [a, b], a + b, a[1:], a.method(b)                     one, and more for what is made

What a filter or method costs beyond that stands in one table (``sandbox_costs``). These modules import jinja2, so
they are themselves imported only where a template is rendered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from enfold.tokenization.sandbox_costs import (
    COSTS,
    FORBIDDEN,
    Cost,
    Given,
    check_call,
    check_operation,
    formatted_by_percent,
)
from enfold.tokenization.sandbox_meter import (
    MAX_SIZE,
    PER_STEP,
    RUN,
    Run,
    TooMuchError,
    limit,
    made,
    metered,
    seen,
    size_of,
    spend,
    whole,
)
from enfold.tokenization.sandbox_rewriting import FILTERS, Metering

__all__ = ["RaisedError", "TooMuchError", "compile_template", "run"]


class RaisedError(TemplateError):
    """The template called ``raise_exception``: it refuses the conversation."""


def run(template: Template, variables: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]]]:
    """The text that a template makes, and the characters ``[start, end)`` inside its ``{% generation %}`` tags.

    Raises:
        TooMuchError: it goes over what the meter allows.
        RaisedError: it refuses the conversation.
        Exception: whatever jinja2 raises.
    """
    current = Run()
    token = RUN.set(current)
    try:
        for chunk in template.generate(variables):
            current.chunks.append(chunk)
            current.written += len(chunk)
            if current.written > MAX_SIZE:
                raise TooMuchError(f"it writes more than {MAX_SIZE:,} characters")
    finally:
        RUN.reset(token)
    return "".join(current.chunks), current.spans


@lru_cache(maxsize=64)
def compile_template(text: str) -> Template:
    """A template ready to run; raises what jinja2 raises for one that is broken."""
    environment = _Bounded()
    tree = Metering().visit(environment.parse(text))
    tree.set_environment(environment)
    return Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


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
    limit(formatted_by_percent(form, ()))
    return datetime.now().strftime(form)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is: jinja2's own filter writes ``<`` and ``&`` as escapes, for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with the settings that the field's chat templates are written for."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _to_json
        kept = self.filters.items()
        self.filters = {name: _bounded_filter(name, each) for name, each in kept if name not in FORBIDDEN}
        self.filters |= FILTERS
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now, "dict": _dict, "namespace": _Names}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        spend(1)
        method = getattr(obj, "__wrapped__", obj)
        name = getattr(method, "__name__", "")
        if name in FORBIDDEN:
            raise SecurityError(f"the method {name} is not safe to call")
        if isinstance(obj, Macro):
            return super().call(context, obj, *args, **kwargs)
        args = tuple(seen(whole(each)) for each in args)
        spend(sum(map(size_of, kwargs.values())) // PER_STEP)
        if isinstance(receiver := getattr(method, "__self__", None), str | list | tuple):
            seen(receiver)
            check_call(name, Given("method", receiver, args, kwargs))
        return made(super().call(context, obj, *args, **kwargs))


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    first = 1 if hasattr(function, "jinja_pass_arg") else 0
    looks = COSTS.get(name, Cost()).looks

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value, *rest = args[first:]
        given = sum(map(size_of, (*rest, *kwargs.values())))
        if looks == "each" and value:
            value = metered(value, 1 + given // PER_STEP)
        elif looks != "nothing":
            value = whole(value)
            spend(1 + (size_of(value) + given) // PER_STEP)
        check_call(name, Given("filter", value, tuple(rest), kwargs))
        return made(function(*args[:first], value, *rest, **kwargs))

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
        current = RUN.get()
        current.spans.append((current.written, current.written + len(text)))
        return text
