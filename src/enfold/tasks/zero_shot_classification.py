"""Zero-shot classification: labels that are chosen when asking, by a model of natural-language inference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, TaskError
from enfold.model import PreTrainedModel
from enfold.tasks.base import Fields, Options, Task, check_text, respond
from enfold.tasks.labels import split_labels
from enfold.tasks.scores import softmax
from enfold.tasks.text_classification import weighted_mean
from enfold.tokenization import Encoded, Tokenizer

__all__ = ["ZeroShotClassification"]


class ZeroShotClassification(Task):
    """Which of some labels a text has: each label makes a hypothesis, and the model says whether the text entails it.

    >>> classify = pipeline("zero-shot-classification", "folder")                          # doctest: +SKIP
    >>> classify("My phone is broken.", candidate_labels=["phone", "food"])                # doctest: +SKIP
    {'sequence': 'My phone is broken.', 'labels': ['phone', 'food'], 'scores': [0.99, 0.01]}

    Records are those of the reference's last 4.x release, except where it errs: the label of contradiction is found
    by its name too, a model without one for entailment is refused, and a text over the limit is read whole.
    The method is that of https://arxiv.org/abs/1909.00161.
    """

    name = "zero-shot-classification"
    head = "sequence-classification"

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        self._entailment, self._contradiction = _inference_labels(model.config.id2label)

    def __call__(
        self,
        sequences: Any,
        candidate_labels: str | Sequence[str] = (),
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
    ) -> Any:
        """Classifies texts.

        Args:
            sequences: a text or many.
            candidate_labels: a list, or labels separated by commas.
            hypothesis_template: a sentence with ``{}`` where the label goes.
            multi_label: each label is judged alone, entailment against contradiction; otherwise one is right, and
                the scores of all sum to 1.

        Returns:
            For each text ``{"sequence", "labels", "scores"}``, likeliest label first.
        """
        labels = _as_labels(candidate_labels)
        hypotheses = _hypotheses(labels, hypothesis_template)
        alone = multi_label or len(labels) == 1

        def encode(items: list[str]) -> list[list[Encoded]]:
            """The windows of a text with every hypothesis; the text gives way, never the hypothesis."""
            firsts = [text for text in items for _ in hypotheses]
            pairs = self.encode_texts(firsts, hypotheses * len(items), cut="first")
            each = len(hypotheses)
            return [list(chain(*pairs[begin : begin + each])) for begin in range(0, len(pairs), each)]

        def finish(item: str, windows: list[Encoded], outputs: list[Fields]) -> dict[str, Any]:
            logits = _by_hypothesis(hypotheses, windows, outputs)
            if alone:
                scores = softmax(logits[:, [self._contradiction, self._entailment]])[:, 1]
            else:
                scores = softmax(logits[:, self._entailment])
            order = np.argsort(-scores, kind="stable").tolist()
            return {
                "sequence": item,
                "labels": [labels[index] for index in order],
                "scores": [float(scores[index]) for index in order],
            }

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.stream(map(check_text, items), encode, finish, total=total)

        return respond(sequences, records, single=isinstance(sequences, str))


def _inference_labels(labels: dict[int, str]) -> tuple[int, int]:
    """The ids of entailment and of what it is weighed against.

    That is contradiction where a label is called so (``facebook/bart-large-mnli`` 0, ``microsoft/deberta-*-mnli`` 0),
    else, as in the reference, the first or the last label (``not_entailment`` of two-way models).

    Raises:
        TaskError: no label for entailment, or no other.
    """
    names = {index: name.lower() for index, name in labels.items()}
    entailment = next((index for index, name in names.items() if name.startswith("entail")), None)
    if entailment is None or len(names) < 2:
        raise TaskError(
            f"zero-shot-classification needs a model trained on natural-language inference, with a label 'entailment' "
            f"beside others; this one has the labels {', '.join(labels.values())}. If one of them means it, say so in "
            "the configuration's id2label"
        )
    against = next((index for index, name in names.items() if name.startswith("contra")), None)
    return entailment, against if against is not None else (len(names) - 1 if entailment == 0 else 0)


def _as_labels(given: str | Sequence[str]) -> list[str]:
    labels = split_labels(given) if isinstance(given, str) else list(given)
    if not labels or not all(isinstance(label, str) and label.strip() for label in labels):
        raise InputError(f"candidate_labels is {given!r:.80}, expected labels: a list, or a text with commas between")
    return labels


def _hypotheses(labels: list[str], template: str) -> list[str]:
    problem = f"hypothesis_template is {template!r}, expected a sentence with {{}} where the label goes"
    try:
        hypotheses = [template.format(label) for label in labels]
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise InputError(problem) from error
    if hypotheses[0] == template:
        raise InputError(problem)
    return hypotheses


def _by_hypothesis(hypotheses: list[str], windows: list[Encoded], outputs: list[Fields]) -> NDArray[np.float32]:
    """Logits of each hypothesis, (N, labels), those of a long text's windows averaged."""
    groups: dict[Any, tuple[list[Encoded], list[Fields]]] = defaultdict(lambda: ([], []))
    for window, output in zip(windows, outputs, strict=True):
        own_windows, own_outputs = groups[window.item[1]]
        own_windows.append(window)
        own_outputs.append(output)
    return np.stack([weighted_mean(*groups[hypothesis]) for hypothesis in hypotheses])
