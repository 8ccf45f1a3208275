"""One forward pass of padded inputs; the same for every engine and every head.

An encoder-decoder model is called in the same way: its encoder's batch is packed, then its decoder's, and the fields
of both are handed back under the field's names.
"""

from __future__ import annotations

from contextlib import nullcontext

from enfold import wiring
from enfold.adapter.inputs import CallInputs, decoder_inputs, flatten_choices, packed
from enfold.adapter.losses import loss_of
from enfold.adapter.ops import Array, Callee, Ops
from enfold.cache import Cache, Turn
from enfold.errors import InputError
from enfold.outputs import ModelOutput
from enfold.packing import Packed, spans_of

__all__ = ["call"]


class _Collecting(wiring.Trace):
    def __init__(self, given: CallInputs) -> None:
        self.attentions = given.output_attentions
        self.states: list[Array] = []
        self.own: list[list[Array]] = []
        self.cross: list[list[Array]] = []

    def hidden(self, states: Array) -> None:
        self.states.append(states)

    def attention(self, probabilities: list[Array] | None, *, cross: bool) -> None:
        if probabilities is not None:
            (self.cross if cross else self.own).append(probabilities)

    def shown(self, ops: Ops, given: CallInputs, prefix: str, mask: Array) -> ModelOutput:
        """What was asked for, padded; names begin with ``prefix``."""
        result = ModelOutput()
        if given.output_hidden_states:
            result[f"{prefix}hidden_states"] = tuple(ops.scatter(states, mask, 0.0) for states in self.states)
        if given.output_attentions:
            result[f"{prefix}attentions"] = tuple(ops.pad_attentions(rows, mask, mask) for rows in self.own)
        return result


def call(model: Callee, ops: Ops, given: CallInputs) -> ModelOutput:
    """One forward pass of padded inputs.

    Args:
        model: whose plan is run.
        ops: its engine's.
        given: ids (B, S), or (B, C, S) for multiple choice, and what goes with them.

    Returns:
        ``loss`` where labels were given, the head's fields, ``past_key_values``, ``hidden_states`` and ``attentions``
        where asked for.

    Raises:
        InputError: shapes, ids, positions or labels that don't fit; the message says which.
    """
    _check_past(model, given)
    past = given.past_key_values
    with past.undone_on_failure() if past is not None else nullcontext():
        return (_call_both if model.arch.encoder else _call_one)(model, ops, given)


def _call_one(model: Callee, ops: Ops, given: CallInputs) -> ModelOutput:
    choices = 0
    if model.kind == "multiple-choice":
        given, choices = flatten_choices(ops, given)
    batch, mask = packed(model.arch, ops, given)
    trace = _Collecting(given)
    cache, turn = _turn(model, given, batch, mask)
    plan = model.plan
    hidden = wiring.encode(plan, batch, trace if _wanted(given) else wiring.NO_TRACE, turn=turn)
    result = _result(model, ops, given, plan, hidden, batch, mask, choices, cache)
    result.update(trace.shown(ops, given, "", mask))
    return result


def _call_both(model: Callee, ops: Ops, given: CallInputs) -> ModelOutput:
    """Encoder, then decoder; with a cache that remembers the source, the decoder alone."""
    plan, past = model.plan, given.past_key_values
    assert plan.encoder is not None and model.arch.encoder is not None
    encoded, encoder_trace, memory, source_mask = None, _Collecting(given), None, None
    decoder = decoder_inputs(model, ops, given)
    if past is None or not past.sources:
        encoded, memory, source_mask = _encoded(model, ops, given, plan.encoder, encoder_trace)
    batch, mask = packed(model.arch, ops, decoder)
    if memory is not None and len(memory.spans) != len(batch.spans):
        raise InputError(f"there are {len(memory.spans)} rows for the encoder and {len(batch.spans)} for the decoder")
    if model.kind == "sequence-classification":
        batch = _read_at_end(model, ops, given, batch, mask)
    cache = past if past is not None else model.new_cache() if given.use_cache else None
    turn = None
    if cache is not None:
        if memory is not None:
            wiring.remember(plan, memory, cache)
        cache, turn = _turn(model, given, batch, mask, cache)
    trace = _Collecting(given)
    stored = turn is not None and not model.training
    hidden = wiring.encode(
        plan,
        batch,
        trace if _wanted(given) else wiring.NO_TRACE,
        memory=None if stored else memory,
        turn=turn,
    )
    result = _result(model, ops, given, plan, hidden, batch, mask, 0, cache)
    result.update(trace.shown(ops, given, "decoder_", mask))
    if given.output_attentions and source_mask is not None:
        result["cross_attentions"] = tuple(ops.pad_attentions(rows, mask, source_mask) for rows in trace.cross)
    if encoded is not None:
        result["encoder_last_hidden_state"] = encoded
        if encoder_trace.states:
            result.update(encoder_trace.shown(ops, given, "encoder_", source_mask))
    return result


def _encoded(
    model: Callee, ops: Ops, given: CallInputs, plan: wiring.Plan, trace: _Collecting
) -> tuple[Array, wiring.Memory, Array]:
    """The encoder's last states padded (B, S, D), the same as a memory, and the source's mask."""
    assert model.arch.encoder is not None
    if given.encoder_outputs is not None:
        states = given.encoder_outputs[0]
        mask = ops.mask(given.attention_mask, ops.integers(ops.zeros_like(states[..., 0]), "encoder_outputs"))
        return states, wiring.Memory(states[mask], spans_of(ops.lengths(mask))), mask
    batch, mask = packed(model.arch.encoder, ops, given)
    hidden = wiring.encode(plan, batch, trace if _wanted(given) else wiring.NO_TRACE)
    return ops.scatter(hidden, mask, 0.0), wiring.Memory(hidden, batch.spans), mask


def _wanted(given: CallInputs) -> bool:
    return given.output_attentions or given.output_hidden_states


def _check_past(model: Callee, given: CallInputs) -> None:
    if given.past_key_values is None:
        return
    if not model.arch.causal:
        raise InputError(f"past_key_values were given, and a {model.config.model_type} model has no cache")
    if not isinstance(given.past_key_values, Cache):
        raise InputError(
            f"past_key_values are a {type(given.past_key_values).__name__}, expected what an earlier call of this "
            "model returned as outputs.past_key_values"
        )


def _turn(
    model: Callee, given: CallInputs, batch: Packed, mask: Array, cache: Cache | None = None
) -> tuple[Cache | None, Turn | None]:
    """The cache that this pass reads and fills, where one was given or asked for, and its part in it."""
    cache = cache if cache is not None else given.past_key_values
    if cache is None and not (given.use_cache and model.arch.causal):
        return None, None
    cache = cache if cache is not None else model.new_cache()
    if not len(cache):
        cache.add(len(batch.spans))
    cache.columns += mask.shape[1]
    return cache, cache.turn(range(len(cache)), [end - begin for begin, end in batch.spans])


def _read_at_end(model: Callee, ops: Ops, given: CallInputs, batch: Packed, mask: Array) -> Packed:
    """A classifier of an encoder-decoder reads where the source's last end-of-sequence token stands."""
    from dataclasses import replace

    if given.input_ids is None:
        raise InputError("a classifier of an encoder-decoder model finds the end of the text in input_ids: give them")
    ids = ops.integers(given.input_ids, "input_ids")
    ends = ids == model.config.eos_token_id
    if tuple(ends.shape) != tuple(mask.shape) or not bool(ends.any(1).all()):
        raise InputError(
            f"each text must end with the end-of-sequence token ({model.config.eos_token_id}): the tokenizer adds it"
        )
    columns = ops.rows(ends.T)
    return replace(batch, last=batch.starts[:-1] + (ends * columns).argmax(1))


def _result(
    model: Callee,
    ops: Ops,
    given: CallInputs,
    plan: wiring.Plan,
    hidden: Array,
    batch: Packed,
    mask: Array,
    choices: int,
    cache: Cache | None,
) -> ModelOutput:
    fields = wiring.run_head(plan, hidden, batch)
    outputs = _fields(model, ops, hidden, fields, mask, choices)
    result = ModelOutput()
    loss = loss_of(model, ops, outputs, mask, given)
    if loss is not None:
        result["loss"] = loss
    result.update(outputs)
    if cache is not None and given.use_cache:
        result["past_key_values"] = cache
    return result


def _fields(
    model: Callee, ops: Ops, hidden: Array, fields: dict[str, Array], mask: Array, choices: int
) -> dict[str, Array]:
    padded: dict[str, Array] = {}
    if model.kind in ("base", "encoder"):
        padded["last_hidden_state"] = ops.scatter(hidden, mask, 0.0)
    for branch in model.head.branches:
        values = fields[branch.field]
        if branch.select != "tokens":
            padded[branch.field] = values.reshape(-1, choices) if choices else values
        elif model.kind == "question-answering":
            padded["start_logits"] = ops.scatter(values[:, 0], mask, ops.lowest(values))
            padded["end_logits"] = ops.scatter(values[:, 1], mask, ops.lowest(values))
        else:
            padded[branch.field] = ops.scatter(values, mask, 0.0)
    return padded
