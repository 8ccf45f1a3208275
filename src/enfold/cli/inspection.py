"""What can be said of a model folder without running it; what is wrong with it becomes part of the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from enfold.arch import Architecture, Disentangled, LearnedPositions, Rotary
from enfold.auto import read_config
from enfold.blueprint import Blueprint
from enfold.checkpoint.contents import Contents
from enfold.checkpoint.files import Weights, open_weights
from enfold.checkpoint.modules import Dense, Normalize, read_modules
from enfold.checkpoint.packed import quantization_of
from enfold.checkpoint.sources import describe
from enfold.checkpoint.tensors import TensorView
from enfold.errors import EnfoldError
from enfold.leaves import Leaf, Linear, parameter_count
from enfold.tokenization import Tokenizer

__all__ = ["Bytes", "Report", "inspect_folder"]

Report = dict[str, dict[str, Any] | list[str]]
T = TypeVar("T")

_NO_LIMIT = 10**9
_PLACES = {"after": "after each sublayer", "before": "before each sublayer", "parallel": "before a parallel block"}
_SCALE_BYTES = 4


class Bytes(int):
    """A size in bytes, which people read as megabytes."""


def inspect_folder(folder: Path, given: str, *, weights: bool = True) -> Report:
    """Everything about a model folder, section by section, ``problems`` last.

    Args:
        folder: holds the model, or what there is of it.
        given: what the folder was asked for by.
        weights: whether weights are expected there; a hub model may be known by its configuration alone.
    """
    problems: list[str] = []

    def attempt(part: Callable[[], T]) -> T | None:
        try:
            return part()
        except EnfoldError as error:
            if str(error) not in problems:  # of one file that is all parts
                problems.append(str(error))
            return None

    config = attempt(lambda: read_config(folder))
    blueprint = attempt(lambda: Blueprint.of(config, "encoder")) if config else None
    stored = attempt(lambda: open_weights(folder)) if weights else None
    report: Report = {"source": _source(folder, given)}
    if blueprint:
        report["architecture"] = _architecture(blueprint)
    quantized = attempt(lambda: quantization_of(config)) if config else None
    if stored:
        report["checkpoint"] = _checkpoint(stored, quantized)
    if blueprint and stored:
        contents = Contents(blueprint, stored)
        problems += contents.problems
        report["heads"] = contents.section()
        blueprint = contents.main
    if blueprint:
        report["memory"] = _memory(blueprint.leaves, stored, quantized)
    tokenizer = attempt(lambda: Tokenizer.from_folder(folder))
    if tokenizer:
        report["tokenizer"] = _tokenizer(tokenizer)
        if blueprint and len(tokenizer) > blueprint.arch.vocab_size:
            problems.append(f"the tokenizer has {len(tokenizer)} tokens, the embeddings {blueprint.arch.vocab_size}")
    if (folder / "modules.json").is_file() and blueprint:
        width = blueprint.arch.hidden_size
        report["sentence embeddings"] = attempt(lambda: _modules(folder, width)) or {}
    report["files"] = _files(folder)
    report["problems"] = problems
    return report


def _source(folder: Path, given: str) -> dict[str, Any]:
    origin = describe(folder)
    return {
        "name": given if origin.form == "folder" else origin.name,
        "from": {"folder": "folder", "pypi": "PyPI", "hub": "model hub"}[origin.form],
        "version": origin.version,
        "licence": origin.license,
        "path": str(folder.absolute()),
    }


def _architecture(blueprint: Blueprint) -> dict[str, Any]:
    arch, config = blueprint.arch, blueprint.config
    section = {
        "family": config.model_type,
        "class": (config.get("architectures") or [None])[0],
        "layers": f"{arch.encoder.num_layers} + {arch.num_layers}" if arch.encoder else arch.num_layers,
        "hidden_size": arch.hidden_size,
        "heads": arch.num_heads if arch.kv_heads == arch.num_heads else f"{arch.num_heads} on {arch.kv_heads} of keys",
        "head_size": arch.head_size,
        "feed_forward": arch.intermediate_size,
        "activation": f"{arch.activation}, gated" if arch.gated else arch.activation,
        "norm": f"{arch.norm}, {_PLACES[arch.norm_placement]}",
        "positions": _positions(arch),
        "limit": arch.max_length,
        "vocabulary": arch.vocab_size,
        "token_types": arch.type_vocab_size,
    }
    if arch.stored_layers != arch.num_layers:
        section["stored_layers"] = arch.stored_layers
    if arch.embedding_size != arch.hidden_size:
        section["embedding_size"] = arch.embedding_size
    return section


def _positions(arch: Architecture) -> str:
    learned = isinstance(arch.positions, LearnedPositions)
    parts = [f"{'learned' if learned else 'sinusoidal'}, {arch.positions.rows} rows"] if arch.positions else []
    if isinstance(arch.relative, Disentangled):
        parts.append(f"disentangled, {arch.relative.span} to each side")
    elif isinstance(arch.relative, Rotary):
        kind = f", {arch.relative.scaling.kind} scaling" if arch.relative.scaling else ""
        parts.append(f"rotary, base {arch.relative.base:g}{kind}")
    elif arch.relative:
        parts.append(f"relative bias, {arch.relative.buckets} buckets")
    return "; ".join(parts) or "none"


def _checkpoint(stored: Weights, quantized: str | None) -> dict[str, Any]:
    blocks = (getattr(view, "blocks", None) for view in stored.values())
    counts = Counter(kind.name if kind else view.dtype for kind, view in zip(blocks, stored.values(), strict=True))
    return {
        **({"quantized": f"{quantized}, for the CPU engine alone"} if quantized else {}),
        "file": stored.path.name,
        "format": stored.format,
        "tensors": len(stored),
        "types": dict(counts.most_common()),
        "size": _size(stored),
    }


def _size(stored: Mapping[str, TensorView]) -> Bytes:
    return Bytes(sum(view.nbytes for view in stored.values()))


def _memory(leaves: tuple[Leaf, ...], stored: Mapping[str, TensorView] | None, quantized: str | None) -> dict[str, Any]:
    """Bytes of the parameters; int8 counts linear layers' matrices so, with a scale a row, and the rest as float32.

    What is stored in bytes or blocks takes as much as there.
    """
    count = parameter_count(leaves)
    stored = stored or {}
    if quantized:
        return {"parameters": count, quantized: _size(stored)}
    blocks = any(getattr(view, "blocks", None) for view in stored.values())
    linear = [leaf for leaf in leaves if isinstance(leaf, Linear)]
    matrices = sum(leaf.inputs * leaf.outputs for leaf in linear)
    scales = sum(leaf.outputs for leaf in linear) * _SCALE_BYTES
    return {
        "parameters": count,
        "float32": Bytes(4 * count),
        "float16": Bytes(2 * count),
        "int8_linear": Bytes(4 * (count - matrices) + matrices + scales),
        **({"blocks": _size(stored)} if blocks else {}),
    }


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    limit = tokenizer.model_max_length
    return {
        "kind": tokenizer.kind,
        "tokens": len(tokenizer),
        "limit": limit if limit < _NO_LIMIT else None,
        "pads": tokenizer.padding_side,
        "special": {name.removesuffix("_token"): token for name, token in tokenizer.special_tokens_map.items()},
        "more_special": tokenizer.extra_special_tokens,
    }


def _modules(folder: Path, hidden_size: int) -> dict[str, Any]:
    modules = read_modules(folder)
    return {
        "width": modules.width(hidden_size),
        "pooling": list(modules.pooling.modes),
        "dense": [f"{len(each.weight)} wide, {each.activation}" for each in modules.after if isinstance(each, Dense)],
        "normalized": any(isinstance(each, Normalize) for each in modules.after),
        "limit": modules.max_seq_length,
        "similarity": modules.similarity,
        "prompts": dict(modules.prompts),
    }


def _files(folder: Path) -> dict[str, Bytes]:
    files = ((path.relative_to(folder), path.stat().st_size) for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        name.as_posix(): Bytes(size) for name, size in files if not any(part.startswith(".") for part in name.parts)
    }
