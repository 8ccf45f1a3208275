"""BLEU and chrF are sacrebleu's over the whole corpus, ROUGE is rouge_score's, however the texts came in batches."""

import importlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from enfold.errors import InputError, MissingDependencyError
from enfold.training.metrics import Generation
from enfold.training.metrics.text import summary_words
from tests.support import shared

ENGLISH = ["the", "cat", "sat", "on", "a", "mat", ".", "Mr.", "don't", "1,000", "&quot;", "café", "—"]
CHINESE = ["今天", "天气", "很好", "，", "。", "我们", "去", "BERT", "2018年", "模型", "the"]
ROUGE = ["rouge1", "rouge2", "rougeL"]


def texts(words: list[str], glue: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), max_size=8).map(glue.join)


def rows(words: list[str], glue: str) -> st.SearchStrategy[list[tuple[str, list[str]]]]:
    text = texts(words, glue)
    return st.lists(st.tuples(text, st.lists(text, min_size=1, max_size=3)), min_size=1, max_size=6)


def fed(metric: Generation, given: list[tuple[str, list[str]]], batch: int) -> Generation:
    for begin in range(0, len(given), batch):
        part = given[begin : begin + batch]
        metric.update([guess for guess, _ in part], [references for _, references in part])
    return metric


def check(figures: dict[str, float], given: list[tuple[str, list[str]]], tokenize: str) -> None:
    guesses = [guess for guess, _ in given]
    most = max(len(references) for _, references in given)
    streams = [[each[i] if i < len(each) else None for _, each in given] for i in range(most)]
    assert figures["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(guesses, streams, tokenize=tokenize, force=True).score
    )
    assert figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(guesses, streams).score)


@settings(max_examples=30, deadline=None)
@given(given_rows=rows(ENGLISH, " "), batch=st.integers(1, 6))
def test_english_figures_are_those_of_both_packages(given_rows: Any, batch: int) -> None:
    scorer = RougeScorer(ROUGE)
    scores = [scorer.score_multi(references, guess) for guess, references in given_rows]
    for language in ("en", "auto"):
        figures = fed(Generation(language), given_rows, batch).result()
        check(figures, given_rows, "13a")
        for name in ROUGE:
            assert figures[name] == pytest.approx(np.mean([score[name].fmeasure for score in scores]))


@settings(max_examples=30, deadline=None)
@given(given_rows=rows(CHINESE, ""), batch=st.integers(1, 6))
def test_chinese_bleu_is_that_of_the_chinese_tokenizer(given_rows: Any, batch: int) -> None:
    check(fed(Generation("zh"), given_rows, batch).result(), given_rows, "zh")


def test_real_translations_score_as_in_sacrebleu_and_the_language_is_seen() -> None:
    lines = shared("data", "tatoeba.en-zh.tsv").read_text(encoding="utf-8-sig").splitlines()[:300]
    english, chinese = zip(*(line.split("\t")[:2] for line in lines), strict=True)
    for side, tokenize in ((english, "13a"), (chinese, "zh")):
        given_rows = [(guess[: max(2, len(guess) - 3)], [guess]) for guess in side]
        figures = fed(Generation(), given_rows, 64).result()
        check(figures, given_rows, tokenize)
        assert 0.5 < figures["rouge1"] < 1
        assert 50 < figures["bleu"] < 100


def test_the_language_does_not_hang_on_the_first_batch_nor_on_merging() -> None:
    english, chinese = ("an end", ["one end"]), ("今天天气很好", ["今天的天气很好，我们去公园"])
    there = fed(Generation(), [english, chinese, chinese], 1).result()
    back = fed(Generation(), [chinese, chinese, english], 3).result()
    merged = fed(Generation(), [english], 1)
    merged.merge(fed(Generation(), [chinese, chinese], 2))
    assert there == pytest.approx(back)
    assert there == pytest.approx(merged.result())
    check(there, [english, chinese, chinese], "zh")


def test_rouge_knows_chinese_where_the_package_alone_knows_nothing() -> None:
    guess, reference = "今天天气很好", "今天天气不好。"
    assert RougeScorer(["rouge1"]).score(reference, guess)["rouge1"].fmeasure == 0
    metric = Generation("zh")
    metric.update([guess], [reference])
    figures = metric.result()
    assert figures["rouge1"] == pytest.approx(5 / 6)
    assert figures["rouge2"] == pytest.approx(3 / 5)
    assert figures["rougeL"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Привет, мир!", ["привет", "мир"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("Ünïcode naïve snake_case", ["n", "code", "na", "ve", "snake", "case"]),
        ("用BERT做2018年", ["用", "bert", "做", "2018", "年"]),
        ("，。", []),
    ],
)
def test_words_of_summaries(text: str, words: list[str]) -> None:
    assert summary_words(text) == words


def test_words_of_latin_texts_are_those_of_the_package() -> None:
    from rouge_score.tokenizers import DefaultTokenizer

    package = DefaultTokenizer()
    for code in range(0x250):
        text = f"One{chr(code)}two {chr(code)} 3"
        assert summary_words(text) == package.tokenize(text), text


def test_equal_texts_are_perfect_and_empty_ones_are_nothing() -> None:
    metric = Generation()
    metric.update(["a cat sat on the mat"], ["a cat sat on the mat"])
    assert metric.result() == pytest.approx({"bleu": 100, "chrf": 100, "rouge1": 1, "rouge2": 1, "rougeL": 1})
    empty = Generation()
    empty.update(["", ""], ["something", ""])
    assert set(empty.result().values()) == {0.0}


@pytest.mark.parametrize(
    "tokenizer", ["tokenizer_13a.Tokenizer13a", "tokenizer_zh.TokenizerZh", "tokenizer_re.TokenizerRegexp"]
)
def test_sacrebleus_tokenizers_do_not_hoard_texts(tokenizer: str) -> None:
    module, name = tokenizer.split(".")
    remembering = getattr(importlib.import_module(f"sacrebleu.tokenizers.{module}"), name).__call__
    sacrebleu.corpus_bleu(["one text"], [["another"]])
    sacrebleu.corpus_bleu(["one text"], [["another"]], tokenize="zh")
    assert remembering.cache_info().currsize
    metric = Generation()
    metric.update(["a text"], ["another"])
    assert not remembering.cache_info().currsize


@pytest.mark.parametrize(
    ("guesses", "references", "message"),
    [
        ("text", ["text"], "predictions is one text"),
        (["text"], "text", "references is one text"),
        (["a"], ["a", "b"], "got 1 predictions and 2 references"),
        (["a"], [[]], "references of example 0 are .*, expected a text or a list of one or more"),
        ([[1, 2]], ["a"], "are no texts, the first is .* decode ids first"),
        (["a"], [["a", None]], "references of example 0 are no texts, the first is None at 1"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(guesses: Any, references: Any, message: str) -> None:
    metric = Generation()
    with pytest.raises(InputError, match=message):
        metric.update(guesses, references)
    assert metric.state() == Generation().state()


def test_empty_batches_count_nothing() -> None:
    metric = Generation()
    metric.update([], [])
    with pytest.raises(InputError, match="has seen no examples"):
        metric.result()


@pytest.mark.parametrize("package", ["sacrebleu", "rouge_score"])
def test_a_missing_package_is_named_before_anything_is_generated(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package} is not installed: pip install .*rouge_score"):
        Generation()


def test_importing_the_metrics_loads_neither_package() -> None:
    code = (
        "import sys, enfold.training.metrics\n"
        "print(sorted({'sacrebleu', 'rouge_score', 'nltk', 'torch', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
