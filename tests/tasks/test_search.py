"""Search finds what a full comparison finds, keeps its index whole, and refuses an index of another model."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.modules import Modules, Pooling
from enfold.errors import CheckpointError, CorruptFileError, InputError
from enfold.tasks import pipeline
from enfold.tasks import search as search_module
from enfold.tasks.search import Index, Search
from enfold.tasks.similarity import similarities
from tests.support import minilm
from tests.tasks.test_embed import tiny

TEXTS = ["Cats purr.", "Stars burn hydrogen.", "Dogs bark.", "Bread needs yeast.", "The court adjourned."]


@cache
def model() -> Any:
    return pipeline("search", minilm()).model


def fresh() -> Search:
    made: Search = pipeline("search", model())
    return made


@pytest.fixture
def search() -> Search:
    made = fresh()
    made.index(TEXTS)
    return made


def test_finds_by_meaning(search: Search) -> None:
    records = search("Why do suns shine?", top_k=2)
    assert [list(record) for record in records] == [["index", "score", "text"]] * 2
    assert records[0]["text"] == TEXTS[records[0]["index"]] == "Stars burn hydrogen."
    expected = search.vectors @ search.embed("Why do suns shine?")
    assert records[0]["score"] == pytest.approx(expected[1], abs=1e-6)
    assert records[1]["score"] == pytest.approx(np.sort(expected)[-2], abs=1e-6)


def test_many_queries(search: Search) -> None:
    queries = ["kitten", "loaf", "judge"]
    records = search(queries, top_k=1)
    assert [found[0]["index"] for found in records] == [0, 3, 4]
    stream = search(iter(queries), top_k=1)
    assert isinstance(stream, Iterator)
    assert [found[0]["index"] for found in stream] == [0, 3, 4]
    assert len(search("kitten")) == len(search("kitten", top_k=99)) == 5


def test_index_add_and_generators(search: Search) -> None:
    assert len(search) == 5 and search.vectors.shape == (5, 384) and search.vectors.dtype == np.float32
    search.add(text for text in ["Rivers flow."])
    assert search.texts == (*TEXTS, "Rivers flow.")
    assert search("a stream of water", top_k=1)[0]["index"] == 5
    search.index(["Only this."])
    assert search.texts == ("Only this.",)
    search.index([])
    assert len(search) == 0 and search.vectors.shape == (0, 384)


def test_an_error_leaves_the_index_as_it_was(search: Search) -> None:
    with pytest.raises(InputError, match=r"\[1\] got int"):
        search.add(["a", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="the text is empty"):
        search.index(iter(["a", ""]))
    assert search.texts == tuple(TEXTS)


@pytest.mark.parametrize("given", ["a text", b"bytes", None, {"a": 1}, 3])
def test_what_can_not_be_indexed(search: Search, given: Any) -> None:
    with pytest.raises(InputError, match="expected a list of texts, or a generator"):
        search.add(given)


def test_queries_that_can_not_be_asked(search: Search) -> None:
    with pytest.raises(InputError, match="top_k is 0, expected a whole number of 1 or more"):
        search("a", top_k=0)
    for query in ("", None, b"a", ["a", ""]):
        with pytest.raises(InputError):
            search(query)
    with pytest.raises(InputError, match=r"nothing is indexed yet: call search\.index\(texts\)"):
        fresh()("a")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_blocks_find_what_a_full_sort_finds(similarity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.integers(-2, 3, (1000, 4)).astype(np.float32)  # many equal scores
    queries = generator.integers(-2, 3, (3, 4)).astype(np.float32)
    monkeypatch.setattr(search_module, "_BLOCK", 64)
    found = Index(("",) * 1000, vectors).top_k(queries, 20, similarity)
    for scores, pairs in zip(similarities(similarity, queries, vectors), found, strict=True):
        order = np.argsort(-scores, kind="stable")[:20]
        np.testing.assert_allclose([score for _, score in pairs], scores[order], atol=1e-6)
        if similarity in ("dot", "manhattan"):  # exact in whole numbers
            assert [row for row, _ in pairs] == order.tolist()


def test_saved_and_loaded(search: Search, tmp_path: Path) -> None:
    search.add(["猫は\n鳴く\u2028。"])
    search.save(tmp_path / "new" / "index")
    other = fresh()
    other.load(tmp_path / "new" / "index")
    assert other.texts == search.texts
    np.testing.assert_array_equal(other.vectors, search.vectors)
    assert other("kitten") == search("kitten")
    other.add(["Rivers flow."])
    other.save(tmp_path / "new" / "index")
    search.load(tmp_path / "new" / "index")
    assert len(search) == 7
    assert sorted(path.name for path in (tmp_path / "new" / "index").iterdir()) == [
        "texts.jsonl",
        "vectors.safetensors",
    ]


def test_an_index_of_another_model_is_refused(search: Search, tmp_path: Path) -> None:
    search.save(tmp_path / "index")
    embed = tiny(Modules())
    with pytest.raises(InputError, match="was indexed with another model"):
        Search(embed.model, embed.tokenizer).load(tmp_path / "index")


def test_a_damaged_index_is_refused(search: Search, tmp_path: Path) -> None:
    search.save(tmp_path)
    lines = (tmp_path / "texts.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "texts.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"4 texts.*'vectors': \(5, 384\)"):
        fresh().load(tmp_path)
    (tmp_path / "texts.jsonl").write_text(json.dumps(["no record"]), encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"texts\.jsonl can't be read .*expected a line"):
        fresh().load(tmp_path)
    with pytest.raises(CheckpointError, match="can't be read"):
        fresh().load(tmp_path / "nowhere")


def test_prompts_of_the_model_are_used(tmp_path: Path) -> None:
    prompts = {"query": "find: ", "passage": "text: "}
    embed = tiny(Modules(pooling=Pooling(("cls",)), prompts=prompts, default_prompt_name="query", similarity="dot"))
    embed.save_pretrained(tmp_path)
    search = pipeline("search", tmp_path)
    search.index(TEXTS[:2])
    np.testing.assert_allclose(search.vectors, embed(TEXTS[:2], prompt="text: "), atol=1e-6)
    scores = {record["index"]: record["score"] for record in search("star")}
    expected = embed(TEXTS[:2], prompt="text: ") @ embed("star", prompt="find: ")
    np.testing.assert_allclose([scores[0], scores[1]], expected, rtol=1e-5)
