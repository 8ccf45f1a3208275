"""Translation: languages as models are told them, and texts of any length of which nothing is lost."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.errors import InputError, TaskError, TextTooLongError
from enfold.tasks import pipeline
from enfold.tasks.languages import _NLLB, code_of, same_language
from enfold.tasks.sentences import blocks, sentences
from enfold.tokenization.languages import NLLB
from tests.support import shared
from tests.tasks.echo import echoing
from tests.tasks.writers import build, save
from tests.tasks.writing_oracle import loaded, tokenizer, writer
from tests.tokenization.test_languages import make

SHORT = {"num_beams": 1, "max_new_tokens": 6}


def letters(text: str) -> str:
    """A text without spaces, which tokenizers and line ends change."""
    return "".join(text.split())


def real_documents() -> list[str]:
    """English documents of many paragraphs, in ASCII but for a little, which the vocabulary gives back as it was."""
    articles = json.loads(shared("data", "xquad.en.json").read_text(encoding="utf-8"))["data"]
    passages = [passage["context"] for article in articles for passage in article["paragraphs"]]
    wikipedia = ["\n\n".join(passages[:12]), "\n".join(passages[12:24])]
    return [*wikipedia, shared("data", "tinyshakespeare.txt").read_text(encoding="utf-8")[:10_000]]


def german(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A translator that gives English back, letter for letter."""
    task = writer("translation_en_to_de", "t5")
    prefix = tokenizer("t5")("translate English to German:")["input_ids"][:-1]
    echoing(monkeypatch, task, lambda prompt: prompt[len(prefix) :])
    return task


# ── long texts ───────────────────────────────────────────────────────────────


def test_every_sentence_of_a_long_text_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    task = writer("translation", "marian")
    asked = echoing(monkeypatch, task)
    decode = tokenizer("marian").decode
    for text in real_documents():
        asked.clear()
        (record,) = task(text)
        assert len(asked) > 20 and all(len(prompt) <= 128 for prompt in asked)
        together = letters(record["translation_text"])
        place = 0
        for block in blocks(text)[0]:
            for sentence in sentences(block.text):
                ids = tokenizer("marian")(sentence.text)["input_ids"]
                place = together.index(letters(decode(ids, skip_special_tokens=True)), place)
        whole = tokenizer("marian")(text)["input_ids"]
        assert together == letters(decode(whole, skip_special_tokens=True))
        assert record["translation_text"].count("\n\n") == text.count("\n\n")


def test_chinese_sentences_are_cut_and_joined_without_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    articles = json.loads(shared("data", "xquad.zh.json").read_text(encoding="utf-8"))["data"]
    text = "".join(passage["context"] for article in articles[:12] for passage in article["paragraphs"])
    task = writer("translation", "marian")
    asked = echoing(monkeypatch, task)
    (record,) = task(text)
    ids = tokenizer("marian")(text)["input_ids"]
    assert len(asked) > 20 and all(len(prompt) <= 128 for prompt in asked)
    assert letters(record["translation_text"]) == letters(tokenizer("marian").decode(ids, skip_special_tokens=True))
    assert "。 " not in record["translation_text"]


def test_lines_lists_and_blank_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Rules\n\n\n- Pay the rent.\n- No pets\n  1) no cats\n---\n\nA line that was\nwrapped.\n"
    task = german(monkeypatch)
    (record,) = task(text)
    assert record["translation_text"] == text.replace("was\nwrapped", "was wrapped")
    assert task("42\n---")[0]["translation_text"] == "42 ---", "what has no letters is the model's"


def test_a_paragraph_that_fits_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "One sentence. " * 8
    task = writer("translation", "marian")
    asked = echoing(monkeypatch, task)
    task(text, max_new_tokens=100)
    assert len(asked) == 1
    task(text, max_new_tokens=5)
    assert len(asked) == 2, "who asks for a length has it"
    task(text * 4)
    assert len(asked) == 2 + 32, "over the limit, each sentence goes by itself"


def test_a_stream_is_the_text_of_the_record() -> None:
    task = writer("translation", "marian", **SHORT)
    for text in ("How old are you?", "- How are you?\n\n- Fine. " + "I was never better. " * 30):
        assert "".join(task(text, stream=True)) == task(text)[0]["translation_text"]


def test_several_translations_of_a_text_are_each_whole() -> None:
    task = writer("translation", "marian", num_beams=2, num_return_sequences=2, max_new_tokens=4)
    first, second = task("How are you?\nFine.")
    assert first != second
    assert all(record["translation_text"].count("\n") == 1 for record in (first, second))


def test_what_was_stopped_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="enfold"):
        writer("translation", "marian", **SHORT)("How old are you?\nI am 3.")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("2 of 2 parts of the translation of 'How old are you?")
    assert "raise max_new_tokens (now 6)" in caplog.messages[0]


def test_long_error_and_truncate(caplog: pytest.LogCaptureFixture) -> None:
    long = "river " * 200
    with pytest.raises(TextTooLongError, match=r"tokens and the limit is 128.*'truncate' to cut its end or 'window'"):
        writer("translation", "marian", long="error", **SHORT)(long)
    with caplog.at_level(logging.WARNING, logger="enfold"):
        writer("translation", "marian", long="truncate", **SHORT)(long)
    assert caplog.messages[0].startswith("cut a text at 128 tokens")


def test_ten_thousand_texts_are_translated_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    task = german(monkeypatch)
    read = 0

    def lines() -> Any:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield f"Line {number}."

    for number, (record,) in enumerate(task(lines())):
        assert record == {"translation_text": f"Line {number}."}
        assert read <= number + 200


# ── languages ────────────────────────────────────────────────────────────────


def test_t5_has_a_prefix_for_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    task = writer("translation_en_to_de", "t5")
    asked = echoing(monkeypatch, task)
    task("Hello")
    assert tokenizer("t5").decode(asked[0]) == "translate English to German: Hello</s>"
    task("Hello", tgt_lang="fr")
    assert tokenizer("t5").decode(asked[1]) == "translate English to French: Hello</s>"
    with pytest.raises(InputError, match=r"this model translates en → de, en → fr, and en → zh was asked for"):
        task("Hello", tgt_lang="zh")
    with pytest.raises(InputError, match=r"no languages were given: pass src_lang= and tgt_lang="):
        writer("translation", "t5")("Hello")


@pytest.mark.parametrize(
    ("prefix", "kind", "source", "target"),
    [("MBart", "mbart", "fr", "zh_CN"), ("M2M100", "m2m100", "fr", "zh"), ("M2M100", "nllb", "fr", "zho_Hans")],
)
def test_languages_are_marked_as_in_the_reference(
    prefix: str, kind: str, source: str, target: str, tmp_path: Path
) -> None:
    import torch
    import transformers

    own = make(tmp_path, kind)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_model": 24,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    ids = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    save(prefix, "ForConditionalGeneration", {**sizes, **ids, "vocab_size": len(own)}, tmp_path)
    task = pipeline("translation", load_model(tmp_path, "seq2seq-lm", engine="cpu"), tokenizer=own, **SHORT)
    (ours,) = task("le monde", src_lang=source, tgt_lang=target, return_tensors=True)
    reference = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    code = {"mbart": "fr_XX", "m2m100": "fr", "nllb": "fra_Latn"}[kind]
    given = torch.tensor([own("le monde", src_lang=code)["input_ids"]])
    first = own.forced_bos_id(target)
    expected = reference.generate(given, do_sample=False, forced_bos_token_id=first, **SHORT)[0].tolist()
    assert ours["translation_token_ids"] == expected and expected[1] == first
    with pytest.raises(InputError, match=r"'zz' is none of the \d+ languages of this tokenizer. The nearest are"):
        task("le monde", src_lang=source, tgt_lang="zz")
    with pytest.raises(InputError, match=r"'zz' is none of the"):
        task("le monde", src_lang="zz", tgt_lang=target)
    with pytest.raises(
        InputError, match=r"this model knows \d+ languages .* say which to translate into with tgt_lang="
    ):
        task("le monde")
    first_alone = task("le monde", src_lang=source, forced_bos_token_id=first, return_tensors=True)
    assert first_alone == [ours], "as one would tell model.generate"


def test_marian_models_of_several_languages_want_them_before_the_text() -> None:
    task = writer("translation", "marian")
    codes = [">>fra<<", ">>deu<<", ">>cmn_Hans<<"]
    assert task._marian_prefix("deu", codes) == ">>deu<< "
    assert task._marian_prefix("cmn", codes) == ">>cmn_Hans<< "
    assert task._marian_prefix(None, codes) == "", "the text may have it"
    assert task._marian_prefix("de", codes) == ">>deu<< ", "two letters will do"
    assert task._marian_prefix("zh", [*codes, ">>cmn<<", ">>cmn_Hant<<"]) == ">>cmn_Hans<< ", "as for NLLB"
    with pytest.raises(InputError, match="'es' is none of the 3 languages of this model: cmn_Hans, "):
        task._marian_prefix("es", codes)


def test_a_model_of_one_pair_needs_no_languages() -> None:
    plain = writer("translation", "marian", **SHORT)("How old are you?")
    assert writer("translation_en_to_zh", "marian", **SHORT)("How old are you?") == plain
    assert writer("translation", "marian", src_lang="en", **SHORT)("How old are you?") == plain


def stating(folder: Path, **settings: str) -> Any:
    """A translator whose tokenizer_config.json has these settings."""
    build("marian", shared("vocab", "nmt-joint"), folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return pipeline("translation", folder, engine="cpu", **SHORT)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was remarked about a model of one pair."""
    return [record.message for record in caplog.records if "one pair" in record.message]


def test_languages_that_a_model_of_one_pair_does_not_translate_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = stating(tmp_path, source_lang="eng", target_lang="zh")
    plain = task("Hello")
    for languages in ({"src_lang": "en"}, {"tgt_lang": "zho_Hans"}, {"src_lang": "en_XX", "tgt_lang": "zh_CN"}):
        assert task("Hello", **languages) == plain
    assert not said(caplog)
    with pytest.raises(InputError, match=r"translates from eng, not fr and into zh, not de: take one for those"):
        task("Hello", src_lang="fr", tgt_lang="de")
    with pytest.raises(InputError, match=r"translates into zh, not xx: take one"):
        task("Hello", src_lang="en", tgt_lang="xx")


def test_languages_that_a_model_of_one_pair_does_not_state_are_said_to_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = stating(tmp_path, source_lang="", target_lang="roa")
    plain = task("Hello")
    assert not said(caplog)
    assert task("Hello", src_lang="en", tgt_lang="fr") == task("Hello", src_lang="en") == plain
    (once,) = said(caplog)
    assert "its files don't say which: src_lang and tgt_lang (--from and --to) change nothing" in once


def test_codes_are_the_same_language_in_whatever_way_they_are_written() -> None:
    for one, other in (("en", "eng_Latn"), ("zh", "cmn_Hans"), ("ar", "ara"), ("nb", "no"), ("pt", "pt-BR")):
        assert same_language(one, other)
    assert not same_language("en", "de") and not same_language("xx", "en")


def test_without_a_model_one_is_named() -> None:
    with pytest.raises(TaskError, match=r"pipeline\('translation_en_to_zh', model='Helsinki-NLP/opus-mt-en-zh'\)"):
        pipeline("translation_en_to_zh")
    with pytest.raises(TaskError, match=r"fetched when it is first used.*Helsinki-NLP/opus-mt-en-zh"):
        pipeline("translation")
    assert loaded("marian").kind == "seq2seq-lm"


def test_two_letters_are_enough() -> None:
    assert set(_NLLB.values()) <= {*NLLB.split()}
    assert [code_of("en", codes) for codes in (["en_XX", "fr_XX"], ["eng_Latn"], ["en"])] == ["en_XX", "eng_Latn", "en"]
    assert code_of("zho", ["zho_Hans", "zho_Hant"]) == "zho", "which script, the caller has to say"
    assert code_of("zh", ["zho_Hans", "zho_Hant"]) == "zho_Hans"
