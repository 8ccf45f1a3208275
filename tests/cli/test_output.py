"""Records become rows, rows become a table or tab-separated lines, and nothing in them moves the cursor."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from rich.cells import cell_len

from enfold.cli.output import print_json, print_table, rows_of


def test_json_keeps_characters_and_unfolds_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "北京", "vector": np.array([0.5, 1.0], np.float32), "count": np.int64(3)})
    line = capsys.readouterr().out
    assert "北京" in line
    assert json.loads(line) == {"text": "北京", "vector": [0.5, 1.0], "count": 3}


def test_a_type_without_json_is_a_mistake_that_shows() -> None:
    with pytest.raises(TypeError, match="set has no JSON"):
        print_json({1})


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        ({"label": "yes", "score": 0.5}, [{"label": "yes", "score": 0.5}]),
        ([{"entity": "PER"}, {"entity": "LOC"}], [{"entity": "PER"}, {"entity": "LOC"}]),
        ([], []),
        ([0.5, 0.25], [{"score": 0.5}, {"score": 0.25}]),
        (
            {"sequence": "given", "labels": ["a", "b"], "scores": [0.9, 0.1]},
            [{"labels": "a", "scores": 0.9}, {"labels": "b", "scores": 0.1}],
        ),
        ([[{"token": 5}], [{"token": 6}]], [{"#": 1, "token": 5}, {"#": 2, "token": 6}]),
        (np.zeros(3, np.float32), [{"shape": "3", "values": "0.0000 0.0000 0.0000"}]),
        ([[[0.0, 1.0]] * 4], [{"shape": "1 × 4 × 2", "values": "0.0000 1.0000 0.0000 1.0000 0.0000 1.0000 …"}]),
        ({"score": 0.5, "answer": "given"}, [{"score": 0.5, "answer": "given"}]),
        ({"translation_text": "given"}, [{"translation_text": "given"}]),
    ],
)
def test_records_become_rows(record: object, rows: list[object]) -> None:
    assert list(rows_of(record, "given")) == rows


def test_in_a_pipe_a_table_is_tab_separated_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"text": "a\tb\n" + "c" * 300, "score": 0.123456}, {"text": "d", "score": None}])
    assert capsys.readouterr().out == f"text\tscore\na b {'c' * 300}\t0.1235\nd\t\n"


def test_rows_without_results_wait_for_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"text": "none"}, {"text": "one", "entity": "PER"}, {"text": "none"}], one_line=["text"])
    assert capsys.readouterr().out == "text\tentity\nnone\t\none\tPER\nnone\t\n"
    print_table([{"text": "none"}], one_line=["text"])
    assert capsys.readouterr().out == "text\nnone\n"


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"text": "\x1b[31mred\x07"}])
    assert capsys.readouterr().out == "text\n\ufffd[31mred\ufffd\n"


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_columns_align_and_fit(
    columns: int, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(columns)
    texts = ["我爱北京天安门" * 20, "plain text " * 20, "[CLS] [bold]kept[/bold] :smile:", "é"]
    print_table(({"text": text, "label": "yes", "score": 0.5} for text in texts), one_line=["text"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(texts)
    assert max(map(cell_len, lines)) <= columns
    assert "[bold]kept[/bold] :smile:" in lines[4]
    begins = {cell_len(line[: line.index("yes")]) for line in lines[2:]}
    assert len(begins) == 1
    assert all("0.5000" in line for line in lines[2:])
