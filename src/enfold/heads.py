"""What stands on top of an encoder, as data: every head is one or two branches of the same four steps.

::

    hidden states ──select──▶ dense + activation ──▶ norm ──▶ output
       (T, D)     first token    (absent: identity)  (absent:   (absent: the branch
                  or all tokens                       identity)  is a pooler)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from enfold.arch import Activation

__all__ = ["CLASS_SUFFIXES", "Branch", "Head", "HeadKind"]

HeadKind = Literal[
    "base",
    "pretraining",
    "masked-lm",
    "next-sentence",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "discriminator",
    "encoder",
]

CLASS_SUFFIXES: Mapping[HeadKind, str] = {
    "base": "Model",
    "pretraining": "ForPreTraining",
    "masked-lm": "ForMaskedLM",
    "next-sentence": "ForNextSentencePrediction",
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "multiple-choice": "ForMultipleChoice",
    "discriminator": "ForPreTraining",
}
"""How class names end: ``Bert`` + ``ForMaskedLM``."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way from hidden states to an output field.

    ``outputs`` is the width of the result: a number, ``"labels"`` (the configuration's), ``"vocabulary"`` (tied to
    the word embeddings where the architecture says so) or None (no output layer). ``dense`` is the activation of the
    layer before it (``"own"``: the architecture's), ``dense_width`` its width where that is the embedding's.
    ``dropout`` falls on what enters the output, ``dropout_before_dense`` on what enters the dense layer.
    ``names`` maps the branch's leaves (``dense``, ``norm``, ``output``) to their names in checkpoints; ``tied_bias`` is
    what the output's bias is called where its weight is the word embeddings'.
    """

    field: str = "logits"
    select: Literal["first", "tokens"] = "tokens"
    dense: Activation | Literal["own"] | None = None
    dense_width: Literal["hidden", "embedding"] = "hidden"
    norm: bool = False
    outputs: int | Literal["labels", "vocabulary"] | None = None
    squeeze: bool = False
    dropout: bool = False
    dropout_before_dense: bool = False
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A head's branches, in the order of their outputs."""

    branches: tuple[Branch, ...] = ()
