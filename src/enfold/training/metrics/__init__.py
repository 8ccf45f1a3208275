"""Figures of an evaluation, computed from a stream of batches in memory that doesn't grow with the examples.

::

    batch ──update──▶ sums ──result──▶ {"accuracy": 0.91, "f1": 0.90, …}
                       ▲
    another process ───┴─merge, or state and load

Every metric takes batches of numpy arrays or lists with :meth:`~Metric.update`, what was predicted first and what is
true second; a batch that is refused changes nothing. Figures are shares between 0 and 1 or in the data's own unit,
except ``bleu`` and ``chrf``, which the field gives between 0 and 100. A figure that the data leave undefined (the
recall of a label that never occurs, the correlation with a constant) is 0, so that every figure is a number.
"""

from enfold.training.metrics.answers import Answers
from enfold.training.metrics.base import Metric
from enfold.training.metrics.classification import Classification
from enfold.training.metrics.entities import Entities
from enfold.training.metrics.generation import Generation
from enfold.training.metrics.multilabel import MultiLabel
from enfold.training.metrics.regression import EmbeddingPairs, Regression
from enfold.training.metrics.retrieval import InBatch
from enfold.training.metrics.text import Language
from enfold.training.metrics.tokens import Perplexity, TokenAccuracy

__all__ = [
    "Answers",
    "Classification",
    "EmbeddingPairs",
    "Entities",
    "Generation",
    "InBatch",
    "Language",
    "Metric",
    "MultiLabel",
    "Perplexity",
    "Regression",
    "TokenAccuracy",
]
