"""What a transformer is: one frozen value that a family's ``translate`` makes from a config.json.

Nothing here knows a family, an engine or a file. A field stands here only because a public checkpoint needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from enfold.errors import ConfigError

__all__ = [
    "Activation",
    "Architecture",
    "Disentangled",
    "Dropout",
    "LearnedPositions",
    "NormPlacement",
    "Relative",
    "RelativeBias",
]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
NormPlacement = Literal["after", "before"]


@dataclass(frozen=True, kw_only=True)
class LearnedPositions:
    """A learned vector per position, added to the word's.

    ``rows`` is the size of the table. ``counted_from`` is None where position is simply the index in the row
    (BERT); otherwise it is the padding id: positions start one above it, count only what is not that id, and the
    id itself has its own row (RoBERTa, fairseq).
    """

    rows: int
    counted_from: int | None = None

    @property
    def max_length(self) -> int:
        """Tokens that a sequence may have."""
        return self.rows if self.counted_from is None else self.rows - self.counted_from - 1


@dataclass(frozen=True, kw_only=True)
class RelativeBias:
    """A learned number per head and distance bucket, added to attention scores; one table for all layers.

    Half of ``buckets`` is for keys after the query; small distances have a bucket each, larger ones share
    logarithmically up to ``max_distance`` (T5, https://arxiv.org/abs/1910.10683; MPNet).
    """

    buckets: int
    max_distance: int


@dataclass(frozen=True, kw_only=True)
class Disentangled:
    """Attention between contents and relative positions (DeBERTa, https://arxiv.org/abs/2006.03654).

    ``span`` distances on each side have a vector; with ``max_distance`` distances beyond ``span / 2`` share
    vectors logarithmically (v2, v3), without it they are clipped. ``shared`` says that positions are projected by
    the layer's own query and key. ``normed`` puts a layer norm on the vectors.
    """

    span: int
    max_distance: int | None
    content_to_position: bool
    position_to_content: bool
    shared: bool
    normed: bool


Relative = RelativeBias | Disentangled


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Probabilities of dropping, while training only.

    ``attention`` falls on attention's probabilities, ``attention_output`` and ``feed_forward`` on what a sublayer adds
    to the residual stream.
    """

    embeddings: float = 0.0
    attention: float = 0.0
    attention_output: float = 0.0
    feed_forward: float = 0.0
    head: float = 0.0

    @classmethod
    def of(cls, hidden: float, *, attention: float, head: float) -> Dropout:
        """One rate for all hidden states, as most families have it."""
        return cls(embeddings=hidden, attention=attention, attention_output=hidden, feed_forward=hidden, head=head)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A transformer encoder, complete but for its head.

    ``layer_order[i]`` is the stored layer that runs at depth ``i``: ``(0, 1, 2)`` for three layers,
    ``(0, 0, 0)`` where one is shared (ALBERT). ``embedding_size`` differs from ``hidden_size`` where embeddings are
    factorised (ELECTRA, ALBERT): a projection follows them.
    """

    vocab_size: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    layer_order: tuple[int, ...]
    max_length: int
    embedding_size: int = 0
    type_vocab_size: int = 0
    pad_token_id: int | None = None
    activation: Activation = "gelu"
    positions: LearnedPositions | None = None
    relative: Relative | None = None
    norm_eps: float = 1e-12
    norm_placement: NormPlacement = "after"
    tied_output: bool = True
    initializer_range: float = 0.02
    dropout: Dropout = field(default_factory=Dropout)

    def __post_init__(self) -> None:
        if not self.embedding_size:
            object.__setattr__(self, "embedding_size", self.hidden_size)
        self.validate()

    @property
    def num_layers(self) -> int:
        """Layers that run."""
        return len(self.layer_order)

    @property
    def stored_layers(self) -> int:
        """Layers that have weights of their own."""
        return max(self.layer_order, default=-1) + 1

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    def validate(self) -> None:
        """Raises ConfigError that lists every problem at once."""
        problems = [
            f"{name} is {getattr(self, name)}, expected a positive number"
            for name in ("vocab_size", "hidden_size", "num_heads", "intermediate_size", "embedding_size", "max_length")
            if getattr(self, name) <= 0
        ]
        if not problems and self.hidden_size % self.num_heads:
            problems.append(
                f"hidden_size {self.hidden_size} is not a multiple of the number of attention heads {self.num_heads}"
            )
        if self.type_vocab_size < 0:
            problems.append(f"type_vocab_size is {self.type_vocab_size}, expected 0 or more")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            problems.append(f"pad_token_id {self.pad_token_id} is outside the vocabulary of {self.vocab_size}")
        if self.norm_eps <= 0:
            problems.append(f"the norm's epsilon is {self.norm_eps}, expected more than 0")
        for name in Dropout.__dataclass_fields__:
            rate = getattr(self.dropout, name)
            if not 0 <= rate < 1:
                problems.append(f"{name} dropout is {rate}, expected 0 or more and less than 1")
        if set(self.layer_order) != set(range(self.stored_layers)):
            problems.append(f"layer_order {self.layer_order} leaves stored layers unused")
        if self.norm_placement == "before" and len(set(self.layer_order)) != len(self.layer_order):
            problems.append("layers can't be shared where norms come before sublayers")
        if problems:
            raise ConfigError("this configuration describes no model that can be built:\n  " + "\n  ".join(problems))
