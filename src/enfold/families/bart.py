"""BART (https://arxiv.org/abs/1910.13461); its pre-norm sibling mBART (https://arxiv.org/abs/2001.08210), mBART-50."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, Dropout, LearnedPositions, Scales
from enfold.config import Config
from enfold.families.base import Family, Names, activation, depth, sibling
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """Encoder and decoder, post-norm; the first two rows of each position table are never used (fairseq)."""
    decoder, encoder = stack(config, "decoder"), stack(config, "encoder")
    return replace(decoder, causal=True, encoder=replace(encoder, shares_words=config.tie_word_embeddings))


def stack(config: Config, side: str) -> Architecture:
    """One of the two stacks, of what all models of this kind have in common."""
    rows = config.max_position_embeddings
    drop = config.dropout
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_heads=getattr(config, f"{side}_attention_heads"),
        intermediate_size=getattr(config, f"{side}_ffn_dim"),
        layer_order=tuple(range(depth(config, f"{side}_layers"))),
        max_length=rows,
        pad_token_id=config.pad_token_id,
        activation=activation(config, "activation_function"),
        positions=LearnedPositions(rows=rows + 2, offset=2),
        scales=Scales(embeddings=config.d_model**0.5 if config.scale_embedding else 1.0),
        norm_eps=1e-5,
        tied_output=config.tie_word_embeddings,
        initializer_range=config.init_std,
        dropout=replace(
            Dropout.of(drop, attention=config.attention_dropout, head=config.get("classifier_dropout", 0.0)),
            activation=config.activation_dropout,
        ),
    )


def pre_norm(config: Config) -> Architecture:
    """mBART: norms before sublayers, and one after the last layer of each stack."""
    arch = translate(config)
    assert arch.encoder
    return replace(arch, norm_placement="before", encoder=replace(arch.encoder, norm_placement="before"))


def _of_stack(ours: str, side: str, *sublayers: tuple[str, str]) -> Names:
    """The rows of one stack: ``ours`` goes before our names, ``side`` is what checkpoints call it."""
    at, theirs = f"{ours}layers.{{}}", f"@{side}.layers.{{}}"
    return (
        (f"{ours}embeddings.words", f"@{side}.embed_tokens"),
        (f"{ours}embeddings.positions", f"@{side}.embed_positions"),
        (f"{ours}embeddings.norm", f"@{side}.layernorm_embedding"),
        (f"{ours}final.norm", f"@{side}.layer_norm"),
        *((f"{at}.{name}.query", f"{theirs}.{their}.q_proj") for name, their in sublayers),
        *((f"{at}.{name}.key", f"{theirs}.{their}.k_proj") for name, their in sublayers),
        *((f"{at}.{name}.value", f"{theirs}.{their}.v_proj") for name, their in sublayers),
        *((f"{at}.{name}.output", f"{theirs}.{their}.out_proj") for name, their in sublayers),
        *((f"{at}.{name}.norm", f"{theirs}.{their}_layer_norm") for name, their in sublayers),
        (f"{at}.feed_forward.expand", f"{theirs}.fc1"),
        (f"{at}.feed_forward.shrink", f"{theirs}.fc2"),
        (f"{at}.feed_forward.norm", f"{theirs}.final_layer_norm"),
    )


NAMES: Names = (
    *_of_stack("encoder.", "encoder", ("attention", "self_attn")),
    *_of_stack("", "decoder", ("attention", "self_attn"), ("cross", "encoder_attn")),
    ("shared.words", "@shared"),
)
WRITTEN = Branch(outputs="vocabulary", bias="buffer", names={"output": "lm_head", "buffer": "final_logits_bias"})
_CLASSIFIER = {"dense": "classification_head.dense", "output": "classification_head.out_proj"}
CLASSIFIED = Branch(
    select="last", dense="tanh", outputs="labels", dropout=True, dropout_before_dense=True, names=_CLASSIFIER
)
HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "seq2seq-lm": Head((WRITTEN,)),
    "sequence-classification": Head((CLASSIFIED,)),
    "question-answering": Head((Branch(outputs=2, names={"output": "qa_outputs"}),)),
}
DEFAULTS = {
    "vocab_size": 50265, "max_position_embeddings": 1024, "d_model": 1024, "activation_function": "gelu",
    "encoder_layers": 12, "encoder_ffn_dim": 4096, "encoder_attention_heads": 16,
    "decoder_layers": 12, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16,
    "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0, "classifier_dropout": 0.0,
    "init_std": 0.02, "scale_embedding": False, "use_cache": True, "is_encoder_decoder": True,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
    "tie_word_embeddings": True,
}  # fmt: skip
BART = Family(
    model_type="bart", class_prefix="Bart", prefix="model", defaults=DEFAULTS, translate=translate, names=NAMES,
    heads=HEADS, tokenizer="bart", copies=(("embeddings.words", "@shared"),),
    known=("encoder.version", "decoder.version"), rereads=True,
    aliases={"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads",
             "num_hidden_layers": "encoder_layers"},
)  # fmt: skip
_WRAPPED = {kind: replace(head, starts_with="last") for kind, head in HEADS.items()}
MBART = sibling(
    replace(BART, translate=pre_norm, heads=_WRAPPED), "mbart", "MBart", tokenizer="mbart", decoder_start_token_id=None
)
