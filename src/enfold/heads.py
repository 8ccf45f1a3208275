"""What stands on top of a stack of layers, as data: every head is one or two branches of the same four steps.

::

    hidden states ──select──▶ dense + activation ──▶ norm ──▶ output
       (T, D)     first or last  (absent: identity)  (absent:   (absent: the branch
                  token, or all                       identity)  is a pooler)
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
    "causal-lm",
    "seq2seq-lm",
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
    "causal-lm": "ForCausalLM",
    "seq2seq-lm": "ForConditionalGeneration",
}
"""How class names end, unless the family says otherwise: ``Bert`` + ``ForMaskedLM``."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way from hidden states to an output field.

    ``outputs`` is the width of the result: a number, ``"labels"`` (the configuration's), ``"vocabulary"`` (tied to
    the word embeddings where the architecture says so) or None (no output layer). ``dense`` is the activation of the
    layer before it (``"own"``: the architecture's), ``dense_width`` its width where that is the embedding's.
    ``dropout`` falls on what enters the output, ``dropout_before_dense`` on what enters the dense layer.
    ``bias`` says of the output's bias that it is learnt, that there is none, or that it is a row of constants which
    files may leave out (BART). ``names`` maps the branch's leaves (``dense``, ``norm``, ``output``) to their names in
    checkpoints; ``tied_bias`` is what the output's bias is called where its weight is the word embeddings', ``buffer``
    what a row of constants is.
    """

    field: str = "logits"
    select: Literal["first", "last", "tokens"] = "tokens"
    dense: Activation | Literal["own"] | None = None
    dense_width: Literal["hidden", "embedding"] = "hidden"
    norm: bool = False
    outputs: int | Literal["labels", "vocabulary"] | None = None
    bias: Literal["learnt", "none", "buffer"] = "learnt"
    squeeze: bool = False
    dropout: bool = False
    dropout_before_dense: bool = False
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A head's branches, in the order of their outputs.

    ``omits`` names leaves that files with this head leave out, because a formula fills them; ``prefix`` is the base
    model's prefix where this head's class has another than its family (LlamaForQuestionAnswering). ``starts_with`` says
    what a decoder that learns a text reads first: the configuration's ``decoder_start_token_id``, or the text's own
    last token, as mBART, whose texts end with their language.
    """

    branches: tuple[Branch, ...] = ()
    omits: tuple[str, ...] = ()
    prefix: str | None = None
    starts_with: Literal["configured", "last"] = "configured"

    @property
    def of_texts(self) -> frozenset[str]:
        """The fields that have a row for each text; all others have one for each token."""
        return frozenset(branch.field for branch in self.branches if branch.select != "tokens")
