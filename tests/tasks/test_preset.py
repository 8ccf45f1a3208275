"""Options given to ``pipeline`` hold for every call."""

from pathlib import Path

import pytest

import enfold
from enfold.errors import InputError
from tests.reference import make_reference
from tests.support import minilm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    make_reference("bert", "sequence-classification", 0, path, vocab_size=30522, num_labels=3)
    enfold.AutoTokenizer.from_pretrained(minilm()).save_pretrained(path)
    return path


def test_options_hold_until_a_call_gives_others(folder: Path) -> None:
    plain = enfold.pipeline("text-classification", folder)
    preset = enfold.pipeline("text-classification", folder, top_k=None)
    assert preset("a text") == plain("a text", top_k=None)
    assert preset("a text", top_k=2) == plain("a text", top_k=2)
    assert preset.model.num_labels == 3


def test_unknown_options_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match=r"takes no option 'topk' \(did you mean top_k\?\)"):
        enfold.pipeline("text-classification", "no-such-model", topk=3)
    with pytest.raises(InputError, match=r"'batch_size' .batches are cut by token_budget=."):
        enfold.pipeline("text-classification", "no-such-model", batch_size=3)
