"""Sentence embeddings: the losses of sentence-transformers, and the folders that it reads back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from sentence_transformers.sentence_transformer import losses

import enfold
from enfold.checkpoint.modules import Dense, Modules, Normalize, Pooling, PoolingMode, write_modules
from enfold.errors import InputError
from enfold.training.fit import fit
from enfold.training.goals.embeddings import Embeddings
from enfold.training.settings import Settings
from tests.training.goals.support import lesson, reading_of, table_of, tiny_folder

TEXTS = [
    "a fine film",
    "the dog sleeps",
    "北京很大",
    "unbelievable stories of old London",
    "bad",
    "no rain today, none",
]
PAIRS = [{"anchor": one, "positive": other} for one, other in zip(TEXTS, reversed(TEXTS), strict=True)]
TRIPLETS = [{**row, "negative": TEXTS[index - 2]} for index, row in enumerate(PAIRS)]
SCORES = [{**row, "score": round(index / 5 - 0.4, 1)} for index, row in enumerate(PAIRS)]


def embedder(folder: Path, pooling: PoolingMode = "mean", **options: Any) -> Path:
    """A tiny model in a folder of sentence-transformers."""
    shutil.copytree(tiny_folder("uncased", "masked-lm"), folder, dirs_exist_ok=True)
    write_modules(folder, Modules(Pooling((pooling,)), **options), 32)
    return folder


def theirs_on(folder: Path, loss: Any, rows: list[dict[str, Any]], label: str | None = None) -> float:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu").eval()
    columns = [name for name in rows[0] if name != label]
    features = [model.preprocess([row[name] for row in rows]) for name in columns]
    labels = torch.tensor([row[label] for row in rows]) if label else None
    with torch.no_grad():
        return float(loss(model)(features, labels))


MATRYOSHKA = (8, 20)


@pytest.mark.parametrize("dims", [(), MATRYOSHKA], ids=["whole", "matryoshka"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["pairs", "negatives", "triplets", "scores"])
def test_losses_are_those_of_sentence_transformers(
    kind: Any, pooling: PoolingMode, dims: tuple[int, ...], tmp_path: Path
) -> None:
    folder = embedder(tmp_path / "model", pooling, after=(Normalize(),))
    rows = {"pairs": PAIRS, "negatives": TRIPLETS, "triplets": TRIPLETS, "scores": SCORES}[kind]

    def plain(model: Any) -> Any:
        if kind == "scores":
            return losses.CosineSimilarityLoss(model)
        if kind == "triplets":
            return losses.TripletLoss(model, losses.TripletDistanceMetric.EUCLIDEAN, triplet_margin=0.5)
        return losses.MultipleNegativesRankingLoss(model)

    def whole(model: Any) -> Any:
        return losses.MatryoshkaLoss(model, plain(model), [32, *dims]) if dims else plain(model)

    own = "triplets" if kind == "negatives" else kind
    here = lesson(folder, None, rows, Embeddings(own, dims=dims, triplet=kind == "triplets"))
    assert here.goal.pooling == pooling  # type: ignore[attr-defined]
    expected = theirs_on(folder, whole, rows, "score" if kind == "scores" else None)
    assert here.loss() == pytest.approx(expected, rel=2e-5, abs=2e-5)


def test_columns_say_which_loss() -> None:
    for rows, kind in ((PAIRS, "pairs"), (TRIPLETS, "triplets"), (SCORES, "scores")):
        goal = Embeddings.of(table_of(rows, Embeddings), Settings(), None)
        assert (goal.kind, goal.whole) == (kind, kind != "scores")
    assert not Embeddings("triplets", triplet=True).whole


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("named", [True, False], ids=["folder of embeddings", "base model"])
def test_a_trained_folder_is_read_by_both_libraries(pooling: PoolingMode, named: bool, tmp_path: Path) -> None:
    if named:
        base = embedder(tmp_path / "model", pooling, after=(Normalize(),), max_seq_length=40)
        goal = Embeddings("pairs")
    else:
        base = Path(tiny_folder("uncased", "masked-lm"))
        goal = Embeddings("pairs", pooling=pooling)
    settings = Settings(max_steps=3, batch_size=4, learning_rate=1e-3, warmup=0)
    fit(str(base), PAIRS * 2, task=goal, out=tmp_path / "out", evaluation=None, settings=settings)
    assert (tmp_path / "out" / "modules.json").exists()
    texts = [*TEXTS, "word " * 35]
    ours = enfold.pipeline("embed", str(tmp_path / "out"), engine="cpu")(texts)
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(texts)
    assert np.abs(ours - theirs).max() < 1e-5
    before = enfold.pipeline("embed", str(base), engine="cpu")(texts)
    assert np.abs(ours - before).max() > 1e-3, "it was trained"


def test_a_folders_limit_and_lower_case_are_the_goals(tmp_path: Path) -> None:
    folder = embedder(tmp_path / "model", max_seq_length=9, do_lower_case=True)
    here = lesson(folder, None, [{"anchor": "ADA " * 30, "positive": "ada " * 30}], Embeddings)
    assert here.examples.ids.lengths.tolist() == [9, 9]
    assert here.examples.ids[0].tolist() == here.examples.ids[1].tolist()


def test_metrics_are_of_cosines(tmp_path: Path) -> None:
    from scipy.stats import pearsonr

    folder = embedder(tmp_path / "model")
    here = lesson(folder, None, SCORES, Embeddings)
    meter = here.goal.meter()
    batch = here.batch()
    with torch.no_grad():
        vectors = here.goal.logits(here.model.outputs(batch.packed, fields=here.goal.fields), batch)
    meter.update(vectors, batch)
    told = meter.result()
    embed = enfold.pipeline("embed", str(folder), engine="cpu")
    one, other = (embed([row[name] for row in SCORES], normalize=True) for name in ("anchor", "positive"))
    assert set(told) == {"pearson", "spearman"}
    assert told["pearson"] == pytest.approx(
        pearsonr((one * other).sum(-1), [row["score"] for row in SCORES])[0], abs=1e-4
    )


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    dense = Dense(np.eye(32, dtype=np.float32))
    folder = embedder(tmp_path / "dense", after=(dense,))
    with pytest.raises(InputError, match=r"no layer after it; .* pools by mean and a dense layer"):
        lesson(folder, None, PAIRS, Embeddings)
    folder = embedder(tmp_path / "max", "max")
    with pytest.raises(InputError, match=r"training pools by mean or cls .* pools by max"):
        lesson(folder, None, PAIRS, Embeddings)
    with pytest.raises(InputError, match=r"dims has \[64\], expected whole numbers from 1 to 32"):
        lesson(tiny_folder("uncased", "masked-lm"), None, PAIRS, Embeddings("pairs", dims=(8, 64)))
    with pytest.raises(InputError, match=r"pooling is 'max', expected 'mean' or 'cls'"):
        Embeddings("pairs", pooling="max")
    with pytest.raises(InputError, match=r"triplet=True .* the rows are pairs"):
        Embeddings("pairs", triplet=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*PAIRS, {"anchor": "a", "positive": " "}], r"row 7: 'positive' is ' ', expected a text"),
        ([{**PAIRS[0], "score": 5}], r"the scores of the data go from 5 to 5, and a cosine from -1 to 1: divide them"),
        ([{**PAIRS[0], "score": "high"}], r"(?s)1 of 1 values of 'score' are no finite numbers.*row 1: 'high'"),
    ],
)
def test_rows_that_are_none_are_named(rows: list[dict[str, Any]], message: str) -> None:
    table = table_of(rows, Embeddings)
    reading = reading_of(tiny_folder("uncased", "masked-lm"), long="truncate")
    with pytest.raises(InputError, match=message):
        Embeddings.of(table, Settings(), None).encode(table, reading)


def test_a_folder_says_its_modules(tmp_path: Path) -> None:
    """Prompts and the rest of what a folder has are still there after training."""
    base = embedder(tmp_path / "model", prompts={"query": "ask: "}, after=(Normalize(),))
    fit(str(base), PAIRS, out=tmp_path / "out", evaluation=None, settings=Settings(max_steps=1, batch_size=4))
    kept = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    assert kept["prompts"]["query"] == "ask: "
