"""The folder of an adapter, as ``peft`` has it: adapter_config.json and adapter_model.safetensors.

Names in the weights file are the reference's modules behind ``base_model.model.``::

    base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight      (rank, inputs)
                                                               lora_B.weight      (outputs, rank)
                                                               lora_magnitude_vector  (outputs,), DoRA
                                                               ia3_l              (outputs, 1) or (1, inputs)
    base_model.model.classifier.weight                                            a tensor that was trained whole

Tensors may be float32, float16, bfloat16, or bytes with scales (:mod:`enfold.adapters.rounding`), which ``peft``
doesn't read. Nothing of a folder is executed; a pickle is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from enfold.adapters.changes import Change, LowRank, Rescaled
from enfold.adapters.config_file import AdapterConfig, read_adapter_config
from enfold.adapters.rounding import restored
from enfold.checkpoint.safetensors import open_safetensors
from enfold.checkpoint.tensors import TensorView
from enfold.errors import CheckpointError, TensorMismatchError, UnsafeFileError

__all__ = ["WEIGHTS_FILE", "AdapterFolder", "mismatch", "open_adapter", "stored_tensors"]

WEIGHTS_FILE: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
_SHOWN: Final = 12
_PARTS: Final = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".ia3_l")
_FLOATS: Final = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter that lies in a folder.

    Attributes:
        path: the folder.
        config: what it says of itself.
        changes: module → what is done to it, by the reference's names with or without the base model's prefix.
        tensors: whole tensors that take the place of the base model's, or that it lacks (its head).
    """

    path: Path
    config: AdapterConfig
    changes: Mapping[str, Change]
    tensors: Mapping[str, TensorView]


def open_adapter(folder: Path) -> AdapterFolder:
    """Reads an adapter's folder.

    Raises:
        ConfigError: its configuration can't be used.
        CheckpointError: it has no weights, or only a pickle (UnsafeFileError).
        TensorMismatchError: tensors that are incomplete, misshapen or of no known kind; all listed.
    """
    config = read_adapter_config(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise UnsafeFileError(
                f"{folder} has its weights in adapter_model.bin, a pickle, which enfold doesn't open. Load it once "
                f"with peft and save it with safe_serialization=True, so that it is {WEIGHTS_FILE}"
            )
        present = ", ".join(sorted(each.name for each in folder.iterdir())[:20])
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}: is the adapter complete? It holds {present}")
    problems: list[str] = []
    views = restored(open_safetensors(path), problems)
    problems += [f"unexpected  {name}" for name in views if not name.startswith(PREFIX)]
    problems += [f"no numbers  {name}: {view.dtype}" for name, view in views.items() if view.dtype not in _FLOATS]
    named = {
        name.removeprefix(PREFIX).replace(".modules_to_save.", "."): view
        for name, view in views.items()
        if ".original_module." not in name  # the base's own head, which nobody answers with
    }
    parts: dict[str, dict[str, TensorView]] = {}
    tensors: dict[str, TensorView] = {}
    for name, view in named.items():
        kind = next((part for part in _PARTS if name.endswith(part)), None)
        if kind:
            parts.setdefault(name.removesuffix(kind), {})[kind] = view
        elif ".lora_" in name or ".ia3_" in name:
            problems.append(f"unexpected  {name} {view.shape}")
        else:
            tensors[name.replace(".base_layer.", ".")] = view
    changes = {module: _change(module, found, config, problems) for module, found in parts.items()}
    if problems:
        raise mismatch(f"{path} can't be used", problems)
    return AdapterFolder(folder, config, {name: each for name, each in changes.items() if each}, tensors)


def _change(module: str, found: Mapping[str, TensorView], config: AdapterConfig, problems: list[str]) -> Change | None:
    """The change that the tensors of one module make."""
    shapes = {part.removesuffix(".weight")[1:]: view.shape for part, view in found.items()}
    down, up, lengths, factors = (found.get(part) for part in _PARTS)
    before = len(problems)
    if factors is not None:
        if len(found) > 1 or len(factors.shape) != 2 or 1 not in factors.shape:
            problems.append(f"misshapen   {module}: {shapes}, expected ia3_l alone, (outputs, 1) or (1, inputs)")
            return None
        side = "outputs" if factors.shape[1] == 1 else "inputs"
        return Rescaled(factors.numpy("float32").reshape(-1), side)  # type: ignore[arg-type]
    if down is None or up is None:
        problems.append(f"incomplete  {module}: {shapes}, expected lora_A and lora_B")
        return None
    if len(down.shape) != 2 or len(up.shape) != 2 or not down.shape[0] or up.shape[1] != down.shape[0]:
        problems.append(f"misshapen   {module}: {shapes}, expected lora_A (rank, inputs) and lora_B (outputs, rank)")
    elif lengths is not None and lengths.shape != up.shape[:1]:
        problems.append(f"misshapen   {module}: {shapes}, expected as many lengths as outputs")
    if len(problems) > before:
        return None
    magnitude = None if lengths is None else lengths.numpy("float32")
    scale = config.scale(module, down.shape[0])
    return LowRank(down.numpy("float32"), up.numpy("float32"), scale, magnitude)


def stored_tensors(changes: Mapping[str, Change]) -> dict[str, NDArray[np.float32]]:
    """Names and arrays of changes in a weights file; the inverse of what :func:`open_adapter` reads."""
    tensors: dict[str, NDArray[Any]] = {}
    for module, change in changes.items():
        name = f"{PREFIX}{module}"
        if isinstance(change, Rescaled):
            shape = (1, -1) if change.side == "inputs" else (-1, 1)
            tensors[f"{name}.ia3_l"] = change.factors.reshape(shape)
            continue
        tensors[f"{name}.lora_A.weight"] = change.down
        tensors[f"{name}.lora_B.weight"] = change.up
        if change.magnitude is not None:
            tensors[f"{name}.lora_magnitude_vector"] = change.magnitude
    return tensors


def mismatch(what: str, problems: list[str]) -> TensorMismatchError:
    """The error that lists problems, the first ones in full."""
    more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return TensorMismatchError(f"{what}:\n  " + "\n  ".join(problems[:_SHOWN]) + more)
