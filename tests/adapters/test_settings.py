"""What can be asked of an adapter, and what is refused."""

import pytest

from enfold.adapters import IA3, LoRA
from enfold.adapters.settings import also_trained, targeted
from enfold.arch import Architecture
from enfold.errors import InputError
from enfold.families import config_of
from enfold.layout import layout

LEAVES = layout(
    Architecture(
        vocab_size=20,
        hidden_size=8,
        num_heads=2,
        intermediate_size=16,
        layer_order=(0, 1),
        max_length=10,
        embedding_size=4,
    )
)


def names(*targets: str) -> list[str]:
    return [leaf.name for leaf in targeted(LoRA(targets=targets), LEAVES)]


def test_targets_are_last_parts_of_names_or_patterns_of_whole_ones() -> None:
    assert names("query") == ["layers.0.attention.query", "layers.1.attention.query"]
    assert names("layers.1.*.value", "shrink") == [
        "layers.0.feed_forward.shrink",
        "layers.1.attention.value",
        "layers.1.feed_forward.shrink",
    ]
    assert names("all-linear")[0] == "embeddings.project"
    assert len(names("all-linear")) == 1 + 2 * 6


def test_one_name_needs_no_tuple() -> None:
    assert LoRA(targets="all-linear").targets == ("all-linear",)
    assert LoRA(targets=["query"]) == LoRA(targets=("query",))


def test_all_linear_leaves_the_head_out() -> None:
    from enfold.blueprint import Blueprint

    blueprint = Blueprint.of(config_of({"model_type": "bert", "num_hidden_layers": 1}), "sequence-classification")
    chosen = {leaf.name for leaf in targeted(LoRA(targets="all-linear"), blueprint.leaves)}
    assert chosen == {f"layers.0.attention.{part}" for part in ("query", "key", "value", "output")} | {
        "layers.0.feed_forward.expand",
        "layers.0.feed_forward.shrink",
    }


def test_unknown_targets_are_listed_with_those_that_there_are() -> None:
    with pytest.raises(
        InputError, match=r"'querry' \(near: query\), 'layers\.9\.\*'.*query, key, value, output, expand"
    ):
        names("querry", "query", "layers.9.*")
    with pytest.raises(InputError, match=r"also_train name no leaf.*'nrom' \(near: norm\)"):
        also_trained(LoRA(also_train="nrom"), LEAVES)


def test_a_leaf_is_adapted_or_trained_whole() -> None:
    with pytest.raises(InputError, match=r"both name layers\.0\.attention\.query, layers\.1\.attention\.query"):
        also_trained(LoRA(also_train=("query", "norm")), LEAVES)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        LoRA(rank=0, alpha=float("nan"), dropout=1.0, targets=(), kind="qlora", use_rslora=1)  # type: ignore[arg-type]
    message = str(caught.value)
    for part in ("rank is 0", "alpha is nan", "dropout is 1.0", "targets is ()", "kind is 'qlora'", "use_rslora is 1"):
        assert part in message


@pytest.mark.parametrize("rank", [2.0, True, "8", -1])
def test_a_rank_is_a_positive_whole_number(rank: object) -> None:
    with pytest.raises(InputError, match="rank is"):
        LoRA(rank=rank)  # type: ignore[arg-type]


def test_scale_depends_on_the_rank_or_its_root() -> None:
    assert LoRA(rank=4, alpha=8).scale == 2
    assert LoRA(rank=4, alpha=8, use_rslora=True).scale == 4


def test_ia3_scales_the_inputs_of_the_feed_forward() -> None:
    settings = IA3()
    assert settings.scales_inputs("layers.0.feed_forward.shrink")
    assert not settings.scales_inputs("layers.0.attention.key")
    with pytest.raises(InputError, match="targets is 3"):
        IA3(targets=3)  # type: ignore[arg-type]
