"""T5 (https://arxiv.org/abs/1910.10683), T5 1.1, Flan-T5 and mT5 (https://arxiv.org/abs/2010.11934)."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, Biases, Dropout, RelativeBias, Scales
from enfold.config import Config
from enfold.errors import ConfigError
from enfold.families.bart import CLASSIFIED
from enfold.families.base import Family, Names, activation, depth, sibling
from enfold.heads import Branch, Head, HeadKind

_ACTIVATIONS = {"gated-gelu": "gelu_new"}
"""``feed_forward_proj`` where it is not simply ``gated-`` and the activation."""


def translate(config: Config) -> Architecture:
    """Encoder and decoder with a bias table each; attention is not scaled, but what enters a tied output is.

    The padding id is a word like any other: decoders start with it.
    """
    decoder, encoder = _stack(config, causal=True), _stack(config, causal=False)
    scaled = config.get("scale_decoder_outputs", config.tie_word_embeddings)
    scales = replace(decoder.scales, output=config.d_model**-0.5 if scaled else 1.0)
    return replace(decoder, scales=scales, encoder=replace(encoder, shares_words=True))


def unscaled(config: Config) -> Architecture:
    """mT5: T5 1.1, whose output is never scaled."""
    arch = translate(config)
    return replace(arch, scales=replace(arch.scales, output=1.0))


def _stack(config: Config, *, causal: bool) -> Architecture:
    layers = "num_decoder_layers" if causal and config.num_decoder_layers is not None else "num_layers"
    given = config.feed_forward_proj
    own = config.updated(feed_forward_proj=_ACTIVATIONS.get(given, given.removeprefix("gated-")))
    buckets, rate = config.relative_attention_num_buckets, config.dropout_rate
    if buckets < 4:
        raise ConfigError(f"relative_attention_num_buckets is {buckets}, expected 4 or more")
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_heads=config.num_heads,
        head_size=config.d_kv,
        intermediate_size=config.d_ff,
        layer_order=tuple(range(depth(config, layers))),
        max_length=config.get("n_positions", 512),
        activation=activation(own, "feed_forward_proj"),
        gated=given.startswith("gated-"),
        biases=Biases(project=False, output=False, feed_forward=False),
        relative=RelativeBias(buckets=buckets, max_distance=config.relative_attention_max_distance, causal=causal),
        causal=causal,
        scales=Scales(attention=1.0),
        embedding_norm=False,
        norm="rms",
        norm_eps=config.layer_norm_epsilon,
        norm_placement="before",
        tied_output=config.tie_word_embeddings,
        dropout=replace(Dropout.of(rate, attention=rate, head=config.classifier_dropout), activation=rate, final=rate),
    )


def _of_stack(ours: str, side: str, *sublayers: tuple[str, str]) -> Names:
    """The rows of one stack, whose sublayers are numbered in checkpoints."""
    rows: Names = (
        (f"{ours}relative.table", f"@{side}.block.0.layer.0.SelfAttention.relative_attention_bias"),
        (f"{ours}final.norm", f"@{side}.final_layer_norm"),
    )
    for index, (name, their) in enumerate((*sublayers, ("feed_forward", "DenseReluDense"))):
        at, theirs = f"{ours}layers.{{}}.{name}", f"@{side}.block.{{}}.layer.{index}"
        parts = {"query": "q", "key": "k", "value": "v", "output": "o"}
        if name == "feed_forward":
            parts = {"expand": "wi", "gate": "wi_0", "up": "wi_1", "shrink": "wo"}
        rows = (*rows, (f"{at}.norm", f"{theirs}.layer_norm"))
        rows = (*rows, *((f"{at}.{part}", f"{theirs}.{their}.{p}") for part, p in parts.items()))
    return rows


NAMES: Names = (
    ("shared.words", "@shared"),
    *_of_stack("encoder.", "encoder", ("attention", "SelfAttention")),
    *_of_stack("", "decoder", ("attention", "SelfAttention"), ("cross", "EncDecAttention")),
)
HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "seq2seq-lm": Head((Branch(outputs="vocabulary", bias="none", names={"output": "lm_head"}),)),
    "sequence-classification": Head((CLASSIFIED,), prefix="transformer"),
    "question-answering": Head((Branch(outputs=2, names={"output": "qa_outputs"}),)),
}
DEFAULTS = {
    "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": None,
    "num_heads": 8, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    "dropout_rate": 0.1, "classifier_dropout": 0.0, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "relu",
    "is_encoder_decoder": True, "use_cache": True, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
    "decoder_start_token_id": 0, "tie_word_embeddings": True, "scale_decoder_outputs": None,
}  # fmt: skip
T5 = Family(
    model_type="t5", class_prefix="T5", prefix="", defaults=DEFAULTS, translate=translate, names=NAMES, heads=HEADS,
    tokenizer="t5",
    aliases={"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers",
             "head_dim": "d_kv"},
    known=("encoder.embed_tokens.", "decoder.embed_tokens.", "decoder.block.0.layer.1.EncDecAttention.relative_"),
)  # fmt: skip
_MT5 = {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"}
MT5 = sibling(replace(T5, translate=unscaled), "mt5", "MT5", tokenizer="t5", **_MT5)
