"""Conversations become the text and the ids that the reference makes of them, or an error that says what is wrong."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError, TokenizerError
from enfold.tokenization import Tokenizer
from tests.tokenization.oracle import both

CHATML = """{%- if tools %}{{ '<|im_start|>tools\n' + tools | tojson }}{% for tool in tools %}
{{ tool | tojson(indent=2) }}{% endfor %}<|im_end|>
{% endif %}
{%- for document in documents or [] %}[{{ document.title }}] {{ document['text'] }}
{% endfor %}
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}<|im_start|>system
Be {{ mood | default('helpful') }}.<|im_end|>
{% endif %}
{{- '<|im_start|>' + message['role'] + '\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message['content'] | trim + '<|im_end|>' }}{% endgeneration %}
{% else %}{{ message.content }}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}
{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if loop.index0 == 0 and system %}
{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}
{% set content = message['content'] %}{% endif %}
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}{{ ' ' ~ content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"""
FEATURES = """{%- macro show(x, depth=0) %}{% if x is mapping %}{% for k, v in x | dictsort %}{{ '  ' * depth }}{{ k }}:
{{ show(v, depth + 1) }}{% endfor %}{% else %}{{ x }}{% endif %}{% endmacro -%}
{%- set ns = namespace(count=0, names=[], last=none) -%}
{%- for m in messages | selectattr('role', 'in', ['user', 'assistant']) -%}
{%- if m.content == 'skip' %}{% continue %}{% endif -%}{%- set ns.count = ns.count + 1 -%}
{%- set ns.names = ns.names + [m.role | upper] -%}{%- if loop.last %}{{ loop.index }}/{{ loop.length }}{% endif -%}
{%- for x in [1, 2, 3] if x is odd %}{{ x }}{% if x == 3 %}{% break %}{% endif %}{% endfor -%}
{{- m.content.split(' ')[-1].replace('o', '0').title() }}{{ '%s-%02d' % (m.role, ns.count) }}
{{- '{:>5}|'.format('ab') -}}
{%- endfor -%}{{ ns.names | join(', ') }}{{ ns.names | unique | list | length }}{{ show({'a': {'b': 1}, 'c': 'd'}) -}}
{{- dict(a=1, b=[2]) | tojson(sort_keys=true) }}{{ messages | map(attribute='role') | list }}
{{- messages[::-1][0].role -}}
{{- {'x': '<&>', 'y': 'é'} | tojson }}{{ [3, 1, 2] | sort | first }}{{ undefined_thing }}{{ 7 // 2 ** 1 }}
{{- 'a' in 'abc' }}"""
MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": " Hello & <b>你好</b> 👍🏽\n"},
    {"role": "assistant", "content": " Hi there. ", "tool_calls": None},
    {"role": "user", "content": "skip"},
]
DOCUMENTS = [{"title": "One", "text": "first text"}]
TEMPLATES = {"chatml": CHATML, "llama2": LLAMA2, "features": FEATURES}


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


def weather(city: str, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:
    """The weather of a place.

    Args:
        city: Where it is,
            country included.
        unit: How warm it is
        days: For how many days

    Returns:
        A sentence.
    """
    raise AssertionError("tools are described, not called")


def _pair(template: Any) -> tuple[Tokenizer, Any]:
    ours, theirs = both("gpt2")
    copy = Tokenizer(ours._state, ours._kind, ours._settings)
    copy.chat_template = theirs.chat_template = template
    return copy, theirs


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "tools": {"tools": [weather, {"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "documents": {"documents": DOCUMENTS},
    "variables": {"mood": "brief", "eos_token": "<END>"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_text_and_ids_are_the_references(template: str, options: dict[str, Any]) -> None:
    ours, theirs = _pair(template)
    for messages in (MESSAGES, MESSAGES[1:], [MESSAGES[:2], MESSAGES[1:3]]):
        wanted = theirs.apply_chat_template(messages, tokenize=False, **options)
        assert ours.apply_chat_template(messages, tokenize=False, **options) == wanted
        assert dict(ours.apply_chat_template(messages, **options)) == dict(
            theirs.apply_chat_template(messages, **options)
        )


def test_padding_cutting_and_tensors() -> None:
    ours, theirs = _pair(CHATML)
    batch = [MESSAGES[:2], MESSAGES]
    options = {"padding": True, "truncation": True, "max_length": 40, "return_tensors": "np"}
    options["tokenizer_kwargs"] = {"padding_side": "left"}
    got, wanted = ours.apply_chat_template(batch, **options), theirs.apply_chat_template(batch, **options)
    assert got.keys() == wanted.keys() and all((got[name] == wanted[name]).all() for name in got)
    ids = ours.apply_chat_template(MESSAGES, return_dict=False)
    assert ids == theirs.apply_chat_template(MESSAGES, return_dict=False)


@pytest.mark.parametrize("batched", [False, True])
def test_the_mask_of_what_the_assistant_said(batched: bool) -> None:
    ours, theirs = _pair(CHATML)
    messages: Any = [[*MESSAGES, MESSAGES[2]], MESSAGES[:3]] if batched else [*MESSAGES, MESSAGES[2]]
    options: Any = {"return_assistant_tokens_mask": True}
    options |= {"padding": True, "return_tensors": "np"} if batched else {}
    got, wanted = ours.apply_chat_template(messages, **options), theirs.apply_chat_template(messages, **options)
    assert json.dumps(got["assistant_masks"], default=lambda array: array.tolist()) == json.dumps(
        wanted["assistant_masks"], default=lambda array: array.tolist()
    )


@pytest.mark.parametrize(
    "last",
    [
        {"role": "assistant", "content": "Sure, the"},
        {"role": "assistant", "content": "Sure, the  "},
        {"role": "user", "content": "open end \n"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ],
)
def test_going_on_with_the_last_message(last: dict[str, Any]) -> None:
    ours, theirs = _pair(CHATML)
    options = {"tokenize": False, "continue_final_message": True}
    messages = [*MESSAGES[:2], last]
    if isinstance(last["content"], list):
        ours, theirs = _pair(
            "{% for m in messages %}[{% for b in m.content %}{{ b.text or b }};{% endfor %}]{% endfor %}"
        )
        messages = [last]
    assert ours.apply_chat_template(messages, **options) == theirs.apply_chat_template(messages, **options)
    with pytest.raises(InputError, match="exclude each other"):
        ours.apply_chat_template(messages, add_generation_prompt=True, continue_final_message=True)
    with pytest.raises(InputError, match="leaves it out"):
        ours.apply_chat_template(messages, continue_final_message=True, chat_template="none {{ messages[0].role }}")


def test_reasoning_under_any_of_its_names() -> None:
    template = "{% for m in messages %}{{ m.content }}|{{ m.thinking[:3] }}|{{ m.reasoning_content }}\n{% endfor %}"
    ours, theirs = _pair(template)
    for name in ("reasoning", "thinking", "reasoning_content"):
        messages = [{"role": "assistant", "content": "4", name: "2 + 2"}]
        options: Any = {"tokenize": False, "continue_final_message": name}
        assert ours.apply_chat_template(messages, tokenize=False) == theirs.apply_chat_template(
            messages, tokenize=False
        )
        assert ours.apply_chat_template(messages, **options) == theirs.apply_chat_template(messages, **options)


def test_messages_that_are_objects() -> None:
    @dataclass
    class Message:
        role: str
        content: Any

    ours, theirs = _pair("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    messages = [{"role": "user", "content": [1, 2.5, True, b"bytes", {"a": object}, Message("x", None), np.float32(2)]}]
    wanted = theirs.apply_chat_template(messages, tokenize=False)
    assert ours.apply_chat_template(messages, tokenize=False) == wanted
    assert ours.apply_chat_template([Message("user", "hi")], tokenize=False) == "user: hi\n"


# ── where templates come from ────────────────────────────────────────────────


def _folder(path: Path) -> Path:
    both("gpt2")[0].save_pretrained(path)
    return path


def test_templates_of_the_configuration_and_of_files(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"chat_template": "one"}))
    assert Tokenizer.from_folder(folder).chat_template == "one"
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    file.write_text(json.dumps(config | {"chat_template": named}))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.chat_template == {"default": "d", "tool_use": "t"}
    assert [tokenizer.get_chat_template(tools=tools) for tools in (None, [weather])] == ["d", "t"]
    assert tokenizer.get_chat_template("tool_use") == "t" and tokenizer.get_chat_template("{{ x }}") == "{{ x }}"
    (folder / "chat_template.jinja").write_text("file\r\n")
    assert Tokenizer.from_folder(folder).chat_template == "file\r\n"
    assert Tokenizer.from_folder(folder, chat_template="mine").chat_template == "mine"
    with pytest.raises(
        TokenizerError, match=r"chat_template is 3; a Jinja template, or templates by name was expected"
    ):
        tokenizer.chat_template = 3  # type: ignore[assignment]


@pytest.mark.parametrize("template", [CHATML, {"default": CHATML, "tool_use": "t", "rag": "x"}])
def test_templates_are_saved_as_the_reference_reads_them(template: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours, _ = _pair(template)
    paths = ours.save_pretrained(tmp_path)
    assert str(tmp_path / "chat_template.jinja") in paths and all(Path(path).is_file() for path in paths)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == template
    assert Tokenizer.from_folder(tmp_path).chat_template == template
    ours.chat_template = None
    ours.save_pretrained(tmp_path)
    assert Tokenizer.from_folder(tmp_path).chat_template is None
    ours.chat_template = {"../up": "x"}
    with pytest.raises(TokenizerError, match="can't be a file name"):
        ours.save_pretrained(tmp_path)


def test_no_template_says_what_to_do() -> None:
    ours, _ = _pair(None)
    with pytest.raises(TokenizerError, match=r"has no chat template.*tokenizer\.chat_template = "):
        ours.apply_chat_template(MESSAGES)
    ours.chat_template = {"rag": "x"}
    with pytest.raises(TokenizerError, match="no chat template 'default'; this tokenizer has rag"):
        ours.apply_chat_template(MESSAGES)


# ── what can be wrong ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("conversation", "message"),
    [
        ("Hello", r"a list of messages.*'Hello' \(str\) was given"),
        ([], "an empty list was given"),
        ([{"role": "user", "content": "a"}, "b"], r"conversation\[1\] is 'b' \(str\)"),
        ([{"content": "a"}], r"conversation\[0\] has no 'role'; it has \['content'\]"),
        ([{"role": "user"}], r"conversation\[0\] has a 'role' and no 'content'"),
        ([{"role": 3, "content": "a"}], r"conversation\[0\] has no 'role'"),
        ([[{"role": "user", "content": "a"}], [{"role": "user"}]], r"conversation\[1\]\[0\] has a 'role'"),
    ],
)
def test_a_malformed_conversation_is_named(conversation: Any, message: str) -> None:
    ours, _ = _pair(CHATML)
    with pytest.raises(InputError, match=message):
        ours.apply_chat_template(conversation)


def test_a_broken_template_is_shown_with_its_line() -> None:
    ours, _ = _pair("fine\n{% for x %}")
    with pytest.raises(TokenizerError, match=r"broken at line 2: expected token 'in'.*'{% for x %}'"):
        ours.apply_chat_template(MESSAGES)
    with pytest.raises(TokenizerError, match="can't be compiled: RecursionError"):
        ours.apply_chat_template(MESSAGES, chat_template="{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}")


def test_what_a_template_refuses_is_its_own_words() -> None:
    ours, _ = _pair(LLAMA2)
    with pytest.raises(InputError, match="refuses this conversation: Conversation roles must alternate"):
        ours.apply_chat_template([*MESSAGES[1:2], *MESSAGES[1:2]])


def test_a_template_that_fails_is_shown_with_its_line() -> None:
    ours, _ = _pair("\n\n{{ messages[0].a.b }}")
    with pytest.raises(InputError, match=r"fails at line 3: UndefinedError.*no attribute 'a'"):
        ours.apply_chat_template(MESSAGES)


def test_documents_and_tools_of_the_wrong_kind() -> None:
    ours, _ = _pair(CHATML)
    with pytest.raises(InputError, match="documents are a list of dicts"):
        ours.apply_chat_template(MESSAGES, documents=["text"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="A tool is 'weather'; a JSON schema"):
        ours.apply_chat_template(MESSAGES, tools=["weather"])
