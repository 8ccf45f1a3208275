"""What a call of ``generate`` hands back: ids as an array, or a record with the fields that the field knows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.generation.loop import Result
from enfold.outputs import ModelOutput

if TYPE_CHECKING:
    from enfold.generation.calls import Call

__all__ = ["record", "sequences"]

Ids = NDArray[np.int64]


def sequences(call: Call, results: Sequence[Result]) -> Any:
    """(N, L) ids as the engine's array: prompts as they were given, and new tokens, padded on the right."""
    rows = [np.asarray(result.tokens) for result in results]
    given = _given(call)
    if given is not None:
        prompts, _ = given
        owners = _owners(call, results)
        new = zip(rows, owners, strict=True)
        rows = [np.concatenate([prompts[own], row[len(_prompt(call, own)) :]]) for row, own in new]
    return call.model.ops.from_numpy(_padded(rows, _pad(call)))


def record(call: Call, results: Sequence[Result]) -> ModelOutput:
    """The sequences, and what the options ask to see of each step.

    Scores are those of each step's rows. Attentions and hidden states are computed once more, over the finished
    texts; those of beams are therefore of the texts that came out, a row each.
    """
    ops, output = call.model.ops, ModelOutput()
    output["sequences"] = sequences(call, results)
    if any(result.score is not None for result in results):
        output["sequences_scores"] = ops.from_numpy(np.asarray([result.score for result in results], np.float32))
    for name in call.recipe.kept:
        # those of a beam search are of all its rows, and stand with the best of its texts
        records = [result.steps[name] for result in results if name in result.steps]
        nothing = np.zeros_like(records[0][0])
        output[name] = tuple(
            ops.from_numpy(np.concatenate([np.atleast_2d(nothing if each is None else each) for each in step]))
            for step in zip_longest(*records)
        )
    if "beam_indices" in results[0].steps:
        output["beam_indices"] = ops.from_numpy(_beam_indices(call, results))
    if call.config.output_attentions or call.config.output_hidden_states:
        output.update(_states(call, results))
    return output


def _beam_indices(call: Call, results: Sequence[Result]) -> Ids:
    """(N, L) of each new token the row, among those of all texts, that it continued; -1 beyond the end."""
    paths = [result.steps["beam_indices"] for result in results]
    array = np.full((len(paths), max(len(path) for path in paths)), -1, np.int64)
    for index, path in enumerate(paths):
        first = index * len(call.requests) // len(paths) * call.config.num_beams
        array[index, : len(path)] = np.add(path, first)
    return array


# ── attentions and hidden states ─────────────────────────────────────────────


def _states(call: Call, results: Sequence[Result]) -> ModelOutput:
    """What passes through the model while it reads the finished texts, cut into the steps that wrote them.

    Raises:
        InputError: ``decoder_input_ids`` of different lengths, which have no steps in common.
    """
    owners = _owners(call, results)
    prompts = [_prompt(call, owner) for owner in owners]
    if call.model.arch.encoder is not None and len({len(prompt) for prompt in prompts}) > 1:
        raise InputError(
            "output_attentions and output_hidden_states show decoder_input_ids of one length; these have "
            f"{', '.join(sorted({str(len(prompt)) for prompt in prompts}))} tokens: write them in calls of their own"
        )
    new = _padded([np.asarray(r.tokens[len(p) :]) for r, p in zip(results, prompts, strict=True)], _pad(call))
    begin, mask = _left_padded(prompts) if (given := _given(call)) is None else (part[owners] for part in given)
    ids = np.concatenate([begin, new[:, :-1]], axis=1)
    mask = np.concatenate([mask, np.ones_like(new[:, :-1], dtype=bool)], axis=1)
    wanted = {name: getattr(call.config, name) for name in ("output_attentions", "output_hidden_states")}
    with call.model.inference():
        if call.model.arch.encoder is None:
            # positions are those of real tokens, as they were while the texts were written
            positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
            seen = _forward(call, wanted, input_ids=ids, attention_mask=mask, position_ids=positions)
        else:
            source, source_mask = _source(call)
            seen = _forward(
                call,
                wanted,
                input_ids=source[owners],
                attention_mask=source_mask[owners],
                decoder_input_ids=ids,
                decoder_attention_mask=mask,
            )
    return _cut(seen, begin.shape[1], new.shape[1], [owners.index(owner) for owner in sorted({*owners})])


def _forward(call: Call, wanted: dict[str, bool], **inputs: NDArray[Any]) -> ModelOutput:
    ours = {name: call.model.ops.from_numpy(array) for name, array in inputs.items()}
    output: ModelOutput = call.model.forward(**ours, **wanted, use_cache=False, return_dict=True)
    return output


def _cut(seen: ModelOutput, begin: int, steps: int, firsts: Sequence[int]) -> ModelOutput:
    """Fields of one pass as those of its steps: the first has all of the prompt, each other one a token.

    Args:
        seen: the pass, of (R, S, D) states and (R, H, S, S) attentions.
        begin: tokens of the prompt.
        steps: new tokens.
        firsts: the first row of each input: what an encoder read is shown once.
    """
    spans = [(0, begin), *((begin + step, begin + step + 1) for step in range(steps - 1))]
    cut = ModelOutput()
    for name in _ORDER:
        if name not in seen:
            continue
        layers = seen[name]
        if name.startswith("encoder_"):
            cut[name] = tuple(layer[list(firsts)] for layer in layers)
        elif name.endswith("hidden_states"):
            cut[name] = tuple(tuple(layer[:, start:end] for layer in layers) for start, end in spans)
        elif name == "cross_attentions":
            cut[name] = tuple(tuple(layer[:, :, start:end] for layer in layers) for start, end in spans)
        else:
            cut[name] = tuple(tuple(layer[:, :, start:end, :end] for layer in layers) for start, end in spans)
    return cut


_ORDER = (
    "encoder_attentions",
    "encoder_hidden_states",
    "attentions",
    "hidden_states",
    "decoder_attentions",
    "cross_attentions",
    "decoder_hidden_states",
)


# ── rows ─────────────────────────────────────────────────────────────────────


def _owners(call: Call, results: Sequence[Result]) -> list[int]:
    """The input of each result."""
    inputs = call.requests[-1].index + 1
    return [place * inputs // len(results) for place in range(len(results))]


def _prompt(call: Call, owner: int) -> list[int]:
    """What the texts of an input begin with."""
    return call.requests[owner * len(call.requests) // (call.requests[-1].index + 1)].prompt


def _given(call: Call) -> tuple[Ids, NDArray[np.bool_]] | None:
    """A decoder-only model's prompts as they were given and their mask, (B, S); None where no array was."""
    return None if call.model.arch.encoder is not None else _array_given(call)


def _array_given(call: Call) -> tuple[Ids, NDArray[np.bool_]] | None:
    if isinstance(call.given, list | tuple):
        return None
    given = np.asarray(call.given.tolist())
    mask = call.model.ops.mask(call.mask, call.given)
    return given, np.asarray(mask.tolist())


def _source(call: Call) -> tuple[Ids, NDArray[np.bool_]]:
    """What the encoder read of each input and its mask, (B, S)."""
    given = _array_given(call)
    if given is not None:
        return given
    sources = {request.index: np.asarray(request.source) for request in call.requests}
    rows = [sources[index] for index in sorted(sources)]
    return _padded(rows, 0), _padded([np.ones_like(row) for row in rows], 0) != 0


def _left_padded(rows: Sequence[list[int]]) -> tuple[Ids, NDArray[np.bool_]]:
    turned = [np.asarray(row[::-1]) for row in rows]
    return _padded(turned, 0)[:, ::-1].copy(), (_padded([np.ones_like(row) for row in turned], 0) != 0)[:, ::-1].copy()


def _padded(rows: Sequence[NDArray[Any]], pad: int) -> Ids:
    """(N, L), rows padded on the right."""
    array = np.full((len(rows), max(len(row) for row in rows)), pad, np.int64)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array


def _pad(call: Call) -> int:
    pad = call.config.pad_token_id
    if pad is not None and pad >= 0:  # -1 says that there is none
        return int(pad)
    return call.config.eos_token_ids[0] if call.config.eos_token_ids else 0
