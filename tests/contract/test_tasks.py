"""Every family does its tasks as the reference's numbers say: in a batch, each text by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import enfold
from enfold.auto import load_model
from tests.reference import CASES, make_reference

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["a b c", "d", "e f g h i j k l", "m n"]

on_both_engines = pytest.mark.parametrize("engine", ["cpu", "torch"])


def families(kind: str) -> Any:
    return pytest.mark.parametrize("model_type", [name for name, each in CASES if each == kind])


class Case:
    """A small reference model, ours with the same weights, and a tokenizer of words of one letter."""

    def __init__(self, model_type: str, kind: Any, engine: Any, home: Path) -> None:
        values = {"eos_token_id": WORDS.index("[SEP]"), "pad_token_id": 0}
        self.types = bool(transformers.AutoConfig.for_model(model_type).to_dict().get("type_vocab_size"))
        values |= {"type_vocab_size": 2} if self.types else {}
        self.reference = make_reference(model_type, kind, 0, home / "model", **values).model
        (home / "words").mkdir()
        (home / "words" / "vocab.txt").write_text("\n".join(WORDS))
        settings = '{"tokenizer_class": "BertTokenizer", "model_max_length": 20}'
        (home / "words" / "tokenizer_config.json").write_text(settings)
        self.tokenizer = enfold.AutoTokenizer.from_pretrained(home / "words")
        self.model = load_model(home / "model", kind, engine=engine)

    def pipeline(self, task: str) -> Any:
        return enfold.pipeline(task, model=self.model, tokenizer=self.tokenizer)

    def outputs(self, *texts: str) -> Any:
        """What the reference answers to one text or pair alone."""
        given = {"input_ids": torch.tensor([self.tokenizer(*texts)["input_ids"]])}
        if self.types:
            given["token_type_ids"] = torch.tensor([self.tokenizer(*texts)["token_type_ids"]])
        with torch.no_grad():
            return self.reference(**given)


@on_both_engines
@families("sequence-classification")
def test_texts_have_the_references_labels(model_type: str, engine: str, tmp_path: Path) -> None:
    case = Case(model_type, "sequence-classification", engine, tmp_path)
    found = case.pipeline("text-classification")(TEXTS, function_to_apply="none", top_k=None)
    names = case.reference.config.id2label
    for text, records in zip(TEXTS, found, strict=True):
        logits = case.outputs(text).logits[0]
        scores = {record["label"]: record["score"] for record in records}
        np.testing.assert_allclose([scores[names[index]] for index in range(len(logits))], logits, atol=1e-4)


@on_both_engines
@families("token-classification")
def test_tokens_have_the_references_labels(model_type: str, engine: str, tmp_path: Path) -> None:
    case = Case(model_type, "token-classification", engine, tmp_path)
    found = case.pipeline("token-classification")(TEXTS, aggregation_strategy="none", ignore_labels=[])
    names = case.reference.config.id2label
    for text, records in zip(TEXTS, found, strict=True):
        chances = case.outputs(text).logits[0].softmax(-1)[1:-1]
        assert [record["entity"] for record in records] == [names[index] for index in chances.argmax(-1).tolist()]
        np.testing.assert_allclose([record["score"] for record in records], chances.max(-1).values, atol=1e-4)


@on_both_engines
@families("masked-lm")
def test_masks_are_filled_with_the_references_tokens(model_type: str, engine: str, tmp_path: Path) -> None:
    case = Case(model_type, "masked-lm", engine, tmp_path)
    texts = ["a [MASK] c", "[MASK]", "e f g h i [MASK]"]
    for text, records in zip(texts, case.pipeline("fill-mask")(texts, top_k=3), strict=True):
        place = case.tokenizer(text)["input_ids"].index(WORDS.index("[MASK]"))
        chances = case.outputs(text).logits[0, place].softmax(-1)
        best = chances.topk(3)
        assert [record["token"] for record in records] == best.indices.tolist()
        np.testing.assert_allclose([record["score"] for record in records], best.values, atol=1e-4)


@on_both_engines
@families("question-answering")
def test_answers_are_the_references_best_spans(model_type: str, engine: str, tmp_path: Path) -> None:
    case = Case(model_type, "question-answering", engine, tmp_path)
    pairs = [("a b", "c d e f g"), ("h", "i j"), ("k l m", "n o p q r s t")]
    asked = [{"question": question, "context": context} for question, context in pairs]
    for (question, context), record in zip(pairs, case.pipeline("question-answering")(asked), strict=True):
        outputs = case.outputs(question, context)
        begin, count = len(case.tokenizer(question)["input_ids"]), len(context.split())
        chances = [getattr(outputs, f"{side}_logits")[0].double() for side in ("start", "end")]
        inside = torch.full_like(chances[0], -1e4)
        inside[[0, *range(begin, begin + count)]] = 0  # the first token stands for no answer
        start, end = (torch.softmax(each + inside, -1)[begin : begin + count] for each in chances)
        joint = torch.triu(start[:, None] * end[None, :])
        words = context.split()
        spans = {" ".join(words[i : j + 1]): float(joint[i, j]) for i in range(count) for j in range(i, count)}
        assert record["score"] == pytest.approx(spans[record["answer"]], abs=1e-4)
        assert record["score"] == pytest.approx(max(spans.values()), abs=1e-4)


@on_both_engines
@families("base")
def test_features_are_the_references_hidden_states(model_type: str, engine: str, tmp_path: Path) -> None:
    case = Case(model_type, "base", engine, tmp_path)
    if case.reference.config.is_encoder_decoder and model_type not in ("bart", "mbart"):
        case.reference = case.reference.get_encoder()  # which is all that can be asked of it without a decoder's text
    folder = enfold.pipeline(
        "feature-extraction", model=str(case.model.source), tokenizer=case.tokenizer, engine=engine
    )
    for extract in (case.pipeline("feature-extraction"), folder):
        for text, found in zip(TEXTS, extract(TEXTS), strict=True):
            np.testing.assert_allclose(np.asarray(found)[0], case.outputs(text).last_hidden_state[0], atol=1e-4)
