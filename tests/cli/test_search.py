"""``enfold search``: ranked passages with the place where each begins."""

import json
from pathlib import Path

import pytest

from enfold.cli.search import passages
from tests.cli.conftest import Invoke
from tests.support import minilm, shared

ENGLISH = "Shipping takes three days.\n\nItems may be returned within a month.\nThe money goes back\nto your card.\n"
CHINESE = "运费由买家承担。\r\n\r\n商品可以在三十天内退货。退款需要一周\r\n才能到账。\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "en.txt").write_text(ENGLISH, encoding="utf-8")
    (tmp_path / "zh.md").write_bytes(CHINESE.encode())
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    return tmp_path


def test_passages_know_their_lines() -> None:
    found = [(each.text, each.line) for each in passages(ENGLISH, Path("f"), max_chars=40)]
    assert found == [
        ("Shipping takes three days.", 1),
        ("Items may be returned within a month.", 3),
        ("The money goes back to your card.", 4),
    ]
    found = [(each.text, each.line) for each in passages(CHINESE, Path("f"), max_chars=15)]
    assert found == [("运费由买家承担。", 1), ("商品可以在三十天内退货。", 3), ("退款需要一周才能到账。", 3)]


def test_lines_hold_through_a_book() -> None:
    text = shared("data", "tinyshakespeare.txt").read_text(encoding="utf-8")
    lines = text.split("\n")
    found = list(passages(text, Path("f"), max_chars=200))
    assert len(found) > 5_000
    assert all(each.text.split()[0] in lines[each.line - 1] for each in found)


def test_the_nearest_passage_comes_first(invoke: Invoke, folder: Path) -> None:
    args = ["search", "How do I get a refund?", "--in", str(folder), "--model", str(minilm()), "--max-chars", "80"]
    result = invoke(*args, "--json", "--top-k", "2")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["rank"], first["file"], first["line"]) == (1, str(folder / "en.txt"), 3)
    assert first["score"] > second["score"]
    assert result.stderr == f"left out 1 file that is not UTF-8 text: {folder / 'x.png'}\n"
    heading, row, *others = invoke(*args).stdout.splitlines()
    assert heading == "rank\tscore\tpassage\tplace"
    assert row.split("\t")[3] == f"{folder / 'en.txt'}:3" and len(others) == 3


def test_chinese_is_searched_too(invoke: Invoke, folder: Path) -> None:
    args = ["search", "退货", "--in", str(folder / "zh.md"), "--model", str(minilm()), "--json"]
    texts = {json.loads(line)["text"] for line in invoke(*args).stdout.splitlines()}
    assert texts == {"运费由买家承担。", "商品可以在三十天内退货。退款需要一周才能到账。"}


@pytest.mark.parametrize(
    ("query", "path", "message"),
    [(" ", "", "the query is empty"), ("a", "absent", "no file or folder"), ("a", "x.png", "isn't UTF-8 text: byte 0")],
)
def test_wrong_input_is_named(query: str, path: str, message: str, invoke: Invoke, folder: Path) -> None:
    result = invoke("search", query, "--in", str(folder / path))
    assert result.exit_code == 1 and message in result.stderr


def test_a_folder_without_text_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("search", "a", "--in", str(tmp_path))
    assert result.exit_code == 1 and "there is no text in" in result.stderr


def test_where_to_search_must_be_said(invoke: Invoke) -> None:
    result = invoke("search", "a")
    assert result.exit_code == 2 and "--in" in result.stderr
