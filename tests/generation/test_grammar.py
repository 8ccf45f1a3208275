"""Whatever the scores, what is generated under a grammar follows it."""

import json
import re
import sys
from typing import Any

import jsonschema
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

import enfold
from enfold.errors import InputError, MissingDependencyError
from enfold.generation.config import GenerationConfig
from enfold.generation.grammar import GrammarMask, grammar_mask
from enfold.generation.rows import Rows
from tests.support import shared

END = "<|endoftext|>"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "bc", "größe"]}, "maxItems": 3},
        "inner": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
    },
    "required": ["name", "age", "tags", "inner"],
    "additionalProperties": False,
    "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
}
ARITHMETIC = r"""
start: sum
sum: term (("+" | "-") term)*
term: NUMBER | "(" sum ")"
NUMBER: /[0-9]{1,3}/
"""


@pytest.fixture(scope="module")
def tiny() -> tokenizers.Tokenizer:
    """A byte-level BPE of 320 tokens whose last one ends a text."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=319, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(['{"name": "abc", "age": 12, "tags": ["a", "bc"], "inner": null}'] * 9, trainer)
    tokenizer.add_special_tokens([END])
    return tokenizer


def options(tokenizer: tokenizers.Tokenizer, **values: Any) -> GenerationConfig:
    return GenerationConfig(eos_token_id=tokenizer.token_to_id(END), **values)


def written(mask: GrammarMask, tokenizer: tokenizers.Tokenizer, seed: int, extra: int = 7) -> list[int]:
    """New tokens of random scores that lean to brackets, quotes and ends, up to the end token."""
    generator = np.random.default_rng(seed)
    end = tokenizer.token_to_id(END)
    leaning = [tokenizer.token_to_id(token) for token in ('"', "}", "]", ")", END)]
    tokens = [5, 6]
    while tokens[-1] != end:
        assert len(tokens) < 400
        scores = generator.standard_normal((1, tokenizer.get_vocab_size() + extra)).astype(np.float32)
        scores[0, leaning] += 2.5
        assert np.isfinite(mask(scores, Rows([tokens], [2], [[0]]))).any()
        tokens = [*tokens, int(scores[0].argmax())]
    return tokens[2:]


@pytest.mark.parametrize("seed", range(12))
def test_json(seed: int, tiny: tokenizers.Tokenizer) -> None:
    mask = grammar_mask(options(tiny, json_schema=SCHEMA), tiny)
    assert mask is not None
    tokens = written(mask, tiny, seed)
    text = tiny.decode(tokens)
    jsonschema.validate(json.loads(text), SCHEMA)
    assert mask.is_complete(tokens)
    assert mask.is_complete(tokens[:-1])
    assert not mask.is_complete(tokens[:-2])


@pytest.mark.parametrize("seed", range(6))
def test_expressions_and_grammars(seed: int, tiny: tokenizers.Tokenizer) -> None:
    date = r"(19|20)[0-9]{2}-[01][0-9] (größe|AB+)"
    mask = grammar_mask(options(tiny, regex=date), tiny)
    assert mask is not None
    assert re.fullmatch(date, tiny.decode(written(mask, tiny, seed)))
    mask = grammar_mask(options(tiny, grammar=ARITHMETIC), tiny)
    assert mask is not None
    text = tiny.decode(written(mask, tiny, seed))
    assert re.fullmatch(r"[-+()0-9]+", text)
    eval(re.sub(r"\d+", "1", text))  # the brackets match


def test_a_real_vocabulary() -> None:
    tokenizer = enfold.AutoTokenizer.from_pretrained(shared("vocab", "gpt2"))
    mask = grammar_mask(GenerationConfig(eos_token_id=50256, json_schema=json.dumps(SCHEMA)), tokenizer)
    assert mask is not None
    tokens = written(mask, tokenizer._state.full, 0)
    jsonschema.validate(json.loads(tokenizer.decode(tokens, skip_special_tokens=True)), SCHEMA)


@pytest.mark.parametrize(("name", "end"), [("t5-small", "</s>"), ("roberta-base", "</s>")])
def test_vocabularies_of_all_kinds(name: str, end: str) -> None:
    """Sentencepiece and byte-level; the text has a word that is many tokens."""
    backend = enfold.AutoTokenizer.from_pretrained(shared("vocab", name))._state.full
    config = GenerationConfig(eos_token_id=backend.token_to_id(end), regex=r"[a-z]{3,9} (größte|Straße)s?[.]")
    mask, generator = grammar_mask(config, backend), np.random.default_rng(0)
    assert mask is not None
    tokens = [0]
    while tokens[-1] != config.eos_token_id:
        scores = generator.standard_normal((1, backend.get_vocab_size())).astype(np.float32)
        tokens.append(int(mask(scores, Rows([tokens], [1], [[0]])).argmax()))
    assert re.fullmatch(config.regex, backend.decode(tokens[1:]))
    assert mask.is_complete(tokens[1:])


def test_beams_branch_change_places_and_end(tiny: tokenizers.Tokenizer) -> None:
    """The mask of a text is the same whichever rows ran before, and beside it."""
    config = options(tiny, regex="(ab|cd)+e")
    mask, a, c = grammar_mask(config, tiny), *(tiny.token_to_id(token) for token in "ac")
    b, d, e = (tiny.token_to_id(token) for token in "bde")
    steps = [[[]], [[a], [c]], [[c, d], [a, b], [c, d]], [[a, b, e]], [[c, d, a, b, c], [a]], [[a, b]]]
    for texts in steps:
        rows = Rows([[9, 9, 9, *text] for text in texts], [3] * len(texts), [[0]] * len(texts))
        fresh = grammar_mask(config, tiny)
        assert mask is not None
        assert fresh is not None
        together = mask(np.zeros((len(texts), 320), np.float32), rows)
        for place, text in enumerate(texts):
            alone = fresh(np.zeros((1, 320), np.float32), Rows([[1, *text]], [1], [[0]]))
            np.testing.assert_array_equal(together[place : place + 1], alone)
        assert {*mask._states} == {tuple(text) for text in texts}


def test_the_end_token_is_allowed_only_at_the_end(tiny: tokenizers.Tokenizer) -> None:
    mask = grammar_mask(options(tiny, regex="ab?"), tiny)
    a, b, end = (tiny.token_to_id(token) for token in ("a", "b", END))

    def allowed(*text: int) -> list[int]:
        assert mask is not None
        scores = mask(np.zeros((1, 330), np.float32), Rows([[0, *text]], [1], [[0]]))
        return np.flatnonzero(np.isfinite(scores[0])).tolist()

    assert end not in allowed()
    assert allowed(a) == sorted([b, end])
    assert allowed(a, b) == [end]
    assert allowed(a, b, end) == [end]
    assert allowed(a, b, end, end) == [end]


def test_white_space_comes_to_an_end(tiny: tokenizers.Tokenizer) -> None:
    mask = grammar_mask(options(tiny, json_schema={"type": "object"}), tiny)
    assert mask is not None
    brace, space = tiny.encode("{").ids, tiny.token_to_id("Ġ")
    scores = mask(np.zeros((1, 320), np.float32), Rows([[0, *brace, *[space] * 39]], [1], [[0]]))
    assert np.isfinite(scores[0, space])
    scores = mask(np.zeros((1, 320), np.float32), Rows([[0, *brace, *[space] * 40]], [1], [[0]]))
    assert np.isneginf(scores[0, space])


def test_a_forced_first_token_is_passed_over(tiny: tokenizers.Tokenizer) -> None:
    mask = grammar_mask(options(tiny, regex="ab", forced_bos_token_id=3), tiny)
    assert mask is not None
    a = tiny.token_to_id("a")
    scores = mask(np.zeros((2, 320), np.float32), Rows([[2], [2, 3]], [1, 1], [[0], [0]]))
    assert np.isfinite(scores[0]).all()
    assert np.isfinite(scores[1, a])
    assert np.isneginf(scores[1, 3])


def test_the_grammar_counts_where_all_else_is_forbidden(tiny: tokenizers.Tokenizer) -> None:
    mask = grammar_mask(options(tiny, regex="[ab]"), tiny)
    assert mask is not None
    scores = mask(np.full((1, 320), -np.inf, np.float32), Rows([[0]], [1], [[0]]))
    assert np.flatnonzero(scores[0] == 0).tolist() == sorted(tiny.token_to_id(token) for token in "ab")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"json_schema": {"type": "nonsense"}}, "json_schema can't be used: Invalid type: nonsense"),
        ({"json_schema": {"type": "object", "not": {}}}, r"json_schema can't be used: .*not"),
        ({"json_schema": {"minimum": 5, "maximum": 3, "type": "integer"}}, r"minimum \(5\) is greater"),
        ({"json_schema": {"enum": [{1}]}}, "json_schema can't be used"),
        ({"regex": "a(b"}, r"(?s)regex can't be used: .*unclosed group"),
        ({"regex": r"[^\s\S]"}, "regex can't be fulfilled, not even begun: no token of the vocabulary"),
        ({"grammar": "start: foo"}, r'grammar can\'t be used: .*unknown name: "foo"'),
    ],
)
def test_what_cannot_be_used(values: dict[str, Any], message: str, tiny: tokenizers.Tokenizer) -> None:
    with pytest.raises(InputError, match=message):
        grammar_mask(options(tiny, **values), tiny)


def test_dead_ends_and_broken_texts(tiny: tokenizers.Tokenizer) -> None:
    config = options(tiny, grammar='start: "x" nothing\nnothing: /[^\\s\\S]/')
    mask, x, y = grammar_mask(config, tiny), tiny.token_to_id("x"), tiny.token_to_id("y")
    assert mask is not None
    with pytest.raises(InputError, match=rf"can't be followed further after 1 generated tokens \(the last: {x}\)"):
        mask(np.zeros((1, 320), np.float32), Rows([[0, x]], [1], [[0]]))
    with pytest.raises(InputError, match=rf"1 generated tokens \(the last: {y}\) broke the grammar"):
        mask(np.zeros((1, 320), np.float32), Rows([[0, y]], [1], [[0]]))


def test_words_that_the_vocabulary_has_not() -> None:
    tokenizer = enfold.AutoTokenizer.from_pretrained(shared("vocab", "t5-small"))  # knows no braces
    with pytest.raises(InputError, match=r"json_schema can't be fulfilled.*the vocabulary has no tokens for '\{'"):
        grammar_mask(GenerationConfig(eos_token_id=1, json_schema={"type": "object"}), tokenizer)


def test_what_is_needed(tiny: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert grammar_mask(GenerationConfig(), None) is None
    with pytest.raises(InputError, match="regex needs to know how a text ends: set eos_token_id"):
        grammar_mask(GenerationConfig(regex="a"), tiny)
    with pytest.raises(InputError, match="needs the model's tokenizer as well"):
        grammar_mask(options(tiny, regex="a"), None)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingDependencyError, match="regex needs the package llguidance"):
        grammar_mask(options(tiny, regex="a"), tiny)
