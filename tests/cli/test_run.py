"""``enfold run``: records as from Python, options that the task takes, inputs in every form."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from enfold.cli.inputs import Given
from enfold.cli.task_options import RECORDS
from enfold.errors import InputError
from enfold.tasks import pipeline
from enfold.tasks.registry import TASKS
from tests.cli.conftest import Invoke, Run
from tests.cli.tiny import tiny_bert
from tests.support import minilm


def lines(text: str) -> list[object]:
    return [json.loads(line) for line in text.splitlines()]


def test_without_a_task_the_tasks_are_listed(invoke: Invoke) -> None:
    listed = lines(invoke("run", "--json").stdout)
    assert [task["task"] for task in listed] == list(TASKS)
    table = invoke("run").stdout
    assert "text-classification = sentiment-analysis" in table
    assert all(entry.summary in table for entry in TASKS.values())


def test_json_lines_are_the_records_of_python(invoke: Invoke, classifier: Path) -> None:
    texts = ["a good film", "a bad book ."]
    result = invoke("run", "text-classification", *texts, "--model", str(classifier), "--json", "--top-k", "2")
    expected = pipeline("text-classification", classifier)(texts, top_k=2)
    assert lines(result.stdout) == [
        [{"label": each["label"], "score": pytest.approx(each["score"], abs=1e-6)} for each in record]
        for record in expected
    ]
    assert result.stderr == ""


def test_a_pipe_is_read_and_answered_in_order(run: Run, classifier: Path) -> None:
    texts = ["good", "bad film", "a book in london"] * 20
    result = run("run", "sentiment-analysis", "--model", str(classifier), "--json", stdin="\n".join(texts))
    assert result.returncode == 0 and result.stderr == ""
    one = {text: pipeline("text-classification", classifier)([text])[0]["score"] for text in set(texts)}
    assert [record["score"] for record in lines(result.stdout)] == pytest.approx(
        [one[text] for text in texts], abs=1e-6
    )


def test_without_json_a_pipe_gets_tab_separated_values(invoke: Invoke, classifier: Path) -> None:
    result = invoke("run", "text-classification", "北京\tgood", "--model", str(classifier))
    heading, row = result.stdout.splitlines()
    assert heading == "text\tlabel\tscore"
    assert row.split("\t")[0] == "北京 good"


def test_a_terminal_gets_a_table(
    invoke: Invoke, classifier: Path, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from enfold.cli.main import cli

    terminal(80)
    cli(["run", "text-classification", "good film", "--model", str(classifier)], standalone_mode=False)
    heading, rule, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["text", "label", "score"] and set(rule) == {"─"} and row.startswith("good film  ")


def test_vectors_are_whole_in_json_and_described_in_a_table(invoke: Invoke) -> None:
    folder = str(minilm())
    (vector,) = lines(invoke("run", "embed", "A text.", "--model", folder, "--json", "--truncate-dim", "8").stdout)
    assert len(vector) == 8
    np.testing.assert_allclose(vector, pipeline("embed", folder)("A text.", truncate_dim=8), atol=1e-6)
    assert "\t384\t" in invoke("run", "embed", "A text.", "--model", folder).stdout


def test_labels_are_given_with_commas(invoke: Invoke) -> None:
    args = ["run", "zero-shot-by-embedding", "The striker scored.", "--model", str(minilm()), "--json"]
    (record,) = lines(invoke(*args, "--labels", "cooking, football，law").stdout)
    assert record["labels"][0] == "football" and set(record["labels"]) == {"cooking", "football", "law"}


def test_questions_are_asked_of_each_text(invoke: Invoke, tmp_path: Path) -> None:
    folder = str(tiny_bert(tmp_path / "qa", "question-answering"))
    args = ["run", "question-answering", "--model", folder, "--json"]
    context, question = "ada lives in london .", "who lives in london ?"
    records = lines(invoke(*args, "--question", question, context).stdout)
    path = tmp_path / "ask.jsonl"
    path.write_text(json.dumps({"question": question, "context": context, "id": 7}) + "\n")
    assert lines(invoke(*args, str(path)).stdout) == records
    path.write_text(json.dumps({"text": context}) + "\n")
    assert lines(invoke(*args, "--question", question, str(path)).stdout) == records
    assert context[records[0]["start"] : records[0]["end"]] == records[0]["answer"]


def test_a_pair_and_its_record_are_the_same(invoke: Invoke, classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "good", "text_pair": "bad"}\n')
    args = ["run", "text-classification", "--model", str(classifier), "--json"]
    assert (
        invoke(*args, "good", "--pair", "bad").stdout == invoke(*args, str(path)).stdout != invoke(*args, "good").stdout
    )


def test_sentences_are_compared_with_a_source(invoke: Invoke) -> None:
    args = [
        "run",
        "sentence-similarity",
        "--source",
        "A cat.",
        "A kitten.",
        "Tax law.",
        "--model",
        str(minilm()),
        "--json",
    ]
    near, far = lines(invoke(*args).stdout)
    assert near[0] > far[0]


def test_an_option_of_another_task_is_refused_and_those_taken_listed(invoke: Invoke) -> None:
    result = invoke("run", "embed", "text", "--labels", "a", "--question", "b")
    assert result.exit_code == 2
    assert "embed doesn't take --question, --labels" in result.stderr.replace(
        "--labels, --question", "--question, --labels"
    )
    assert "it takes --normalize/--no-normalize, --truncate-dim, --prompt-name" in result.stderr


def test_an_option_that_a_task_needs_is_named(invoke: Invoke) -> None:
    result = invoke("run", "zero-shot-by-embedding", "text")
    assert result.exit_code == 2 and "needs --labels" in result.stderr


def test_a_record_without_its_keys_is_named_with_its_line(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "ask.jsonl"
    path.write_text('{"question": "who ?"}\n')
    result = invoke("run", "question-answering", "--model", "unused", str(path))
    assert result.exit_code == 1
    assert f"{path}, line 1: no 'context'; its keys are question" in result.stderr


@pytest.mark.parametrize("text", ["", "  ", None, 3, ["a"]])
def test_a_record_whose_text_is_none_is_refused(text: object) -> None:
    with pytest.raises(InputError, match=r"line 1: 'text' is .*; expected a text"):
        RECORDS["text-classification"].item(Given({"text": text}, "line 1"), {})


def test_a_task_without_default_model_asks_for_one(invoke: Invoke) -> None:
    result = invoke("run", "fill-mask", "good [MASK]")
    assert result.exit_code == 2 and "no default model; name one with --model, as bert-base" in result.stderr


def test_search_has_its_own_command(invoke: Invoke) -> None:
    result = invoke("run", "search", "good")
    assert result.exit_code == 2 and "enfold search --help" in result.stderr


def test_an_unknown_task_names_the_near_one(invoke: Invoke) -> None:
    result = invoke("run", "embd", "text")
    assert result.exit_code == 1 and "did you mean embed?" in result.stderr


def test_wrong_input_is_told_before_a_model_is_looked_for(invoke: Invoke) -> None:
    result = invoke("run", "embed", "absent.txt", "--model", "./no-such-model")
    assert result.exit_code == 1 and "no file absent.txt" in result.stderr


def test_long_texts_are_refused_where_that_is_asked(invoke: Invoke, classifier: Path) -> None:
    result = invoke("run", "text-classification", "good " * 50, "--model", str(classifier), "--long", "error")
    assert result.exit_code == 1 and "over the limit of 40 tokens" in result.stderr


def test_a_whole_file_is_one_text(invoke: Invoke, classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text("good film\n\nbad book\n")
    args = ["run", "text-classification", str(path), "--model", str(classifier), "--json"]
    assert len(lines(invoke(*args).stdout)) == 2
    assert len(lines(invoke(*args, "--whole").stdout)) == 1


def test_results_reach_standard_output_while_a_bar_is_shown(
    classifier: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from enfold.cli.main import cli

    monkeypatch.setattr("enfold.tasks.progress._AFTER_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    cli(["run", "text-classification", "good", "bad", "--json", "--model", str(classifier)], standalone_mode=False)
    captured = capsys.readouterr()
    assert "text-classification" in captured.err
    assert len(lines(captured.out)) == 2
