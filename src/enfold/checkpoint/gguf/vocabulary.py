"""What a GGUF file says about its tokenizer: the keys under ``tokenizer.``, checked by type."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from enfold.errors import TokenizerError

__all__ = ["CONTROL", "USER_DEFINED", "Vocabulary", "read_vocabulary"]

CONTROL: Final = 3
USER_DEFINED: Final = 4
"""Types of tokens, as sentencepiece numbers them."""

_ROLES: Final = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",  # as the format spells it
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of a GGUF file as data; None is "the file doesn't say".

    Attributes:
        path: the file.
        model: the algorithm: ``"gpt2"`` for byte-level BPE, ``"llama"`` for sentencepiece's BPE, and others.
        pre: the name of the way in which text is cut into words, of byte-level BPE.
        tokens: in the order of their ids.
        scores: of each token, of sentencepiece.
        types: of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
        merges: pairs of pieces, the best first.
        special: role (``"bos"``, ``"pad"`` …) → id.
        chat_templates: name → jinja source; the one without a name of its own is ``"default"``.
        context_length: the most tokens that the model takes.
    """

    path: Path
    model: str
    pre: str | None
    tokens: list[str]
    scores: list[float] | None
    types: list[int] | None
    merges: list[str] | None
    special: Mapping[str, int]
    add_bos: bool | None
    add_eos: bool | None
    add_space_prefix: bool | None
    chat_templates: Mapping[str, str]
    context_length: int | None


def read_vocabulary(path: Path, metadata: Mapping[str, Any]) -> Vocabulary:
    """Picks a tokenizer's values out of a file's metadata.

    Raises:
        TokenizerError: there is no tokenizer, or values are of the wrong type or length; all are listed.
    """
    if "tokenizer.ggml.model" not in metadata:
        raise TokenizerError(f"{path} holds no tokenizer; expected the metadata tokenizer.ggml.model and its like")
    problems: list[str] = []

    def get(key: str, kind: type, expected: str, of: type | None = None) -> Any:
        value = metadata.get(key)
        if value is None or (
            type(value) is kind and (of is None or all(type(item) is of for item in cast(list[Any], value)))
        ):
            return value
        problems.append(f"{key} is {_short(value)}; expected {expected}")
        return None

    ggml = "tokenizer.ggml."
    tokens: list[str] = get(f"{ggml}tokens", list, "a list of texts", str) or []
    if not tokens:
        problems.append(f"{ggml}tokens lists no tokens")
    special = {role: get(f"{ggml}{key}_token_id", int, "an id") for role, key in _ROLES.items()}
    names = get("tokenizer.chat_templates", list, "a list of names", str) or []
    templates = {"default": "tokenizer.chat_template"} | {name: f"tokenizer.chat_template.{name}" for name in names}
    vocabulary = Vocabulary(
        path=path,
        model=get(f"{ggml}model", str, "the name of an algorithm") or "",
        pre=get(f"{ggml}pre", str, "a name"),
        tokens=tokens,
        scores=get(f"{ggml}scores", list, "a list of numbers", float),
        types=get(f"{ggml}token_type", list, "a list of whole numbers", int),
        merges=get(f"{ggml}merges", list, "a list of texts", str),
        special={role: number for role, number in special.items() if number is not None},
        add_bos=get(f"{ggml}add_bos_token", bool, "true or false"),
        add_eos=get(f"{ggml}add_eos_token", bool, "true or false"),
        add_space_prefix=get(f"{ggml}add_space_prefix", bool, "true or false"),
        chat_templates={name: text for name, key in templates.items() if (text := get(key, str, "a template"))},
        context_length=get(f"{metadata.get('general.architecture')}.context_length", int, "a number of tokens"),
    )
    problems += _inconsistencies(vocabulary)
    if problems:
        listed = "\n  ".join(problems)
        raise TokenizerError(f"{path} has metadata that no tokenizer can be built from:\n  {listed}")
    return vocabulary


def _inconsistencies(vocabulary: Vocabulary) -> list[str]:
    count = len(vocabulary.tokens)
    problems = [
        f"tokenizer.ggml.{key} has {len(values)} entries for {count} tokens"
        for key, values in (("scores", vocabulary.scores), ("token_type", vocabulary.types))
        if values is not None and len(values) != count
    ]
    problems += [
        f"tokenizer.ggml.{_ROLES[role]}_token_id is {number}; expected an id under {count}"
        for role, number in vocabulary.special.items()
        if not 0 <= number < count
    ]
    if len(set(vocabulary.tokens)) < count:
        twice = [token for token, times in Counter(vocabulary.tokens).items() if times > 1]
        problems.append(f"tokenizer.ggml.tokens lists {len(twice)} tokens more than once, such as {twice[:3]}")
    return problems


def _short(value: Any) -> str:
    text = repr(value[:5] if isinstance(value, list | str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."
