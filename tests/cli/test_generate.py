"""``enfold generate``: the texts of Python's ``generate``, streamed, in order, in a form that was asked for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.tokenization import Tokenizer
from tests.cli.conftest import Invoke, Run
from tests.cli.tiny import tiny_bert
from tests.cli.writers import VOCABULARY, tiny_writer

PROMPTS = ["the fox ran", "Hello you", "old tree and"]
ENDLESS = ("--option", "suppress_tokens=[0,1,2,3,4,5]")


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that writes on."""
    return tiny_writer(tmp_path_factory.mktemp("models") / "writer")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of 48 positions and no chat template."""
    return tiny_writer(tmp_path_factory.mktemp("models") / "gpt2", "gpt2", chat=False)


def expected(folder: Path, prompt: str, **generation: Any) -> str:
    """The new text by Python's own call."""
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer(prompt)["input_ids"]
    model = load_model(folder, "causal-lm", engine="cpu")
    text: str = tokenizer.decode(model.generate([ids], **generation)[0][len(ids) :], skip_special_tokens=True)
    return text


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_text_is_written_as_from_python(prompt: str, invoke: Invoke, writer: Path) -> None:
    result = invoke("generate", prompt, "--model", str(writer), "--max-new-tokens", "20", *ENDLESS)
    assert result.exit_code == 0
    text = expected(writer, prompt, max_new_tokens=20, suppress_tokens=[0, 1, 2, 3, 4, 5])
    assert result.stdout == text + "\n" * (not text.endswith("\n"))
    assert result.stderr == ""


def test_a_file_a_pipe_and_an_argument_are_the_same_prompt(invoke: Invoke, writer: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("the fox\nran\n", encoding="utf-8")
    options = ("--model", str(writer), "--max-new-tokens", "8")
    texts = {
        invoke("generate", "the fox\nran", *options).stdout,
        invoke("generate", str(tmp_path / "prompt.txt"), *options).stdout,
        invoke("generate", *options, stdin="the fox\nran\n").stdout,
        invoke("generate", "-", *options, stdin="the fox\nran\r\n").stdout,
    }
    assert len(texts) == 1


def test_lines_are_prompts_and_results_are_lines_in_their_order(invoke: Invoke, writer: Path) -> None:
    prompts = [f"{prompt} {number}" for number in range(4) for prompt in PROMPTS]
    options = ("--model", str(writer), "--max-new-tokens", "12", "--lines", "--batch-size", "5")
    stdin = "\n\n".join(prompts)
    told = records(invoke("generate", *options, "--json", stdin=stdin).stdout)
    assert [each["prompt"] for each in told] == prompts
    assert [each["text"] for each in told] == [expected(writer, prompt, max_new_tokens=12) for prompt in prompts]
    lines = invoke("generate", *options, stdin=stdin).stdout.split("\n")
    assert lines == [" ".join(each["text"].splitlines()) for each in told] + [""]


def test_a_record_tells_how_many_tokens_and_whether_the_text_was_cut(invoke: Invoke, writer: Path) -> None:
    options = ("--model", str(writer), "--json")
    (cut,) = records(invoke("generate", "the fox", "--max-new-tokens", "3", *ENDLESS, *options).stdout)
    assert (cut["tokens"], cut["cut"]) == (3, True)
    (ended,) = records(invoke("generate", "the fox", "--regex", "x{3}", *options).stdout)
    assert (ended["text"], ended["cut"]) == ("xxx", False)


def test_without_a_length_a_long_text_is_cut_and_that_is_said(invoke: Invoke, writer: Path, gpt2: Path) -> None:
    for folder, length in ((writer, 256 - 6), (gpt2, 48 - 5)):
        for more in ((), ("--lines",)):
            result = invoke("generate", "a fox ran", "--model", str(folder), "--stats", *ENDLESS, *more)
            assert "the text was cut at the greatest length" in result.stderr
            assert f" {length} new tokens" in result.stderr, result.stderr


def test_the_same_seed_draws_the_same_text(invoke: Invoke, writer: Path) -> None:
    def drawn(*options: str) -> str:
        return invoke("generate", "the", "--model", str(writer), "--max-new-tokens", "30", *ENDLESS, *options).stdout

    assert drawn("--sample", "--seed", "1") == drawn("--sample", "--seed", "1") != drawn("--sample", "--seed", "2")
    assert drawn("--temperature", "5", "--seed", "1") != drawn("--greedy")
    assert drawn("--top-k", "1", "--seed", "3") == drawn()
    assert drawn("--seed", "1") == drawn("--sample", "--seed", "1"), "a seed is of no use without a draw"


def test_several_texts_of_one_prompt(invoke: Invoke, writer: Path) -> None:
    options = ("--sample", "--seed", "1", "--option", "num_return_sequences=3", "--max-new-tokens", "9", "--json")
    told = records(invoke("generate", "the", "--model", str(writer), *options).stdout)
    assert [each["prompt"] for each in told] == ["the"] * 3


def test_a_text_has_the_form_that_was_asked_for(invoke: Invoke, writer: Path, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["n"]}
    (tmp_path / "schema.json").write_text(json.dumps({**schema, "additionalProperties": False}))
    (tmp_path / "form.lark").write_text('start: "yes" | "no"')
    options = ("--model", str(writer), "--max-new-tokens", "40")
    no_space = f"suppress_tokens=[{VOCABULARY.index(' ')}]"
    schema_options = ("--json-schema", str(tmp_path / "schema.json"), "--option", no_space)
    found = invoke("generate", "x", *schema_options, *options).stdout
    assert list(json.loads(found)) == ["n"]
    assert invoke("generate", "x", "--grammar", str(tmp_path / "form.lark"), *options).stdout in ("yes\n", "no\n")
    assert re.fullmatch(r"\d{3}-\d\n", invoke("generate", "x", "--regex", r"\d{3}-\d", *options).stdout)


def test_a_structure_that_was_cut_is_told(invoke: Invoke, writer: Path) -> None:
    result = invoke("generate", "x", "--regex", "a{30}", "--max-new-tokens", "5", "--model", str(writer))
    assert result.stdout == "aaaaa\n" and "was cut" in result.stderr


def test_writing_ends_at_a_text(invoke: Invoke, writer: Path) -> None:
    options = ("--model", str(writer), "--max-new-tokens", "30", *ENDLESS)
    whole = invoke("generate", "the fox", *options).stdout
    stop = whole[4:6]
    assert invoke("generate", "the fox", "--stop", stop, *options).stdout.strip("\n").endswith(stop)


def test_stats_count_tokens(invoke: Invoke, writer: Path) -> None:
    prompt = "the fox ran"
    result = invoke("generate", prompt, "--stats", "--max-new-tokens", "5", "--model", str(writer), *ENDLESS)
    count = len(Tokenizer.from_folder(writer)(prompt)["input_ids"])
    line = rf"{count} prompt tokens, 5 new tokens, \d+\.\d\d s, the first after \d+\.\d\d s, \d+\.\d tokens/s\n"
    assert re.fullmatch(line, result.stderr)
    many = invoke("generate", prompt, prompt, "--stats", "--max-new-tokens", "5", "--model", str(writer), *ENDLESS)
    assert re.fullmatch(rf"{2 * count} prompt tokens, 10 new tokens, \d+\.\d\d s, \d+\.\d tokens/s\n", many.stderr)


def test_an_encoder_decoder_writes_too(invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_writer(tmp_path / "t5", "t5", chat=False)
    options = ("--model", str(folder), "--max-new-tokens", "6", *ENDLESS)
    one = invoke("generate", "the fox", *options)
    (told,) = records(invoke("generate", "the fox", "--json", *options).stdout)
    assert (told["text"], told["tokens"]) == (one.stdout.removesuffix("\n"), 6)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--option", "temprature=0.5"), 1, r"'temprature' is no option \(near: temperature"),
        (("--greedy", "--temperature", "0.5"), 1, "do_sample is false"),
        (("--temperature", "0"), 1, "temperature is 0.0, expected a number over 0"),
        (("--regex", "a", "--grammar", "FORM"), 1, "each describe the whole output"),
        (("--regex", "(a"), 1, "regex"),
        (("--grammar", "FORM"), 1, "gramma"),
        (("--json-schema", "FORM"), 1, r"form\.txt: not JSON at line 1, column 1"),
        (("--json-schema", "absent.json"), 1, r"absent\.json can't be read: No such file"),
        (("--option", "seed"), 2, "NAME=VALUE"),
        (("--option", "seed=1", "--seed", "1"), 2, "seed is given twice, by --option and by --seed"),
        (("--option", "top_h=1", "--option", "top_h=0.5"), 2, "top_h is given twice, by --option\n"),
        (("--max-new-tokens", "0"), 2, "max-new-tokens"),
    ],
)
def test_wrong_options_are_named(
    options: tuple[str, ...], code: int, message: str, invoke: Invoke, writer: Path, tmp_path: Path
) -> None:
    (tmp_path / "form.txt").write_text("start: (")
    given = [str(tmp_path / "form.txt") if each == "FORM" else each for each in options]
    result = invoke("generate", "the", "--model", str(writer), *given)
    assert (result.exit_code, result.stdout) == (code, "")
    assert re.search(message, result.stderr), result.stderr


def test_what_is_wrong_with_the_input_is_said_before_a_model_is_looked_for(invoke: Invoke) -> None:
    for arguments, stdin, message in (
        (("absent.txt",), "", "no file absent.txt"),
        ((), " \n", "is empty: expected a text\n"),
    ):
        result = invoke("generate", *arguments, "--model", "./nobody", stdin=stdin)
        assert result.exit_code == 1 and message in result.stderr


def test_an_encoder_writes_nothing_and_says_so(invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    result = invoke("generate", "the", "--model", str(folder))
    assert result.exit_code == 1
    assert "is a bert model, an encoder: it reads texts and writes none" in result.stderr


def test_an_unknown_model_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("generate", "the", "--model", str(tmp_path / "absent"))
    assert result.exit_code == 1 and result.stderr.startswith("Error: no folder")


def test_a_prompt_over_the_limit_is_refused(invoke: Invoke, gpt2: Path) -> None:
    for more in ((), ("--json",)):
        result = invoke("generate", "x" * 60, "--model", str(gpt2), *more)
        assert result.exit_code == 1 and "the prompt has 60 tokens, and this model reads 48" in result.stderr


def test_a_prompt_over_the_context_of_a_model_whose_positions_are_computed_is_refused(
    invoke: Invoke, writer: Path
) -> None:
    for more in ((), ("--json",), ("--max-new-tokens", "2")):
        result = invoke("generate", "x" * 300, "--model", str(writer), *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "tokens, and this model reads 256, new ones included" in result.stderr


def test_in_a_process_it_needs_no_torch(run: Run, writer: Path) -> None:
    result = run("generate", "-", "--model", str(writer), "--max-new-tokens", "5", *ENDLESS, stdin="the 北京 fox\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == expected(writer, "the 北京 fox", max_new_tokens=5) + "\n"
