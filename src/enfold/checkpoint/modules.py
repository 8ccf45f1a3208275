"""The folders of sentence-transformers as data: what becomes of an encoder's hidden states until they are an embedding.

::

    modules.json                      the order: Transformer, Pooling, then Dense and Normalize in any order
    1_Pooling/config.json             how tokens become one vector
    2_Dense/config.json + weights     a linear layer with its activation
    3_Normalize/                      to length 1; older releases write nothing into it
    sentence_bert_config.json         max_seq_length and do_lower_case; release 6 keeps them with the tokenizer
    config_sentence_transformers.json prompts and the similarity that the model was trained for

Releases 2 to 6 of sentence-transformers read what is written here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.atomic import atomic_folder, atomic_write
from enfold.checkpoint.files import open_weights, read_json, write_json
from enfold.checkpoint.safetensors import write_safetensors
from enfold.errors import ConfigError, TensorMismatchError, UnsafeFileError

__all__ = ["Dense", "Modules", "Normalize", "Pooling", "PoolingMode", "Similarity", "read_modules", "write_modules"]

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"]
Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

_LEGACY_MODES: Final[Mapping[str, PoolingMode]] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Up to release 5 a switch for each mode; several that are on are joined in this order."""

_ACTIVATIONS: Final[Mapping[str, Literal["tanh", "identity"]]] = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
}
_SENTENCE: Final = "sentence_embedding"
_HOME: Final = "sentence_transformers.models"
_JSON_TYPES: Final = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object"}


@dataclass(frozen=True)
class Pooling:
    """How a text's tokens become one vector; several modes are joined end to end."""

    modes: tuple[PoolingMode, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True, eq=False)
class Dense:
    """A linear layer: ``weight`` (out, in) and ``bias`` (out,), float32, and what follows them."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    activation: Literal["tanh", "identity"] = "tanh"


@dataclass(frozen=True)
class Normalize:
    """To length 1."""


@dataclass(frozen=True)
class Modules:
    """What turns hidden states into embeddings; the defaults are those of a folder without modules.json.

    Attributes:
        pooling: from tokens to a vector.
        after: what follows the pooling, in order.
        max_seq_length: tokens that the model was trained on; None where only model and tokenizer set a limit.
        do_lower_case: texts are lowered before the tokenizer sees them.
        prompts: texts to put before a text, by name.
        default_prompt_name: the one used where the caller names none.
        similarity: what compares two embeddings.
    """

    pooling: Pooling = Pooling()
    after: tuple[Dense | Normalize, ...] = ()
    max_seq_length: int | None = None
    do_lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: Similarity = "cosine"

    def width(self, hidden_size: int) -> int:
        """Numbers of one embedding, on a model of that hidden size."""
        dense = [module for module in self.after if isinstance(module, Dense)]
        return len(dense[-1].weight) if dense else hidden_size * len(self.pooling.modes)


class _Settings:
    """A JSON object whose values are asked for by type; collects what is wrong, to be raised at once."""

    def __init__(self, path: Path, what: str, *, optional: bool = False) -> None:
        self.path, self.what = path, what
        self.values = {} if optional and not path.is_file() else read_json(path, what)
        self.problems: list[str] = []

    def get(self, name: str, kind: type[Any], default: Any) -> Any:
        value = self.values.get(name)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return default if value is None else value
        return self.wrong(name, _JSON_TYPES[kind], default)

    def wrong(self, name: str, expected: str, default: Any = None) -> Any:
        self.problems.append(f"{name} is {self.values.get(name)!r:.60}, expected {expected}")
        return default

    def check(self) -> None:
        if self.problems:
            raise ConfigError(f"{self.path}, {self.what}, can't be used:\n  " + "\n  ".join(self.problems))


def read_modules(folder: str | os.PathLike[str]) -> Modules:
    """The modules of a folder; of one without modules.json the mean of the tokens, not normalised.

    Raises:
        ConfigError: a module that enfold does not compute, or settings of a wrong type, all listed.
        UnsafeFileError: a module that lies outside the folder.
        CheckpointError: the weights of a Dense module are missing, damaged or misshapen.
    """
    folder = Path(folder)
    if not (folder / "modules.json").is_file():
        return Modules()
    entries = _entries(folder / "modules.json")
    pooling = _read_pooling(folder / entries[0][1])
    after = tuple(Normalize() if kind == "Normalize" else _read_dense(folder / path) for kind, path in entries[1:])
    encoder = _Settings(folder / "sentence_bert_config.json", "the encoder's settings", optional=True)
    max_seq_length = encoder.get("max_seq_length", int, None)
    if max_seq_length is not None and max_seq_length < 1:
        encoder.wrong("max_seq_length", "1 or more")
    do_lower_case = encoder.get("do_lower_case", bool, False)
    encoder.check()
    usage = _Settings(folder / "config_sentence_transformers.json", "the embedding's settings", optional=True)
    prompts = usage.get("prompts", dict, {})
    if not all(prompt is None or isinstance(prompt, str) for prompt in prompts.values()):
        usage.wrong("prompts", "texts by name")
    default = usage.get("default_prompt_name", str, None)
    # Release 6 knows these two in every model, empty where the folder does not say otherwise.
    names = {"query", "document", *prompts}
    if default is not None and default not in names:
        usage.wrong("default_prompt_name", f"one of {', '.join(sorted(names))}")
    similarity = usage.get("similarity_fn_name", str, "cosine")
    if similarity not in get_args(Similarity):
        usage.wrong("similarity_fn_name", " or ".join(get_args(Similarity)))
    if usage.get("model_type", str, "SentenceTransformer") != "SentenceTransformer":
        usage.wrong("model_type", "SentenceTransformer: dense embeddings are all that is computed here")
    usage.check()
    return Modules(
        pooling=pooling,
        after=after,
        max_seq_length=max_seq_length,
        do_lower_case=do_lower_case,
        prompts={name: prompt or "" for name, prompt in prompts.items()},
        default_prompt_name=default,
        similarity=similarity,
    )


def _entries(path: Path) -> list[tuple[str, str]]:
    """Class and folder of each module after the encoder: a Pooling, then Dense and Normalize."""
    try:
        listed = json.loads(path.read_bytes())
        entries = [(str(entry["type"]), str(entry["path"])) for entry in listed]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path}, the list of modules, can't be read ({type(error).__name__}: {error}); expected a JSON list of "
            'objects with "type" and "path"'
        ) from error
    for _, place in entries:
        if place and not re.fullmatch(r"\w[\w.-]*", place):
            raise UnsafeFileError(f"{path} names the folder {place!r}; expected folders beside it")
    kinds = [name.rpartition(".")[2] for name, _ in entries]
    own = [name.startswith("sentence_transformers.") for name, _ in entries]
    unknown = [
        name
        for (name, _), kind, official in zip(entries, kinds, own, strict=True)
        if not official or kind not in ("Transformer", "Pooling", "Dense", "Normalize")
    ]
    if unknown:
        raise ConfigError(
            f"{path} has modules that enfold does not compute: {', '.join(unknown)}. "
            "Expected Transformer, Pooling, Dense and Normalize of sentence_transformers"
        )
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]) or entries[0][1]:
        raise ConfigError(
            f"{path} lists {', '.join(kinds) or 'nothing'}; expected a Transformer in the folder itself, a Pooling, "
            "then Dense and Normalize"
        )
    return [(kind, place) for kind, (_, place) in zip(kinds[1:], entries[1:], strict=True)]


def _read_pooling(folder: Path) -> Pooling:
    settings = _Settings(folder / "config.json", "how tokens are pooled")
    named = settings.values.get("pooling_mode")
    if named is None:
        switches = [name for name in settings.values if name.startswith("pooling_mode_")]
        on = [name for name in switches if settings.get(name, bool, False)]
        modes = [mode for name, mode in _LEGACY_MODES.items() if name in on] or ["mean"]
        unknown = [name for name in on if name not in _LEGACY_MODES]
    else:
        modes = list(named) if isinstance(named, list) else [named]
        unknown = [] if all(mode in get_args(PoolingMode) for mode in modes) and modes else ["pooling_mode"]
    for name in unknown:
        settings.wrong(name, f"one or several of {', '.join(get_args(PoolingMode))}")
    include_prompt = settings.get("include_prompt", bool, True)
    settings.check()
    return Pooling(tuple(modes), include_prompt)


def _read_dense(folder: Path) -> Dense:
    settings = _Settings(folder / "config.json", "a Dense module's settings")
    named = settings.get("activation_function", str, "torch.nn.modules.activation.Tanh")
    activation = _ACTIVATIONS.get(named) or settings.wrong("activation_function", " or ".join(_ACTIVATIONS), "tanh")
    if settings.get("use_residual", bool, False):
        settings.wrong("use_residual", "false")
    for name in ("module_input_name", "module_output_name"):
        if settings.get(name, str, _SENTENCE) != _SENTENCE:
            settings.wrong(name, repr(_SENTENCE))
    shape = (settings.get("out_features", int, None), settings.get("in_features", int, None))
    biased = settings.get("bias", bool, True)
    settings.check()
    weights = open_weights(folder)
    expected = {"linear.weight": shape, **({"linear.bias": shape[:1]} if biased else {})}
    found = {name: view.shape for name, view in weights.items()}
    if found != expected:
        raise TensorMismatchError(f"{weights.path} holds {found}, expected {expected} by {settings.path}")
    bias = weights["linear.bias"].numpy("float32") if biased else None
    return Dense(weights["linear.weight"].numpy("float32"), bias, activation)


def write_modules(folder: str | os.PathLike[str], modules: Modules, hidden_size: int) -> None:
    """Writes modules.json, the modules' folders and settings beside an encoder of that hidden size."""
    folder = Path(folder)
    chain = ["Transformer", "Pooling", *(type(module).__name__ for module in modules.after)]
    entries = [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "", "type": f"{_HOME}.{kind}"}
        for index, kind in enumerate(chain)
    ]
    with atomic_folder(folder) as aside:
        for index, kind in enumerate(chain[1:], start=1):
            (aside / f"{index}_{kind}").mkdir()
        write_json(aside / "1_Pooling" / "config.json", _pooling_settings(modules.pooling, hidden_size))
        for index, module in enumerate(modules.after, start=2):
            _write_module(aside / f"{index}_{type(module).__name__}", module)
        encoder = {"max_seq_length": modules.max_seq_length, "do_lower_case": modules.do_lower_case}
        write_json(aside / "sentence_bert_config.json", encoder)
        usage = {
            "prompts": dict(modules.prompts),
            "default_prompt_name": modules.default_prompt_name,
            "similarity_fn_name": modules.similarity,
        }
        write_json(aside / "config_sentence_transformers.json", usage)
        with atomic_write(aside / "modules.json") as file:
            file.write((json.dumps(entries, indent=2) + "\n").encode())


def _pooling_settings(pooling: Pooling, hidden_size: int) -> dict[str, Any]:
    """Switches, which every release reads, where they can say it; their order is fixed, that of a list is not."""
    result: dict[str, Any] = {"word_embedding_dimension": hidden_size}
    if pooling.modes == tuple(mode for mode in _LEGACY_MODES.values() if mode in pooling.modes):
        # The first four are as old as the format; a release that does not know the fifth refuses to see it.
        known = [name for name, mode in _LEGACY_MODES.items() if mode != "weightedmean" or mode in pooling.modes]
        result |= {name: _LEGACY_MODES[name] in pooling.modes for name in known}
    else:
        result["pooling_mode"] = list(pooling.modes)
    return result if pooling.include_prompt else {**result, "include_prompt": False}


def _write_module(folder: Path, module: Dense | Normalize) -> None:
    if isinstance(module, Normalize):
        write_json(folder / "config.json", {"module_input_name": _SENTENCE, "module_output_name": _SENTENCE})
        return
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    out_features, in_features = module.weight.shape
    settings = {
        "in_features": in_features,
        "out_features": out_features,
        "bias": module.bias is not None,
        "activation_function": names[module.activation],
    }
    write_json(folder / "config.json", settings)
    tensors = {"linear.weight": module.weight} | ({} if module.bias is None else {"linear.bias": module.bias})
    write_safetensors(folder / "model.safetensors", {name: (array, "float32") for name, array in tensors.items()})
