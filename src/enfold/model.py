"""What a model is whichever engine runs it: a configuration, an architecture, a head, named tensors, and its saving."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from enfold import wiring
from enfold.adapter import CallInputs, Ops, call
from enfold.arch import Architecture
from enfold.blueprint import Blueprint
from enfold.cache import Cache, Turn
from enfold.checkpoint.arrange import assemble_stored
from enfold.checkpoint.load import Loaded
from enfold.checkpoint.names import checkpoint_names, duplicate_names, locate
from enfold.checkpoint.packed import METHOD, PackedMatrices, stored_names
from enfold.checkpoint.tensors import TensorView, narrow
from enfold.config import UNTRAINED_KEY, Config
from enfold.errors import CheckpointError, InputError, UntrainedHeadError
from enfold.generation.mixin import GenerationMixin
from enfold.heads import Head, HeadKind
from enfold.leaves import Leaf, Sinusoid, computed_tensors, parameter_count, tensor_shapes
from enfold.packing import Packed, packed_like
from enfold.positions import sinusoidal_table

__all__ = ["PreTrainedModel", "initial_values", "table_of"]


class PreTrainedModel(GenerationMixin):
    """The engine-neutral half of a model; the engines' classes add tensors and arithmetic.

    Attributes:
        config: the model's configuration.
        arch: its architecture.
        kind: the head's kind.
        source: the folder it came from, or None.
    """

    engine: ClassVar[str]
    ops: ClassVar[Ops]
    training: bool = False
    config: Config
    arch: Architecture
    kind: HeadKind
    head: Head
    source: Path | None
    blueprint: Blueprint
    stored_dtype: str
    _fresh_marks: dict[str, int]
    _saved_untrained: bool

    def _adopt(self, blueprint: Blueprint, loaded: Loaded | None, source: Path | None) -> None:
        self.blueprint = blueprint
        self.config, self.arch, self.kind, self.head = blueprint.config, blueprint.arch, blueprint.kind, blueprint.head
        self.source = source
        self.stored_dtype = loaded.dtype if loaded else "float32"
        self._saved_untrained = bool(loaded and loaded.untrained)
        computed = computed_tensors(blueprint.leaves)
        self._mark_fresh(
            name
            for name in tensor_shapes(blueprint.leaves)
            if name.startswith("head.") and (loaded is None or name in loaded.fresh or name in loaded.untrained)
            if name not in computed
        )

    def _mark_fresh(self, names: Iterable[str]) -> None:
        """Remembers the values of untrained tensors, to see later whether something trained them."""
        self._fresh_marks = {name: self._mark(name) for name in names}

    @property
    def plan(self) -> wiring.Plan:
        """The leaves in the order in which they run."""
        raise NotImplementedError  # pragma: no cover - engines implement it

    def quick_plan(self, shortlist: NDArray[np.int64] | None = None) -> wiring.Plan:
        """A plan for many small passes without gradients, of the leaves as they are now.

        Args:
            shortlist: the outputs that the head computes, of its last layer; None: all.
        """
        raise NotImplementedError  # pragma: no cover - engines implement it

    def tensor(self, name: str) -> NDArray[Any]:
        """A copy-free view, where possible, of the float32 values of one of the layout's tensors."""
        raise NotImplementedError  # pragma: no cover - engines implement it

    def _mark(self, name: str) -> int:
        return zlib.crc32(np.ascontiguousarray(self.tensor(name)).tobytes())

    @property
    def untrained(self) -> tuple[str, ...]:
        """Names, as in checkpoints, of head tensors that were made fresh, none of which has changed since.

        One that changed is enough: whoever trains a classifier may leave a fresh pooler as it is.
        """
        marks = self._fresh_marks
        unchanged = all(self._mark(name) == mark for name, mark in marks.items())
        return tuple(self._checkpoint_names(marks).values()) if unchanged else ()

    def _checkpoint_names(self, names: Iterable[str]) -> dict[str, str]:
        table = checkpoint_names(self.blueprint.family, self.head, names)
        return {ours: self._prefixed(theirs) for ours, theirs in table.items()}

    def _prefixed(self, name: str) -> str:
        """A canonical name as files of this head have it: with the base model's prefix, or bare."""
        prefix = self.head.prefix or self.blueprint.family.prefix
        bare = self.kind in ("base", "encoder") or not prefix
        return name.replace("@", "" if bare else f"{prefix}.")

    def require_trained(self) -> None:
        """Raises UntrainedHeadError where the head was made fresh and nothing has trained it since."""
        untrained = self.untrained
        if untrained:
            saved_so = f"the checkpoint {self.source} was saved before its head was trained"
            lacking = f"the checkpoint {self.source} has no such head" if self.source else "it was not loaded"
            origin = saved_so if self._saved_untrained else lacking
            raise UntrainedHeadError(
                f"this {self.blueprint.class_name} can't answer: its head ({', '.join(untrained)}) was made fresh, "
                f"because {origin}, and was never trained. Train it (labels=…, outputs.loss.backward(), an "
                "optimizer's step, model.save_pretrained(folder)), or name a checkpoint that was trained for this task"
            )

    @property
    def num_labels(self) -> int:
        """Width of outputs that depend on the labels."""
        return self.config.num_labels

    def num_parameters(self) -> int:
        """Numbers that the model's tensors hold; tied ones count once."""
        return parameter_count(self.blueprint.leaves)

    def get_memory_footprint(self) -> int:
        """Bytes that the tensors take as the model computes with them, those in mapped files included."""
        raise NotImplementedError  # pragma: no cover - engines implement it

    def run(
        self,
        batch: Packed,
        *,
        fields: Sequence[str] = (),
        tokens: NDArray[np.int64] | None = None,
        source: Packed | None = None,
        turn: Turn | None = None,
        plan: wiring.Plan | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Inference over a packed batch of numpy arrays, without padding; what tasks and generation use.

        Args:
            batch: from :func:`enfold.packing.pack`.
            fields: what is wanted: ``"last_hidden_state"`` (T, D) and the head's fields, (B, …) or (T, …).
                Empty: the head's fields.
            tokens: restricts the head's (T, …) fields to these tokens of the batch, (N, …).
            source: what the encoder of an encoder-decoder model reads. Without it, and without a cache that remembers
                it, the encoder reads ``batch`` and the decoder the same, one to the right; where hidden states alone
                are wanted they are the encoder's, unless the reference has the decoder read them, too (BART).
            turn: what this pass does with a cache.
            plan: :attr:`plan`, where many passes follow each other.
        """
        raise NotImplementedError  # pragma: no cover - engines implement it

    def inference(self) -> AbstractContextManager[None]:
        """Where :meth:`forward` only answers: no dropout, and nothing is kept for gradients."""
        return nullcontext()

    def remember(self, source: Packed, cache: Cache, *, plan: wiring.Plan | None = None) -> None:
        """Runs the encoder over ``source`` and adds what it gives to the cache, for the decoder to attend to."""
        raise NotImplementedError  # pragma: no cover - engines implement it

    def new_cache(self, *, quantized: bool = False) -> Cache:
        """An empty cache for this model's decoder.

        Args:
            quantized: keys and values as bytes, with a scale for each.

        Raises:
            InputError: this engine has no such cache.
        """
        raise NotImplementedError  # pragma: no cover - engines implement it

    def _run(
        self,
        plan: wiring.Plan,
        batch: Packed,
        fields: Sequence[str],
        tokens: Any,
        source: Packed | None,
        turn: Turn | None,
    ) -> dict[str, Any]:
        memory = None
        if plan.encoder and turn is None:
            if source is None and tuple(fields) == ("last_hidden_state",) and not self.blueprint.family.rereads:
                return {"last_hidden_state": wiring.encode(plan.encoder, batch)}
            if source is None:
                source, batch = batch, self._shifted(batch)
            memory = wiring.Memory(wiring.encode(plan.encoder, source), source.spans)
        hidden = wiring.encode(plan, batch, memory=memory, turn=turn)
        head = [branch.field for branch in self.head.branches]
        wanted = fields or head
        outputs = wiring.run_head(plan, hidden, batch, tokens) if set(wanted) & set(head) else {}
        if "last_hidden_state" in wanted:
            outputs["last_hidden_state"] = hidden
        return {name: outputs[name] for name in wanted}

    def _remember(self, plan: wiring.Plan, source: Packed, cache: Cache) -> None:
        assert plan.encoder is not None, "only an encoder-decoder model remembers sources"
        wiring.remember(plan, wiring.Memory(wiring.encode(plan.encoder, source), source.spans), cache)

    def _shifted(self, batch: Packed) -> Packed:
        """What a decoder reads to classify a source: the source itself, one token to the right.

        A head that selects the last token reads where the source's last end-of-sequence token stands.
        """
        ids = self.ops.zeros_like(batch.ids)
        ids[1:] = batch.ids[:-1]
        wraps = self.head.starts_with == "last"
        ids[batch.starts[:-1]] = batch.ids[batch.starts[1:] - 1] if wraps else self.config.decoder_start_token_id
        end = self.config.eos_token_id
        last = [stop - 1 - _from_end(batch.ids[start:stop].tolist(), end) for start, stop in batch.spans]
        return replace(packed_like(self.arch, ids, batch), last=self.ops.integers(last, "last tokens"))

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        inputs_embeds: Any = None,
        labels: Any = None,
        next_sentence_label: Any = None,
        sentence_order_label: Any = None,
        start_positions: Any = None,
        end_positions: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        decoder_inputs_embeds: Any = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """One forward pass of padded inputs, with the arguments and fields that the field knows.

        Args:
            input_ids: (B, S); for multiple choice (B, C, S).
            attention_mask: (B, S), 0 where there is padding; all 1 where absent.
            token_type_ids: (B, S); all 0 where absent.
            position_ids: (B, S) or (1, S), instead of counting.
            inputs_embeds: (B, S, D) instead of ``input_ids``.
            labels: what the head is trained for; -100 is ignored.
            next_sentence_label: (B,), for pretraining heads.
            sentence_order_label: what ALBERT calls it.
            start_positions: (B,), for question answering.
            end_positions: (B,), likewise.
            decoder_input_ids: (B, S'), what the decoder of an encoder-decoder model has written; made of ``labels``
                where absent.
            decoder_attention_mask: (B, S'), likewise.
            decoder_inputs_embeds: (B, S', D) instead of ``decoder_input_ids``.
            encoder_outputs: what the encoder gave before, its last states (B, S, D) first, instead of running it.
            past_key_values: the cache that an earlier call returned; ``input_ids`` are then the tokens that follow.
            use_cache: adds ``past_key_values``; by default while not training and without labels, as the configuration
                says.
            output_attentions: adds ``attentions``, a (B, H, S, S) per layer.
            output_hidden_states: adds ``hidden_states``, a (B, S, D) per layer and one before.
            return_dict: False gives a tuple.

        Raises:
            InputError: shapes, ids, positions or labels that don't fit.
        """
        inputs = CallInputs(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            labels=labels,
            next_sentence_label=sentence_order_label if next_sentence_label is None else next_sentence_label,
            start_positions=start_positions,
            end_positions=end_positions,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            decoder_inputs_embeds=decoder_inputs_embeds,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            use_cache=_either(use_cache, self._caches_unasked and labels is None and start_positions is None),
            output_attentions=_either(output_attentions, self.config.output_attentions),
            output_hidden_states=_either(output_hidden_states, self.config.output_hidden_states),
        )
        output = call(self, self.ops, inputs)
        return output if _either(return_dict, self.config.return_dict) else output.to_tuple()

    @property
    def _caches_unasked(self) -> bool:
        """Whether a call hands back its cache without being asked to, as the reference does."""
        writes = self.arch.encoder or self.kind in ("base", "causal-lm", "sequence-classification")
        return self.arch.causal and bool(writes) and not self.training and bool(self.config.get("use_cache", True))

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        max_shard_size: int | str = "5GB",
        dtype: Literal["stored", "float32", "float16", "bfloat16"] = "stored",
    ) -> None:
        """Writes config.json and model.safetensors as ``transformers`` reads them; all of it or nothing.

        A model that writes text brings its generation_config.json along.

        A model that the CPU engine holds in int8, int4 or blocks is saved so, for this engine alone.

        Args:
            folder: made where it is missing.
            max_shard_size: bytes, or a text such as ``"2GB"``; a larger model is written in shards with an index.
            dtype: the type to store, by default the one that the checkpoint was stored in, as long as it holds every
                value exactly, and float32 otherwise.

        Raises:
            CheckpointError: parameters were added to the model that its layout does not know.
        """
        from enfold.checkpoint.files import atomic_folder
        from enfold.checkpoint.safetensors import write_sharded

        unknown = self.unknown_parameters()
        if unknown:
            raise CheckpointError(
                f"this model has parameters that no {self.blueprint.class_name} has and that would be lost: "
                f"{', '.join(unknown)}. Save them from model.state_dict(), or keep them in a module of their own"
            )
        kept: Any = self._lossless_dtype() if dtype == "stored" else dtype
        compute, packed, without = self._packed_matrices()
        tensors = {name: (array, kept) for name, array in self._stored_tensors(without)}
        tensors |= {name: (array, array.dtype.name) for name, array in stored_names(packed).items()}
        config = self.config.updated(architectures=[self.blueprint.class_name], dtype=kept)
        if packed or "quantization_config" in config:
            quantization = {"quant_method": METHOD, "compute": compute} if packed else None
            config = config.updated(quantization_config=quantization)
        config = config.updated(**{UNTRAINED_KEY: list(self.untrained) or None})
        config = config.updated(torch_dtype=None) if "torch_dtype" in config else config
        with atomic_folder(folder, replaces=("model*.safetensors", "model.safetensors.index.json")) as aside:
            write_sharded(aside, tensors, max_shard_size=max_shard_size)
            config.save_pretrained(aside)
            if self.kind in ("causal-lm", "seq2seq-lm"):
                self.generation_config.save_pretrained(aside)

    def _packed_matrices(self) -> tuple[str, PackedMatrices, Collection[str]]:
        """How the model computes, the matrices to be saved in that form, and the tensors that aren't needed besides."""
        return "float32", {}, ()

    def _stored_tensors(self, without: Collection[str] = ()) -> Iterator[tuple[str, NDArray[Any]]]:
        """Checkpoint names and arrays, arranged as files have them, but for those ``without``, by our names."""
        family, head = self.blueprint.family, self.head
        owned = tensor_shapes(self.blueprint.leaves)
        kept = [name for name in owned if name.rpartition(".")[0] not in head.omits and name not in without]
        groups: dict[str, dict[int, str]] = {}
        places = locate(family, head, kept)
        for ours, place in places.items():
            groups.setdefault(place.name, {})[place.part] = ours
        for theirs, parts in groups.items():
            arrays = {part: self.tensor(ours) for part, ours in parts.items()}
            yield self._prefixed(theirs), assemble_stored(arrays, places[parts[0]], self.arch.num_heads)
        for theirs, ours in duplicate_names(family, head, owned).items():
            if ours not in without:
                yield self._prefixed(theirs), self.tensor(ours)

    def unknown_parameters(self) -> list[str]:
        """Parameters that were added to the model and are not in its layout."""
        return []

    def _lossless_dtype(self) -> str:
        """The type the checkpoint was stored in, or float32 where training made values that it can't hold."""
        stored: Any = self.stored_dtype
        if stored not in ("float16", "bfloat16"):
            return self.stored_dtype
        for name in tensor_shapes(self.blueprint.leaves):
            values = self.tensor(name)
            try:
                bits = narrow(values, stored)
            except InputError:  # too large for it
                return "float32"
            if not np.array_equal(TensorView(name, stored, values.shape, bits).numpy(), values):
                return "float32"
        return self.stored_dtype


def _from_end(tokens: list[int], wanted: int) -> int:
    """How far from the end of a text its last ``wanted`` token stands; 0 where there is none."""
    return tokens[::-1].index(wanted) if wanted in tokens else 0


def _either(given: bool | None, configured: bool) -> bool:
    return configured if given is None else given


def initial_values(suffix: str, ndim: int) -> Literal["normal", "zeros", "ones"]:
    """How a fresh tensor is filled: matrices normal, biases and running means zero, norms and running variances one."""
    if suffix in ("bias", "running_mean"):
        return "zeros"
    return "normal" if ndim > 1 else "ones"


def table_of(leaf: Leaf) -> NDArray[np.float32] | None:
    """What a fresh leaf's weight holds where a formula fills it."""
    return sinusoidal_table(leaf.positions, leaf.width) if isinstance(leaf, Sinusoid) else None
