"""Configurations are data, checked by type; wrong ones are refused with everything that is wrong."""

import copy
import json
from pathlib import Path

import pytest

import enfold
from enfold.arch import Architecture, LearnedPositions
from enfold.config import Config
from enfold.errors import ConfigError, SourceError
from enfold.families import FAMILIES, config_of
from tests.reference import make_reference


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config_of({"model_type": "bert", "hidden_size": "768", "num_hidden_layers": None, "tie_word_embeddings": 1})
    for part in ("hidden_size is '768' (str), expected a whole number", "num_hidden_layers is None", "true or false"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no model_type.*expected one of albert, bart, bert"),
        ({"model_type": "bertt"}, "did you mean bert"),
        ({"model_type": ["bert"]}, "model_type is"),
        ({"model_type": "bert", "hidden_size": True}, "hidden_size is True"),
        ({"model_type": "bert", "layer_norm_eps": "1e-12"}, "expected a finite number"),
        ({"model_type": "bert", "layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"model_type": "bert", "num_labels": 0}, "num_labels is 0"),
        ({"model_type": "bert", "id2label": ["a"]}, "expected label ids"),
        ({"model_type": "bert", "id2label": {"0": "a", "2": "b"}}, "expected 0 to 1"),
        ({"model_type": "bert", "id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "give one of them"),
    ],
)
def test_wrong_values_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 25}, "hidden_size 25 is not a multiple of the number of attention heads"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected 1 to 1000"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_act": "cubic"}, "hidden_act is 'cubic', expected one of gelu"),
        ({"hidden_dropout_prob": 1.0}, "embeddings dropout is 1.0"),
        ({"pad_token_id": 40_000}, "pad_token_id 40000 is outside"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"is_decoder": True}, "is_decoder = True"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FAMILIES["bert"].translate(enfold.BertConfig(**changes))


def test_an_architecture_lists_all_its_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        Architecture(
            vocab_size=0, hidden_size=8, num_heads=2, intermediate_size=-1, layer_order=(0, 2), max_length=4, norm_eps=0
        )
    for part in ("vocab_size is 0", "intermediate_size is -1", "leaves stored layers unused", "epsilon"):
        assert part in str(caught.value)


def test_architectures_stay_small() -> None:
    assert len(Architecture.__dataclass_fields__) <= 30


def test_positions_know_their_limit() -> None:
    assert LearnedPositions(rows=512).max_length == 512
    assert LearnedPositions(rows=514, counted_from=1).max_length == 512


def test_labels_by_name_and_number() -> None:
    config = enfold.BertConfig(id2label={"0": "no", 1: "yes", "2": "maybe"})
    assert config.num_labels == 3
    assert config.id2label == {0: "no", 1: "yes", 2: "maybe"} and config.label2id["maybe"] == 2
    config.num_labels = 5
    assert config.id2label[4] == "LABEL_4"
    assert config.updated(id2label={0: "one"}).num_labels == 1


def test_a_refused_value_is_not_taken() -> None:
    config = enfold.BertConfig()
    with pytest.raises(ConfigError, match="hidden_size is 'x'"):
        config.hidden_size = "x"
    assert config.hidden_size == 768
    twin = copy.copy(config)
    twin.num_labels = 5
    assert config.num_labels == 2
    assert enfold.RobertaConfig.from_dict({"eos_token_id": None}).eos_token_id is None


def test_known_names_are_aliases() -> None:
    config = enfold.DistilBertConfig(hidden_size=32, num_hidden_layers=2)
    assert (config.dim, config.n_layers, config.hidden_size) == (32, 2, 32)
    with pytest.raises(AttributeError, match="near names: hidden_size"):
        _ = config.hiden_size


def test_configurations_copy_compare_and_come_back(tmp_path: Path) -> None:
    config = enfold.RobertaConfig(num_labels=4)
    twin = copy.deepcopy(config)
    twin.num_labels = 3
    assert config.num_labels == 4 and twin != config
    config.save_pretrained(tmp_path / "new" / "folder")
    assert enfold.AutoConfig.from_pretrained(tmp_path / "new" / "folder") == config
    assert "num_hidden_layers" in repr(config)


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "author_note": {"a": [1]}}')
    enfold.AutoConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["author_note"] == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "isn't valid JSON at line 1"),
        ("[1]", "expected an object"),
        ('{"model_type": "gpt9"}', "config.json: model_type is 'gpt9'"),
    ],
)
def test_broken_files_say_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")


def test_a_folder_without_a_configuration_says_what_a_model_folder_has(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config.json"):
        enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tmp_path: Path) -> None:
    from enfold.errors import TaskError
    from tests.support import minilm

    make_reference("bert", "sequence-classification", 0, tmp_path, vocab_size=100)
    with pytest.raises(TaskError, match="30522 tokens and the model's embeddings 100"):
        enfold.pipeline("text-classification", tmp_path, tokenizer=minilm())


def test_config_is_its_own_type() -> None:
    assert isinstance(enfold.BertConfig(), Config)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("bert", {"pad_token_id": 7}),
        ("gpt2", {"bos_token_id": 8, "eos_token_id": 9}),
        ("t5", {"pad_token_id": 7, "eos_token_id": 9, "decoder_start_token_id": 7}),
        ("marian", {"pad_token_id": 7, "eos_token_id": 9, "decoder_start_token_id": 7, "forced_eos_token_id": 9}),
        ("bart", {"bos_token_id": 8, "eos_token_id": 9, "decoder_start_token_id": 9, "forced_eos_token_id": 9}),
    ],
)
@pytest.mark.parametrize("names", [("bos", "eos"), ("cls", "sep")])
def test_special_tokens_of_another_tokenizer_mean_the_same(
    family: str, expected: dict[str, int], names: tuple[str, str]
) -> None:
    class Words(list[str]):
        pad_token_id = 7
        bos_token_id = eos_token_id = cls_token_id = sep_token_id = None

    tokenizer = Words(["word"] * 30)
    for name, value in zip(names, (8, 9), strict=True):
        setattr(tokenizer, f"{name}_token_id", value)
    before = enfold.AutoConfig.for_model(family)
    after = before.for_tokenizer(tokenizer)
    assert after.vocab_size == 30 and before.vocab_size != 30
    assert {key: after.get(key) for key in expected} == expected


def test_what_a_configuration_has_is_told_where_nothing_is_near() -> None:
    with pytest.raises(ConfigError, match=r"'intermediate_size'; it has .*n_embd, n_head, n_layer"):
        enfold.AutoConfig.for_model("gpt2").updated(intermediate_size=4)
