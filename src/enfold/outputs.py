"""What a model returns: fields by name, by key and by place."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from enfold.errors import InputError

__all__ = ["ModelOutput"]


class _NoLoss:
    """Stands for the loss of a call without labels: false, equal to None, and an error wherever it is used."""

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _NoLoss)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "None"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._error(f"to call .{name}() on")

    def _refuse(self, *others: object) -> Any:
        raise self._error("to compute with")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __float__ = _refuse

    def _error(self, purpose: str) -> InputError:
        return InputError(
            f"there is no loss {purpose}: the model was called without labels. "
            "Hand them over, as in model(**inputs, labels=torch.tensor([1, 0]))"
        )


_NO_LOSS = _NoLoss()


class ModelOutput(OrderedDict[str, Any]):
    """An ordered dictionary whose fields are attributes too, and whose integer keys are places.

    >>> output = ModelOutput(logits=[0.5])
    >>> output.logits is output["logits"] is output[0]
    True
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return OrderedDict.__getitem__(self, name)
        if name == "loss":
            return _NO_LOSS
        if name in ("hidden_states", "attentions"):
            return None
        raise AttributeError(f"this output has no {name!r}; it has {', '.join(self)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, key: Any) -> Any:
        return OrderedDict.__getitem__(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields in order."""
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return ModelOutput, (dict(self),)
