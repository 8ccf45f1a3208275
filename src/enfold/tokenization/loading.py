"""From a folder or a GGUF file to the state of a tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enfold.checkpoint.files import gguf_file
from enfold.tokenization.build import build
from enfold.tokenization.built import Built
from enfold.tokenization.kinds import KINDS, Kind, kind_of_class
from enfold.tokenization.settings import NO_LIMIT, Settings, read_settings
from enfold.tokenization.state import State

__all__ = ["Loaded", "load"]

_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A tokenizer's state, its kind and settings, and the files that only saving needs."""

    state: State
    kind: Kind
    settings: Settings
    files: Mapping[str, bytes]


def load(path: Path, kind: str | None, overrides: Mapping[str, Any]) -> Loaded:
    """Load the tokenizer of a folder; of a GGUF file, where that is given or all there is.

    Raises:
        TokenizerError: the files make no tokenizer, or a setting is unknown or of the wrong type.
        CheckpointError: a GGUF file can't be read.
    """
    if (file := _gguf_file(path)) is not None:
        from enfold.tokenization.gguf import read_gguf  # few models come this way

        built, settings = read_gguf(file, overrides)
    else:
        settings = read_settings(path, overrides)
        built = build(path, settings, kind)
    return Loaded(_state(built, settings), built.kind, settings, built.files)


def _state(built: Built, settings: Settings) -> State:
    # a class without habits of its own pads right, whatever the model type's class would do
    named = kind_of_class(settings.tokenizer_class) if settings.tokenizer_class else None
    source = KINDS["generic"] if named is not None and named.name == "generic" else built.kind
    state = State(
        full=built.backend,
        special=built.special,
        extra=built.extra,
        input_names=settings.model_input_names or built.kind.input_names,
        model_max_length=settings.model_max_length or NO_LIMIT,
        padding_side=settings.padding_side or source.padding_side,
        truncation_side=settings.truncation_side or "right",
        clean_up=settings.clean_up_tokenization_spaces or False,
        chat_template=settings.chat_template,
        languages=built.languages,
        table=built.table,
    )
    if built.target is None:
        return state
    engine, table = built.target
    return replace(state, target=replace(state, full=engine, table=table))


def _gguf_file(path: Path) -> Path | None:
    """The GGUF file that is all there is to make a tokenizer of, if so."""
    if any(found for name in _VOCABULARY_FILES for found in path.glob(name)):
        return None
    return gguf_file(path)
