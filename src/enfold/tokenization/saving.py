"""Writing a tokenizer as the three files that ``transformers`` 4 and 5 read back."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from enfold.checkpoint.atomic import atomic_folder
from enfold.tokenization.kinds import Kind
from enfold.tokenization.settings import NO_LIMIT, Settings
from enfold.tokenization.state import State

__all__ = ["save"]

_FLAGS = ("lstrip", "normalized", "rstrip", "single_word")
# Facts about the machine or the process that wrote the file, and code that is never run.
_DROPPED = (
    "name_or_path",
    "auto_map",
    "is_local",
    "local_files_only",
    "special_tokens_map_file",
    "tokenizer_file",
)


def save(folder: Path, state: State, kind: Kind, settings: Settings) -> tuple[str, ...]:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json`` into a folder."""
    files = {
        "tokenizer_config.json": _config(state, kind, settings),
        "special_tokens_map.json": _special_tokens(state),
    }
    with atomic_folder(folder, replaces=("added_tokens.json",)) as aside:
        (aside / "tokenizer.json").write_text(state.full.to_str(pretty=True), encoding="utf-8")
        for name, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
            (aside / name).write_text(f"{text}\n", encoding="utf-8")
    return tuple(str(folder / name) for name in (*files, "tokenizer.json"))


def _config(state: State, kind: Kind, settings: Settings) -> dict[str, Any]:
    """``tokenizer_config.json``: what was read, with what is true now laid over it."""
    config = {name: value for name, value in settings.config.items() if name not in _DROPPED}
    config.pop("added_tokens_decoder", None)
    for name in (
        "additional_special_tokens",
        "extra_special_tokens",
        *(f"{role}_token" for role in kind.special),
    ):
        config.pop(name, None)
    config |= settings.stated() | _pipeline_settings(state)
    config |= {f"{role}_token": token.content for role, token in state.special.items()}
    if state.extra:
        config["additional_special_tokens"] = list(state.extra)
    config["added_tokens_decoder"] = {
        str(number): {"content": token.content, "special": token.special, **_flags(token)}
        for number, token in sorted(state.full.get_added_tokens_decoder().items())
    }
    config["model_max_length"] = NO_LIMIT if state.model_max_length >= NO_LIMIT else state.model_max_length
    config["padding_side"] = state.padding_side
    config["truncation_side"] = state.truncation_side
    config["clean_up_tokenization_spaces"] = state.clean_up
    config["model_input_names"] = list(state.input_names)
    config["tokenizer_class"] = settings.tokenizer_class or _class_name(kind)
    return config


def _class_name(kind: Kind) -> str:
    return "PreTrainedTokenizerFast" if kind.name == "generic" else kind.classes[0]


def _pipeline_settings(state: State) -> dict[str, Any]:
    """The casing of a BERT pipeline: transformers 5 builds it anew from these settings, not from ``tokenizer.json``."""
    normalizer = state.full.normalizer
    found = json.loads(normalizer.__getstate__()) if normalizer is not None else {}
    if found.get("type") != "BertNormalizer":
        return {}
    return {
        "do_lower_case": found["lowercase"],
        "strip_accents": found["strip_accents"],
        "tokenize_chinese_chars": found["handle_chinese_chars"],
    }


def _special_tokens(state: State) -> dict[str, Any]:
    """``special_tokens_map.json``: tokens as objects with their flags, those without a role as a list."""
    known = {token.content: token for token in state.full.get_added_tokens_decoder().values()}
    roles: dict[str, Any] = {
        f"{role}_token": {"content": token.content, **_flags(known.get(token.content, token))}
        for role, token in state.special.items()
    }
    if state.extra:
        roles["additional_special_tokens"] = list(state.extra)
    return roles


def _flags(token: AddedToken) -> dict[str, bool]:
    return {name: bool(getattr(token, name)) for name in _FLAGS}
