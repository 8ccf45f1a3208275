"""The tokenizer: texts to ids and back, with the names that the field knows.

A tokenizer works from one frozen :class:`~enfold.tokenization.state.State`. Every call reads it once, and
what changes it (``add_tokens``, ``tokenizer.pad_token = …``) makes a new one and swaps it in, so threads
never meet half a change.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from enfold.errors import InputError
from enfold.tokenization.attributes import Attributes
from enfold.tokenization.batch import BatchEncoding, TensorKind
from enfold.tokenization.calling import CallOptions, TruncationChoice, call, encode
from enfold.tokenization.chat import assistant_masks, choose_template, render
from enfold.tokenization.decoding import clean_up, decode
from enfold.tokenization.encoded import Cut, Encoded, Strategy, check_room, cut_items
from enfold.tokenization.inputs import as_items
from enfold.tokenization.loading import load
from enfold.tokenization.padding import PaddingChoice, choose_padding, pad_columns
from enfold.tokenization.saving import save

__all__ = ["Tokenizer"]


class Tokenizer(Attributes):
    """Turns texts into the ids that a model was trained on, and ids back into text.

    Made by :meth:`from_pretrained` or :meth:`from_folder`. Safe to share between threads.

    ::

        tokenizer = Tokenizer.from_pretrained("./my-model")
        batch = tokenizer(["Hello world", "Hi"], padding=True, return_tensors="np")
    """

    # ── making ───────────────────────────────────────────────────────────────

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        kind: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> "Tokenizer":
        """Load the tokenizer of a folder, a package or a hub model.

        ``kind`` (``"bert"``, ``"roberta"`` …, or a class name such as ``"BertTokenizer"``) is needed only
        where the files do not tell. ``overrides`` are settings: ``do_lower_case=False``,
        ``model_max_length=256``, ``pad_token="[PAD]"``, ``padding_side="left"`` and the like.

        Raises:
            SourceError: the source can't be found or fetched.
            TokenizerError: its files make no tokenizer, or a setting is unknown or of the wrong type.
        """
        from enfold.checkpoint.sources import resolve

        folder = resolve(
            source,
            want="tokenizer",
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        tokenizer = cls.from_folder(folder, kind, **overrides)
        tokenizer.name_or_path = os.fspath(source)
        return tokenizer

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str], kind: str | None = None, **overrides: Any) -> "Tokenizer":
        """Load the tokenizer files of a local folder, or what a GGUF file says where there are none.

        ``path`` may be a GGUF file itself. Arguments and errors as in :meth:`from_pretrained`.
        """
        loaded = load(Path(path), kind, overrides)
        return cls(loaded.state, loaded.kind, loaded.settings, os.fspath(path), files=loaded.files)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json`` and the chat
        templates; return their paths. Marian and M2M-100 have their sentencepiece files instead of the first.

        ``transformers`` 4 and 5 load them back. The files appear complete or not at all.
        """
        return save(Path(save_directory), self._state, self._kind, self._settings, self._files)

    # ── text to ids ──────────────────────────────────────────────────────────

    def __call__(
        self,
        text: str | Sequence[Any] | None = None,
        text_pair: str | Sequence[Any] | None = None,
        text_target: str | Sequence[Any] | None = None,
        text_pair_target: str | Sequence[Any] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: PaddingChoice = False,
        truncation: TruncationChoice = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] | None = None,
        truncation_side: Literal["right", "left"] | None = None,
        return_tensors: TensorKind | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> BatchEncoding:
        """Encode a text, a pair, or a batch of either.

        One text gives flat lists; a list of texts, ``return_tensors`` or ``return_overflowing_tokens`` give
        a batch axis. ``truncation`` left out cuts only where ``max_length`` is given without ``padding``.
        ``stride`` is the number of tokens that neighbouring windows share under
        ``return_overflowing_tokens``; then ``overflow_to_sample_mapping`` says which text each row is from.

        ``text_target`` is what a model is to answer, encoded as its side of a translation; beside ``text`` its
        ids are the ``labels``. ``src_lang`` and ``tgt_lang`` are languages for this call alone.

        Raises:
            InputError: something that is not text, an unknown language, or options that do not fit each other.
        """
        options = CallOptions(
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            truncation_side=truncation_side,
            return_tensors=return_tensors,
            return_token_type_ids=return_token_type_ids,
            return_attention_mask=return_attention_mask,
            return_overflowing_tokens=return_overflowing_tokens,
            return_special_tokens_mask=return_special_tokens_mask,
            return_offsets_mapping=return_offsets_mapping,
            return_length=return_length,
        )
        state = self._state
        if text_target is None:
            if tgt_lang is not None:
                state.for_target(tgt_lang)  # an unknown one is an error, as everywhere
            return call(state.speaking(src_lang), text, text_pair, options)
        target = call(state.for_target(tgt_lang), text_target, text_pair_target, options)
        if text is None:
            return target
        batch = call(state.speaking(src_lang), text, text_pair, options)
        batch["labels"] = target["input_ids"]
        return batch

    def encode(self, text: str | Sequence[Any], text_pair: str | Sequence[Any] | None = None, **options: Any) -> Any:
        """The ids alone of one text or pair; ``options`` are those of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of one text as text; ``options`` are those of a call."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def encode_many(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, add_special_tokens: bool = True
    ) -> list[Encoded]:
        """Encode many texts in one go, none of them cut or padded: the path that the tasks take.

        Raises:
            InputError: something that is not text.
        """
        if isinstance(texts, str):
            raise InputError("encode_many takes a list of texts; one string was given. Pass [text].")
        items, _ = as_items(list(texts), None if pairs is None else list(pairs))
        rows = encode(self._state, items, add_special_tokens=add_special_tokens)
        return [Encoded(row, item, add_special_tokens) for row, item in zip(rows, items, strict=True)]

    def windows(
        self,
        text: str | Encoded,
        pair: str | None = None,
        *,
        max_length: int,
        stride: int = 0,
        strategy: Strategy | None = None,
        side: Literal["right", "left"] = "right",
        add_special_tokens: bool = True,
    ) -> list[Encoded]:
        """Cut one text into windows of at most ``max_length`` tokens, each with the special tokens around it.

        Neighbouring windows share ``stride`` tokens. Of a pair, the second text is cut and the first is
        repeated (``strategy="only_second"``: a question and its document), unless ``strategy`` says
        otherwise. A text that fits is one window.

        Raises:
            InputError: no room beside the special tokens (and, of a pair, the text that is not cut).
        """
        state = self._state
        if isinstance(text, Encoded):
            if pair is not None:
                raise InputError("An encoded text has its pair with it; leave pair out.")
            encoded = text
        else:
            items, _ = as_items(text, pair)
            (row,) = encode(state, items, add_special_tokens=add_special_tokens)
            encoded = Encoded(row, items[0], add_special_tokens)
        item, special = encoded.item, encoded.add_special_tokens
        default: Strategy = "only_second" if isinstance(item, tuple) else "only_first"
        cut = Cut(max_length, strategy or default, stride, side)
        check_room(state, [item], cut, add_special_tokens=special)
        if len(encoded) <= max_length:
            return [encoded]
        (cuts,) = cut_items(state, [item], cut, add_special_tokens=special)
        return [Encoded(each, item, special) for each in cuts]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: PaddingChoice = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: TensorKind | None = None,
    ) -> BatchEncoding:
        """Pad what was encoded before: a list of encodings, or one with a list of rows.

        ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``special_tokens_mask`` are padded; other
        entries (labels) are passed on as they are.

        Raises:
            InputError: there are no ``input_ids``, or there is no padding token.
        """
        state = self._state
        pad = choose_padding(state, padding, max_length, pad_to_multiple_of, padding_side)
        mask = "attention_mask" in state.input_names if return_attention_mask is None else return_attention_mask
        return BatchEncoding(pad_columns(encoded_inputs, pad, with_mask=mask), None, return_tensors)

    # ── ids to text ──────────────────────────────────────────────────────────

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """The text of ids: a string for one row, a list of strings for several.

        ``clean_up_tokenization_spaces`` removes the spaces before punctuation that WordPiece leaves. As in
        the reference it does nothing for BPE, whose spaces are those of the text.

        Raises:
            InputError: something that is not a list, array or tensor of ids.
        """
        state = self._state.for_decoding
        clean = state.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return decode(state, token_ids, skip_special_tokens=skip_special_tokens, clean=clean)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The texts of several rows of ids."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def clean_up_tokenization(self, text: str) -> str:
        """Remove the spaces before punctuation and English contractions that WordPiece leaves."""
        return clean_up(text)

    # ── chat ─────────────────────────────────────────────────────────────────

    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Any] | None = None) -> str:
        """The text of the template that a chat would be written with: the one named or given, or this tokenizer's.

        Raises:
            TokenizerError: there is none.
        """
        return choose_template(self._state.chat_template, chat_template, with_tools=tools is not None)

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        padding: PaddingChoice = False,
        truncation: TruncationChoice = False,
        max_length: int | None = None,
        return_tensors: TensorKind | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Write a conversation, or several, as the model's chat template has it, and encode that.

        ``conversation`` is a list of messages, ``{"role": "user", "content": "Hello"}``. ``tools`` are JSON schemas,
        or functions with type hints and a docstring; ``documents`` are dicts. ``add_generation_prompt`` ends with
        the beginning of the model's turn, ``continue_final_message`` leaves the last message open instead.
        ``variables`` are what the template has names for besides.

        Returns:
            The text, or texts, with ``tokenize=False``; else model inputs, or with ``return_dict=False`` the ids.

        Raises:
            InputError: a malformed conversation or tool, or one that the template refuses.
            TokenizerError: there is no template, or it is broken, or it was stopped for doing what none should.
        """
        rendered, batched = render(
            self.get_chat_template(chat_template, tools),
            conversation,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            variables={**self.special_tokens_map, **variables},
        )
        texts = [each.text for each in rendered]
        if not tokenize:
            return texts if batched else texts[0]
        batch = self(
            texts if batched else texts[0],
            add_special_tokens=False,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        if return_assistant_tokens_mask:
            masks = assistant_masks(batch, rendered)
            batch["assistant_masks"] = masks if batched or return_tensors else masks[0]
            batch.convert_to_tensors(return_tensors)
        return batch if return_dict else batch["input_ids"]
