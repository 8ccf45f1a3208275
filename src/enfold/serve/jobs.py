"""What a worker does for a request, by name. Each job runs within a request of the hub, and answers with plain data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_type_hints

import numpy as np
from greenlet import getcurrent
from pydantic import TypeAdapter, ValidationError

from enfold.errors import InputError
from enfold.serve.hub import Hub
from enfold.serve.shelf import Held, Shelf
from enfold.serve.texts import Piece, Wanted, write_one
from enfold.tasks.preset import check_call_options
from enfold.tasks.similarity import similarities

__all__ = ["JOBS", "Order", "check_answer", "check_tokens"]

Answer = Any
Send = Callable[[Any], None]
MOST_TEXTS = 128
"""Texts that one request may have written for it."""
_COUNTED_AT_ONCE = 1 << 16
"""Characters of texts whose tokens are counted before others have their turns."""


class LimitError(InputError):
    """More than this server lets one request have."""


@dataclass(frozen=True)
class Order:
    """What a job has at hand: the model, what was asked, and a way to send parts of the answer.

    Attributes:
        hub: runs models.
        shelf: has them.
        held: the model that was asked for, as it was when the request began.
        given: what was asked.
        send: hands over a part of the answer at once.
    """

    hub: Hub
    shelf: Shelf
    held: Held
    given: Mapping[str, Any]
    send: Send

    def task(self, name: str, long: str | None = None) -> Any:
        """A task on the model; ``long`` says what becomes of long texts, by default as the task has it."""
        return self.shelf.task(self.held, name, long)


def check_tokens(order: Order) -> None:
    """Counts the tokens of texts that may have too many.

    Raises:
        LimitError: they have.
    """
    most, texts = order.given["max_tokens"], order.given.get("counted")
    if texts is None:
        return
    count = 0
    for piece in _pieces(texts):
        order.hub.pause()  # others go on meanwhile
        count += sum(map(len, order.held.tokenizer.encode_many(piece)))
        if count > 2 * most:
            raise LimitError(
                f"the texts have more than {count:,} tokens, and one request may have {most:,} (max_tokens)"
            )
    if count > most:
        count = sum(map(len, order.held.tokenizer.encode_many(texts)))  # none cut
    if count > most:
        raise LimitError(f"the texts have {count:,} tokens, and one request may have {most:,} (max_tokens)")


def check_answer(order: Order, answer: Answer) -> None:
    """Looks how large the arrays of an answer are, which the server would be busy with for long.

    Raises:
        LimitError: too large.
    """
    most = order.given["max_answer_bytes"]
    arrays = answer if isinstance(answer, list) else [answer]
    size = sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))
    if size > most:
        raise LimitError(
            f"the answer has {size // 4:,} numbers, and one may have {most // 4:,} (max_answer_bytes): send fewer "
            "texts at once"
        )


def _pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in parts of about as many characters; a long text is cut, which makes a few tokens more of it."""
    part: list[str] = []
    size = 0
    for text in texts:
        for begin in range(0, max(1, len(text)), _COUNTED_AT_ONCE):
            part.append(text[begin : begin + _COUNTED_AT_ONCE])
            size += len(part[-1])
            if size >= _COUNTED_AT_ONCE:
                yield part
                part, size = [], 0
    if part:
        yield part


def run_task(order: Order) -> Answer:
    """Any task: ``{"task", "inputs", "options"}``. With ``stream`` the pieces of a text are sent as they come."""
    given = order.given
    task = order.task(given["task"], given.get("long"))
    options = given["options"]
    _check_options(task, options)
    if not given.get("stream"):
        return task(given["inputs"], **options)
    for piece in task(given["inputs"], **options, stream=True):
        order.send(piece)
    return None


@lru_cache
def _signature(task: Any) -> inspect.Signature:
    return inspect.signature(task.__call__)


@lru_cache
def _types(task: Any) -> Mapping[str, TypeAdapter[Any]]:
    """What each option of a task's call may be, by its annotation; those of generation look at themselves."""
    hints = get_type_hints(task.__call__)
    named = [each.name for each in _signature(task).parameters.values() if each.kind is not each.VAR_KEYWORD]
    return {name: TypeAdapter(hints[name]) for name in named if name in hints}


def _check_options(task: Any, options: Mapping[str, Any]) -> None:
    """Looks at the names of options and what they are, as they come from outside.

    Raises:
        InputError: the task's call takes no such options, or needs others.
    """
    kind: Any = type(task)
    types = _types(kind)
    for name in options.keys() & types.keys():
        try:
            types[name].validate_python(options[name], strict=True)
        except ValidationError as error:
            problem = "; ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            raise InputError(f"{task.name}: {name} is {options[name]!r:.60}: {problem}") from None
    signature = _signature(kind)
    try:
        signature.bind(None, None, **options)
    except TypeError as error:
        check_call_options(kind, {name: options[name] for name in options if name not in signature.parameters})
        raise InputError(f"{task.name}: {error}") from error


def rank(order: Order) -> Answer:
    """How well texts answer a query, ``{"query", "texts", "raw"}``: a score each.

    A model with one label reads query and text together (a cross-encoder); any other embeds both and compares.
    """
    query, texts, long = order.given["query"], order.given["texts"], order.given.get("long")
    if order.held.info["cross_encoder"]:
        function = "none" if order.given.get("raw") else "sigmoid"
        pairs = [{"text": query, "text_pair": text} for text in texts]
        return [each["score"] for each in order.task("text-classification", long)(pairs, function_to_apply=function)]
    embed = order.task("embed", long)
    chosen = {side: {"prompt_name": side} if embed.prompts[side] else {} for side in ("query", "document")}
    vectors = embed([query], **chosen["query"]), embed(texts, **chosen["document"])
    return [float(score) for score in similarities(embed.modules.similarity, *vectors)[0]]


def tokenize(order: Order) -> Answer:
    """``{"texts", "special"}``: for each text its tokens with their places."""
    encoded = order.held.tokenizer.encode_many(
        order.given["texts"], add_special_tokens=order.given.get("special", True)
    )
    return [
        [
            {"id": int(number), "text": token, "special": bool(special), "start": int(start), "stop": int(stop)}
            for number, token, special, (start, stop) in zip(
                one.ids, one.tokens, one.special_mask, one.offsets.tolist(), strict=True
            )
        ]
        for one in encoded
    ]


def decode(order: Order) -> Answer:
    """``{"ids", "skip_special"}``: the text of each list of ids."""
    skip = order.given.get("skip_special", True)
    return [order.held.tokenizer.decode(ids, skip_special_tokens=skip) for ids in order.given["ids"]]


def write(order: Order) -> Answer:
    """Texts for completions and chats.

    ``{"chat"}`` or ``{"prompts"}``, ``"options"`` of generation, ``"n"`` texts for each, ``"stop"``, ``"chances"``,
    ``"presence"``, ``"frequency"``, ``"stream"``. With ``stream`` each piece is sent with the number of its text;
    otherwise the answer has the whole texts. Either tells how many tokens there were.
    """
    given = order.given
    if "chat" in given:
        prompts = [_chat(order.held, given["chat"])]
    else:
        prompts = [_ids(order.held, prompt) for prompt in given["prompts"]]
    options, copies = dict(given["options"]), given.get("n", 1)
    if len(prompts) * copies > MOST_TEXTS:
        raise InputError(f"{len(prompts) * copies} texts are asked for, and one request may have {MOST_TEXTS} written")
    wanted = [
        Wanted(
            prompt, options, tuple(given.get("stop", ())), given.get("chances"), number,
            given.get("presence", 0.0), given.get("frequency", 0.0),
        )
        for prompt in prompts
        for number in range(copies)
    ]  # fmt: skip
    texts = [Piece("") for _ in wanted]

    def write_text(index: int) -> None:
        for piece in write_one(order.held, wanted[index]):
            whole = texts[index]
            whole.text, whole.tokens, whole.finish = whole.text + piece.text, whole.tokens + piece.tokens, piece.finish
            whole.ids += piece.ids
            whole.chances += piece.chances
            if given.get("stream") and (piece.text or piece.chances or piece.finish):
                order.send({"index": index, **vars(piece)})

    _side_by_side(order.hub, [lambda index=index: write_text(index) for index in range(len(wanted))])  # type: ignore[misc]
    usage = {"prompt": sum(map(len, prompts)), "written": sum(each.tokens for each in texts)}
    return {"usage": usage, "texts": None if given.get("stream") else [vars(each) for each in texts]}


def _chat(held: Held, chat: Any) -> list[int]:
    continues = bool(chat) and chat[-1].get("role") == "assistant"
    ids: list[int] = held.tokenizer.apply_chat_template(
        chat, add_generation_prompt=not continues, continue_final_message=continues, return_dict=False
    )
    return ids


def _ids(held: Held, prompt: Any) -> list[int]:
    """A prompt's ids; it may be a text, or ids already."""
    if isinstance(prompt, str):
        ids = [int(token) for token in held.tokenizer(prompt)["input_ids"]]
        begin = held.main.generation_config.bos_token_id
        if not ids and begin is None:
            raise InputError("the prompt is empty, and this model knows no token to begin with: give some text")
        return ids or [int(begin)]
    size = held.main.arch.vocab_size
    wrong = [token for token in prompt if not (isinstance(token, int) and 0 <= token < size)]
    if wrong or not prompt:
        raise InputError(f"the prompt's ids are {prompt!r:.60}, expected one or more, each from 0 to {size - 1}")
    return list(prompt)


def _side_by_side(hub: Hub, works: list[Callable[[], None]]) -> None:
    """Runs works at once, each on a stack of its own; what one raises ends all and is raised."""
    if len(works) == 1:
        works[0]()
        return
    failed: list[Exception] = []

    def caught(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    begun = [hub.begin(lambda work=work: caught(work)) for work in works]  # type: ignore[misc]
    try:
        hub.wait_until(lambda: bool(failed) or all(each.dead for each in begun))
    finally:
        for each in begun:
            if not each.dead:
                each.parent = getcurrent()
                hub.cancel(each)
    if failed:
        raise failed[0]


JOBS: Mapping[str, Callable[[Order], Answer]] = {
    "task": run_task,
    "rank": rank,
    "tokenize": tokenize,
    "decode": decode,
    "write": write,
}
