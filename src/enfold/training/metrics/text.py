"""Texts as lists of words for comparison, where Chinese and Japanese characters are words of their own."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from enfold.errors import InputError

__all__ = [
    "Language",
    "answer_words",
    "check_language",
    "check_texts",
    "has_characters",
    "script_counts",
    "summary_words",
]

Language = Literal["auto", "en", "zh"]
"""By whose rules texts are compared: those of English, of Chinese, or of what the texts are written in."""

# Han with its extensions, 々〆〇, kana and bopomofo: written without spaces. Korean has spaces.
_CJK = (
    r"\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3100-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f"
)
_IS_CJK = re.compile(f"[{_CJK}]")
_WORDS = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")
_LATIN_WORDS = re.compile(r"[A-Za-z]+")
# Latin letters with accents are left out: the usual ROUGE drops them, and its figures are what others compare with.
_SUMMARY_WORDS = re.compile(rf"[a-z0-9]+|[{_CJK}]|[^\W_\u0000-\u02ff\u1e00-\u1eff\u2c60-\u2c7f{_CJK}]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII = str.maketrans("", "", string.punctuation)


def check_language(language: Language) -> Language:
    """Refuses other languages."""
    if language not in get_args(Language):
        raise InputError(f"language is {language!r}, expected one of {', '.join(map(repr, get_args(Language)))}")
    return language


def check_texts(name: str, texts: Sequence[str]) -> list[str]:
    """A batch of texts.

    Raises:
        InputError: one text in place of a list, or something else among them.
    """
    if isinstance(texts, str):
        raise InputError(f"{name} is one text, expected a list of texts")
    wrong = [(place, text) for place, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        place, text = wrong[0]
        raise InputError(
            f"{len(wrong)} of {len(texts)} {name} are no texts, "
            f"the first is {_shown(text)} at {place}; decode ids first"
        )
    return list(texts)


def has_characters(text: str) -> bool:
    """Whether there is a Chinese or Japanese character in it."""
    return _IS_CJK.search(text) is not None


def script_counts(text: str) -> tuple[int, int]:
    """How many Chinese or Japanese characters a text has, and how many words of Latin letters."""
    return len(_IS_CJK.findall(text)), len(_LATIN_WORDS.findall(text))


def answer_words(text: str, language: Literal["en", "zh"]) -> list[str]:
    """An answer's words without what answers may differ in.

    English: lower case, without ASCII punctuation and articles, as SQuAD's evaluation has it (arXiv 1606.05250).
    Chinese: lower case, without punctuation of any script, every character a word, as in the Chinese part of MLQA
    (arXiv 1910.07475), where English articles stay.

    >>> answer_words("The U.S. Army", "en"), answer_words("《红楼梦》 (Dream of the Red Chamber)", "zh")
    (['us', 'army'], ['红', '楼', '梦', 'dream', 'of', 'the', 'red', 'chamber'])
    """
    if language == "en":
        return _ARTICLES.sub(" ", text.lower().translate(_ASCII)).split()
    return _WORDS.findall("".join(char for char in text.lower() if not _is_punctuation(char)))


def summary_words(text: str) -> list[str]:
    """A text's words as ROUGE counts them, lower case and unstemmed.

    Equal to the usual tokenizer on text of Latin letters. That one drops all other scripts, so that two Chinese texts
    have nothing in common; here each of their characters is a word, and words of further scripts stay words.

    >>> summary_words("BERT 模型, 2018")
    ['bert', '模', '型', '2018']
    """
    return _SUMMARY_WORDS.findall(text.lower())


@lru_cache(maxsize=8192)
def _is_punctuation(char: str) -> bool:
    """Punctuation of any script; of ASCII and its full-width forms also what Unicode calls symbols: + and ～."""
    narrow = chr(ord(char) - 0xFEE0) if "！" <= char <= "～" else char
    return narrow in string.punctuation or unicodedata.category(char).startswith("P")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
