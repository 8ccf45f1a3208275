"""From a Python function to the JSON schema that chat templates show a model as a tool.

The description comes from the docstring, in Google's style; the types come from the hints.
"""

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from enfold.errors import InputError

__all__ = ["as_tool", "get_json_schema"]

_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_TYPES = _SCALARS | {list: "array", tuple: "array", dict: "object"}
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def as_tool(tool: Any) -> dict[str, Any]:
    """A tool as its schema: a dictionary as it is, a function by :func:`get_json_schema`.

    Raises:
        InputError: it is neither, or the function says too little of itself.
    """
    if isinstance(tool, Mapping):
        return dict(tool)
    if inspect.isfunction(tool) or inspect.ismethod(tool):
        return get_json_schema(tool)
    raise InputError(f"A tool is {tool!r}; a JSON schema (a dict) or a Python function with type hints was expected.")


def get_json_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of a function with type hints and a docstring that describes each argument.

    A description may end with ``(choices: ["tea", "coffee"])``, which becomes an ``enum``.

    Raises:
        InputError: something is missing; everything is listed.
    """
    name = getattr(function, "__name__", "operation")
    doc = inspect.getdoc(function)
    if not doc:
        raise InputError(f"The tool {name} has no docstring. Say in it what the function does, and each argument.")
    description, documented, returned = _parse_docstring(doc)
    parameters = {
        each.name: each
        for number, each in enumerate(inspect.signature(function).parameters.values())
        if number or each.name not in ("self", "cls") or each.annotation is not each.empty
    }
    hints = get_type_hints(function)
    missing = [f"no type hint of {each}" for each in parameters if each not in hints]
    missing += [f"no description of {each} in the docstring" for each in parameters if each not in documented]
    if missing:
        raise InputError(
            f"The tool {name} can't be described to a model: {'; '.join(missing)}. "
            "Write def f(city: str) with a docstring that has a line 'city: what it is' under 'Args:'."
        )
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for each in parameters:
        schema["properties"][each] = _described(_schema(hints[each], f"{name}({each})"), documented[each])
    if required := [each.name for each in parameters.values() if each.default is each.empty]:
        schema["required"] = required
    result: dict[str, Any] = {"name": name, "description": description, "parameters": schema}
    if "return" in hints and (what := _return_schema(hints["return"], name)) is not None:
        result["return"] = what if returned is None else what | {"description": returned}
    return {"type": "function", "function": result}


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    if choices := _CHOICES.search(description):
        try:
            values = json.loads(choices[1])
        except json.JSONDecodeError as error:
            raise InputError(
                f'{choices[0]!r} in a docstring is not JSON: {error}. Write (choices: ["a", "b"]).'
            ) from None
        schema = schema | {"enum": [each.strip() if isinstance(each, str) else each for each in values]}
        description = description[: choices.start()].strip()
    return schema | {"description": description}


def _return_schema(hint: Any, name: str) -> dict[str, Any] | None:
    """What a function returns; ``None`` where JSON has no word for it, since no model has to write it."""
    try:
        return _schema(hint, name)
    except InputError:
        return None


def _schema(hint: Any, where: str) -> dict[str, Any]:
    """The JSON schema of a type hint."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return {}
    if origin is Literal:
        return _enumeration(list(args), where)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _enumeration([member.value for member in origin], where)
    if origin in (Union, types.UnionType):
        return _union([_schema(each, where) for each in args if each is not type(None)]) | (
            {"nullable": True} if type(None) in args else {}
        )
    try:
        schema: dict[str, Any] = {"type": _TYPES[origin]}
    except (KeyError, TypeError):
        raise InputError(
            f"{where} has the type {hint!r}, which JSON has no word for. Use int, float, str, bool, list, tuple, dict, "
            "Literal, an Enum or unions of them, or hand over the JSON schema itself as a dict."
        ) from None
    if origin is list and args:
        schema["items"] = _schema(args[0], where)
    elif origin is tuple and args:
        if len(args) == 1 or ... in args:
            raise InputError(f"{where} has the type {hint!r}; for any number of one kind, use list[…].")
        schema["prefixItems"] = [_schema(each, where) for each in args]
    elif origin is dict and args:
        schema["additionalProperties"] = _schema(args[1], where)
    return schema


def _enumeration(values: list[Any], where: str) -> dict[str, Any]:
    if not values or any(type(each) not in _SCALARS for each in values):
        raise InputError(f"{where} chooses among {values}; text, numbers, true, false or None were expected.")
    names = list(dict.fromkeys(_SCALARS[type(each)] for each in values))
    return {"type": names[0] if len(names) == 1 else names, "enum": values}


def _union(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema alone, several plain types as a list of types, anything else as ``anyOf``."""
    if len(schemas) == 1:
        return schemas[0]
    if all(each.keys() == {"type"} and isinstance(each["type"], str) for each in schemas):
        names = sorted({each["type"] for each in schemas})
        return {"type": names[0] if len(names) == 1 else names}
    return {"anyOf": schemas}


def _parse_docstring(doc: str) -> tuple[str, dict[str, str], str | None]:
    """Description, argument → its description, and what is returned, of a docstring in Google's style."""
    parts = re.split(r"(?m)^\s*(Args|Returns|Raises):[ \t]*(?:\n|$)", f"\n{doc.strip()}")
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    arguments: dict[str, list[str]] = {}
    indent: int | None = None
    name = ""
    for line in sections.get("Args", "").splitlines():
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None else indent
        if depth <= indent and (found := re.match(r"\s*(\w+):\s*(.*)", line)):
            name = found[1]
            arguments[name] = [found[2].strip()]
        elif name:
            arguments[name].append(line.strip())
    returned = sections.get("Returns")
    texts = {name: " ".join(line for line in lines if line) for name, lines in arguments.items()}
    return parts[0].strip(), texts, None if returned is None else returned.strip()
