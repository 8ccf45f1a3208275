"""What the golden records are records of: task → models, and the calls made on each.

Left out is what enfold means to do otherwise than the reference: lists of one, a single list of words, punctuation
that touches a word in RoBERTa's word aggregation, accents and selectors that are characters of their own, long texts.
"""

from typing import Any

from tests.tasks.tiny import Tiny

Call = dict[str, Any]

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
INFERENCE = ("contradiction", "neutral", "entailment")
STORY = "Ada Lovelace lived unbelievably long in Saint-Étienne , she said , with Charles Babbage ."
FRENCH = "La crème brûlée de José coûte 12,50 € à São Paulo !"
CHINESE = "王小明在北京大学学习人工智能，去年去了Shanghai出差。"
EMOJI = "I 👩‍👩‍👧 love   London ❤ and\tNew York"
NOTE = (
    "The bridge was opened in 1932 after eight years of construction. It carries rail, cars, bicycles and people "
    "between the business district and the North Shore. Locals call it the Coathanger because of its arch."
)
CHINESE_NOTE = "长江大桥于1957年建成，连接武昌和汉阳。桥上有公路，桥下有铁路，每天有很多火车经过。"
QUESTION = "When was the bridge opened?"


def call(*args: Any, **kwargs: Any) -> Call:
    return {"args": list(args), "kwargs": kwargs}


def _model(family: str, head: str, vocabulary: str = "uncased", **options: Any) -> Tiny:
    return Tiny(family=family, head=head, vocabulary=vocabulary, **options)


def _families(head: str, **options: Any) -> list[Tiny]:
    names = (("bert", "uncased"), ("roberta", "roberta"), ("distilbert", "uncased"), ("deberta-v2", "uncased"))
    return [_model(family, head, vocabulary, **options) for family, vocabulary in names]


STRATEGIES = ("none", "simple", "first", "average", "max")
ENTITY_CALLS = [
    *(call(STORY, aggregation_strategy=strategy) for strategy in STRATEGIES),
    *(call([FRENCH, EMOJI], aggregation_strategy=strategy) for strategy in ("none", "simple")),
    call([STORY, EMOJI], aggregation_strategy="simple", ignore_labels=[]),
    call(STORY, aggregation_strategy="none", ignore_labels=["O", "B-PER", "MISC"]),
]
WORDS = STORY.replace("-", " ").split()
SPLIT_CALLS = [
    call([WORDS, STORY.split()], is_split_into_words=True),
    call([WORDS, ["Hello", "Berlin", "Alexanderplatz"]], is_split_into_words=True, aggregation_strategy="average"),
]
ANSWER_CALLS = [
    call(question=QUESTION, context=NOTE),
    call(question=[QUESTION, "What do locals call it?"], context=NOTE, max_answer_len=5),
    call(question=QUESTION, context=NOTE, top_k=4),
    call(question=QUESTION, context=NOTE, top_k=3, handle_impossible_answer=True),
    call(question=QUESTION, context=NOTE, top_k=3, align_to_words=False, max_answer_len=3),
    call(question="¿Dónde está José?", context=FRENCH, top_k=2),
]
LABELS = ["travel", "cooking", "machine learning"]
INFERENCE_CALLS = [
    call(STORY, candidate_labels=LABELS),
    call([STORY, NOTE], candidate_labels="travel, cooking,machine learning", multi_label=True),
    call(FRENCH, candidate_labels=LABELS, hypothesis_template="It is about {} or so."),
    call(FRENCH, ["travel"]),
]
CLASS_CALLS = [
    call(STORY),
    call([STORY, FRENCH]),
    call(STORY, top_k=1),
    call([STORY, FRENCH], top_k=1),
    call(STORY, top_k=None),
    call([STORY, EMOJI], top_k=2),
    call({"text": STORY, "text_pair": NOTE}),
    call({"text": STORY, "text_pair": NOTE}, top_k=2),
    call([{"text": STORY, "text_pair": NOTE}, {"text": FRENCH, "text_pair": EMOJI}]),
    *(call([STORY, FRENCH], top_k=None, function_to_apply=name) for name in ("softmax", "sigmoid", "none")),
]


def _masked(mask: str) -> list[Call]:
    one, two = f"Paris is the {mask} of France.", f"The {mask} chased a {mask} around the café."
    return [
        call(one),
        call([one, f"Is this {mask} ?"], top_k=2),
        call(two, top_k=3),
        call(one, targets=["king", "cat", "water"]),
        call(two, targets=["king", "cat"], top_k=1),
    ]


CASES: dict[str, list[tuple[Tiny, list[Call]]]] = {
    "fill-mask": [
        *((tiny, _masked("<mask>" if tiny.vocabulary == "roberta" else "[MASK]")) for tiny in _families("masked-lm")),
        (
            _model("bert", "masked-lm", "chinese"),
            [call("北京是中国的[MASK]都。"), call("[MASK]天去了[MASK]海。", top_k=2)],
        ),
    ],
    "token-classification": [
        (_model("bert", "token-classification", labels=ENTITIES), ENTITY_CALLS + SPLIT_CALLS),
        (_model("roberta", "token-classification", "roberta", labels=ENTITIES), ENTITY_CALLS[:2] + ENTITY_CALLS[5:]),
        (_model("distilbert", "token-classification", labels=ENTITIES), ENTITY_CALLS),
        (_model("deberta-v2", "token-classification", labels=ENTITIES), ENTITY_CALLS),
        (
            _model("bert", "token-classification", "chinese", labels=ENTITIES),
            [call(CHINESE, aggregation_strategy=strategy) for strategy in STRATEGIES],
        ),
    ],
    "question-answering": [
        *((tiny, ANSWER_CALLS) for tiny in _families("question-answering")),
        (
            _model("bert", "question-answering", "chinese"),
            [call(question="大桥什么时候建成？", context=CHINESE_NOTE, top_k=count) for count in (1, 3)],
        ),
    ],
    "zero-shot-classification": [
        *((tiny, INFERENCE_CALLS) for tiny in _families("sequence-classification", labels=INFERENCE)),
        (_model("bert", "sequence-classification", labels=("ENTAILMENT", "not_entailment")), INFERENCE_CALLS),
    ],
    "text-classification": [
        *((tiny, CLASS_CALLS) for tiny in _families("sequence-classification", labels=INFERENCE)),
        (
            _model(
                "bert", "sequence-classification", labels=("a", "b", "c"), problem_type="multi_label_classification"
            ),
            CLASS_CALLS[:6],
        ),
        (_model("roberta", "sequence-classification", "roberta", labels=("score",)), CLASS_CALLS[:5]),
        (
            _model("distilbert", "sequence-classification", labels=("score",), problem_type="regression"),
            CLASS_CALLS[:5],
        ),
    ],
}
