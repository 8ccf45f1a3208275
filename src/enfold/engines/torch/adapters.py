"""Adapters on the PyTorch engine: linear leaves that keep their weight frozen and learn a small change of it.

An adapted leaf is a :class:`~enfold.engines.torch.leaves.Linear` that computes with ``base_weight`` and its change;
``weight`` and ``bias`` are what they would be merged, so that saving and comparing see the model as it answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from enfold.adapters.changes import Change, LowRank, Rescaled
from enfold.adapters.settings import IA3, LoRA, Settings, also_trained, targeted
from enfold.engines.torch.leaves import Leaf, Linear, SharedInput, Sinusoid
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.leaves import Output

__all__ = [
    "Adapted",
    "AdapterState",
    "LowRankLinear",
    "RescaledLinear",
    "adapted_leaves",
    "add",
    "install",
    "merge",
    "refuse_second",
    "state_of",
]

_STATE = "adapter_state"


@dataclass(frozen=True)
class AdapterState:
    """What a model remembers of the adapter on it.

    Attributes:
        whole: tensors, by our names, that belong to the adapter as they are: those of the head.
        use_rslora: how a scale depends on the rank, for its file.
        dropout: on what enters A, likewise.
    """

    whole: tuple[str, ...]
    use_rslora: bool = False
    dropout: float = 0.0


class Adapted(Linear):
    """A linear leaf with a change; the leaf's own parameters are ``base_weight`` and ``base_bias``."""

    base_weight: nn.Parameter
    base_bias: nn.Parameter | None

    def __init__(self, base: Linear) -> None:
        nn.Module.__init__(self)
        self.leaf, self.activation = base.leaf, base.activation
        self.base_weight = base.weight
        self.register_parameter("base_bias", base.bias)
        self.train(base.training)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The changed matrix (outputs, inputs)."""
        raise NotImplementedError  # pragma: no cover - each kind has its own

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The changed bias (outputs,)."""
        return self.base_bias

    def change(self) -> Change:
        """The change as arrays."""
        raise NotImplementedError  # pragma: no cover - each kind has its own

    @torch.no_grad()
    def merged(self) -> Linear:
        """A plain leaf with the changed weight."""
        plain = Linear(self.leaf)
        plain.weight = nn.Parameter(self.weight.detach().clone())
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain.train(self.training)

    def _fresh(self, *shape: int) -> nn.Parameter:
        """A parameter to train, where the leaf's are; at least float32, or small steps would be lost."""
        like = self.base_weight
        dtype = like.dtype if like.dtype is torch.float64 else torch.float32
        return nn.Parameter(torch.empty(shape, dtype=dtype, device=like.device))


class LowRankLinear(Adapted):
    """LoRA and DoRA: (T, inputs) → activation(W x + b + scale · B A x).

    Args:
        base: the leaf that is adapted.
        rank: rows of A.
        scale: what B A is multiplied by.
        dropout: on what enters A.
        has_lengths: DoRA: rows are brought to learnt lengths.
    """

    def __init__(self, base: Linear, *, rank: int, scale: float, dropout: float, has_lengths: bool) -> None:
        super().__init__(base)
        self.scale, self.dropout = scale, dropout
        self.lora_A = self._fresh(rank, base.leaf.inputs)
        self.lora_B = self._fresh(base.leaf.outputs, rank)
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)
        self.magnitude: nn.Parameter | None
        self.register_parameter("magnitude", None)
        if has_lengths:
            self.magnitude = nn.Parameter(self._whole().norm(dim=1).detach())

    @classmethod
    def of(cls, base: Linear, change: LowRank, dropout: float) -> LowRankLinear:
        """A leaf with a change that a file holds."""
        has_lengths = change.magnitude is not None
        made = cls(base, rank=change.rank, scale=change.scale, dropout=dropout, has_lengths=has_lengths)
        with torch.no_grad():
            made.lora_A.copy_(torch.from_numpy(change.down.copy()))
            made.lora_B.copy_(torch.from_numpy(change.up.copy()))
            if made.magnitude is not None and change.magnitude is not None:
                made.magnitude.copy_(torch.from_numpy(change.magnitude.copy()))
        return made

    def _whole(self) -> Tensor:
        """W + scale · B A, (outputs, inputs)."""
        return self.base_weight.to(self.lora_A.dtype) + self.scale * (self.lora_B @ self.lora_A)

    def _ratio(self) -> Tensor | None:
        """What each row is multiplied by (outputs,). Lengths count as constants (section 4.3 of the DoRA paper)."""
        if self.magnitude is None:
            return None
        lengths = self._whole().detach().norm(dim=1)
        return self.magnitude / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The changed matrix (outputs, inputs)."""
        whole, ratio = self._whole(), self._ratio()
        return (whole if ratio is None else whole * ratio.unsqueeze(1)).to(self.base_weight.dtype)

    def plain(self, hidden: Tensor) -> Tensor:
        """Without the activation."""
        hidden = self.dropped(hidden, self.leaf.dropout)
        result = functional.linear(hidden, self.base_weight, self.base_bias)
        entering = self.dropped(hidden, self.dropout)
        low = functional.linear(functional.linear(entering.to(self.lora_A.dtype), self.lora_A), self.lora_B)
        low, ratio = low * self.scale, self._ratio()
        if ratio is None:
            return result + low.to(result.dtype)
        if entering is not hidden:
            product = functional.linear(entering, self.base_weight)
        else:
            product = result if self.base_bias is None else result - self.base_bias
        return result + ((ratio - 1) * product + ratio * low).to(result.dtype)

    def change(self) -> LowRank:
        """The change as arrays."""
        lengths = None if self.magnitude is None else _array(self.magnitude)
        return LowRank(_array(self.lora_A), _array(self.lora_B), self.scale, lengths)


class RescaledLinear(Adapted):
    """IA3: (T, inputs) → activation of factors · (W x + b), or of W (factors · x) + b.

    Args:
        base: the leaf that is adapted.
        side: whose factors they are.
    """

    def __init__(self, base: Linear, side: str) -> None:
        super().__init__(base)
        self.side = side
        self.factors = self._fresh(base.leaf.inputs if side == "inputs" else base.leaf.outputs)
        nn.init.ones_(self.factors)

    @classmethod
    def of(cls, base: Linear, change: Rescaled) -> RescaledLinear:
        """A leaf with a change that a file holds."""
        made = cls(base, change.side)
        with torch.no_grad():
            made.factors.copy_(torch.from_numpy(change.factors.copy()))
        return made

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The changed matrix (outputs, inputs)."""
        factors = self.factors if self.side == "inputs" else self.factors.unsqueeze(1)
        return (self.base_weight * factors).to(self.base_weight.dtype)

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The changed bias (outputs,)."""
        if self.side == "inputs" or self.base_bias is None:
            return self.base_bias
        return (self.base_bias * self.factors).to(self.base_bias.dtype)

    def plain(self, hidden: Tensor) -> Tensor:
        """Without the activation."""
        hidden = self.dropped(hidden, self.leaf.dropout)
        if self.side == "inputs":
            return functional.linear((hidden * self.factors).to(hidden.dtype), self.base_weight, self.base_bias)
        result = functional.linear(hidden, self.base_weight, self.base_bias)
        return (result * self.factors).to(result.dtype)

    def change(self) -> Rescaled:
        """The change as arrays."""
        return Rescaled(_array(self.factors), "inputs" if self.side == "inputs" else "outputs")


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().cpu().numpy()


def state_of(model: TorchModel) -> AdapterState | None:
    """What the model remembers of its adapter; None where it has none."""
    return getattr(model, _STATE, None)


def adapted_leaves(model: TorchModel) -> dict[str, Adapted]:
    """The adapted leaves by name."""
    return {module.leaf.name: module for module in model.tree.modules() if isinstance(module, Adapted)}


def add(model: TorchModel, settings: Settings) -> None:
    """Puts a fresh adapter on a model; see :func:`enfold.adapters.add_adapter`."""
    refuse_second(model)
    leaves = model.blueprint.leaves
    names = {leaf.name for leaf in targeted(settings, leaves)}
    whole = {leaf.name for leaf in also_trained(settings, leaves)} | _head_leaves(model)

    def fresh(base: Linear) -> Adapted:
        if isinstance(settings, IA3):
            return RescaledLinear(base, "inputs" if settings.scales_inputs(base.leaf.name) else "outputs")
        return LowRankLinear(
            base,
            rank=settings.rank,
            scale=settings.scale,
            dropout=settings.dropout,
            has_lengths=settings.kind == "dora",
        )

    _replace(model, names, fresh)
    state = AdapterState(
        _whole_tensors(model, whole),
        isinstance(settings, LoRA) and settings.use_rslora,
        settings.dropout if isinstance(settings, LoRA) else 0.0,
    )
    _adopt(model, state, trainable=True)


def install(
    model: TorchModel,
    changes: Mapping[str, Change],
    tensors: Mapping[str, Any],
    state: AdapterState,
    *,
    trainable: bool,
) -> None:
    """Puts an adapter that a file holds on a model.

    Args:
        model: a model without an adapter.
        changes: leaf → its change.
        tensors: whole tensors, by our names, and their arrays.
        state: what the model remembers.
        trainable: whether it trains, and the head with it; otherwise nothing of the model does.
    """
    refuse_second(model)
    if trainable:
        head = _whole_tensors(model, _head_leaves(model))
        state = replace(state, whole=tuple(dict.fromkeys([*state.whole, *head])))

    def known(base: Linear) -> Adapted:
        change = changes[base.leaf.name]
        if isinstance(change, Rescaled):
            return RescaledLinear.of(base, change)
        return LowRankLinear.of(base, change, state.dropout)

    _replace(model, changes, known)
    leaves = _leaves(model)
    with torch.no_grad():
        for name, array in tensors.items():
            leaf, _, suffix = name.rpartition(".")
            kept = f"base_{suffix}" if isinstance(leaves[leaf], Adapted) else suffix
            getattr(leaves[leaf], kept).copy_(torch.from_numpy(array.copy()))
    _adopt(model, state, trainable=trainable)


def merge(model: TorchModel) -> None:
    """Folds the adapter into the weights; see :func:`enfold.adapters.merge_adapter`."""
    _replace(model, adapted_leaves(model), lambda leaf: cast(Adapted, leaf).merged())
    for module in model.tree.modules():
        if isinstance(module, Leaf):
            for name, parameter in module.named_parameters(recurse=False):
                parameter.requires_grad_(_is_learnt(module, name))
    vars(model).pop(_STATE, None)
    vars(model)["has_merged"] = True  # it is no longer what its source holds


def refuse_second(model: TorchModel) -> None:
    """Raises InputError where the model has an adapter."""
    if state_of(model) is not None:
        raise InputError("the model has an adapter already: merge_adapter(model) first, or load the model anew")


def _replace(model: TorchModel, names: Any, make: Callable[[Linear], Linear]) -> None:
    """Puts other modules in the places of linear leaves, by name."""
    for parent in list(model.tree.modules()):
        for place, child in list(parent.named_children()):
            if isinstance(child, Linear) and child.leaf.name in names:
                setattr(parent, place, make(child))
                if isinstance(parent, SharedInput):
                    parent.unpack()


def _leaves(model: TorchModel) -> dict[str, Leaf]:
    return {module.leaf.name: module for module in model.tree.modules() if isinstance(module, Leaf)}


def _head_leaves(model: TorchModel) -> set[str]:
    """The head's leaves, but for those of an output over the vocabulary, which was trained with the model.

    Where some of that was made fresh, it has to be trained too.
    """
    fresh = {name.rpartition(".")[0] for name in model._fresh_marks}
    learnt = [index for index, branch in enumerate(model.head.branches) if branch.outputs != "vocabulary"]
    starts = tuple(f"head.{index}." for index in learnt)
    return {name for name in _leaves(model) if name in fresh or (starts and name.startswith(starts))}


def _whole_tensors(model: TorchModel, names: set[str]) -> tuple[str, ...]:
    """The tensors of leaves that learn, in the layout's order, and what batch norms see in training, frozen or not."""
    leaves = _leaves(model)
    return tuple(
        f"{leaf.name}.{suffix}"
        for leaf in model.blueprint.leaves
        for suffix in leaf.tensors()
        if suffix in getattr(leaf, "buffers", ())
        or (leaf.name in names and getattr(leaves[leaf.name], suffix).requires_grad)
    )


def _adopt(model: TorchModel, state: AdapterState, *, trainable: bool) -> None:
    vars(model)[_STATE] = state
    model.requires_grad_(False)
    if not trainable:
        return
    leaves, whole = _leaves(model), set(state.whole)
    for name, leaf in leaves.items():
        for suffix, parameter in leaf.named_parameters(recurse=False):
            is_change = isinstance(leaf, Adapted) and not suffix.startswith("base_")
            own = f"{name}.{suffix.removeprefix('base_')}"
            if is_change or (own in whole and _is_learnt(leaf, suffix)):
                parameter.requires_grad_(True)


def _is_learnt(module: Leaf, suffix: str) -> bool:
    """Whether training changes a parameter in a model without an adapter."""
    if isinstance(module, Sinusoid):
        return False
    return not (isinstance(module.leaf, Output) and module.leaf.constant_bias and suffix == "bias")
