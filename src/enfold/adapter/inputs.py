"""The arguments of a call, and how they become packed batches: the only place where padding is taken away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from enfold.adapter.ops import Array, Callee, Ops
from enfold.arch import Architecture
from enfold.cache import Cache
from enfold.errors import InputError
from enfold.packing import Packed, position_ids, spans_of

__all__ = ["CallInputs", "decoder_inputs", "flatten_choices", "packed"]


@dataclass(frozen=True, kw_only=True)
class CallInputs:
    """Arguments of a model call, as given."""

    input_ids: Any = None
    attention_mask: Any = None
    token_type_ids: Any = None
    position_ids: Any = None
    inputs_embeds: Any = None
    decoder_input_ids: Any = None
    decoder_attention_mask: Any = None
    decoder_inputs_embeds: Any = None
    encoder_outputs: Any = None
    past_key_values: Any = None
    labels: Any = None
    next_sentence_label: Any = None
    start_positions: Any = None
    end_positions: Any = None
    use_cache: bool = False
    output_attentions: bool = False
    output_hidden_states: bool = False

    def for_decoder(self, ids: Any, embeds: Any) -> CallInputs:
        """The decoder's arguments under the names of a decoder alone."""
        return CallInputs(
            input_ids=ids,
            inputs_embeds=embeds,
            attention_mask=self.decoder_attention_mask,
            past_key_values=self.past_key_values,
        )


def flatten_choices(ops: Ops, given: CallInputs) -> tuple[CallInputs, int]:
    """(B, C, S) to (B * C, S), and C."""
    ids = ops.integers(given.input_ids, "input_ids")
    if ids.ndim != 3:
        raise InputError(f"multiple choice takes input_ids of shape (batch, choices, length), got {tuple(ids.shape)}")
    flat = {}
    for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids"):
        value = getattr(given, name)
        if value is not None:
            array = ops.integers(value, name)
            flat[name] = array.reshape(-1, array.shape[-1])
    return replace(given, **flat), ids.shape[1]


def packed(arch: Architecture, ops: Ops, given: CallInputs) -> tuple[Packed, Array]:
    """The real tokens of padded arguments, and their mask (B, S).

    Raises:
        InputError: shapes, ids or positions that don't fit; the message says which.
    """
    cache: Cache | None = given.past_key_values
    embeds = given.inputs_embeds
    if (given.input_ids is None) == (embeds is None):
        raise InputError("give either input_ids or inputs_embeds, as in model(**tokenizer(text, return_tensors='pt'))")
    if embeds is None:
        ids = ops.integers(given.input_ids, "input_ids")
    else:
        ids = ops.integers(ops.zeros_like(embeds[..., 0]), "inputs_embeds")
    if ids.ndim != 2:
        raise InputError(f"input_ids have the shape {tuple(ids.shape)}, expected (batch, length)")
    before = cache.columns if cache else 0
    mask = ops.mask(_of_new_tokens(given.attention_mask, ids, before), ids)
    lengths = ops.lengths(mask)
    _check_rows(arch, ops, mask, lengths, cache)
    positions, types = _positions(arch, ops, given, ids, before), ops.zeros_like(ids)
    if given.token_type_ids is not None:
        types = ops.integers(given.token_type_ids, "token_type_ids")
    if types.shape != ids.shape:
        raise InputError(f"token_type_ids have the shape {tuple(types.shape)}, input_ids {tuple(ids.shape)}")
    batch = Packed(
        ids=ids[mask],
        positions=positions[mask],
        types=types[mask],
        starts=ops.starts(lengths, ids),
        spans=spans_of(lengths),
        embeds=None if embeds is None else embeds[mask],
        pasts=list(cache.lengths) if cache else None,
    )
    _check_bounds(arch, ops, batch, before + max(lengths))
    return batch, mask


def _of_new_tokens(mask: Any, ids: Array, before: int) -> Any:
    """A mask that covers the cached tokens too, as the field hands it over, cut to the new ones."""
    shape = getattr(mask, "shape", None)
    covers_all = before and shape is not None and len(shape) == 2 and shape[1] == before + ids.shape[1]
    return mask[:, before:] if covers_all else mask


def _positions(arch: Architecture, ops: Ops, given: CallInputs, ids: Array, before: int) -> Array:
    if given.position_ids is not None:
        return ops.zeros_like(ids) + ops.integers(given.position_ids, "position_ids")
    counted_from = arch.positions.counted_from if arch.positions else None
    if given.inputs_embeds is not None and counted_from is not None:
        return position_ids(arch, ids + counted_from + 1, before)
    return position_ids(arch, ids, before)


def _check_rows(arch: Architecture, ops: Ops, mask: Array, lengths: list[int], cache: Cache | None) -> None:
    if not lengths or not all(lengths):
        empty = [index for index, length in enumerate(lengths) if not length]
        where = f"rows {empty} of the batch have no token (attention_mask all 0)" if empty else "the batch has no rows"
        raise InputError(f"nothing to read: {where}")
    if cache and len(cache) != len(lengths):
        raise InputError(f"past_key_values hold {len(cache)} rows, and input_ids have {len(lengths)}")
    if arch.relative is not None and _has_holes(mask):
        raise InputError(
            "attention_mask has zeros between ones, which a model of relative distances can't read: "
            "leave those tokens out of input_ids"
        )


def _has_holes(mask: Array) -> bool:
    """Whether a row's ones are in more than one piece."""
    begins = mask[:, 1:] & ~mask[:, :-1]
    return bool((begins.sum(1) + mask[:, 0] > 1).any())


def _check_bounds(arch: Architecture, ops: Ops, batch: Packed, longest: int) -> None:
    rows = arch.positions.rows if arch.positions else 0
    lowest, highest = ops.bounds(batch.positions)
    if lowest < 0:
        raise InputError(f"position_ids go down to {lowest}, expected 0 or more")
    if rows and (longest > arch.max_length or highest >= rows):
        raise InputError(
            f"a sequence of {max(longest, arch.max_length + 1)} tokens (padding included) is over this model's limit "
            f"of {arch.max_length}: call the tokenizer with truncation=True, max_length={arch.max_length}, or use a "
            "pipeline, which reads long texts in windows"
        )
    for name, values, size in (
        ("input_ids", batch.ids, arch.vocab_size),
        ("token_type_ids", batch.types, arch.type_vocab_size),
    ):
        low, high = ops.bounds(values)
        if low < 0 or (size and high >= size):
            raise InputError(
                f"{name} range from {low} to {high}, and this model knows 0 to {size - 1}: "
                "is the tokenizer the model's own?"
            )


def decoder_inputs(model: Callee, ops: Ops, given: CallInputs) -> CallInputs:
    """What the decoder of an encoder-decoder model reads: what was given, or the labels or source, one to the right.

    Raises:
        InputError: there is nothing to read, or the configuration has no id to start with.
    """
    if given.decoder_input_ids is not None or given.decoder_inputs_embeds is not None:
        return given.for_decoder(given.decoder_input_ids, given.decoder_inputs_embeds)
    is_language_model = model.kind == "seq2seq-lm"
    wanted, name = (given.labels, "labels") if is_language_model else (given.input_ids, "input_ids")
    if wanted is None:
        raise InputError(
            "an encoder-decoder model needs decoder_input_ids (what is written so far), or labels to learn; "
            "to write text call model.generate(...)"
        )
    source, pad = ops.integers(wanted, name), model.config.get("pad_token_id", 0)
    ignored = source == -100
    source = source * ~ignored + ignored * pad
    shifted = ops.zeros_like(source)
    shifted[:, 0] = _first_tokens(model, ops, source, pad)
    shifted[:, 1:] = source[:, :-1]
    return given.for_decoder(shifted, None)


def _first_tokens(model: Callee, ops: Ops, source: Array, pad: int) -> Any:
    """What the decoder reads first: one id, or one for each row."""
    if model.head.starts_with == "last":
        last = (source != pad).sum(1) - 1
        return source[ops.rows(source), last]
    start = model.config.get("decoder_start_token_id", model.config.get("pad_token_id"))
    if start is None:
        raise InputError("the configuration has neither decoder_start_token_id nor pad_token_id to start decoding with")
    return start
