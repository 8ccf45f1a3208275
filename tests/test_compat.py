"""The names that the field knows behave as the classes they stand for."""

import copy
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import enfold
from enfold.errors import ConfigError, InputError, TensorMismatchError, UntrainedHeadError
from tests.reference import make_reference
from tests.support import minilm

SMALL = {
    "vocab_size": 100,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A bare BERT checkpoint: what ``bert-base-uncased`` is to a classifier."""
    return make_reference("bert", "base", 0, tmp_path / "base", **SMALL, type_vocab_size=2).folder


def test_every_name_of_the_reference_families_exists() -> None:
    from enfold.compat import names
    from enfold.families import FAMILIES

    for name in names():
        # tokenizers of older releases are known too, and our own family is not the reference's
        if "Tokenizer" not in name and not name.startswith("Enfold"):
            assert hasattr(transformers, name), name
    for family in FAMILIES.values():
        for kind in family.heads:
            assert family.class_name(kind) in names()


def test_unknown_names_are_refused_with_near_ones() -> None:
    with pytest.raises(AttributeError, match="did you mean BertModel"):
        _ = enfold.BertMode


def test_the_public_names_are_sorted_and_load() -> None:
    assert enfold.__all__ == sorted(enfold.__all__, key=lambda name: (not name.isupper(), name))  # as the linter has it
    for name in enfold.__all__:
        assert getattr(enfold, name) is not None
    assert {"BertModel", "pipeline", "AutoTokenizer"} <= set(dir(enfold))


def test_star_import_and_from_import_work() -> None:
    code = "from enfold import BertTokenizer, BertForSequenceClassification, AutoModel, pipeline; from enfold import *"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fresh_head_is_said_remembered_and_refused(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "enfold"):
        model = enfold.BertForSequenceClassification.from_pretrained(base, num_labels=3)
    assert [record.message for record in caplog.records] == [
        "BertForSequenceClassification: tensors made fresh and not trained: classifier.weight, classifier.bias"
    ]
    assert model.untrained == ("classifier.weight", "classifier.bias")
    with pytest.raises(UntrainedHeadError, match=r"classifier.weight.*Train it"):
        model.require_trained()
    model.save_pretrained(tmp_path / "saved")
    again = enfold.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", engine="cpu")
    assert again.untrained == model.untrained
    assert again.num_labels == 3


def test_training_clears_the_mark(base: Path, tmp_path: Path) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(1, 100, (2, 7))
    model.train()
    model(ids, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    assert model.untrained == ()
    model.require_trained()
    model.save_pretrained(tmp_path / "trained")
    assert enfold.BertForSequenceClassification.from_pretrained(tmp_path / "trained").untrained == ()


def test_new_head_replaces_or_forbids(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TensorMismatchError, match=r"missing\s+classifier.weight"):
        enfold.BertForSequenceClassification.from_pretrained(base, new_head=False)
    make_reference("bert", "sequence-classification", 0, tmp_path / "three", **SMALL, num_labels=3)
    with pytest.raises(TensorMismatchError, match=r"misshapen\s+classifier.weight.*\n.*\n.*new_head=True"):
        enfold.BertForSequenceClassification.from_pretrained(tmp_path / "three", num_labels=5)
    model = enfold.BertForSequenceClassification.from_pretrained(tmp_path / "three", num_labels=5, new_head=True)
    assert model.untrained == ("classifier.weight", "classifier.bias")
    assert model(torch.tensor([[1, 2]])).logits.shape == (1, 5)


def test_a_head_of_another_meaning_with_the_same_name_is_not_taken(tmp_path: Path) -> None:
    make_reference("bert", "sequence-classification", 0, tmp_path, **SMALL, num_labels=3)
    model = enfold.BertForTokenClassification.from_pretrained(tmp_path)
    assert model.untrained == ("classifier.weight", "classifier.bias")


def test_a_class_refuses_another_family(base: Path) -> None:
    with pytest.raises(ConfigError, match="is a bert model, and this class is for roberta"):
        enfold.RobertaModel.from_pretrained(base)


def test_unknown_loading_options_are_refused_with_near_ones(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"'num_label' .near: num_labels"):
        enfold.BertModel.from_pretrained(base, num_label=3)


def test_fresh_models_from_a_configuration_train() -> None:
    torch.manual_seed(0)
    config = enfold.BertConfig(**SMALL, num_labels=2)
    model = enfold.BertForSequenceClassification(config)
    assert model.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ids, labels = torch.randint(1, 100, (8, 9)), torch.randint(0, 2, (8,))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_names_are_classes_to_isinstance_and_subclassing() -> None:
    config = enfold.BertConfig(**SMALL)

    class Mine(enfold.BertModel):
        def __init__(self, config: enfold.Config) -> None:
            super().__init__(config)
            self.extra = torch.nn.Linear(24, 1)

        def forward(self, *args: object, **kwargs: object) -> torch.Tensor:
            return self.extra(super().forward(*args, **kwargs).pooler_output)

    model = Mine(config)
    assert isinstance(model, enfold.BertModel) and isinstance(model, torch.nn.Module)
    assert not isinstance(model, enfold.RobertaModel)
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 1)
    assert isinstance(config, enfold.BertConfig) and not isinstance(config, enfold.RobertaConfig)


def test_models_copy_and_move(base: Path) -> None:
    model = enfold.BertModel.from_pretrained(base)
    ids = torch.tensor([[5, 6, 7]])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_input_embeddings().weight.zero_()
        assert not torch.equal(twin(ids)[0], model(ids)[0])
    assert model.to(torch.float64)(ids).last_hidden_state.dtype == torch.float64


def test_state_dicts_go_from_model_to_model(base: Path) -> None:
    model = enfold.BertModel.from_pretrained(base)
    other = enfold.BertModel(model.config).eval()
    other.load_state_dict(model.state_dict())
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(other(ids)[0], model(ids)[0])


def test_half_precision_models_load_in_their_type(base: Path) -> None:
    model = enfold.AutoModel.from_pretrained(base, torch_dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert enfold.AutoModel.from_pretrained(base, dtype="auto").dtype == torch.float32
    with pytest.raises(InputError, match="dtype is 'int3'"):
        enfold.AutoModel.from_pretrained(base, dtype="int3")


def test_outputs_are_attributes_keys_and_places(base: Path) -> None:
    model = enfold.BertModel.from_pretrained(base, engine="cpu")
    output = model(np.array([[5, 6, 7]]), output_hidden_states=True)
    assert output[0] is output.last_hidden_state is output["last_hidden_state"]
    assert len(output.hidden_states) == 3 and output.attentions is None
    assert [part.shape for part in output[:2]] == [(1, 3, 24), (1, 24)]
    hidden, pooled, states = model([[5, 6, 7]], output_hidden_states=True, return_dict=False)
    assert np.array_equal(hidden, output[0]) and np.array_equal(pooled, output.pooler_output) and len(states) == 3
    with pytest.raises(AttributeError, match="this output has no 'logits'; it has last_hidden_state, pooler_output"):
        _ = output.logits
    assert pickle.loads(pickle.dumps(output)).keys() == output.keys()


def test_a_loss_without_labels_says_what_to_hand_over(base: Path) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base)
    output = model(torch.tensor([[5, 6]]))
    assert not output.loss and output.loss == None and "loss" not in output  # noqa: E711
    with pytest.raises(InputError, match=r"called without labels.*labels=torch.tensor"):
        output.loss.backward()
    with pytest.raises(InputError, match="no loss to compute with"):
        _ = 0.0 + output.loss


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either input_ids or inputs_embeds"),
        ({"input_ids": [1, 2]}, "expected .batch, length."),
        ({"input_ids": [[1, 2], [3]]}, "padding=True"),
        ({"input_ids": [[1, 100]]}, "range from 1 to 100, and this model knows 0 to 99"),
        ({"input_ids": [[1, -1]]}, "range from -1"),
        ({"input_ids": [[1.5, 2.0]]}, "expected whole numbers"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 1, 1]]}, "attention_mask has the shape"),
        ({"input_ids": [[1, 2]], "attention_mask": [[0, 0]]}, "have no token"),
        ({"input_ids": [[1] * 41]}, "41 tokens .padding included. is over this model's limit of 40.*truncation=True"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0, 5]]}, "token_type_ids range from 0 to 5"),
        ({"input_ids": [[1, 2]], "labels": [7]}, "labels range from 7 to 7, and the head has 3"),
        ({"input_ids": [[1, 2]], "labels": [0, 1]}, "2 labels for 1 rows"),
    ],
)
def test_wrong_inputs_teach(base: Path, engine: str, arguments: dict, message: str) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base, engine=engine)
    with pytest.raises(InputError, match=message):
        model(**arguments)


def test_inputs_embeds_and_position_ids_are_taken(base: Path) -> None:
    theirs = transformers.BertModel.from_pretrained(base)
    ours = enfold.BertModel.from_pretrained(base)
    embeds = torch.randn(2, 5, 24)
    positions = torch.tensor([[4, 3, 2, 1, 0]])
    with torch.no_grad():
        a = theirs(inputs_embeds=embeds, position_ids=positions).last_hidden_state
        b = ours(inputs_embeds=embeds, position_ids=positions).last_hidden_state
    assert torch.allclose(a, b, atol=1e-5)


def test_the_real_checkpoint_says_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    model = enfold.AutoModel.from_pretrained(minilm(), engine="cpu")
    assert model.untrained == () and not caplog.records
    assert model.num_parameters() == 22_713_216
    assert model.config.num_hidden_layers == 6


def test_the_memory_that_a_model_takes(base: Path) -> None:
    theirs = transformers.BertModel.from_pretrained(base).get_memory_footprint(return_buffers=False)
    sizes = {
        name: enfold.BertModel.from_pretrained(base, **options).get_memory_footprint()
        for name, options in {
            "torch": {},
            "cpu": {"engine": "cpu"},
            "half": {"dtype": "bfloat16"},
            "bytes": {"engine": "cpu", "dtype": "int8"},
        }.items()
    }
    assert sizes["cpu"] == theirs and theirs <= sizes["torch"] <= theirs + 100_000
    assert 2 * sizes["half"] == sizes["torch"] and sizes["bytes"] < 0.9 * theirs


def test_fields_that_are_set_are_set_everywhere(base: Path) -> None:
    output = enfold.BertModel.from_pretrained(base, engine="cpu")([[1, 2]])
    output.pooler_output = 5
    assert output["pooler_output"] == output[1] == 5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_question_answering_pads_in_half_precision(dtype: str, tmp_path: Path) -> None:
    reference = make_reference("bert", "question-answering", 0, tmp_path)
    model = enfold.AutoModelForQuestionAnswering.from_pretrained(tmp_path, dtype=dtype)
    assert model(**reference.inputs).start_logits.shape == reference.mask.shape


def test_answers_on_padding_are_ignored(tmp_path: Path) -> None:
    reference = make_reference("bert", "question-answering", 0, tmp_path)
    reference.inputs["attention_mask"][1, 1:] = 0
    ends = {"start_positions": torch.tensor([1, 0, 0, 0]), "end_positions": torch.tensor([1, 2, 0, 0])}
    for engine in ("torch", "cpu"):
        inputs = {k: v if engine == "torch" else v.numpy() for k, v in {**reference.inputs, **ends}.items()}
        loss = enfold.AutoModelForQuestionAnswering.from_pretrained(tmp_path, engine=engine)(**inputs).loss
        assert float(loss.detach() if engine == "torch" else loss) < 50


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_indices_below_zero_are_refused(base: Path, engine: str) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base, engine=engine)
    with pytest.raises(InputError, match="position_ids go down to -1"):
        model([[1, 2]], position_ids=[[-1, 0]])
    with pytest.raises(InputError, match="labels range from -100 to 1"):
        model([[1], [2], [3]], labels=[-100, -1, 1])


def test_holes_are_refused_where_distances_count(tmp_path: Path) -> None:
    make_reference("mpnet", "base", 0, tmp_path)
    model = enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")
    with pytest.raises(InputError, match="zeros between ones"):
        model([[3, 4, 5]], attention_mask=[[1, 0, 1]])


def test_models_without_a_position_table_read_longer_texts(tmp_path: Path) -> None:
    settings = {"position_biased_input": False, "relative_attention": True, "max_position_embeddings": 30}
    reference = make_reference("deberta-v2", "base", 0, tmp_path, **settings)
    ids = torch.randint(2, reference.model.config.vocab_size, (1, 50))
    with torch.no_grad():
        theirs = reference.model(ids).last_hidden_state
        ours = enfold.AutoModel.from_pretrained(tmp_path)(ids).last_hidden_state
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_bias_stored_under_its_other_name_is_found(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    reference = make_reference("bert", "masked-lm", 0, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    model = enfold.AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert model.untrained == ()
    with torch.no_grad():
        ours = model(**reference.inputs).logits[reference.mask]
    assert torch.allclose(ours, reference.outputs().logits[reference.mask], atol=1e-5)


def test_a_tensor_stored_twice_is_refused(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"] = torch.zeros(100, 24)
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(TensorMismatchError, match=r"twice .*word_embeddings.weight"):
        enfold.AutoModel.from_pretrained(base, engine="cpu")


def test_casting_does_not_look_like_training(base: Path) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base, dtype="bfloat16")
    assert model.untrained == ("classifier.weight", "classifier.bias")


def test_training_a_part_of_a_fresh_head_is_enough(tmp_path: Path) -> None:
    make_reference("roberta", "base", 0, tmp_path)
    model = enfold.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert len(model.untrained) == 4
    with torch.no_grad():
        getattr(model.tree.head, "0").output.weight.add_(1.0)
    assert model.untrained == ()


@pytest.mark.parametrize(("dtype", "factor"), [(torch.bfloat16, 1.001), (torch.float16, 1.001), (torch.float16, 1e6)])
def test_trained_values_are_not_rounded_to_the_stored_type(dtype: torch.dtype, factor: float, tmp_path: Path) -> None:
    reference = make_reference("bert", "base", 0, tmp_path / "theirs")
    reference.model.to(dtype).save_pretrained(tmp_path / "theirs")
    model = enfold.AutoModel.from_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(factor)
    model.save_pretrained(tmp_path / "ours")
    again = enfold.AutoModel.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_parameters_that_would_be_lost_are_named(base: Path, tmp_path: Path) -> None:
    model = enfold.BertModel.from_pretrained(base)
    model.extra = torch.nn.Linear(24, 2)
    with pytest.raises(enfold.errors.CheckpointError, match=r"extra.weight, extra.bias"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_save_leaves_the_folder_as_it_was(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    model = enfold.BertForSequenceClassification.from_pretrained(base, num_labels=5)
    monkeypatch.setattr(type(model.config), "save_pretrained", lambda self, folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save_pretrained(base)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_replaced_leaves_are_what_runs(base: Path) -> None:
    model = enfold.BertForSequenceClassification.from_pretrained(base)
    ids = torch.tensor([[5, 6]])
    assert model(ids).logits.shape == (1, model.num_labels)
    getattr(model.tree.head, "0").output = torch.nn.Linear(24, 7)
    assert model(ids).logits.shape == (1, 7)


def test_answering_beside_training_changes_no_mode(base: Path) -> None:
    from enfold.packing import pack

    model = enfold.BertModel.from_pretrained(base)
    batch = pack(model.arch, [np.array([5, 6, 7])])
    expected = model.run(batch, fields=("last_hidden_state",))["last_hidden_state"]
    model.train()
    model.tree.embeddings.eval()
    assert np.array_equal(model.run(batch, fields=("last_hidden_state",))["last_hidden_state"], expected)
    assert model.training and not model.tree.embeddings.training


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_models_pickle(model_type: str, engine: str, tmp_path: Path) -> None:
    make_reference(model_type, "base", 0, tmp_path)
    model = enfold.AutoModel.from_pretrained(tmp_path, engine=engine)
    twin = pickle.loads(pickle.dumps(model))
    ids = torch.tensor([[5, 6, 7]])
    a, b = (each(ids if engine == "torch" else ids.numpy())[0] for each in (model, twin))
    assert np.array_equal(a.detach() if engine == "torch" else a, b.detach() if engine == "torch" else b)
