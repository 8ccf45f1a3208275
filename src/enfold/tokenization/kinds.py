"""Every kind of tokenizer that enfold builds, as one table.

A *kind* says what the vocabulary files of a checkpoint do not: which algorithm reads them, how text is normalised
and cut, which special tokens stand around a text and around a pair. Templates are written in roles: ``cls $A sep``
is "the cls token, the first text, the sep token"; ``:1`` gives a token type other than 0.

A sibling that differs in nothing but its class name is one more entry in ``classes`` or ``model_types``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from tokenizers import AddedToken

from enfold.tokenization.languages import M2M100, MBART, MBART50, NLLB

__all__ = [
    "KINDS",
    "TOKENIZER_NAMES",
    "Kind",
    "find_kind",
    "guess_kind",
    "kind_of_class",
    "kind_of_model_type",
]

Algorithm = Literal["wordpiece", "byte-bpe", "unigram", "spm-bpe", "any"]
Layout = Literal["as-is", "fairseq", "camembert", "mbart", "t5", "pegasus", "table"]
NormalizerName = Literal["bert", "albert", "deberta-v2", "spm", "nfc", "none"]

_THREE = ("input_ids", "token_type_ids", "attention_mask")
_TWO = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one family of tokenizers turns files into ids.

    ``files`` are the vocabulary files, used where there is no ``tokenizer.json``. ``layout`` says how the pieces of
    a sentencepiece file become ids; ``table``, that a ``vocab.json`` numbers them. ``special`` maps a role (``cls`` for
    ``cls_token``) to its default token; with ``appends``, those that the vocabulary lacks are added to it.
    ``languages`` are the codes that a translation model marks, in the order of their ids.
    """

    name: str
    algorithm: Algorithm
    files: tuple[str, ...]
    single: str = ""
    pair: str = ""
    special: Mapping[str, str | AddedToken] = field(default_factory=dict)
    normalizer: NormalizerName = "none"
    layout: Layout = "as-is"
    lower: bool = False
    trim_offsets: bool = False
    input_names: tuple[str, ...] = _TWO
    padding_side: Literal["right", "left"] = "right"
    appends: bool = False
    splits_like: Literal["gpt2", "qwen2"] = "gpt2"
    languages: str = ""
    language_token: str = "{}"
    default_language: str = ""
    classes: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()


def _mask(token: str = "<mask>") -> AddedToken:
    """A mask token that swallows the space before it, so that "a <mask>" predicts a word with its own space."""
    return AddedToken(token, lstrip=True, special=True, normalized=False)


_BERT_SPECIAL = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_END = "<|endoftext|>"
_FAIRSEQ_SPECIAL = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>"}

_BERT = Kind(
    name="bert",
    algorithm="wordpiece",
    files=("vocab.txt",),
    normalizer="bert",
    lower=True,
    single="cls $A sep",
    pair="cls $A sep $B:1 sep:1",
    special=_BERT_SPECIAL,
    input_names=_THREE,
    classes=(
        "BertTokenizer",
        "ElectraTokenizer",
        "ConvBertTokenizer",
        "LayoutLMTokenizer",
        "LxmertTokenizer",
        "MobileBertTokenizer",
        "RealmTokenizer",
        "RetriBertTokenizer",
        "SqueezeBertTokenizer",
    ),
    model_types=(
        *("bert", "electra", "convbert", "ernie", "layoutlm", "lxmert", "megatron-bert", "mobilebert"),
        *("nezha", "nomic_bert", "qdqbert", "squeezebert", "visual_bert"),
    ),
)
_ROBERTA = Kind(
    name="roberta",
    algorithm="byte-bpe",
    files=("vocab.json", "merges.txt"),
    trim_offsets=True,
    single="cls $A sep",
    pair="cls $A sep sep $B sep",
    special={**_FAIRSEQ_SPECIAL, "mask": _mask()},
    classes=("RobertaTokenizer", "BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"),
    model_types=(
        "roberta",
        "bart",
        "data2vec-text",
        "ibert",
        "led",
        "lilt",
        "longformer",
        "mvp",
        "roberta-prelayernorm",
    ),
)
_XLM_ROBERTA = Kind(
    name="xlm-roberta",
    algorithm="unigram",
    files=("sentencepiece.bpe.model",),
    normalizer="spm",
    layout="fairseq",
    single="bos $A eos",
    pair="bos $A eos eos $B eos",
    special={**_FAIRSEQ_SPECIAL, "mask": _mask()},
    classes=("XLMRobertaTokenizer",),
    model_types=("xlm-roberta", "xlm-roberta-xl", "xmod", "gte", "jina_embeddings_v3"),
)

# The order is the order of guessing: the first kind whose algorithm and special tokens fit a vocabulary.
_TABLE = (
    _BERT,
    replace(
        _BERT,
        name="distilbert",
        input_names=_TWO,
        classes=("DistilBertTokenizer",),
        model_types=("distilbert",),
    ),
    replace(
        _BERT,
        name="funnel",
        single="cls:2 $A sep",
        pair="cls:2 $A sep $B:1 sep:1",
        special={"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "<sep>", "pad": "<pad>", "cls": "<cls>"}
        | {"mask": "<mask>"},
        classes=("FunnelTokenizer",),
        model_types=("funnel",),
    ),
    replace(
        _BERT,
        name="mpnet",
        single="cls $A sep",
        pair="cls $A sep sep $B sep",
        special={**_FAIRSEQ_SPECIAL, "unk": "[UNK]", "mask": _mask()},
        input_names=_TWO,
        classes=("MPNetTokenizer",),
        model_types=("mpnet",),
    ),
    _ROBERTA,
    replace(
        _ROBERTA,
        name="deberta",
        trim_offsets=False,
        pair="cls $A sep $B:1 sep:1",
        special={"bos": "[CLS]", "eos": "[SEP]", **_BERT_SPECIAL, "mask": _mask("[MASK]")},
        input_names=_THREE,
        classes=("DebertaTokenizer",),
        model_types=("deberta",),
    ),
    Kind(
        name="gpt2",
        algorithm="byte-bpe",
        files=("vocab.json", "merges.txt"),
        special={"bos": _END, "eos": _END, "unk": _END},
        classes=("GPT2Tokenizer", "CodeGenTokenizer"),
        model_types=("gpt2", "codegen", "gpt_neo", "gptj", "phi"),
    ),
    Kind(
        name="gpt-neox",
        algorithm="byte-bpe",
        files=("vocab.json", "merges.txt"),
        normalizer="nfc",
        special={"bos": _END, "eos": _END, "unk": _END, "pad": "<|padding|>"},
        classes=("GPTNeoXTokenizer",),
        model_types=("gpt_neox",),
    ),
    Kind(
        name="qwen2",
        algorithm="byte-bpe",
        files=("vocab.json", "merges.txt"),
        normalizer="nfc",
        splits_like="qwen2",
        special={"eos": _END, "unk": _END, "pad": _END},
        appends=True,
        classes=("Qwen2Tokenizer",),
        model_types=("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"),
    ),
    _XLM_ROBERTA,
    replace(
        _XLM_ROBERTA,
        name="camembert",
        layout="camembert",
        classes=("CamembertTokenizer",),
        model_types=("camembert",),
    ),
    replace(
        _XLM_ROBERTA,
        name="mbart",
        layout="mbart",
        single="$A eos lang",
        pair="$A $B eos lang",
        languages=MBART,
        default_language="en_XX",
        classes=("MBartTokenizer",),
        model_types=("mbart",),
    ),
    replace(
        _XLM_ROBERTA,
        name="mbart50",
        layout="mbart",
        single="lang $A eos",
        pair="lang $A $B eos",
        languages=MBART50,
        default_language="en_XX",
        classes=("MBart50Tokenizer",),
        model_types=("mbart50",),
    ),
    replace(
        _XLM_ROBERTA,
        name="nllb",
        algorithm="spm-bpe",
        layout="mbart",
        single="lang $A eos",
        pair="lang $A $B eos",
        languages=NLLB,
        default_language="eng_Latn",
        classes=("NllbTokenizer",),
        model_types=("nllb-moe",),
    ),
    Kind(
        name="m2m100",
        algorithm="spm-bpe",
        files=("sentencepiece.bpe.model", "vocab.json"),
        normalizer="spm",
        layout="table",
        single="lang $A eos",
        pair="lang $A $B eos",
        special={"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>"},
        languages=M2M100,
        language_token="__{}__",
        default_language="en",
        classes=("M2M100Tokenizer",),
        model_types=("m2m_100",),
    ),
    Kind(
        name="albert",
        algorithm="unigram",
        files=("spiece.model",),
        normalizer="albert",
        lower=True,
        single="cls $A sep",
        pair="cls $A sep $B:1 sep:1",
        special={
            "bos": "[CLS]",
            "eos": "[SEP]",
            "unk": "<unk>",
            "sep": "[SEP]",
            "pad": "<pad>",
            "cls": "[CLS]",
        }
        | {"mask": _mask("[MASK]")},
        # transformers 5 leaves the types out by default, 4 kept them: ALBERT was trained on pairs with types
        input_names=_THREE,
        classes=("AlbertTokenizer",),
        model_types=("albert",),
    ),
    Kind(
        name="deberta-v2",
        algorithm="unigram",
        files=("spm.model",),
        normalizer="deberta-v2",
        single="cls $A sep",
        pair="cls $A sep $B:1 sep:1",
        special={"bos": "[CLS]", "eos": "[SEP]", **_BERT_SPECIAL},
        input_names=_THREE,
        classes=("DebertaV2Tokenizer",),
        model_types=("deberta-v2",),
    ),
    Kind(
        name="t5",
        algorithm="unigram",
        files=("spiece.model",),
        normalizer="spm",
        layout="t5",
        single="$A eos",
        pair="$A eos $B eos",
        special={"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
        classes=("T5Tokenizer", "MT5Tokenizer"),
        model_types=("t5", "mt5", "umt5", "switch_transformers"),
    ),
    Kind(
        name="pegasus",
        algorithm="unigram",
        files=("spiece.model",),
        normalizer="spm",
        layout="pegasus",
        single="$A eos",
        pair="$A $B eos",
        special={"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask_2>"},
        classes=("PegasusTokenizer",),
        model_types=("pegasus", "bigbird_pegasus"),
    ),
    Kind(
        name="marian",
        algorithm="unigram",
        files=("source.spm", "vocab.json"),
        normalizer="spm",
        layout="table",
        single="$A eos",
        pair="$A $B eos",
        special={"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
        classes=("MarianTokenizer",),
        model_types=("marian",),
    ),
    Kind(
        name="llama",
        algorithm="spm-bpe",
        files=("tokenizer.model",),
        single="bos $A",
        pair="bos $A bos:1 $B:1",
        special={"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
        padding_side="left",
        classes=("LlamaTokenizer", "CodeLlamaTokenizer"),
        model_types=("llama", "code_llama", "mistral", "mixtral"),
    ),
    Kind(
        name="generic",
        algorithm="any",
        files=(),
        input_names=_THREE,
        classes=("PreTrainedTokenizer", "TokenizersBackend"),
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _TABLE})
"""Kind name → kind."""


def _names() -> dict[str, str]:
    """Class name, with and without ``Fast`` → kind name."""
    plain = {name: kind.name for kind in _TABLE for name in kind.classes}
    return plain | {f"{name}Fast": kind for name, kind in plain.items()}


TOKENIZER_NAMES: Mapping[str, str] = MappingProxyType(_names())
"""The tokenizer class names that the field knows → the kind that each one is."""

_MODEL_TYPES = {model_type: kind.name for kind in _TABLE for model_type in kind.model_types}


def find_kind(name: str) -> Kind | None:
    """The kind with this name, this tokenizer class name, or this config ``model_type``."""
    return KINDS.get(name) or kind_of_class(name) or kind_of_model_type(name)


def kind_of_class(name: str) -> Kind | None:
    """The kind of a tokenizer class such as ``BertTokenizerFast``."""
    return KINDS.get(TOKENIZER_NAMES.get(name, ""))


def kind_of_model_type(model_type: str) -> Kind | None:
    """The kind of a model whose ``config.json`` has this ``model_type``."""
    return KINDS.get(_MODEL_TYPES.get(model_type, ""))


def guess_kind(algorithm: Algorithm, vocabulary: Mapping[str, int]) -> Kind | None:
    """The first kind of this algorithm all of whose special tokens are in the vocabulary."""
    for kind in _TABLE:
        if kind.algorithm == algorithm and all(str(token) in vocabulary for token in kind.special.values()):
            return kind
    return None
