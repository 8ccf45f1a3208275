"""Checking what was handed to a tokenizer, and saying what is wrong with it in a way that helps."""

from collections.abc import Sequence
from typing import Any

from enfold.errors import InputError
from enfold.tokenization.encoded import Item, Text

__all__ = ["as_items", "explain_refusal"]

_LABEL_WORDS = frozenset(
    {
        *("positive", "negative", "neutral", "pos", "neg", "neu", "label_0", "label_1"),
        *("spam", "ham", "true", "false", "yes", "no"),
    }
)
_HOW = 'Pass one text ("…"), a list of texts, or two lists of equal length for pairs: tokenizer(first, second).'


def as_items(text: Any, text_pair: Any = None, *, is_split_into_words: bool = False) -> tuple[list[Item], bool]:
    """The texts as the engine takes them, and whether they were given as a batch.

    Raises:
        InputError: anything that is not text, with its place; lists of different length; (text, label) pairs.
    """
    batched = isinstance(text, list | tuple)
    if is_split_into_words:
        batched = batched and bool(text) and not isinstance(text[0], str)
    if not batched:
        first = _text(text, "text", is_split_into_words)
        # As in the reference, an empty second text beside a single first one is no second text.
        return [(first, _text(text_pair, "text_pair", is_split_into_words)) if text_pair else first], False
    if text_pair is None:
        if not is_split_into_words:
            _refuse_labels(text)
        return [_item(each, f"text[{number}]", is_split_into_words) for number, each in enumerate(text)], True
    if not isinstance(text_pair, list | tuple) or len(text) != len(text_pair):
        size = f"of {len(text_pair)}" if isinstance(text_pair, list | tuple) else f"a {type(text_pair).__name__}"
        raise InputError(f"text is a list of {len(text)} and text_pair is {size}: every text needs its own pair.")
    return [
        (
            _text(first, f"text[{number}]", is_split_into_words),
            _text(second, f"text_pair[{number}]", is_split_into_words),
        )
        for number, (first, second) in enumerate(zip(text, text_pair, strict=True))
    ], True


def _item(value: Any, where: str, is_split_into_words: bool) -> Item:
    """One element of a batch: a text, its words, or a pair of these."""
    if isinstance(value, list | tuple) and len(value) == 2 and not (is_split_into_words and isinstance(value[0], str)):
        return _text(value[0], f"{where}[0]", is_split_into_words), _text(value[1], f"{where}[1]", is_split_into_words)
    return _text(value, where, is_split_into_words)


def _text(value: Any, where: str, is_split_into_words: bool) -> Text:
    if not is_split_into_words:
        if isinstance(value, str):
            return value
        raise InputError(f"{where} is {_describe(value)}; a string was expected. {_HOW}")
    if isinstance(value, list | tuple):
        wrong = next((number for number, word in enumerate(value) if not isinstance(word, str)), None)
        if wrong is None:
            return list(value)
        where, value = f"{where}[{wrong}]", value[wrong]
        raise InputError(f"{where} is {_describe(value)}; a word was expected, since is_split_into_words=True.")
    raise InputError(
        f"{where} is {_describe(value)}; a list of words was expected, since is_split_into_words=True. "
        "Pass a list of words, a list of such lists, or leave is_split_into_words out."
    )


def _refuse_labels(batch: Sequence[Any]) -> None:
    """Tell ``[(text, label), …]`` from pairs of texts, which have the same shape."""
    if not batch or not all(isinstance(each, tuple | list) and len(each) == 2 for each in batch):
        return
    labels = [each[1] for each in batch]
    numbers = all(label is None or isinstance(label, int | float) for label in labels)
    words = all(isinstance(label, str) and label.strip().lower() in _LABEL_WORDS for label in labels)
    if numbers or words:
        shown = ", ".join(repr(label) for label in dict.fromkeys(map(str, labels[:100])))
        raise InputError(
            f"These look like (text, label) pairs: the second elements are {shown[:100]}. A tokenizer takes texts "
            "alone: pass [text for text, label in data] to it, and the labels to the model as numbers, "
            "labels=torch.tensor([…]). If they are pairs of texts, pass two lists: tokenizer(first, second)."
        )


def _describe(value: Any) -> str:
    name = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, bytes):
        return "bytes (decode them first: value.decode('utf-8'))"
    if isinstance(value, list | tuple):
        return f"a {name} of {len(value)}, nested too deep or meant for is_split_into_words=True"
    if hasattr(value, "tolist"):
        return f"a {name} (turn it into a list first: value.tolist())"
    if hasattr(value, "__iter__"):
        return f"a {name} (turn it into a list first: list(value))"
    return f"{value!r}, a {name}"


def explain_refusal(items: Sequence[Item], error: Exception) -> InputError:
    """Why the engine refused texts that are strings: half of a surrogate pair, which no encoding can write."""
    for number, item in enumerate(items):
        for text in item if isinstance(item, tuple) else (item,):
            for word in [text] if isinstance(text, str) else text:
                try:
                    word.encode()
                except UnicodeEncodeError as bad:
                    return InputError(
                        f"Text {number} has a lone surrogate (U+{ord(word[bad.start]):04X}) at position {bad.start}: "
                        "half of a character, left by a wrong decoding or a cut. Read the source as UTF-8, or "
                        "replace it: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
                    )
    return InputError(f"The texts can't be encoded: {error}.")
