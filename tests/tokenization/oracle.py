"""A tokenizer of ours beside the reference's, for each vocabulary; loaded once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from enfold.tokenization import Tokenizer
from tests.support import minilm, shared

VOCABULARIES = ("minilm", "bert-base-chinese", "bert-base-multilingual-cased", "gpt2", "roberta-base", "t5-small")
VOCABULARIES += ("nmt-joint", "xlm-roberta")

_FAIRSEQ = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>"}
_FAIRSEQ |= {"cls_token": "<s>", "mask_token": "<mask>"}


def folder(name: str) -> Path:
    """The files of a vocabulary; skips the test where they are absent."""
    return minilm() if name == "minilm" else shared("vocab", name)


def both(name: str) -> tuple[Tokenizer, Any]:
    """Our tokenizer and the reference's, both with a padding token."""
    return _both(name, folder(name))


@cache
def _both(name: str, path: Path) -> tuple[Tokenizer, Any]:
    ours = Tokenizer.from_folder(path, **({"kind": "generic"} if name == "nmt-joint" else {}))
    theirs = _REFERENCES[name](path)
    if ours.pad_token is None:
        ours.pad_token = "<|endoftext|>"
        theirs.pad_token = "<|endoftext|>"
    return ours, theirs


def _by_class(class_name: str) -> Callable[[Path], Any]:
    def load(path: Path) -> Any:
        import transformers

        return getattr(transformers, class_name).from_pretrained(path)

    return load


def _by_file(**special: str) -> Callable[[Path], Any]:
    """The reference over the same tokenizer.json as it is written, which its 5.x classes partly rebuild."""

    def load(path: Path) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **special)

    return load


_REFERENCES = {
    "minilm": _by_class("AutoTokenizer"),
    "bert-base-chinese": _by_class("BertTokenizer"),
    "bert-base-multilingual-cased": _by_class("BertTokenizer"),
    "gpt2": _by_class("GPT2Tokenizer"),
    "roberta-base": _by_class("RobertaTokenizer"),
    "t5-small": _by_class("T5Tokenizer"),
    "nmt-joint": _by_file(eos_token="</s>", unk_token="<unk>", pad_token="<pad>"),
    "xlm-roberta": _by_file(**_FAIRSEQ, model_input_names=["input_ids", "attention_mask"]),
}
