"""What a checkpoint and its user say about a tokenizer, beside the vocabulary: one checked value.

Three files speak, in the order in which they overrule each other: ``tokenizer_config.json``, then — where that file
has no ``added_tokens_decoder``, as before 2023 — ``special_tokens_map.json`` and ``added_tokens.json``, then the
keyword arguments of the caller.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken

from enfold.errors import TokenizerError
from enfold.tokenization.chat import Templates
from enfold.tokenization.files import read_json_object, read_vocabulary_json
from enfold.tokenization.templates import read_templates

__all__ = ["NO_LIMIT", "ROLES", "Settings", "as_added_token", "as_templates", "read_settings"]

NO_LIMIT = int(1e30)
"""``model_max_length`` of a tokenizer whose files name none; the number that the field uses for it."""

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
Side = Literal["right", "left"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was stated; ``None`` is "nobody said".

    ``special`` maps a role to its token, to ``None`` where a file says that there is none. ``added`` maps the id that a
    file gives to each added token. ``config`` is the whole ``tokenizer_config.json``, kept for saving. ``overridden``
    names what the caller stated: only that overrules a pipeline that a ``tokenizer.json`` spells out.
    """

    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    keep_accents: bool | None = None
    split_by_punct: bool | None = None
    add_prefix_space: bool | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    legacy: bool | None = None
    legacy_behaviour: bool | None = None
    separate_vocabs: bool | None = None
    extra_ids: int | None = None
    offset: int | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    language_codes: str | None = None
    chat_template: Templates = None
    model_max_length: int | None = None
    padding_side: Side | None = None
    truncation_side: Side | None = None
    clean_up_tokenization_spaces: bool | None = None
    model_input_names: tuple[str, ...] | None = None
    tokenizer_class: str | None = None
    special: Mapping[str, AddedToken | None] = field(default_factory=dict)
    extra_special: tuple[AddedToken, ...] = ()
    added: Mapping[int, AddedToken] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()

    def stated(self) -> dict[str, Any]:
        """The plain settings that somebody stated, under their public names."""
        names = (name for name in _PLAIN if name != "chat_template")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class _WrongValue(Exception):
    """A value of the wrong type; the text says what was expected."""


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongValue("true or false")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value:
        raise _WrongValue("a number of at least 0")
    return NO_LIMIT if value >= NO_LIMIT else int(value)


def _length(value: Any) -> int:
    if (number := _count(value)) == 0:
        raise _WrongValue("a number of at least 1")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongValue("a string")
    return value


def _side(value: Any) -> Side:
    if value not in ("right", "left"):
        raise _WrongValue('"right" or "left"')
    return value  # type: ignore[no-any-return]  # narrowed to the literal by the line above


def _templates(value: Any) -> Templates:
    """One text, or texts by name, which stand as a list of ``{"name": …, "template": …}`` in older files."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, dict) for each in value):
        value = {each.get("name"): each.get("template") for each in value}
    if not isinstance(value, dict) or not value or not all(isinstance(each, str) for each in (*value, *value.values())):
        raise _WrongValue("a Jinja template, or templates by name")
    return dict(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise _WrongValue("a list of names such as input_ids and attention_mask")
    return tuple(value)


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "do_lower_case": _bool,
    "strip_accents": _bool,
    "tokenize_chinese_chars": _bool,
    "keep_accents": _bool,
    "split_by_punct": _bool,
    "add_prefix_space": _bool,
    "add_bos_token": _bool,
    "add_eos_token": _bool,
    "legacy": _bool,
    "legacy_behaviour": _bool,
    "separate_vocabs": _bool,
    "extra_ids": _count,
    "offset": _count,
    "src_lang": _text,
    "tgt_lang": _text,
    "language_codes": _text,
    "chat_template": _templates,
    "model_max_length": _length,
    "padding_side": _side,
    "truncation_side": _side,
    "clean_up_tokenization_spaces": _bool,
    "model_input_names": _names,
    "tokenizer_class": _text,
}
_EXTRA_KEYS = ("additional_special_tokens", "extra_special_tokens")
# Arguments of the reference's from_pretrained that choose between its implementations; here there is one.
_WITHOUT_EFFECT = ("use_fast", "from_slow")


def as_added_token(value: Any, *, special: bool) -> AddedToken:
    """A token given as text, as an ``AddedToken`` or as its JSON form.

    Raises:
        TokenizerError: it is none of these, or empty.
    """
    try:
        return _added_token(value, special=special)
    except _WrongValue as error:
        raise TokenizerError(f"A token was given as {value!r}; {error} was expected.") from None


def _added_token(value: Any, *, special: bool) -> AddedToken:
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str) and value:
        return AddedToken(value, special=special, normalized=not special)
    if isinstance(value, dict) and isinstance(value.get("content"), str) and value["content"]:
        flags = {name: value[name] for name in ("single_word", "lstrip", "rstrip", "normalized") if name in value}
        if all(isinstance(flag, bool) for flag in flags.values()):
            flags.setdefault("normalized", not special)
            return AddedToken(value["content"], special=special or bool(value.get("special")), **flags)
    raise _WrongValue('a text that is not empty, or {"content": text, "lstrip": true or false, …}')


def read_settings(folder: Path, overrides: Mapping[str, Any]) -> Settings:
    """Read the settings files of a folder and lay the caller's arguments over them.

    Raises:
        TokenizerError: a file is broken, or values are of the wrong type; all of them are listed.
    """
    config_file = folder / "tokenizer_config.json"
    settings = Settings()
    if config_file.is_file():
        config = read_json_object(config_file)
        settings = replace(_lay_over(settings, config, str(config_file), strict=False), config=config)
    if "added_tokens_decoder" not in settings.config:
        settings = _read_older_files(folder, settings)
    if (templates := read_templates(folder)) is not None:
        settings = replace(settings, chat_template=templates)
    settings = _lay_over(settings, overrides, "the arguments", strict=True)
    return replace(settings, overridden=frozenset(overrides))


def as_templates(value: Any) -> Templates:
    """A chat template, or several by name; ``None`` for none.

    Raises:
        TokenizerError: it is nothing of the kind.
    """
    try:
        return None if value is None else _templates(value)
    except _WrongValue as error:
        raise TokenizerError(f"chat_template is {_short(value)}; {error} was expected.") from None


def _read_older_files(folder: Path, settings: Settings) -> Settings:
    special_file, added_file = folder / "special_tokens_map.json", folder / "added_tokens.json"
    if special_file.is_file():
        settings = _lay_over(settings, read_json_object(special_file), str(special_file), strict=False)
    if added_file.is_file():
        stated = {str(token): token for token in (*settings.special.values(), *settings.extra_special) if token}
        added = {
            number: stated.get(name) or _added_token(name, special=False)
            for name, number in read_vocabulary_json(added_file).items()
        }
        settings = replace(settings, added=added)
    return settings


def _lay_over(settings: Settings, values: Mapping[str, Any], where: str, *, strict: bool) -> Settings:
    """``settings`` with ``values`` on top. ``strict``: a name that means nothing here is an error."""
    plain: dict[str, Any] = {}
    special = dict(settings.special)
    extra = {str(token): token for token in settings.extra_special}
    added = dict(settings.added)
    problems: list[str] = []
    for name, value in values.items():
        try:
            if name in _PLAIN:
                plain[name] = None if value is None else _PLAIN[name](value)
            elif (role := name.removesuffix("_token")) != name and role in ROLES:
                special[role] = None if value is None else _added_token(value, special=True)
            elif name in _EXTRA_KEYS:
                extra |= {str(token): token for token in _extra_tokens(value)}
            elif name == "added_tokens_decoder" and not strict:
                added |= _added_tokens(value)
            elif strict and name not in _WITHOUT_EFFECT:
                problems.append(f"{name} is not a setting of a tokenizer; the settings are {', '.join(_known())}")
        except _WrongValue as error:
            problems.append(f"{name} is {_short(value)}; {error} was expected")
    if problems:
        raise TokenizerError(f"{where}: {'. '.join(problems)}.")
    return replace(settings, **plain, special=special, extra_special=tuple(extra.values()), added=added)


def _extra_tokens(value: Any) -> list[AddedToken]:
    if isinstance(value, dict):
        value = list(value.values())
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise _WrongValue("a list of tokens")
    return [_added_token(token, special=True) for token in value]


def _added_tokens(value: Any) -> dict[int, AddedToken]:
    if not isinstance(value, dict) or not all(str(number).isdecimal() for number in value):
        raise _WrongValue("an object from ids to tokens")
    return {int(number): _added_token(token, special=False) for number, token in value.items()}


def _known() -> list[str]:
    return sorted([*_PLAIN, *_EXTRA_KEYS, *(f"{role}_token" for role in ROLES)])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
