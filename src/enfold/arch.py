"""What a transformer is: one frozen value that a family's ``translate`` makes from a config.json.

Nothing here knows a family, an engine or a file. A field stands here only because a public checkpoint needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from enfold.errors import ConfigError

__all__ = [
    "Activation",
    "Architecture",
    "Biases",
    "Disentangled",
    "Dropout",
    "LearnedPositions",
    "NormKind",
    "NormPlacement",
    "Positions",
    "Relative",
    "RelativeBias",
    "Rotary",
    "RotaryScaling",
    "Scales",
    "SinusoidalPositions",
]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
NormKind = Literal["layer", "rms", "batch"]
"""``batch`` is batch normalisation (https://arxiv.org/abs/1502.03167) over a packed batch's tokens, without padding."""
NormPlacement = Literal["after", "before", "parallel"]


@dataclass(frozen=True, kw_only=True)
class LearnedPositions:
    """A learned vector per position, added to the word's.

    ``rows`` is the size of the table. ``counted_from`` is None where position is simply the index in the row
    (BERT), plus ``offset`` where the first rows are never used (BART: 2); otherwise it is the padding id: positions
    start one above it, count only what is not that id, and the id itself has its own row (RoBERTa, fairseq).
    """

    rows: int
    counted_from: int | None = None
    offset: int = 0

    @property
    def max_length(self) -> int:
        """Tokens that a sequence may have."""
        return self.rows - self.offset if self.counted_from is None else self.rows - self.counted_from - 1


@dataclass(frozen=True, kw_only=True)
class SinusoidalPositions:
    """A fixed vector per position: sines of falling frequencies, then their cosines.

    Section 3.5 of https://arxiv.org/abs/1706.03762. ``counted_from`` and ``offset`` are as for learned positions; the
    row of the padding id is zero. ``last_frequency`` says which frequency the last column has: 1 / 10000 itself
    (tensor2tensor, M2M100) or the one before it (Marian, Pegasus). ``stored`` says that checkpoints may hold the table.
    """

    rows: int
    counted_from: int | None = None
    offset: int = 0
    last_frequency: Literal["included", "excluded"] = "excluded"
    stored: bool = False

    max_length = LearnedPositions.max_length


Positions = LearnedPositions | SinusoidalPositions


@dataclass(frozen=True, kw_only=True)
class RelativeBias:
    """A learned number per head and distance bucket, added to attention scores; one table for all layers.

    Half of ``buckets`` is for keys after the query, none where attention is ``causal``; small distances have a
    bucket each, larger ones share logarithmically up to ``max_distance`` (T5, https://arxiv.org/abs/1910.10683; MPNet).
    """

    buckets: int
    max_distance: int
    causal: bool = False


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


@dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How rotary frequencies are changed to reach beyond the length that a model was trained on.

    ``linear`` divides all frequencies by ``factor``; ``dynamic`` raises the base with the sequence's length; ``yarn``
    (https://arxiv.org/abs/2309.00071) divides the slow ones, between ``beta_fast`` and ``beta_slow`` turns within
    ``original_length`` gradually; ``llama3`` likewise between ``high`` and ``low`` frequency factors; ``longrope``
    (https://arxiv.org/abs/2402.13753) divides each by its own ``short`` factor or, beyond ``original_length``, by its
    ``long`` one. ``attention_factor`` multiplies queries and keys.
    """

    kind: Literal["linear", "dynamic", "yarn", "llama3", "longrope"]
    factor: float = 1.0
    original_length: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    whole_turns: bool = True
    low: float = 1.0
    high: float = 4.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys turned by an angle that grows with position (https://arxiv.org/abs/2104.09864).

    The first ``size`` numbers of each head are turned, number ``i`` together with ``i + size / 2``; the rest stay.
    """

    size: int
    base: float = 10000.0
    scaling: RotaryScaling | None = None


Relative = RelativeBias | Disentangled | Rotary


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Probabilities of dropping, while training only.

    ``attention`` falls on attention's probabilities, ``attention_output`` and ``feed_forward`` on what a sublayer adds
    to the residual stream, ``activation`` inside the feed-forward, ``final`` on what leaves the last norm.
    """

    embeddings: float = 0.0
    attention: float = 0.0
    attention_output: float = 0.0
    feed_forward: float = 0.0
    head: float = 0.0
    activation: float = 0.0
    final: float = 0.0

    @classmethod
    def of(cls, hidden: float, *, attention: float, head: float) -> Dropout:
        """One rate for all hidden states, as most families have it."""
        return cls(embeddings=hidden, attention=attention, attention_output=hidden, feed_forward=hidden, head=head)


@dataclass(frozen=True, kw_only=True)
class Biases:
    """Which linear layers add a bias: the projections of attention, its output, the feed-forward's."""

    project: bool = True
    output: bool = True
    feed_forward: bool = True


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What word embeddings, attention scores and the states that enter a tied output are multiplied by.

    ``attention`` None is 1 / √head_size.
    """

    embeddings: float = 1.0
    attention: float | None = None
    output: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A stack of transformer layers, complete but for its head.

    ``layer_order[i]`` is the stored layer that runs at depth ``i``: ``(0, 1, 2)`` for three layers,
    ``(0, 0, 0)`` where one is shared (ALBERT). ``embedding_size`` differs from ``hidden_size`` where embeddings are
    factorised (ELECTRA, ALBERT): a projection follows them. ``windows[i]`` is how many tokens back the layer at depth
    ``i`` sees, itself included, or None for all. ``head_norm`` puts a norm on each head's queries and keys.

    With an ``encoder`` this stack is a decoder: each layer also attends to what the encoder made of its own tokens.
    ``shares_words`` says of an encoder that its word embeddings are the decoder's.

    Where ``norm`` is ``"batch"``, heads have layer norms: they are run over as many tokens as somebody asks for.
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
    gated: bool = False
    biases: Biases = field(default_factory=Biases)
    positions: Positions | None = None
    relative: Relative | None = None
    causal: bool = False
    windows: tuple[int | None, ...] = ()
    kv_heads: int = 0
    head_size: int = 0
    head_norm: bool = False
    scales: Scales = field(default_factory=Scales)
    embedding_norm: bool = True
    norm: NormKind = "layer"
    norm_eps: float = 1e-12
    norm_placement: NormPlacement = "after"
    tied_output: bool = True
    initializer_range: float = 0.02
    dropout: Dropout = field(default_factory=Dropout)
    encoder: Architecture | None = None
    shares_words: bool = False

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not self.embedding_size:
            set_(self, "embedding_size", self.hidden_size)
        if not self.kv_heads:
            set_(self, "kv_heads", self.num_heads)
        if not self.head_size and self.num_heads > 0:
            set_(self, "head_size", self.hidden_size // self.num_heads)
            if self.hidden_size != self.head_size * self.num_heads:
                raise ConfigError(
                    f"hidden_size {self.hidden_size} is not a multiple of the number of attention heads "
                    f"{self.num_heads}"
                )
        if not self.windows:
            set_(self, "windows", (None,) * len(self.layer_order))
        self.validate()

    @property
    def num_layers(self) -> int:
        """Layers that run."""
        return len(self.layer_order)

    @property
    def stored_layers(self) -> int:
        """Layers that have weights of their own."""
        return max(self.layer_order, default=-1) + 1

    def validate(self) -> None:
        """Raises ConfigError that lists every problem at once."""
        problems = [*self._wrong_sizes(), *self._wrong_choices()]
        if problems:
            raise ConfigError("this configuration describes no model that can be built:\n  " + "\n  ".join(problems))

    def _wrong_sizes(self) -> Iterator[str]:
        positive = ("vocab_size", "hidden_size", "num_heads", "intermediate_size", "embedding_size", "max_length")
        for name in (*positive, "kv_heads", "head_size"):
            if getattr(self, name) <= 0:
                yield f"{name} is {getattr(self, name)}, expected a positive number"
        if self.kv_heads > 0 and self.num_heads % self.kv_heads:
            yield (
                f"{self.num_heads} attention heads can't share {self.kv_heads} key-value heads evenly: "
                "num_attention_heads must be a multiple of num_key_value_heads"
            )
        if self.type_vocab_size < 0:
            yield f"type_vocab_size is {self.type_vocab_size}, expected 0 or more"
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            yield f"pad_token_id {self.pad_token_id} is outside the vocabulary of {self.vocab_size}"
        if len(self.windows) != len(self.layer_order) or any(size is not None and size < 1 for size in self.windows):
            yield f"windows are {self.windows}, expected None or a positive number for each layer"
        if isinstance(self.relative, Rotary) and (
            self.relative.size % 2 or not 0 < self.relative.size <= self.head_size
        ):
            yield f"{self.relative.size} numbers of a head are rotated, expected an even number up to {self.head_size}"

    def _wrong_choices(self) -> Iterator[str]:
        if self.norm_eps <= 0:
            yield f"the norm's epsilon is {self.norm_eps}, expected more than 0"
        for name in Dropout.__dataclass_fields__:
            rate = getattr(self.dropout, name)
            if not 0 <= rate < 1:
                yield f"{name} dropout is {rate}, expected 0 or more and less than 1"
        if set(self.layer_order) != set(range(self.stored_layers)):
            yield f"layer_order {self.layer_order} leaves stored layers unused"
        if self.norm_placement != "after" and len(set(self.layer_order)) != len(self.layer_order):
            yield "layers can't be shared where norms come before sublayers"
        if self.norm == "batch" and self.head_norm:
            yield "a batch norm of queries and keys was never trained: use a layer or rms norm with head_norm"
        if self.encoder and self.norm_placement == "parallel":
            yield "a parallel block has no place for attention to an encoder"
