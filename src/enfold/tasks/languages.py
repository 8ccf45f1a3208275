"""Languages as callers and models write them: two letters, three, with a country or with a script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from enfold.checkpoint.files import read_json
from enfold.errors import TokenizerError

__all__ = ["code_of", "same_language", "stated_pair"]

_NLLB: Mapping[str, str] = dict(
    re.findall(
        r"(\w\w):(\w+)",
        "af:afr_Latn am:amh_Ethi ar:arb_Arab az:azj_Latn bg:bul_Cyrl bn:ben_Beng ca:cat_Latn cs:ces_Latn da:dan_Latn "
        "de:deu_Latn el:ell_Grek en:eng_Latn es:spa_Latn et:est_Latn eu:eus_Latn fa:pes_Arab fi:fin_Latn fr:fra_Latn "
        "ga:gle_Latn gl:glg_Latn gu:guj_Gujr ha:hau_Latn he:heb_Hebr hi:hin_Deva hr:hrv_Latn hu:hun_Latn hy:hye_Armn "
        "id:ind_Latn ig:ibo_Latn is:isl_Latn it:ita_Latn ja:jpn_Jpan ka:kat_Geor kk:kaz_Cyrl km:khm_Khmr kn:kan_Knda "
        "ko:kor_Hang lo:lao_Laoo lt:lit_Latn lv:lvs_Latn ml:mal_Mlym mn:khk_Cyrl mr:mar_Deva ms:zsm_Latn mt:mlt_Latn "
        "my:mya_Mymr nb:nob_Latn ne:npi_Deva nl:nld_Latn no:nob_Latn pa:pan_Guru pl:pol_Latn pt:por_Latn ro:ron_Latn "
        "ru:rus_Cyrl si:sin_Sinh sk:slk_Latn sl:slv_Latn so:som_Latn sr:srp_Cyrl sv:swe_Latn sw:swh_Latn ta:tam_Taml "
        "te:tel_Telu th:tha_Thai tl:tgl_Latn tr:tur_Latn uk:ukr_Cyrl ur:urd_Arab uz:uzn_Latn vi:vie_Latn xh:xho_Latn "
        "yo:yor_Latn zh:zho_Hans zu:zul_Latn",
    )
)
"""The codes of NLLB-200 (arXiv 2207.04672) for languages by their two letters, each in its usual script."""

_OPUS: Mapping[str, tuple[str, ...]] = {
    "ar": ("ara",),
    "az": ("aze_Latn", "aze"),
    "fa": ("fas",),
    "lv": ("lav",),
    "ms": ("msa",),
    "no": ("nor",),
    "zh": ("cmn_Hans", "cmn", "zho"),
}
"""How OPUS-MT's models of several languages write those for which it and NLLB differ; Chinese is Mandarin there."""

_PLAIN: Mapping[str, str] = {
    **{own.split("_")[0]: two for two, own in _NLLB.items()},
    **{code.split("_")[0]: two for two, codes in _OPUS.items() for code in codes},
    "nb": "no",
}
"""Two letters for three; one spelling where a language has several."""


def code_of(given: str, codes: Iterable[str]) -> str:
    """The code that is meant by its beginning, ``"en"`` for ``"en_XX"``, or by two letters; as given where none is.

    Where several begin so, none is meant: the caller has to choose.
    """
    codes = [*codes]
    if given in codes:
        return given
    meant = [code for code in codes if code.split("_")[0] == given]
    if len(meant) == 1:
        return meant[0]
    nllb = _NLLB.get(given, given)
    return next((code for code in (nllb, *_OPUS.get(given, ()), nllb.split("_")[0]) if code in codes), given)


def same_language(one: str, other: str) -> bool:
    """Whether two codes name a language, whatever their country or script: ``"en"`` and ``"eng_Latn"``."""
    return _plain(one) == _plain(other)


def stated_pair(folder: Path | None) -> tuple[str | None, str | None]:
    """The language that a folder's tokenizer_config.json says is translated, and that into which; None for each
    that it leaves open.

    A group of languages (``"roa"``) and what conversions leave there (``"tmp"``, ``""``) say nothing.
    """
    path = None if folder is None else folder / "tokenizer_config.json"
    if path is None or not path.is_file():
        return None, None
    settings = read_json(path, "the tokenizer's settings", TokenizerError)
    source, target = (settings.get(name) for name in ("source_lang", "target_lang"))
    return _language(source), _language(target)


def _language(value: object) -> str | None:
    return value if isinstance(value, str) and _plain(value) in _NLLB else None


def _plain(code: str) -> str:
    base = re.split("[-_]", code.lower())[0]
    return _PLAIN.get(base, base)
