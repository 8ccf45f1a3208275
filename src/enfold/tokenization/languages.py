"""The languages of translation models: their codes, their tokens, and where those stand around a text.

The order of the codes is the order of their ids in the checkpoints of mBART (25 languages, arXiv 2001.08210), mBART-50
(arXiv 2008.00401), M2M-100 (arXiv 2010.11125), its WMT 2021 descendants, and NLLB-200 (arXiv 2207.04672).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, processors

from enfold.errors import InputError

__all__ = ["M2M100", "MBART", "MBART50", "NLLB", "WMT21", "Languages", "fill"]

MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP "
    "nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
MBART50 = (
    f"{MBART} "
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE "
    "ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
M2M100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy "
    "id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru "
    "sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
WMT21 = "en ha is ja cs ru zh de"
NLLB = (
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab "
    "ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl "
    "bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn "
    "cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn "
    "est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn "
    "gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn "
    "ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab "
    "kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn "
    "kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn "
    "lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn "
    "mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn "
    "ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn "
    "sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn "
    "szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn "
    "tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn "
    "vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn"
)


def fill(single: str, pair: str, tokens: Mapping[str, str], ids: Mapping[str, int]) -> Any:
    """A template in roles, ``lang $A eos``, with these tokens and ids in the places of the roles."""

    def filled(template: str) -> list[str]:
        words = (word.partition(":") for word in template.split())
        return [f"{tokens.get(name, name)}:{type_id or 0}" for name, _, type_id in words]

    special = [(tokens[role], number) for role, number in ids.items()]
    return processors.TemplateProcessing(single=filled(single), pair=filled(pair), special_tokens=special)


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages of one tokenizer: code → token, the template with the role ``lang``, and which are in use.

    ``roles`` maps the other roles that the template names to their tokens.
    """

    tokens: Mapping[str, str]
    single: str
    pair: str
    roles: Mapping[str, str]
    source: str
    target: str | None = None

    def token(self, code: str) -> str:
        """The token of a language.

        Raises:
            InputError: there is no such language; the nearest are listed.
        """
        if (token := self.tokens.get(code)) is not None:
            return token
        close = difflib.get_close_matches(code, self.tokens, n=5, cutoff=0.5) if isinstance(code, str) else []
        alike = [each for each in self.tokens if isinstance(code, str) and each[:2].lower() == code[:2].lower()]
        near = list(dict.fromkeys([*alike, *close]))[:8] or list(self.tokens)[:8]
        raise InputError(
            f"{code!r} is none of the {len(self.tokens)} languages of this tokenizer. The nearest are "
            f"{', '.join(near)}; tokenizer.lang_code_to_id lists them all."
        )

    def template(self, vocabulary: Tokenizer, code: str) -> Any:
        """The post-processor that puts the special tokens of a language around a text."""
        tokens = {**self.roles, "lang": self.token(code)}
        found = {role: vocabulary.token_to_id(each) for role, each in tokens.items()}
        return fill(self.single, self.pair, tokens, {role: each for role, each in found.items() if each is not None})
