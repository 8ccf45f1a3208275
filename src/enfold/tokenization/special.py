"""Special and added tokens: which a kind has, which a checkpoint states, and their places in the vocabulary."""

import re
from collections.abc import Mapping, Sequence

from tokenizers import AddedToken, Tokenizer

from enfold.errors import InputError, TokenizerError
from enfold.tokenization.kinds import Kind
from enfold.tokenization.languages import M2M100, WMT21, Languages
from enfold.tokenization.pipelines import template_of
from enfold.tokenization.settings import Settings, as_added_token

__all__ = ["language_codes", "pegasus_tokens", "role_token", "sentinels", "settle_languages", "settle_special_tokens"]


def role_token(kind: Kind, settings: Settings, role: str) -> str:
    """The text of the token in a role, stated or by default."""
    token = settings.special.get(role) or kind.special[role]
    return str(token)


def settle_special_tokens(
    backend: Tokenizer, kind: Kind, settings: Settings
) -> tuple[dict[str, AddedToken], tuple[str, ...]]:
    """Register the added and special tokens; return role → token, and the special tokens that have no role.

    A token that was stated is added if the vocabulary lacks it, as the reference does; a default of the kind that the
    vocabulary lacks is no token of this tokenizer. What a ``tokenizer.json`` says about stripping stays.
    """
    _add_numbered(backend, settings)
    if kind.appends:
        defaults = [str(token) for role, token in kind.special.items() if role not in settings.special]
        absent = [name for name in dict.fromkeys(defaults) if backend.token_to_id(name) is None]
        backend.add_special_tokens([as_added_token(name, special=True) for name in absent])
    flags = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    chosen: dict[str, AddedToken] = {}
    for role, token in {**kind.special, **settings.special}.items():
        if token is None or (role not in settings.special and backend.token_to_id(str(token)) is None):
            continue
        fresh = token if isinstance(token, AddedToken) else as_added_token(token, special=True)
        kept = flags.get(fresh.content)
        chosen[role] = kept if kept is not None and kept.special else fresh
    extra = {token.content: token for token in settings.extra_special}
    for name in _extra_names(kind, settings):
        if name not in extra and backend.token_to_id(name) is not None:
            extra[name] = as_added_token(name, special=True)
    wanted = extra | {token.content: token for token in chosen.values()}
    # one that is special already keeps its flags: the file that made the ids knows them best
    backend.add_special_tokens(
        [token for name, token in wanted.items() if name not in flags or not flags[name].special]
    )
    roles = {token.content for token in chosen.values()}
    return chosen, tuple(name for name in extra if name not in roles)


def _extra_names(kind: Kind, settings: Settings) -> list[str]:
    """The special tokens without a role that a kind has by nature."""
    match kind.layout:
        case "t5":
            return sentinels(settings)
        case "pegasus":
            return pegasus_tokens(settings)
        case _:
            return [kind.language_token.format(code) for code in language_codes(kind, settings)]


def sentinels(settings: Settings) -> list[str]:
    """T5's marks for what was left out: ``<extra_id_0>`` and on."""
    return [f"<extra_id_{number}>" for number in range(100 if settings.extra_ids is None else settings.extra_ids)]


def pegasus_tokens(settings: Settings) -> list[str]:
    """What PEGASUS keeps for its pre-training, in the order of the ids from 2 on: two masks, then unused ones."""
    offset = 103 if settings.offset is None else settings.offset
    return ["<mask_1>", "<mask_2>", *(f"<unk_{number}>" for number in range(2, offset))] if offset > 1 else []


def language_codes(kind: Kind, settings: Settings) -> list[str]:
    """The language codes that a kind has by nature; for M2M-100, of the set that the checkpoint names.

    Raises:
        TokenizerError: an unknown set.
    """
    if kind.name != "m2m100" or settings.language_codes is None:
        return kind.languages.split()
    sets = {"m2m100": M2M100, "wmt21": WMT21}
    if settings.language_codes not in sets:
        raise TokenizerError(f"language_codes={settings.language_codes!r}: expected one of {', '.join(sets)}.")
    return sets[settings.language_codes].split()


def settle_languages(
    kind: Kind, settings: Settings, backend: Tokenizer, tokens: Mapping[str, str], extra: Sequence[str]
) -> Languages | None:
    """The languages of a tokenizer: those of its kind, and those that a checkpoint was taught later.

    Raises:
        TokenizerError: a stated language is none of them.
    """
    form = kind.language_token
    codes = {code: form.format(code) for code in language_codes(kind, settings)}
    if not codes:
        return None
    like = re.compile(re.escape(form).replace(re.escape("{}"), r"([a-z]{2,3}(?:_[A-Z][A-Za-z]{1,3})?)"))
    codes |= {found[1]: name for name in extra if (found := like.fullmatch(name)) and found[1] not in codes}
    known = {code: token for code, token in codes.items() if backend.token_to_id(token) is not None}
    if not known:
        raise TokenizerError(f"A {kind.name} tokenizer marks languages, but the vocabulary has no {form.format('…')}.")
    single, pair = template_of(kind, settings)
    roles = {word: tokens[word] for word in single.split() if word in tokens}
    default = kind.default_language if kind.default_language in known else next(iter(known))
    languages = Languages(known, single, pair, roles, settings.src_lang or default, settings.tgt_lang)
    try:
        for code in filter(None, (settings.src_lang, settings.tgt_lang)):
            languages.token(code)
    except InputError as error:
        raise TokenizerError(f"src_lang or tgt_lang: {error}") from None
    return languages


def _add_numbered(backend: Tokenizer, settings: Settings) -> None:
    """Add the tokens to which a file gives ids, and check that they get those."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    new = [token for _, token in sorted(settings.added.items()) if token.content not in known]
    backend.add_tokens(new)
    fresh = {token.content for token in new}
    wrong = [
        f"{token.content!r} should be {number} and would be {got}"
        for number, token in settings.added.items()
        if token.content in fresh and (got := backend.token_to_id(token.content)) != number
    ]
    if wrong:
        raise TokenizerError(
            f"The added tokens do not fit this vocabulary of {backend.get_vocab_size(with_added_tokens=False)}: "
            f"{'; '.join(wrong[:5])}. The files of this folder do not belong together."
        )
