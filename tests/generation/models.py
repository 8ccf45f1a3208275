"""Tiny models that several tests write with: the reference's, and enfold's of the same files on either engine."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from enfold.auto import load_model
from enfold.model import PreTrainedModel
from tests.generation.golden.weights import CONFIGS, tiny

ENGINES = ("torch", "cpu")
TYPES = tuple(CONFIGS)


@cache
def reference(model_type: str) -> Any:
    """The reference's model, in eager attention as tests ask for attentions."""
    model = tiny(model_type)
    model.set_attn_implementation("eager")
    return model


@cache
def _folder(model_type: str) -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory()
    reference(model_type).save_pretrained(folder.name)
    return folder


def folder(model_type: str) -> Path:
    """Where the model's files are, until the tests end."""
    return Path(_folder(model_type).name)


@cache
def writer(model_type: str, engine: Any) -> PreTrainedModel:
    """enfold's model of the same files; it is shared, so leave it as it is."""
    encoder = model_type in ("bart", "t5")
    return load_model(folder(model_type), "seq2seq-lm" if encoder else "causal-lm", engine=engine)
