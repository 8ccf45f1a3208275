"""Embeddings equal sentence-transformers', do not depend on company, and go back to it unchanged."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.auto import load_model, make_model
from enfold.checkpoint.modules import Dense, Modules, Normalize, Pooling, read_modules
from enfold.errors import InputError, TextTooLongError
from enfold.families import config_of
from enfold.tasks import pipeline
from enfold.tasks.base import Options
from enfold.tasks.embed import Embed
from enfold.tokenization import Tokenizer
from tests.checkpoint.sources.hub_server import Hub, serve
from tests.support import minilm, shared

ENGINES = ("cpu", "torch")
RANDOM = np.random.default_rng(0)
LONG = "The committee met again, and nothing was decided. " * 60
CHAINS = {
    "mean": Modules(),
    "cls, normalised": Modules(pooling=Pooling(("cls",)), after=(Normalize(),)),
    "max and mean": Modules(pooling=Pooling(("max", "mean")), similarity="dot"),
    "in another order": Modules(pooling=Pooling(("mean_sqrt_len_tokens", "cls"))),
    "weighted mean, dense": Modules(
        pooling=Pooling(("weightedmean",)),
        after=(
            Dense(RANDOM.standard_normal((7, 16)).astype(np.float32), RANDOM.standard_normal(7).astype(np.float32)),
            Normalize(),
        ),
    ),
    "dense without bias": Modules(after=(Dense(RANDOM.standard_normal((5, 16), np.float32), None, "identity"),)),
    "limit, prompts": Modules(
        max_seq_length=9, prompts={"query": "find: ", "document": ""}, default_prompt_name="query"
    ),
    "prompt left out": Modules(
        pooling=Pooling(("mean", "weightedmean", "cls"), include_prompt=False), prompts={"query": "find this: "}
    ),
}


@cache
def sentences() -> list[str]:
    """200 real texts of 1 to about 100 tokens."""
    tatoeba = shared("data", "tatoeba.en-zh.tsv").read_text(encoding="utf-8").splitlines()[:90]
    found = [side for line in tatoeba[:60] for side in line.split("\t")[:1]] + [
        line.split("\t")[1] for line in tatoeba[60:]
    ]
    for name in ("amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets"):
        lines = shared("data", f"vader-{name}.tsv").read_text(encoding="utf-8").splitlines()
        found += [line.split("\t")[2] for line in sorted(lines, key=len)[:: len(lines) // 27][:28]]
    return found[:200]


@cache
def embedder(engine: Any = "cpu") -> Embed:
    made: Embed = pipeline("embed", minilm(), engine=engine)
    return made


@pytest.fixture(scope="module")
def reference() -> Any:
    return reference_of(minilm())


def reference_of(folder: Path) -> Any:
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return SentenceTransformer(str(folder), device="cpu")


def tiny(modules: Modules | None, options: Options | None = None) -> Embed:
    """A random BERT 16 wide with MiniLM's vocabulary."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = config_of({"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 64, **sizes})
    return Embed(make_model(config, "encoder", "cpu"), Tokenizer.from_folder(minilm()), options, modules=modules)


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_to_sentence_transformers(engine: str, reference: Any) -> None:
    assert len(sentences()) == 200
    ours = embedder(engine)(sentences())
    assert ours.dtype == np.float32 and ours.shape == (200, 384)
    np.testing.assert_allclose(ours, reference.encode(sentences()), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_alone_in_a_batch_and_in_another_order(engine: str) -> None:
    texts = sentences()[::8]
    embed = embedder(engine)
    together = embed(texts)
    np.testing.assert_allclose(np.stack([embed(text) for text in texts]), together, atol=1e-6)
    order = np.random.default_rng(1).permutation(len(texts))
    np.testing.assert_allclose(embed([texts[index] for index in order]), together[order], atol=1e-6)


def test_shapes_of_answers() -> None:
    embed = embedder()
    assert embed("A text.").shape == (384,)
    assert embed(("A text.", "Another.")).shape == (2, 384)
    assert embed([]).shape == (0, 384) and embed([]).dtype == np.float32


def test_a_generator_is_read_in_chunks() -> None:
    taken = itertools.count()
    texts = (f"Text number {next(taken)}." for _ in itertools.count())
    rows = embedder()(texts)
    assert isinstance(rows, Iterator) and next(taken) == 0
    first = next(rows)
    np.testing.assert_allclose(first, embedder()("Text number 1."), atol=1e-6)
    assert next(taken) < 600


def test_ten_thousand_texts() -> None:
    words = ["sun", "moon", "star", "sea", "wind", "rain", "snow", "fire", "stone", "tree"]
    texts = [" ".join(words[int(digit)] for digit in str(number)) for number in range(10_000)]
    embed = tiny(Modules())
    rows = embed(texts)
    assert rows.shape == (10_000, 16)
    np.testing.assert_allclose(rows[7531], embed(texts[7531]), atol=1e-6)


@pytest.mark.parametrize("name", CHAINS)
def test_saved_folders_load_in_sentence_transformers(name: str, tmp_path: Path) -> None:
    modules = CHAINS[name]
    embed = tiny(modules, Options(long="truncate"))
    embed.save_pretrained(tmp_path / "ours")
    texts = [*sentences()[:8], LONG[:300]]
    reference = reference_of(tmp_path / "ours")
    np.testing.assert_allclose(embed(texts), reference.encode(texts), atol=1e-5)
    named = {key: value for key, value in modules.prompts.items() if value}
    for prompt in named:
        ours, theirs = embed(texts, prompt_name=prompt), reference.encode(texts, prompt_name=prompt)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert reference.similarity_fn_name == modules.similarity
    reference.save(str(tmp_path / "theirs"), create_model_card=False)
    again: Embed = pipeline("embed", tmp_path / "theirs", long="truncate")
    np.testing.assert_allclose(again(texts), embed(texts), atol=1e-5)


def test_the_real_model_saved_and_loaded_again(tmp_path: Path) -> None:
    embedder().save_pretrained(tmp_path)
    np.testing.assert_allclose(reference_of(tmp_path).encode(sentences()[:20]), embedder()(sentences()[:20]), atol=1e-5)
    assert read_modules(tmp_path) == read_modules(minilm())
    tiny(CHAINS["dense without bias"]).save_pretrained(tmp_path)
    assert not (tmp_path / "2_Normalize" / "config.json").exists(), "files of the model saved before are left"
    assert pipeline("embed", tmp_path)("A text.").shape == (5,)


def test_tasks_on_embeddings_save_their_modules(tmp_path: Path) -> None:
    tiny(CHAINS["dense without bias"]).save_pretrained(tmp_path / "first")
    for task in ("sentence-similarity", "search", "zero-shot-by-embedding"):
        pipeline(task, tmp_path / "first").save_pretrained(tmp_path / task)
        assert pipeline("embed", tmp_path / task)("A text.").shape == (5,)


def test_saving_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "2_notes").mkdir()
    (tmp_path / "2_notes" / "mine.txt").write_text("mine")
    tiny(Modules()).save_pretrained(tmp_path)
    assert (tmp_path / "2_notes" / "mine.txt").read_text() == "mine"


def test_a_plain_checkpoint_is_pooled_as_sentence_transformers_does(tmp_path: Path) -> None:
    embed = tiny(None)
    embed.model.save_pretrained(tmp_path)
    embed.tokenizer.save_pretrained(tmp_path)
    texts = sentences()[:6]
    np.testing.assert_allclose(
        pipeline("embed", tmp_path, long="truncate")(texts), reference_of(tmp_path).encode(texts), atol=1e-5
    )


def test_lowered_texts(tmp_path: Path) -> None:
    tiny(Modules(do_lower_case=True)).save_pretrained(tmp_path)
    embed = pipeline("embed", tmp_path, tokenizer=Tokenizer.from_folder(tmp_path, do_lower_case=False))
    np.testing.assert_array_equal(embed("ΟΔΟΣ Größe TEXT"), embed("οδοσ größe text"))


def test_long_texts_are_read_in_windows() -> None:
    embed = embedder()
    assert embed.max_length == 256
    encoded = embed.tokenizer.encode_many([LONG])[0]
    windows = embed.tokenizer.windows(encoded, max_length=256, stride=64)
    assert len(windows) > 2
    pooled = [
        embed.model.run(_packed(embed, window), fields=("last_hidden_state",))["last_hidden_state"].mean(axis=0)
        for window in windows
    ]
    merged = np.average(pooled, axis=0, weights=[len(window) for window in windows])
    np.testing.assert_allclose(embed(LONG), merged / np.linalg.norm(merged), atol=1e-6)


def _packed(embed: Embed, window: Any) -> Any:
    from enfold.packing import pack

    return pack(embed.model.arch, [window.ids], [window.type_ids])


def test_long_texts_cut_as_sentence_transformers_does(reference: Any, caplog: pytest.LogCaptureFixture) -> None:
    embed = Embed(embedder().model, embedder().tokenizer, Options(long="truncate"))
    np.testing.assert_allclose(embed([LONG, "Short."]), reference.encode([LONG, "Short."]), atol=1e-5)
    assert "cut 1 of 2 texts at 256 tokens" in caplog.text


def test_long_texts_refused() -> None:
    embed = Embed(embedder().model, embedder().tokenizer, Options(long="error"))
    with pytest.raises(TextTooLongError, match="1 of 2 texts are over the limit of 256 tokens"):
        embed(["Short.", LONG])


def test_prompts(reference: Any) -> None:
    embed = embedder()
    np.testing.assert_allclose(embed("a dog", prompt="find: "), embed("find: a dog"), atol=1e-6)
    np.testing.assert_array_equal(embed("a dog", prompt_name="query"), embed("a dog"))
    with pytest.raises(InputError, match="prompt_name is 'passage'; this model has document, query"):
        embed("a dog", prompt_name="passage")
    with pytest.raises(InputError, match="both prompt='a' and prompt_name='b'"):
        embed("a dog", prompt="a", prompt_name="b")
    with pytest.raises(InputError, match="prompt is 3, expected a text"):
        embed("a dog", prompt=3)  # type: ignore[arg-type]


def test_truncate_dim_and_normalize(reference: Any) -> None:
    texts = sentences()[:3]
    embed = embedder()
    np.testing.assert_allclose(embed(texts, truncate_dim=50), reference.encode(texts, truncate_dim=50), atol=1e-5)
    expected = reference.encode(texts, truncate_dim=50, normalize_embeddings=True)
    np.testing.assert_allclose(embed(texts, truncate_dim=50, normalize=True), expected, atol=1e-5)
    raw = embed(texts, normalize=False)
    assert (np.linalg.norm(raw, axis=1) > 2).all()
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), embed(texts), atol=1e-6)
    for wrong in (0, 385, True, 2.5):
        with pytest.raises(InputError, match=r"truncate_dim is .*, expected 1 to 384"):
            embed(texts, truncate_dim=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        (None, "got NoneType .*expected a text, a list"),
        (b"bytes", "got bytes .*decode the bytes first"),
        (Path("a.txt"), "got PosixPath .*read the file"),
        ({"text": "a"}, "got dict .*expected a text"),
        (3, "got int .*expected a text"),
        (
            ["a", None, "", 3, "b"],
            r"(?s)3 of 5 can't be read:.*\[1\] got NoneType.*\[2\] the text is empty.*\[3\] got int",
        ),
        ([""] * 9, r"(?s)9 of 9.*\[4\].* and 4 more"),
        ([["a"]], r"\[0\] got list"),
    ],
)
def test_what_is_no_text(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        embedder()(given)


def test_a_generator_that_yields_no_text() -> None:
    with pytest.raises(InputError, match="got int"):
        list(embedder()(iter(["a", 3])))


@pytest.mark.parametrize("kind", ["base", "sequence-classification"])
def test_any_head_will_do_even_untrained(kind: Any, tmp_path: Path) -> None:
    """Embeddings are hidden states: neither a fresh pooler nor a fresh classifier has a say in them."""
    embed = tiny(CHAINS["cls, normalised"])
    embed.save_pretrained(tmp_path)
    model = load_model(tmp_path, kind, engine="cpu")
    assert model.untrained
    np.testing.assert_allclose(pipeline("embed", model)("A text."), embed("A text."), atol=1e-6)


def test_a_hub_model_brings_its_modules(tmp_path: Path) -> None:
    """Although another library's cache, filled with model and tokenizer alone, would do to load it wrongly."""
    embed = tiny(CHAINS["weighted mean, dense"])
    embed.save_pretrained(tmp_path / "model")
    files = {path.relative_to(tmp_path / "model").as_posix(): path for path in (tmp_path / "model").rglob("*.*")}
    code = (
        "import json; from enfold import pipeline; from enfold.checkpoint.sources import resolve\n"
        "resolve('org/model', want='model'); resolve('org/model', want='tokenizer')\n"
        "print(json.dumps(pipeline('embed', 'org/model', engine='cpu')('A text.').tolist()))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ENFOLD_"))}
    with serve(Hub({name: path.read_bytes() for name, path in files.items()})) as hub:
        environment = kept | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, timeout=60)
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"} <= hub.downloads
    np.testing.assert_allclose(json.loads(done.stdout), embed("A text."), atol=1e-6)


def test_no_torch_on_the_cpu_engine() -> None:
    code = (
        "import sys; from enfold import pipeline; from tests.support import minilm\n"
        "assert pipeline('embed', minilm(), engine='cpu')(['A text.', 'Another.']).shape == (2, 384)\n"
        "loaded = {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=60)
