"""Answers to questions about a text: exact match and F1, as for SQuAD and its Chinese relatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from enfold.errors import InputError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import check_lengths
from enfold.training.metrics.text import Language, answer_words, check_language, check_texts, has_characters

__all__ = ["Answers"]


class Answers(Metric):
    """``exact_match`` and ``f1``, the best over a question's gold answers, each the mean over questions.

    Where some questions have no answer (SQuAD 2.0, arXiv 1806.03822), also ``has_answer_exact_match`` and
    ``has_answer_f1`` of those that have one and ``no_answer_accuracy`` of those that don't. An empty prediction says
    that there is none.

    F1 is that of bags of words, which are characters in Chinese, as for SQuAD, XQuAD and MLQA. CMRC 2018's own script
    cuts texts in the same way, and counts the longest common substring instead of the bag.

    >>> metric = Answers()
    >>> metric.update(["the Eiffel Tower", "长城。"], [["Eiffel Tower"], ["万里长城"]])
    >>> metric.result()
    {'exact_match': 0.5, 'f1': 0.8333333333333333}
    """

    unit = "questions"

    def __init__(self, language: Language = "auto") -> None:
        """Starts a stream.

        Args:
            language: ``"en"`` compares by SQuAD's rules, ``"zh"`` by characters; ``"auto"`` by characters where the
                prediction or a gold answer has Chinese or Japanese ones.

        Raises:
            InputError: another language.
        """
        self.language = check_language(language)
        # questions, exact matches, sum of f1
        self._sums = Sums({"has_answer": np.zeros(3, np.float64), "no_answer": np.zeros(3, np.float64)})
        super().__init__({"sums": self._sums}, {"language": language})

    def update(self, predictions: Sequence[str], golds: Sequence[str | Sequence[str]]) -> None:
        """Counts a batch.

        Args:
            predictions: one answer a question, ``""`` for none.
            golds: each question's right answer, or several; ``""`` or an empty list where it has none.

        Raises:
            InputError: other numbers of both, or something that is no text.
        """
        texts = check_texts("predictions", predictions)
        if isinstance(golds, str):
            raise InputError("golds is one text, expected a list with the right answers of each question")
        check_lengths("predictions", len(texts), "gold answers", len(golds))
        accepted = [_listed(gold, row) for row, gold in enumerate(golds)]
        for text, gold in zip(texts, accepted, strict=True):
            kind = "has_answer" if any(one.strip() for one in gold) else "no_answer"
            self._sums.add(kind, [1.0, *self._compare(text, gold)])
        self.examples += len(texts)

    def _compare(self, text: str, golds: Sequence[str]) -> tuple[float, float]:
        """Exact match and F1 with the nearest gold answer."""
        rules = self._rules([text, *golds])
        words = answer_words(text, rules)
        # an answer of which nothing is left would be right for whoever says nothing, unless it is the only one
        accepted = [gold for gold in (answer_words(gold, rules) for gold in golds) if gold] or [[]]
        return max(float(words == gold) for gold in accepted), max(_overlap(words, gold) for gold in accepted)

    def _rules(self, texts: Sequence[str]) -> Literal["en", "zh"]:
        if self.language != "auto":
            return self.language
        return "zh" if any(has_characters(text) for text in texts) else "en"

    def _figures(self) -> dict[str, float]:
        has, lacks = self._sums["has_answer"], self._sums["no_answer"]
        _, exact, f1 = (has + lacks) / self.examples
        figures = {"exact_match": float(exact), "f1": float(f1)}
        if lacks[0] and has[0]:
            figures |= {"has_answer_exact_match": float(has[1] / has[0]), "has_answer_f1": float(has[2] / has[0])}
        if lacks[0]:
            figures["no_answer_accuracy"] = float(lacks[1] / lacks[0])
        return figures


def _listed(gold: Any, row: int) -> list[str]:
    if isinstance(gold, str):
        return [gold]
    if not isinstance(gold, Sequence) and not isinstance(gold, np.ndarray):
        raise InputError(f"the gold answers of question {row} are {str(gold)[:60]}, expected a text or a list of texts")
    return check_texts(f"gold answers of question {row}", list(gold))


def _overlap(words: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of words; where one is empty, whether both are."""
    if not words or not gold:
        return float(words == gold)
    return 2 * (Counter(words) & Counter(gold)).total() / (len(words) + len(gold))
