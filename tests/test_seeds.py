"""The code of the two documents that enfold answers, with only the import line changed."""

import re
from pathlib import Path

import pytest
import torch

import enfold
from enfold.errors import InputError
from tests.reference import make_reference
from tests.support import minilm, shared

NAMES = ("bert-base-uncased", "bert-base-multilingual-cased", "my_model")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bare BERT with the real uncased vocabulary, in the place of bert-base-uncased."""
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"vocab_size": 30522, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    make_reference("bert", "base", 0, folder, **sizes, max_position_embeddings=64, type_vocab_size=2, num_labels=2)
    enfold.AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
    return folder


def snippets(name: str, folder: Path) -> list[str]:
    """A document's Python blocks with our import and a folder for each model's name."""
    text = shared("seeds", name).read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        block = block.replace("from transformers import", "from enfold import")
        for model in NAMES:
            block = block.replace(f"'{model}'", repr(str(folder)))
        found.append(block)
    return found


def test_the_second_document_runs(bert: Path) -> None:
    forward, custom, multilingual = snippets("003_0436e1d533af080f.txt", bert)
    scope: dict = {}
    exec(forward, scope)
    assert scope["prediction"].shape == (1, 2)
    exec(custom, scope)
    exec(multilingual, scope)
    assert scope["model"].num_labels == 2


def test_the_first_document_is_mended_step_by_step(bert: Path) -> None:
    (snippet,) = snippets("000_8ce570998df0c8fc.txt", bert)
    with pytest.raises(InputError, match=r"\(text, label\) pairs") as first:
        exec(snippet, {})
    assert "labels=torch.tensor" in str(first.value)

    texts_only = snippet.replace("tokenizer(data,", "tokenizer([text for text, label in data],")
    with pytest.raises(InputError, match=r"without labels.*labels=torch.tensor"):
        exec(texts_only, {})

    labelled = texts_only.replace("model(**inputs)\n\n# 计算", "model(**inputs, labels=torch.tensor([1, 0]))\n\n# 计算")
    assert labelled != texts_only
    with pytest.raises(NameError, match="optimizer"):
        exec(labelled, {})

    optimizer = "optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)\n"
    whole = labelled.replace("# 加载数据集", optimizer + "# 加载数据集")
    scope: dict = {}
    exec(whole, scope)
    assert scope["predictions"].shape == (2, 2)
    assert torch.isfinite(scope["loss"])
    assert scope["model"].untrained == ()
