"""CSV and TSV: what is written is read, and what is broken is named with its line."""

import csv
import io
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.data import read_table
from tests.support import shared
from tests.training.data.conftest import Write

# zero bytes are refused, lone surrogates can't be written
TEXT = st.text(st.one_of(st.sampled_from('",;\t\n"\r 你，。\u2028\x85\u3000'), st.characters(exclude_characters="\0")))
TEXT = TEXT.filter(lambda text: text.encode("utf-8", "ignore").decode() == text)
AGAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)


def written(rows: list[tuple[str, ...]], **options: object) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


def records(path: Path, **options: object) -> list[tuple[object, ...]]:
    return list(read_table(path, **options).records)  # type: ignore[arg-type]


@AGAIN
@given(
    rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read(
    rows: list[tuple[str, str]], delimiter: str, quoting: int, end: str, tmp_path: Path
) -> None:
    if any("\r" in text for row in rows for text in row):
        end = "\r\n"  # before Python 3.13 the writer encloses a carriage return only where lines end with one
    text = written([("text", "label"), *rows], delimiter=delimiter, quoting=quoting, lineterminator=end)
    (tmp_path / "a.csv").write_bytes(("\ufeff" + text).encode())
    table = read_table(tmp_path / "a.csv")
    assert table.columns == ("text", "label")
    assert list(table.records) == rows


@AGAIN
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_places_count_the_line_feeds_of_the_file(rows: list[tuple[str, str]], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    head = written([("text", "label")])
    path.write_bytes((head + written(rows)).encode())
    table = read_table(path)
    for index in range(len(rows)):
        before = (head + written(rows[:index])).count("\n")
        assert table.place(index) == f"{path}, line {before + 1}"


@AGAIN
@given(
    rows=st.lists(
        st.lists(TEXT.map(lambda text: text.translate({9: None, 10: None, 13: None}) or "x"), min_size=2, max_size=2),
        min_size=1,
        max_size=5,
    )
)
def test_a_tsv_with_lone_quotes_is_read_as_it_stands(rows: list[list[str]], tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    lines = ["text\tlabel", 'a "lone quote\tx', *("\t".join(row) for row in rows)]
    path.write_bytes("\n".join(lines).encode())
    assert records(path)[1:] == [tuple(row) for row in rows]


def test_a_quotation_over_two_tweets_does_not_join_them(write: Write) -> None:
    path = write("tweets.tsv", 'text\tlabel\n"to be\tA\nor not"\tB\n')
    assert records(path) == [('"to be', "A"), ('or not"', "B")]


def test_a_tweet_that_is_a_quotation_keeps_its_quotes(write: Write) -> None:
    path = write("tweets.tsv", 'text\tlabel\n"to be"\tA\nor not\tB\n')
    assert records(path) == [('"to be"', "A"), ("or not", "B")]
    assert records(path, format="csv") == [("to be", "A"), ("or not", "B")]


def test_a_tsv_that_was_written_with_enclosing_quotes_is_read_by_them(write: Write) -> None:
    rows = [("text", "label"), ('He said "hi".\nAnd\tleft.', "A"), ("plain", "B")]
    table = read_table(write("a.tsv", written(rows, delimiter="\t")))
    assert list(table.records) == rows[1:]
    assert table.place(1).endswith("a.tsv, line 4")
    numbers = write("b.tsv", '"text"\t"stars"\n"one"\t1\n"two"\t2.5\n')
    assert records(numbers) == [("one", "1"), ("two", "2.5")]


@pytest.mark.parametrize("header", ["text;label", "text\tlabel", "text,label"])
def test_the_header_says_what_separates(header: str, write: Write) -> None:
    mark = header[4]
    assert records(write("a.csv", f"{header}\nx{mark}y\n")) == [("x", "y")]


def test_without_a_header_the_names_say_what_separates(write: Write) -> None:
    path = write("a.csv", "Good, really;pos\nBad;neg\n")
    assert records(path, columns=("text", "label"))[1] == ("Bad", "neg")
    three = write("b.csv", "1;a, b;c\n")
    assert records(three, columns=("id", "text", "label")) == [("1", "a, b", "c")]


def test_names_may_stand_in_the_file_or_not(write: Write) -> None:
    for text in ("label,text\nspam,Win!\n", "spam,Win!\n"):
        table = read_table(write("a.csv", text), columns=("label", "text"))
        assert list(table.records) == [("spam", "Win!")]
    assert table.place(0).endswith("line 1")


def test_a_header_that_is_no_row_is_not_taken_for_one(write: Write) -> None:
    with pytest.raises(InputError, match=r"looks like a header \('label', 'text_a'\).*leave columns= out, or rename"):
        read_table(write("a.tsv", "label\ttext_a\n1\tgood\n"), columns=("label", "text"))
    with pytest.raises(InputError, match="looks like a header"):
        read_table(write("a.csv", "Text,Label\ngood,1\n"), columns=("label", "text"))


def test_names_of_a_header_are_stripped_and_completed(write: Write) -> None:
    assert read_table(write("a.csv", ", text , label\n0,x,y\n")).columns == ("column 1", "text", "label")
    with pytest.raises(InputError, match=r"has 'text' more than once"):
        read_table(write("b.csv", "text,text\nx,y\n"))


def test_blank_lines_are_skipped_and_empty_fields_are_not(write: Write) -> None:
    table = read_table(write("a.csv", 'text,label\n\nx,\n   \n"",y\n\n'))
    assert list(table.records) == [("x", ""), ("", "y")]
    assert [table.place(index)[-6:] for index in range(2)] == ["line 3", "line 5"]
    assert records(write("b.csv", 'text\n""\nx\n')) == [("",), ("x",)]
    assert records(write("c.tsv", "text\tlabel\n\n\ty\n  \n")) == [("", "y")]


def test_line_ends_of_the_first_macs(write: Write) -> None:
    table = read_table(write("a.csv", "text,label\rx,y\rz,w\r"))
    assert list(table.records) == [("x", "y"), ("z", "w")]
    assert table.place(1).endswith("line 3")


def test_broken_rows_are_listed(write: Write) -> None:
    path = write("a.csv", "text,label\n好,1\na,b,c\n\nlonely\nx,y\n")
    with pytest.raises(
        InputError, match=r"2 of 4 rows of .*a\.csv are broken \(the header has 'text', 'label'\)"
    ) as caught:
        read_table(path)
    assert "line 3: 3 fields, expected 2: 'a,b,c'\n" in str(caught.value)
    assert "line 5: 1 field, expected 2: 'lonely'\n" in str(caught.value)
    with pytest.raises(InputError, match="columns= names 'one', 'two', 'three'"):
        read_table(path, columns=("one", "two", "three"))


def test_ten_of_many_broken_rows_are_shown(write: Write) -> None:
    for name in ("a.csv", "a.tsv"):
        path = write(name, "text,label\n".replace(",", "\t") + "x\n" * 50_000)
        began = time.perf_counter()
        with pytest.raises(InputError, match=r"50000 of 50000 rows .* are broken") as caught:
            read_table(path)
        assert time.perf_counter() - began < 5
        assert str(caught.value).count("expected 2") == 10
        assert "and 49990 more" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\nx,"open\ny,z\n', r"line 2: a quote that is never closed: 'x,\"open'"),
        ('a,b\nx,"y"z\n', r"line 2: text after a closing quote: 'x,\"y\"z'"),
        ('a,b\nx,"y\nz"w\nu,v\n', r"line 2: text after a closing quote on line 3, where"),
        ("a,b\nx,y\rz,w\n", r"line 2: a carriage return outside quotes"),
        ('"a,b\nx,y\n', r"the beginning of .* can't be read"),
    ],
)
def test_broken_quotes_are_named(text: str, message: str, write: Write) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write("a.csv", text))


def test_a_header_alone_has_no_rows(write: Write) -> None:
    for name, text in (("a.csv", "text,label\n"), ("a.tsv", "text\tlabel\n\n")):
        with pytest.raises(InputError, match=r"has a header \(text, label\) and no rows"):
            read_table(write(name, text))


def test_a_field_may_be_a_book_and_the_limit_of_others_stays(write: Write) -> None:
    limit = csv.field_size_limit()
    book = "word, " * 100_000
    paths = [write(f"{index}.csv", f'text,label\n"{book}",x\n') for index in range(4)]
    found: list[object] = []
    threads = [threading.Thread(target=lambda path=path: found.extend(records(path))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(book, "x")] * 4
    assert csv.field_size_limit() == limit


def test_a_row_takes_little_more_than_its_texts(write: Write) -> None:
    path = write("a.csv", "text,label\n" + "".join(f"text number {index},pos\n" for index in range(50_000)))
    tracemalloc.start()
    table = read_table(path)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(table) == 50_000
    assert used / 50_000 < 250  # a tuple 56, two texts 65 and 52, their places 16; a dict alone would be 184


@pytest.mark.parametrize(
    ("name", "columns", "rows"),
    [
        ("sms-spam.tsv", ("label", "text"), 4460),
        ("tatoeba.en-zh.tsv", ("en", "zh"), 19850),
        ("vader-tweets.tsv", ("id", "score", "text"), 3360),
        ("vader-amazonReviewSnippets.tsv", ("id", "score", "text"), 2967),
        ("vader-movieReviewSnippets.tsv", ("id", "score", "text"), 8484),
        ("vader-nytEditorialSnippets.tsv", ("id", "score", "text"), 4152),
        ("chnsenticorp.dev.tsv", None, 1200),
        ("chnsenticorp.train.tsv", None, 9600),
        ("msra-ner.dev.tsv", None, 2318),
    ],
)
def test_real_files_are_read_line_for_line(name: str, columns: tuple[str, ...] | None, rows: int) -> None:
    path = shared("data", name)
    lines = [tuple(line.split("\t")) for line in path.read_text(encoding="utf-8").split("\n") if line]
    table = read_table(path, columns=columns)
    assert len(table) == rows
    assert list(table.records) == (lines if columns else lines[1:])
    assert table.columns == (columns or lines[0])
    assert table.place(rows - 1) == f"{path}, line {len(lines)}"


def test_real_labels() -> None:
    spam = read_table(shared("data", "sms-spam.tsv"), columns=("label", "text"))
    assert set(spam.column("label")) == {"ham", "spam"}
    tagged = read_table(shared("data", "msra-ner.dev.tsv"))
    assert all(len(row["text_a"].split(" ")) == len(row["label"].split(" ")) for row in tagged.rows)
