"""``enfold tokenize``: tokens, ids, places, and back."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


def test_a_table_of_tokens_and_their_number(invoke: Invoke, classifier: Path) -> None:
    result = invoke("tokenize", "Good 北京?", "--model", str(classifier))
    assert result.stdout.splitlines() == [
        "text\ttoken\tid\tstart\tend\tcharacters",
        "1\t[CLS]\t2\t\t\t",
        "1\tgood\t6\t0\t4\tGood",
        "1\t北\t18\t5\t6\t北",
        "1\t京\t19\t6\t7\t京",
        "1\t?\t16\t7\t8\t?",
        "1\t[SEP]\t3\t\t\t",
    ]
    assert result.stderr == "6 tokens\n"


def test_several_texts_are_numbered_and_counted(invoke: Invoke, classifier: Path) -> None:
    result = invoke("tokenize", "good", "bad", "--model", str(classifier))
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["text", *"111222"]
    assert result.stderr == "6 tokens of 2 texts\n"


def test_ids_alone(invoke: Invoke, classifier: Path) -> None:
    result = invoke("tokenize", "good film", "bad", "--ids", "--model", str(classifier))
    assert (result.stdout, result.stderr) == ("2 6 8 3\n2 7 3\n", "")


def test_json_lines(invoke: Invoke, classifier: Path) -> None:
    result = invoke("tokenize", "good 北", "--json", "--model", str(classifier))
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "text": "good 北",
        "ids": [2, 6, 18, 3],
        "tokens": ["[CLS]", "good", "北", "[SEP]"],
        "offsets": [[0, 0], [0, 4], [5, 6], [0, 0]],
    }


@pytest.mark.parametrize("ids", ["2,6,18,3", "[2, 6, 18, 3]", "2 6 18 3"])
def test_ids_are_decoded(ids: str, invoke: Invoke, classifier: Path) -> None:
    assert invoke("tokenize", "--decode", ids, "--model", str(classifier)).stdout == "[CLS] good 北 [SEP]\n"
    result = invoke("tokenize", "--decode", ids, "--json", "--model", str(classifier))
    assert json.loads(result.stdout) == {"text": "[CLS] good 北 [SEP]"}


@pytest.mark.parametrize(
    ("ids", "message"),
    [("2,x,-1", "got 'x', '-1' among them"), (" ", "got none"), ("2,99", "20 tokens and none with the id 99")],
)
def test_wrong_ids_are_named(ids: str, message: str, invoke: Invoke, classifier: Path) -> None:
    result = invoke("tokenize", "--decode", ids, "--model", str(classifier))
    assert result.exit_code == 1 and message in result.stderr


def test_decoding_takes_no_text(invoke: Invoke) -> None:
    assert invoke("tokenize", "good", "--decode", "1").exit_code == 2
