"""Written texts against references: BLEU, chrF and ROUGE, by the packages whose figures the field compares."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from enfold.errors import InputError, MissingDependencyError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import check_lengths
from enfold.training.metrics.text import Language, check_language, check_texts, script_counts, summary_words

__all__ = ["Generation"]

_ROUGE = ("rouge1", "rouge2", "rougeL")
_TOKENIZERS = {"en": "13a", "zh": "zh"}
"""sacrebleu's tokenizers by language."""


class Generation(Metric):
    """``bleu`` and ``chrf`` of the whole corpus (0 to 100), ``rouge1``, ``rouge2``, ``rougeL`` (0 to 1, mean F1).

    BLEU and chrF are sacrebleu's with its defaults, ROUGE is rouge_score's without stemming; all are equal to what
    these packages give for all texts at once. With several references BLEU and chrF use them as sacrebleu does, ROUGE
    takes the best of each example.

    >>> metric = Generation()
    >>> metric.update(["the cat sat on the mat"], ["the cat sat on the mat today"])
    >>> {name: round(value, 3) for name, value in metric.result().items()}
    {'bleu': 84.648, 'chrf': 78.201, 'rouge1': 0.923, 'rouge2': 0.909, 'rougeL': 0.923}
    """

    def __init__(self, language: Language = "auto") -> None:
        """Starts a stream.

        Args:
            language: ``"zh"`` cuts Chinese into characters, for BLEU with sacrebleu's ``zh`` tokenizer; ``"en"`` leaves
                both packages' tokenizers as they are. ``"auto"`` takes the Chinese one for BLEU where the references
                have more Chinese characters than Latin words, all of them together, and for ROUGE keeps all scripts.

        Raises:
            InputError: another language.
            MissingDependencyError: sacrebleu or rouge_score is not installed.
        """
        self.language = check_language(language)
        bleu, chrf = _import("sacrebleu.metrics.bleu").BLEU, _import("sacrebleu.metrics.chrf").CHRF
        languages = ("en", "zh") if language == "auto" else (language,)
        # force: no advice about texts that look tokenized
        self._bleu = {code: bleu(tokenize=_TOKENIZERS[code], force=True) for code in languages}
        self._chrf = chrf()
        words = None if language == "en" else _Words()
        self._rouge = _import("rouge_score.rouge_scorer").RougeScorer(list(_ROUGE), tokenizer=words)
        self._sums = Sums(
            {
                # lengths of predictions and references, then n-grams that match and n-grams, by order
                **{
                    f"bleu_{code}": np.zeros(2 + 2 * scorer.max_ngram_order, np.int64)
                    for code, scorer in self._bleu.items()
                },
                # of each order: n-grams of predictions, of references, of both
                "chrf": np.zeros(3 * self._chrf.order, np.int64),
                "rouge": np.zeros(len(_ROUGE), np.float64),
                # the references' Chinese characters and Latin words
                "script": np.zeros(2, np.int64),
            }
        )
        super().__init__({"sums": self._sums}, {"language": language})

    def update(self, predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> None:
        """Counts a batch.

        Args:
            predictions: one text an example.
            references: each example's reference, or several.

        Raises:
            InputError: other numbers of both, an example without reference, or something that is no text.
        """
        texts = check_texts("predictions", predictions)
        if isinstance(references, str):
            raise InputError("references is one text, expected a list with the references of each example")
        check_lengths("predictions", len(texts), "references", len(references))
        wanted = [_listed(each, row) for row, each in enumerate(references)]
        if not texts:
            return
        # sacrebleu wants the first references of all examples, then the second ones
        most = max(map(len, wanted))
        streams = [[each[place] if place < len(each) else None for each in wanted] for place in range(most)]
        amounts = {f"bleu_{code}": _bleu_counts(scorer, texts, streams) for code, scorer in self._bleu.items()}
        amounts["chrf"] = np.sum(self._chrf._extract_corpus_statistics(texts, streams), axis=0)
        scored = [self._rouge.score_multi(each, text) for text, each in zip(texts, wanted, strict=True)]
        amounts["rouge"] = np.sum([[scores[name].fmeasure for name in _ROUGE] for scores in scored], axis=0)
        amounts["script"] = np.sum([script_counts(one) for each in wanted for one in each], axis=0)
        for name, amount in amounts.items():
            self._sums.add(name, amount)
        self.examples += len(texts)

    def _figures(self) -> dict[str, float]:
        code = self._code()
        scorer = self._bleu[code]
        counts, order = self._sums[f"bleu_{code}"].tolist(), scorer.max_ngram_order
        bleu = scorer.compute_bleu(
            counts[2 : 2 + order], counts[2 + order :], counts[0], counts[1], smooth_method=scorer.smooth_method
        )
        return {
            "bleu": float(bleu.score),
            "chrf": float(self._chrf._compute_score_from_stats(self._sums["chrf"].tolist()).score),
            **dict(zip(_ROUGE, (self._sums["rouge"] / self.examples).tolist(), strict=True)),
        }

    def _code(self) -> Literal["en", "zh"]:
        """The language for BLEU, decided once by all that was seen, however it came in batches."""
        if self.language != "auto":
            return self.language
        characters, words = self._sums["script"]
        return "zh" if characters > words else "en"


class _Words:
    """What rouge_score takes for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return summary_words(text)


def _bleu_counts(scorer: Any, texts: list[str], streams: list[list[str | None]]) -> list[int]:
    """What BLEU is computed from, of one batch."""
    score = scorer.corpus_score(texts, streams)
    # its tokenizers remember 65,536 texts each, for the life of the process
    for tokenizer in (scorer.tokenizer, getattr(scorer.tokenizer, "_post_tokenizer", None)):
        remembered = getattr(type(tokenizer).__call__, "cache_clear", None)
        if remembered is not None:
            remembered()
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def _listed(references: Any, row: int) -> list[str]:
    if isinstance(references, str):
        return [references]
    if not isinstance(references, Sequence) or not references:
        raise InputError(
            f"the references of example {row} are {str(references)[:60]}, expected a text or a list of one or more"
        )
    return check_texts(f"references of example {row}", references)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingDependencyError(
            f"BLEU, chrF and ROUGE need the packages sacrebleu and rouge_score, and {package} is not installed: "
            "pip install 'enfold[train]' sacrebleu rouge_score"
        ) from error
