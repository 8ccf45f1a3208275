"""Options are checked all at once, files are read leniently and written so that others read them back."""

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enfold.errors import ConfigError, InputError
from enfold.generation.config import GenerationConfig, mode
from enfold.generation.options import OPTIONS, OWN
from enfold.generation.rules import contradictions


def written(folder: Path, **values: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(values))
    return folder


def test_defaults_are_the_fields() -> None:
    reference = transformers.GenerationConfig._get_default_generation_params()
    ours = GenerationConfig()
    for name, value in reference.items():
        if name in OPTIONS:
            assert getattr(ours, name) == value, name
    known = {*vars(transformers.GenerationConfig())}
    assert {*OPTIONS} - known == {*OWN}


def test_values() -> None:
    config = GenerationConfig(do_sample=True, temperature=1, eos_token_id=torch.tensor([3, 4]), top_p=np.float32(0.5))
    assert (config.temperature, config.eos_token_id, config.top_p) == (1, [3, 4], 0.5)
    assert config.eos_token_ids == (3, 4)
    assert GenerationConfig(eos_token_id=5).eos_token_ids == (5,)
    assert GenerationConfig().eos_token_ids == ()
    assert GenerationConfig(sequence_bias={(1, 2): 3}).sequence_biases == {(1, 2): 3.0}
    assert GenerationConfig(sequence_bias=[[[1, 2], 3]]) == GenerationConfig(sequence_bias={(1, 2): 3})
    assert "temperature" in config
    assert "top_k" not in config
    with pytest.raises(AttributeError, match="no option 'temprature'; near names: temperature"):
        _ = config.temprature


def test_none_is_the_default() -> None:
    config = GenerationConfig(do_sample=True, temperature=0.5, top_k=None)
    assert config.top_k == 0
    assert config.updated(temperature=None).temperature == 1.0


def test_every_problem_is_listed() -> None:
    with pytest.raises(InputError) as caught:
        GenerationConfig(
            temprature=0.5,
            max_new_tokens=0,
            top_p=1.5,
            do_sample=1,
            stop_strings=[""],
            streamer=print,
            bad_words_ids=[[]],
        )
    text = str(caught.value)
    for part in (
        "'temprature' is no option (near: temperature)",
        "max_new_tokens is 0, expected a whole number of 1 or more",
        "top_p is 1.5, expected a number from 0 to 1",
        "do_sample is 1, expected true or false",
        "stop_strings is [''], expected a text or a list of texts, none of them empty",
        "streamer is an argument of generate(), not an option: give it there",
        "bad_words_ids is [[]], expected",
    ):
        assert part in text


BAD = {
    "early_stopping": "sometimes",
    "max_time": 0,
    "eos_token_id": [1, -1],
    "force_words_ids": [[], [1]],
    "sequence_bias": [[1, 2]],
    "exponential_decay_length_penalty": [3],
    "json_schema": "{nope",
    "regex": "",
    "seed": -1,
    "temperature": float("nan"),
    "num_beams": True,
    "suppress_tokens": [1.5],
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_values(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{name} is {BAD[name]!r}, expected")):
        GenerationConfig(**{name: BAD[name]})


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "temperature=0.5 shapes what is sampled, and do_sample is false": {"temperature": 0.5, "do_sample": False},
    "top_p=0.9 shapes what is sampled": {"top_p": 0.9},
    "top_k=5 shapes what is sampled": {"top_k": 5},
    "length_penalty=2.0 is for beams": {"length_penalty": 2.0},
    "early_stopping='never' is for beams": {"early_stopping": "never"},
    "num_beams=4 can't be divided": {"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0},
    "would all find the same": {"num_beams": 4, "num_beam_groups": 2},
    "num_beam_groups=2 and do_sample=True": {
        "num_beams": 4,
        "num_beam_groups": 2,
        "diversity_penalty": 1.0,
        "do_sample": True,
    },
    "is between groups of beams": {"num_beams": 4, "diversity_penalty": 1.0},
    "contrastive search, which has no beams": {"penalty_alpha": 0.6, "num_beams": 2},
    "contrastive search, which doesn't sample": {"penalty_alpha": 0.6, "do_sample": True},
    "contrastive search compares": {"penalty_alpha": 0.6, "top_k": 1},
    "need beams": {"force_words_ids": [[1]]},
    "don't go with do_sample": {"force_words_ids": [[1]], "num_beams": 2, "do_sample": True},
    "don't go with num_beam_groups": {
        "force_words_ids": [[1]],
        "num_beams": 2,
        "num_beam_groups": 2,
        "diversity_penalty": 1.0,
    },
    "num_return_sequences=3 is over num_beams=2": {"num_beams": 2, "num_return_sequences": 3},
    "num_return_sequences=3 would all be the same": {"num_return_sequences": 3},
    "a least length of 30 is over max_length=20": {"min_length": 30, "max_length": 20},
    "min_new_tokens=5 is over max_new_tokens=4": {"min_new_tokens": 5, "max_new_tokens": 4},
    "max_length and max_new_tokens both say how long": {"max_length": 5, "max_new_tokens": 4},
    "json_schema and regex each describe": {"json_schema": {}, "regex": "a"},
    "not with beam": {"prompt_lookup_num_tokens": 3, "num_beams": 2},
    "max_matching_ngram_size is for": {"max_matching_ngram_size": 3},
    "output_scores=True has no place": {"output_scores": True},
    "forced_eos_token_id=3 is also in suppress_tokens": {"forced_eos_token_id": 3, "suppress_tokens": [3, 4]},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_contradictions(message: str, tmp_path: Path) -> None:
    options = CONTRADICTIONS[message]
    with pytest.raises(InputError, match=re.escape(message)):
        GenerationConfig(**options)
    with pytest.raises(InputError, match=re.escape(message)):
        GenerationConfig(seed=1).updated(**options)
    loaded = GenerationConfig.from_pretrained(written(tmp_path, **options))  # nobody asked for them now
    assert {**loaded.to_dict()} == options
    loaded.updated(seed=1)


def test_only_what_is_asked_for_is_judged() -> None:
    """A model that samples by its file may be asked for one greedy text; one that doesn't, not for a temperature."""
    samples = GenerationConfig.from_dict({"do_sample": True, "temperature": 0.6, "top_p": 0.9})
    assert mode(samples.updated(do_sample=False)) == "greedy"
    greedy = GenerationConfig.from_dict({"temperature": 0.6})
    with pytest.raises(InputError, match=r"temperature=0\.7 shapes what is sampled"):
        greedy.updated(temperature=0.7)
    beams = GenerationConfig.from_dict({"num_beams": 4, "early_stopping": True, "length_penalty": 2.0})
    assert mode(beams.updated(num_beams=1)) == "greedy"


def test_a_length_that_is_asked_for_counts() -> None:
    file = GenerationConfig.from_dict({"max_new_tokens": 2048, "min_new_tokens": 5, "max_length": 4096})
    assert file.updated(max_length=50).length_limit(10) == 50
    assert file.updated(max_new_tokens=7).length_limit(10) == 17
    assert file.updated(min_length=3).min_new_tokens is None


def test_over() -> None:
    base = GenerationConfig.from_dict({"do_sample": True, "temperature": 0.6, "max_new_tokens": 9, "eos_token_id": 2})
    mixed = GenerationConfig(max_length=30, eos_token_id=5).over(base)
    assert mixed.to_dict() == {"do_sample": True, "temperature": 0.6, "max_length": 30, "eos_token_id": 5}


def test_assignment() -> None:
    config = GenerationConfig()
    config.pad_token_id = 3
    config.temperature = 0.5  # the option that it needs may follow
    with pytest.raises(InputError, match=r"temperature=0\.5 shapes"):
        config.updated(max_new_tokens=4)
    assert mode(config.updated(do_sample=False)) == "greedy"
    config.do_sample = True
    assert config.updated(max_new_tokens=4).temperature == 0.5
    with pytest.raises(InputError, match="top_p is 2, expected a number from 0 to 1"):
        config.top_p = 2
    with pytest.raises(InputError, match="'topk' is no option"):
        config.topk = 2
    assert config.top_p == 1.0


def test_copies_are_apart() -> None:
    config = GenerationConfig(eos_token_id=[1, 2])
    pickled = pickle.loads(pickle.dumps(config))
    for other in (copy.copy(config), copy.deepcopy(config), config.updated(), pickled):
        other.eos_token_id.append(9)
        assert config.eos_token_id == [1, 2]
    assert config == GenerationConfig(eos_token_id=[1, 2])
    assert config != GenerationConfig(eos_token_id=[1])
    assert "eos_token_id" in repr(config)


FULL: dict[str, Any] = {
    "max_new_tokens": 40,
    "min_length": 3,
    "early_stopping": "never",
    "stop_strings": ["a", "b"],
    "do_sample": True,
    "num_beams": 4,
    "temperature": 0.7,
    "top_k": 12,
    "top_p": 0.9,
    "min_p": 0.1,
    "typical_p": 0.9,
    "repetition_penalty": 1.2,
    "length_penalty": 0.5,
    "no_repeat_ngram_size": 3,
    "bad_words_ids": [[1], [2, 3]],
    "exponential_decay_length_penalty": [4, 1.1],
    "suppress_tokens": [5],
    "sequence_bias": [[[1, 2], 0.5]],
    "num_return_sequences": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "decoder_start_token_id": 4,
    "forced_bos_token_id": 6,
    "guidance_scale": 1.5,
}


def test_a_round_trip_and_transformers_reading(tmp_path: Path) -> None:
    config = GenerationConfig(**FULL, seed=3, json_schema={"type": "object"})
    config.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path) == config
    peer = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(peer, name) for name in FULL} == FULL


def test_transformers_files_are_read(tmp_path: Path) -> None:
    transformers.GenerationConfig(**FULL).save_pretrained(tmp_path)
    config = GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in FULL} == FULL
    assert config.transformers_version == transformers.__version__


def test_harmless_files_load_and_keep_everything(tmp_path: Path) -> None:
    values = {"temperature": 0.0, "do_sample": False, "max_length": 4096, "cache_implementation": "hybrid", "x": [1]}
    config = GenerationConfig.from_pretrained(written(tmp_path, **values, top_p=None, pad_token_id=-1))
    assert config.x == [1]
    config.updated(max_new_tokens=3)
    with pytest.raises(InputError, match=r"temperature is 0\.0, expected a number over 0.*do_sample=False"):
        config.updated(do_sample=True)
    config.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "generation_config.json").read_text()) == {**values, "pad_token_id": -1}


def test_files_of_wrong_types(tmp_path: Path) -> None:
    message = r"generation_config\.json can't be used:\n  max_length is 'x', expected .*\n  eos_token_id is '</s>'"
    with pytest.raises(ConfigError, match=message):
        GenerationConfig.from_pretrained(written(tmp_path, max_length="x", eos_token_id="</s>"))


def test_constraints_are_not_saved(tmp_path: Path) -> None:
    config = GenerationConfig(constraints=[object()], num_beams=2)
    with pytest.raises(InputError, match="constraints can't be saved"):
        config.save_pretrained(tmp_path)


def test_older_checkpoints_have_options_in_config_json(tmp_path: Path) -> None:
    values = {"model_type": "bert", "max_length": 30, "num_beams": 2, "eos_token_id": 7, "seed": "odd", "top_k": None}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.max_length, config.num_beams, config.eos_token_id, config.seed) == (30, 2, 7, None)


@pytest.mark.parametrize(
    "values",
    [
        {"max_length": 30, "eos_token_id": 7, "temperature": 0.5, "top_k": None, "hidden_size": 5},
        {"decoder": {"eos_token_id": 3, "bos_token_id": 1}, "eos_token_id": 2, "bos_token_id": None},
        {"text_config": {"eos_token_id": [3, 4]}},
        {"force_bos_token_to_be_generated": True, "bos_token_id": 0},
        {"output_attentions": True},
    ],
)
def test_options_of_a_model_are_found_as_the_reference_does(values: dict[str, Any]) -> None:
    peer = transformers.GenerationConfig.from_model_config(copy.deepcopy(values)).to_dict()
    ours = GenerationConfig.from_model_config(values)
    found = {name: value for name, value in peer.items() if value is not None and name in OPTIONS}
    assert {name: value for name, value in ours.to_dict().items() if name in OPTIONS} == found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "greedy"),
        ({"do_sample": True}, "sample"),
        ({"num_beams": 2}, "beam"),
        ({"num_beams": 2, "do_sample": True}, "beam-sample"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}, "group-beam"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive"),
        ({"penalty_alpha": 0.0}, "greedy"),
        ({"force_words_ids": [[1]], "num_beams": 2}, "constrained-beam"),
        ({"prompt_lookup_num_tokens": 3}, "assisted"),
    ],
)
def test_modes(options: dict[str, Any], expected: str) -> None:
    assert mode(GenerationConfig(**options)) == expected
    names = {"beam": "beam_search", "beam-sample": "beam_sample", "sample": "sample", "assisted": "assisted_generation"}
    peer = transformers.GenerationConfig(**options).get_generation_mode()
    assert peer == names.get(expected, expected.replace("-", "_") + "_search")


def test_an_assistant() -> None:
    assert mode(GenerationConfig(do_sample=True), assistant=True) == "assisted"
    beams = GenerationConfig(num_beams=2)
    assert mode(beams, assistant=True) == "beam"
    assert "not with beam" in contradictions(beams, {"assistant_model"}, assistant=True)[0]


def test_a_pydantic_class() -> None:
    class Person:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object"}

    assert GenerationConfig(json_schema=Person).json_schema == {"type": "object"}
