"""Conversations to text: what is handed to a chat template, and what its failures mean.

The template itself runs in :mod:`enfold.tokenization.sandbox`, which is imported with jinja2 when one is rendered.
"""

import dataclasses
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from enfold.errors import InputError, MissingDependencyError, TokenizerError
from enfold.tokenization.schema import as_tool

__all__ = ["Rendered", "Templates", "assistant_masks", "choose_template", "render"]

Templates = str | Mapping[str, str] | None
"""One chat template, several by name, or none."""

# The names under which a message's reasoning is passed; the first is the one that templates read.
_REASONING = ("reasoning_content", "thinking", "reasoning")
_MARK = "\ue000continue here\ue001 "
_OLDEST_JINJA = (3, 1, 6)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation as text, and the characters ``[start, end)`` that the assistant said."""

    text: str
    spans: list[tuple[int, int]]


def choose_template(templates: Templates, chosen: str | None = None, *, with_tools: bool = False) -> str:
    """The template to use: the one given, the one named, ``tool_use`` where there are tools, or ``default``.

    Raises:
        TokenizerError: there is none, or none of that name.
    """
    if isinstance(templates, Mapping):
        name = chosen or ("tool_use" if with_tools and "tool_use" in templates else "default")
        if name in templates:
            return templates[name]
        if chosen is None or not _looks_like_template(chosen):
            raise TokenizerError(f"There is no chat template {name!r}; this tokenizer has {', '.join(templates)}.")
    if chosen is not None:
        return chosen
    if not isinstance(templates, str):
        raise TokenizerError(
            "This tokenizer has no chat template, so it does not know how its model marks who says what. Models that "
            "were trained to chat ('-Instruct', '-Chat') come with one; for another, set it: "
            "tokenizer.chat_template = \"{% for message in messages %}{{ message['role'] }}: "
            "{{ message['content'] }}\\n{% endfor %}\", or pass chat_template=. "
            "Without a template, join the texts yourself and call the tokenizer."
        )
    return templates


def _looks_like_template(text: str) -> bool:
    return "{" in text or "\n" in text


def render(
    template: str,
    conversation: Any,
    *,
    tools: Sequence[Any] | None,
    documents: Sequence[Mapping[str, Any]] | None,
    add_generation_prompt: bool,
    continue_final_message: bool | str,
    variables: Mapping[str, Any],
) -> tuple[list[Rendered], bool]:
    """Each conversation as text, and whether several were given.

    Raises:
        InputError: a malformed conversation, tool or document, or one that the template refuses.
        TokenizerError: a template that is broken or was stopped.
        MissingDependencyError: jinja2 is missing or too old.
    """
    if continue_final_message and add_generation_prompt:
        raise InputError(
            "continue_final_message and add_generation_prompt exclude each other: the one goes on with the last "
            "message, the other begins a new one."
        )
    conversations, batched = _as_conversations(conversation)
    shared = {
        **_plain(dict(variables)),
        "tools": None if tools is None else [_plain(as_tool(tool)) for tool in tools],
        "documents": _as_documents(documents),
        "add_generation_prompt": add_generation_prompt,
    }
    rendered = []
    for messages in conversations:
        end = _mark_end(messages, continue_final_message)
        result = _run(template, {**shared, "messages": messages})
        rendered.append(result if end is None else Rendered(_cut_at_mark(result.text, end), []))
    return rendered, batched


def assistant_masks(batch: Any, rendered: Sequence[Rendered]) -> list[list[int]]:
    """For each row a 1 on every token that the assistant said, as the template's ``{% generation %}`` tags tell."""
    masks = []
    for number, each in enumerate(rendered):
        encoding = batch[number]
        mask = [0] * len(encoding)
        for place, (start, end) in enumerate(encoding.offsets):
            if start < end and any(start < stop and first < end for first, stop in each.spans):
                mask[place] = 1
        masks.append(mask)
    return masks


# ── what the caller hands over ───────────────────────────────────────────────


def _as_conversations(value: Any) -> tuple[list[list[dict[str, Any]]], bool]:
    value = getattr(value, "messages", value)
    if not isinstance(value, list | tuple) or not value:
        raise InputError(
            "A conversation is a list of messages, [{'role': 'user', 'content': 'Hello'}]; "
            f"{_describe(value)} was given."
        )
    batched = isinstance(value[0], list | tuple) or hasattr(value[0], "messages")
    conversations = [getattr(each, "messages", each) for each in value] if batched else [value]
    problems: list[str] = []
    result = []
    for number, messages in enumerate(conversations):
        where = f"conversation[{number}]" if batched else "conversation"
        if not isinstance(messages, list | tuple) or not messages:
            problems.append(f"{where} is {_describe(messages)}")
            continue
        result.append([_as_message(each, f"{where}[{place}]", problems) for place, each in enumerate(messages)])
    if problems:
        raise InputError(
            f"{'; '.join(problems[:5])}. A message is a dict with 'role' ('system', 'user', 'assistant', 'tool') and "
            "'content'; a conversation is a list of them."
        )
    return result, batched


def _as_message(value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """One message as plain data. What is ``None`` is left out, since templates print it as a word."""
    message = _plain(value)
    if not isinstance(message, dict):
        problems.append(f"{where} is {_describe(value)}")
        return {}
    message = {name: each for name, each in message.items() if each is not None}
    if not isinstance(message.get("role"), str):
        problems.append(f"{where} has no 'role'; it has {sorted(map(str, message)) or 'nothing'}")
    elif len(message) == 1:
        problems.append(f"{where} has a 'role' and no 'content'")
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    if reasoning is not None:
        message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def _as_documents(documents: Any) -> list[Any] | None:
    if documents is None:
        return None
    if not isinstance(documents, list | tuple) or not all(isinstance(each, Mapping) for each in documents):
        raise InputError("documents are a list of dicts, [{'title': '…', 'text': '…'}].")
    return [_plain(each) for each in documents]


def _plain(value: Any) -> Any:
    """A copy made of JSON's own types, so that a template never meets an object with methods that do things.

    What has no such form (an image, an array) is its type's name: templates only ask whether it is there.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):  # a pydantic model
        return _plain(dump())
    return f"<{type(value).__name__}>"


def _describe(value: Any) -> str:
    if isinstance(value, list | tuple | Mapping) and not value:
        return f"an empty {type(value).__name__}"
    shown = repr(value)
    return f"{shown if len(shown) <= 60 else f'{shown[:57]}…'} ({type(value).__name__})"


# ── going on with the last message ───────────────────────────────────────────


def _mark_end(messages: list[dict[str, Any]], wanted: bool | str) -> str | None:
    """Put a mark behind the last message's text; that text, or ``None`` where nothing is to be continued."""
    if not wanted:
        return None
    name = wanted if isinstance(wanted, str) else "content"
    message = messages[-1]
    text = message.get(name)
    if isinstance(text, list):
        blocks = [block for block in text if isinstance(block, dict) and isinstance(block.get("text"), str)]
        if blocks:
            last = str(blocks[-1]["text"])
            blocks[-1]["text"] = last + _MARK
            return last
    if not isinstance(text, str):
        raise InputError(f"continue_final_message: the last message has no text {name!r} to go on with.")
    names = [each for each in _REASONING if message.get(each) == text] if name in _REASONING else [name]
    message |= dict.fromkeys(names, text + _MARK)
    return text


def _cut_at_mark(rendered: str, end: str) -> str:
    place = rendered.rfind(_MARK.strip())
    if place < 0 or end.strip() not in rendered:
        raise InputError(
            "continue_final_message: the template changes the last message or leaves it out, so there is no place in "
            f"its text from which to go on. The message ends with {end[-60:]!r}."
        )
    # a template that trims messages trims the mark's space; then it would have trimmed the text before it as well
    return rendered[:place] if rendered.startswith(_MARK, place) else rendered[:place].rstrip()


# ── running the template ─────────────────────────────────────────────────────


def _run(template: str, variables: Mapping[str, Any]) -> Rendered:
    _check_jinja()
    from jinja2.exceptions import SecurityError, TemplateSyntaxError

    from enfold.tokenization import sandbox

    try:
        compiled = sandbox.compile_template(template)
    except TemplateSyntaxError as error:
        lines = template.splitlines()
        line = lines[error.lineno - 1].strip()[:120] if 0 < error.lineno <= len(lines) else ""
        raise TokenizerError(
            f"The chat template is broken at line {error.lineno}: {error.message} The line is {line!r}. "
            "Mend it, or pass another with chat_template=."
        ) from error
    except Exception as error:  # nested too deep for Python's own compiler, for example
        raise TokenizerError(f"The chat template can't be compiled: {type(error).__name__}: {error}.") from error
    try:
        return Rendered(*sandbox.run(compiled, variables))
    except sandbox.RaisedError as error:
        raise InputError(f"The chat template refuses this conversation: {error.message}") from error
    except SecurityError as error:
        raise TokenizerError(f"The chat template was stopped: it tries what the sandbox forbids ({error}).") from error
    except (sandbox.TooMuchError, OverflowError, RecursionError, MemoryError) as error:
        what = str(error).rstrip(".") or "it needs too much memory"
        raise TokenizerError(
            f"The chat template was stopped{_line_of(error)}: {what}. No chat needs that; the template is broken or "
            "hostile. Pass another with chat_template=."
        ) from error
    except Exception as error:
        raise InputError(
            f"The chat template fails{_line_of(error)}: {type(error).__name__}: {error}. Either it is broken, or it "
            "expects other keys in the messages, or variables: pass those as keyword arguments."
        ) from error


def _line_of(error: BaseException) -> str:
    """Where in the template it happened: jinja2 rewrites the traceback to the template's own lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if "<" in frame.filename]
    return f" at line {lines[-1]}" if lines else ""


@cache
def _check_jinja() -> None:
    import importlib.metadata  # slow to import

    try:
        version = importlib.metadata.version("jinja2")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError("Chat templates need jinja2: pip install 'jinja2>=3.1.6'.") from error
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < _OLDEST_JINJA:
        raise MissingDependencyError(
            f"jinja2 {version} has holes in its sandbox, and chat templates are foreign code: "
            "pip install 'jinja2>=3.1.6'."
        )
