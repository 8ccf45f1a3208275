"""Text from ids as they are generated, piece by piece."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from enfold.tokenization.decoding import as_ids, stages_of
from enfold.tokenization.stages import feed, finish

if TYPE_CHECKING:
    from enfold.tokenization.tokenizer import Tokenizer

__all__ = ["IncrementalDecoder"]


class IncrementalDecoder:
    """Decodes ids one by one; the pieces joined are ``tokenizer.decode`` of all of them, to the character.

    A piece is given out as soon as no later id can change it, and never holds half a character. An id costs the same
    however long the text has become.

    ::

        decoder = IncrementalDecoder(tokenizer)
        for token_id in generated:
            print(decoder.push(token_id), end="", flush=True)
        print(decoder.finish())

    Args:
        tokenizer: what it says of tokens and spaces now is kept; later changes to it have no effect here.
        skip_special_tokens: as in :meth:`Tokenizer.decode`.
        clean_up_tokenization_spaces: as in :meth:`Tokenizer.decode`; the tokenizer's own setting by default.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        state = tokenizer._state.for_decoding
        clean = state.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        self._book = state.book
        self._skipped = state.special_texts if skip_special_tokens else frozenset[str]()
        self._stages = stages_of(state, clean=clean)

    def push(self, token_id: int) -> str:
        """The text that is certain after one more id; often one word, sometimes nothing.

        Raises:
            InputError: it is no id.
        """
        return self.push_many([token_id])

    def push_many(self, token_ids: Iterable[int]) -> str:
        """The text that is certain after more ids."""
        numbers = as_ids(token_ids if hasattr(token_ids, "tolist") else list(token_ids))
        tokens = (self._book.id_to_token(number) for number in ([numbers] if isinstance(numbers, int) else numbers))
        return feed(self._stages, (token for token in tokens if token is not None and token not in self._skipped))

    def finish(self) -> str:
        """The rest of the text; after it, the next id begins a new one."""
        return finish(self._stages)
