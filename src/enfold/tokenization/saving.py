"""Writing a tokenizer as the files that ``transformers`` 4 and 5 read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from enfold.checkpoint.atomic import atomic_folder
from enfold.tokenization.kinds import Kind
from enfold.tokenization.settings import NO_LIMIT, Settings
from enfold.tokenization.state import State
from enfold.tokenization.templates import TEMPLATE_FILES, write_templates

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


def save(folder: Path, state: State, kind: Kind, settings: Settings, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Write the files of a tokenizer into a folder; return their paths.

    ``files`` are those that a kind without ``tokenizer.json`` was built from.

    Raises:
        TokenizerError: a chat template has a name that is no file name.
    """
    described = {
        "tokenizer_config.json": _config(state, kind, settings),
        "special_tokens_map.json": _special_tokens(state),
    }
    replaced = ["added_tokens.json", *TEMPLATE_FILES]
    with atomic_folder(folder, replaces=[*replaced, "tokenizer.json"] if files else replaced) as aside:
        for name, content in described.items():
            text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
            (aside / name).write_text(f"{text}\n", encoding="utf-8")
        for name, data in files.items():
            (aside / name).write_bytes(data)
        if not files:
            (aside / "tokenizer.json").write_text(state.full.to_str(pretty=True), encoding="utf-8")
        templates = write_templates(aside, state.chat_template)
    written = [*described, *(files or ("tokenizer.json",)), *templates]
    return tuple(str(folder / name) for name in written)


def _config(state: State, kind: Kind, settings: Settings) -> dict[str, Any]:
    """``tokenizer_config.json``: what was read, with what is true now laid over it."""
    config = {name: value for name, value in settings.config.items() if name not in _DROPPED}
    config.pop("added_tokens_decoder", None)
    for name in (
        "chat_template",
        "additional_special_tokens",
        "extra_special_tokens",
        *(f"{role}_token" for role in kind.special),
    ):
        config.pop(name, None)
    config |= settings.stated() | _pipeline_settings(state)
    if state.languages is not None:
        config |= {"src_lang": state.languages.source, "tgt_lang": state.languages.target}
    config |= {f"{role}_token": token.content for role, token in state.special.items()}
    if state.extra:
        config["additional_special_tokens"] = list(state.extra)
    config["added_tokens_decoder"] = {
        str(number): {"content": token.content, "special": token.special, **_flags(token)}
        for number, token in sorted(state.book.get_added_tokens_decoder().items())
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
    known = {token.content: token for token in state.book.get_added_tokens_decoder().values()}
    roles: dict[str, Any] = {
        f"{role}_token": {"content": token.content, **_flags(known.get(token.content, token))}
        for role, token in state.special.items()
    }
    if state.extra:
        roles["additional_special_tokens"] = list(state.extra)
    return roles


def _flags(token: AddedToken) -> dict[str, bool]:
    return {name: bool(getattr(token, name)) for name in _FLAGS}
