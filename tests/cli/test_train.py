"""``enfold train``: files of every kind to a model that answers as the data do, and errors that point."""

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import enfold
from enfold.cli.train import command
from enfold.training.settings import Settings
from tests.cli.conftest import Invoke
from tests.training.support import apt, reviews, tiny

SIZES = "hidden_size=24,num_hidden_layers=1,num_attention_heads=2"
QUICK = ("--max-steps", "80", "--batch-size", "16", "--learning-rate", "0.004", "--dropout", "0")


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as the file's name says."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case ".csv" | ".tsv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
                writer.writerow(rows[0])
                writer.writerows(row.values() for row in rows)
        case _:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_labels_come_back_as_they_stand_in_the_data(tmp_path: Path, invoke: Invoke, suffix: str) -> None:
    rows = [{"text": row["text"], "label": {"yes": "Très bien!", "no": "不好"}[row["label"]]} for row in reviews(300)]
    data, out = written(tmp_path / f"rows{suffix}", rows), tmp_path / "out"
    result = invoke("train", "--data", str(data), "--base", apt(tmp_path), "--out", str(out), "--json", *QUICK)
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["task"] == "text-classification" and said["metrics"]["accuracy"] > 0.9
    classify = enfold.pipeline("text-classification", str(out), engine="cpu")
    assert [record["label"] for record in classify(["a good film", "ada lives in a bad book"])] == [
        "Très bien!",
        "不好",
    ]
    assert {path.name for path in out.iterdir()} >= {"README.md", "report.html", "metrics.jsonl", "training.json"}
    assert not (out / "checkpoints").exists()


def test_the_card_says_how_to_repeat_it(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = written(tmp_path / "rows.csv", reviews(60)), tmp_path / "out"
    arguments = ("train", "--data", str(data), "--base", tiny(tmp_path), "--out", str(out), *QUICK, "--language", "zh")
    monkeypatch.setattr("sys.argv", ["enfold", *arguments])
    assert invoke(*arguments).exit_code == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["pipeline_tag"] == "text-classification" and "enfold train --data" in card and "准确率" in card


def test_the_outcome_names_the_step_that_is_kept_and_the_metric_that_chose_it(tmp_path: Path, invoke: Invoke) -> None:
    rows = [{"text": row["text"], "label": f"{row['label']}|any"} for row in reviews(60)]
    data, task = written(tmp_path / "rows.csv", rows), "multi-label-classification"
    options = ("--base", tiny(tmp_path), "--max-steps", "4", "--evaluate-every", "2", "--metric", "-f1_micro")
    said = invoke("train", task, "--data", str(data), "--out", str(tmp_path / "a"), *options)
    assert said.exit_code == 0, said.stderr
    again = invoke("train", task, "--data", str(data), "--out", str(tmp_path / "b"), *options, "--json")
    told = json.loads(again.stdout)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    kept = next(line for line in lines if "evaluation" in line and line["step"] == told["best_step"])
    heading, row = (line.split("\t") for line in said.stdout.splitlines())
    assert heading == ["task", "kept", "seconds", "loss", "f1_micro", "accuracy"]
    assert row[:2] == [task, f"step {told['best_step']} of 4"]
    assert [float(value) for value in row[3:5]] == pytest.approx(
        [kept["evaluation"][name] for name in ("loss", "f1_micro")], abs=1e-4
    )


def test_files_without_a_header_and_files_with_other_names(tmp_path: Path, invoke: Invoke) -> None:
    model, rows = tiny(tmp_path), reviews(60)
    bare = tmp_path / "bare.tsv"
    bare.write_text("".join(f"{row['label']}\t{row['text']}\n" for row in rows))
    other = written(tmp_path / "other.csv", [{"stars": row["label"], "what": row["text"]} for row in rows])
    for number, (data, columns) in enumerate([(bare, "label,text"), (other, "text=what,label=stars")]):
        out = str(tmp_path / f"out-{number}")
        result = invoke("train", "--data", str(data), "--base", model, "--out", out, "--columns", columns, *QUICK)
        assert result.exit_code == 0, result.stderr


def test_entities_of_a_conll_file(tmp_path: Path, invoke: Invoke) -> None:
    sentence = "Ada B-person\nlives O\nin O\nLondon B-place\n. O\n\na O\ngood O\nfilm O\n. O\n\n"
    data, out = tmp_path / "rows.conll", tmp_path / "out"
    data.write_text(sentence * 20)
    result = invoke(
        "train", "ner", "--data", str(data), "--base", apt(tmp_path), "--out", str(out), "--evaluation", "0", *QUICK
    )
    assert result.exit_code == 0, result.stderr
    found = enfold.pipeline("ner", str(out), engine="cpu")("Ada lives in London .", aggregation_strategy="simple")
    assert [(one["entity_group"], one["word"]) for one in found] == [("person", "ada"), ("place", "london")]


@pytest.mark.parametrize(
    ("task", "architecture", "tokenizer"),
    [
        ("masked-lm", f"bert:{SIZES},intermediate_size=32", "wordpiece:80"),
        ("causal-lm", "gpt2:n_embd=24,n_layer=1,n_head=2,n_positions=64", "bpe:300"),
        ("masked-lm", f"enfold:{SIZES},norm=batch", "unigram:60"),
        ("span-corruption", "t5:d_model=24,num_layers=1,num_heads=2,d_kv=12,d_ff=32", "unigram:170"),
    ],
)
def test_tokenizer_and_model_from_nothing_in_one_command(
    tmp_path: Path, invoke: Invoke, task: str, architecture: str, tokenizer: str
) -> None:
    data, out = tmp_path / "texts.txt", tmp_path / "out"
    data.write_text("".join(f"{row['text']}, said ada. 北京的书店\n" for row in reviews(80)), encoding="utf-8")
    options = (
        "--architecture",
        architecture,
        "--tokenizer",
        tokenizer,
        "--max-length",
        "32",
        "--max-steps",
        "24",
        "--learning-rate",
        "0.005",
    )
    result = invoke("train", task, "--data", str(data), "--out", str(out), *options, "--log-every", "4")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert len(enfold.AutoTokenizer.from_pretrained(str(out))) == enfold.AutoConfig.from_pretrained(str(out)).vocab_size


def test_an_adapter_is_merged_and_kept(tmp_path: Path, invoke: Invoke) -> None:
    data, out = written(tmp_path / "rows.csv", reviews(120)), tmp_path / "out"
    options = ("--adapter", "lora", "--targets", "all-linear", *QUICK)
    result = invoke("train", "--data", str(data), "--base", tiny(tmp_path), "--out", str(out), *options)
    assert result.exit_code == 0, result.stderr
    texts = ["a good film", "a bad book"]
    whole, small = (enfold.pipeline("text-classification", str(each), engine="cpu") for each in (out, out / "adapter"))
    for one, other in zip(whole(texts, top_k=None), small(texts, top_k=None), strict=True):
        assert [each["label"] for each in one] == [each["label"] for each in other]
        assert [each["score"] for each in one] == pytest.approx([each["score"] for each in other], abs=1e-5)


def test_settings_are_options_of_the_same_name() -> None:
    options = {option.name for option in command.params}
    assert {field.name for field in dataclasses.fields(Settings)} <= options
    assert all(option.help for option in command.params if option.param_type_name == "option")


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"a": "x", "b": "y"}], ("text-classification",), "has the columns a, b"),
        ([{"text": "a good film", "label": "fine"}] * 30, (), "every row .* has the label 'fine'"),
        ([{"text": "a good film", "label": "yes"}, {"text": "bad", "label": "no"}] * 20, (), "evaluation=0"),
        ([{"text": "a good film", "label": 1}, {"text": "bad", "label": "no"}] * 20, (), "row|line"),
        ([*reviews(40), {"text": " ", "label": "no"}], (), "line 41: 'text' is ' '"),
        (reviews(40), ("--learning-rate", "-1"), "learning_rate is -1.0"),
        (reviews(40), ("text-clasification",), "did you mean text-classification"),
        (reviews(40), ("ner",), "tokens"),
        (reviews(40), ("--metric", "f2"), "metric is 'f2', and evaluations have"),
        (reviews(40), ("--columns", "text=review"), "no column 'review'"),
        (reviews(40), ("--evaluation", "nowhere.csv"), "no file 'nowhere.csv'"),
    ],
)
def test_errors_say_what_is_wrong(
    tmp_path: Path, invoke: Invoke, rows: list[dict[str, Any]], arguments: tuple[str, ...], message: str
) -> None:
    data = written(tmp_path / "rows.jsonl", rows)
    base = ("--base", tiny(tmp_path), "--out", str(tmp_path / "out"), "--max-steps", "2")
    result = invoke("train", "--data", str(data), *base, *arguments)
    assert result.exit_code == 1 and re.search(message, result.stderr), result.stderr
    assert result.stderr.startswith("Error: ") or "Error: " in result.stderr
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_trained_model_keeps_its_own_tokenizer(tmp_path: Path, invoke: Invoke) -> None:
    data = written(tmp_path / "rows.jsonl", reviews(40))
    new = ("--base", tiny(tmp_path), "--tokenizer", "wordpiece:50")
    result = invoke("train", "--data", str(data), *new, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2 and "a trained model goes with its own" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_writes_on_has_a_tokenizer_that_ends_no_text(tmp_path: Path, invoke: Invoke) -> None:
    data, out = written(tmp_path / "rows.jsonl", [{"text": row["text"]} for row in reviews(40)]), tmp_path / "out"
    new = ("--architecture", "gpt2:n_embd=24,n_layer=1,n_head=2,n_positions=64", "--out", str(out), "--max-steps", "1")
    result = invoke("train", "causal-lm", "--data", str(data), "--tokenizer", "unigram:80", *new)
    assert result.exit_code == 2 and "--tokenizer bpe" in result.stderr
    assert invoke("train", "causal-lm", "--data", str(data), "--tokenizer", "bpe:300", *new).exit_code == 0
    tokenizer = enfold.AutoTokenizer.from_pretrained(str(out))
    assert tokenizer("a good film")["input_ids"] == tokenizer("a good film", add_special_tokens=False)["input_ids"]
    assert enfold.AutoConfig.from_pretrained(str(out)).eos_token_id == tokenizer.eos_token_id


def test_weights_of_labels_are_given_by_name(tmp_path: Path, invoke: Invoke) -> None:
    data = written(tmp_path / "rows.jsonl", reviews(40))
    base = ("--base", tiny(tmp_path), "--max-steps", "1")
    weights = "yes=2,no=0.5"
    result = invoke("train", "--data", str(data), *base, "--out", str(tmp_path / "out"), "--class-weights", weights)
    assert result.exit_code == 0, result.stderr
    result = invoke("train", "--data", str(data), *base, "--out", str(tmp_path / "o"), "--class-weights", "yes=much")
    assert result.exit_code == 2 and "a number for each label, as yes=2,no=1" in result.stderr


@pytest.mark.parametrize("adapter", [(), ("--adapter", "ia3")])
def test_a_rank_without_an_adapter_that_has_one_is_refused(
    adapter: tuple[str, ...], tmp_path: Path, invoke: Invoke
) -> None:
    data = written(tmp_path / "rows.jsonl", reviews(40))
    result = invoke("train", "--data", str(data), "--out", str(tmp_path / "out"), "--rank", "4", *adapter)
    assert result.exit_code == 2 and "--rank is of --adapter lora or dora" in result.stderr


def test_a_row_that_was_taken_for_a_header_is_told(tmp_path: Path, invoke: Invoke) -> None:
    data = tmp_path / "pairs.tsv"
    data.write_text("I'll come and see you one of these days.\t我过两天来看你。\nHe went.\t他走了。\n" * 20)
    result = invoke("train", "translation", "--data", str(data), "--base", tiny(tmp_path), "--out", str(tmp_path / "o"))
    assert "name its columns in their order, as --columns source,target" in result.stderr
