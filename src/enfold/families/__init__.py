"""The families, one file each; siblings are one line in a file."""

import difflib
from collections.abc import Mapping
from typing import Any

from enfold.config import Config
from enfold.errors import ConfigError
from enfold.families.albert import ALBERT
from enfold.families.bart import BART, MBART
from enfold.families.base import Family
from enfold.families.bert import BERT
from enfold.families.deberta_v2 import DEBERTA_V2
from enfold.families.distilbert import DISTILBERT
from enfold.families.electra import ELECTRA
from enfold.families.enfold import ENFOLD
from enfold.families.gpt2 import GPT2
from enfold.families.gpt_neox import GPT_NEOX
from enfold.families.llama import LLAMA
from enfold.families.m2m import M2M_100
from enfold.families.marian import MARIAN, PEGASUS
from enfold.families.mistral import MISTRAL
from enfold.families.mpnet import MPNET
from enfold.families.qwen import QWEN2, QWEN3
from enfold.families.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from enfold.families.t5 import MT5, T5

__all__ = ["FAMILIES", "Family", "config_of", "family_of"]

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        ALBERT,
        BART,
        BERT,
        CAMEMBERT,
        DEBERTA_V2,
        DISTILBERT,
        ELECTRA,
        ENFOLD,
        GPT2,
        GPT_NEOX,
        LLAMA,
        M2M_100,
        MARIAN,
        MBART,
        MISTRAL,
        MPNET,
        MT5,
        PEGASUS,
        QWEN2,
        QWEN3,
        ROBERTA,
        T5,
        XLM_ROBERTA,
    )
}
"""``model_type`` → family."""


def family_of(model_type: object) -> Family:
    """The family of a ``model_type``.

    Raises:
        ConfigError: there is none; the message names near ones and all.
    """
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type is None:
        given = "the configuration has no model_type"
    else:
        near = difflib.get_close_matches(str(model_type), FAMILIES, n=2)
        given = f"model_type is {model_type!r}" + (f" (did you mean {' or '.join(near)}?)" if near else "")
    raise ConfigError(f"{given}; expected one of {', '.join(FAMILIES)}")


def config_of(values: Mapping[str, Any]) -> Config:
    """The configuration that a config.json's values are, checked by its family's types."""
    return family_of(values.get("model_type")).config(values)
