"""What the golden records of the tasks that write are records of: (task, model) → the calls made.

Left out is what enfold means to do otherwise than the reference: texts over the limit or with several lines, sampling,
lengths that count a prompt beside the usual 256 new tokens, spaces before punctuation, which the reference removes.
"""

from typing import Any

from tests.tasks.golden.cases import Call, call

PROMPTS = ["The bridge was opened in", "Once upon a time, José said:", "你好，"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
BEGUN = [*CHAT, {"role": "assistant", "content": "I am"}]
TEXT = "The bridge was opened in 1932 after eight years of construction. Locals call it the Coathanger."
GREEDY = {"do_sample": False, "max_new_tokens": 8}
PLAIN = {**GREEDY, "clean_up_tokenization_spaces": False}


def _written(**options: Any) -> list[Call]:
    return [
        call(TEXT, max_new_tokens=8, **options),
        call([TEXT, "How old are you?"], max_new_tokens=6, **options),
        call("How old are you?", max_new_tokens=6, num_beams=3, num_return_sequences=2, **options),
        call(["How old are you?", TEXT], max_new_tokens=5, num_beams=2, num_return_sequences=2, **options),
        call(TEXT, max_new_tokens=8, num_beams=1, return_tensors=True, **options),
    ]


CASES: list[tuple[str, str, list[Call]]] = [
    (
        "text-generation",
        "gpt2",
        [
            call(PROMPTS[0], **PLAIN),
            call(PROMPTS, **PLAIN),
            call(PROMPTS[:1], **PLAIN),
            call(PROMPTS[1], return_full_text=False, **PLAIN),
            call(PROMPTS[2], return_tensors=True, **GREEDY),
            call(PROMPTS[0], prefix="Listen. ", **PLAIN),
            call(PROMPTS[0], **{**PLAIN, "num_beams": 3, "num_return_sequences": 2}),
            call(CHAT, **PLAIN),
            call([CHAT, CHAT[1:]], **PLAIN),
            call(CHAT, return_full_text=False, **PLAIN),
            call(BEGUN, **PLAIN),
            call(BEGUN, continue_final_message=False, **PLAIN),
            call("word " * 125, handle_long_generation="hole", **PLAIN),
            call("", **PLAIN),
        ],
    ),
    ("text2text-generation", "t5", [*_written(), call("The <extra_id_0> walks in <extra_id_1> park", **GREEDY)]),
    ("summarization", "t5", _written()),
    ("translation_en_to_de", "t5", _written()),
    ("translation_en_to_fr", "t5", _written()),
    ("translation", "marian", _written()),
]
