"""The files that are wanted of a model: chosen from a repository's listing, and checked in a folder."""

import json
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from enfold.checkpoint.files import WEIGHT_FILES
from enfold.checkpoint.sources.want import Want

__all__ = ["gguf_files", "missing_files", "wanted_files"]

# modules.json always comes along, so that what enfold has fetched is never in doubt about it.
_CONFIG: Final = ("config.json", "generation_config.json", "modules.json")
_VOCABULARIES: Final = (
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("*.model",),
    ("*.spm",),
)
_TOKENIZER: Final = (
    *(name for names in _VOCABULARIES for name in names),
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "target_vocab.json",
)
_CHAT_TEMPLATES: Final = ("additional_chat_templates/*.jinja", "chat_templates/*.jinja")
_MODULES: Final = ("sentence_bert_config.json", "config_sentence_transformers.json")
# Folders of sentence-transformers' modules: "1_Pooling", "2_Dense".
_MODULE_FOLDER: Final = re.compile(r"\d+_\w+")


def wanted_files(listing: Collection[str], want: Want, file: str | None = None) -> list[str]:
    """The files of `listing` to fetch, weights last: whoever finds weights finds the rest too.

    GGUF files are models of their own, whatever is wanted of them: the one that is named as `file`, or those of a
    repository without other weights.
    """
    top = [name for name in listing if "/" not in name]
    if ggufs := [file] if file else gguf_files(listing):
        return [name for name in ("README.md", *ggufs) if name in listing]
    patterns = {
        "config": _CONFIG,
        "tokenizer": ("config.json", "modules.json", *_TOKENIZER),
        "model": (*_CONFIG, "README.md"),
    }.get(want, (*_CONFIG, "README.md", *_TOKENIZER, *_MODULES))
    small = [name for name in top if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if "tokenizer_config.json" in patterns:
        small += [name for name in listing if any(fnmatchcase(name, pattern) for pattern in _CHAT_TEMPLATES)]
    if want in ("config", "tokenizer"):
        return small
    weights = _weight_files(top)
    if want != "model":
        for folder in sorted({name.partition("/")[0] for name in listing if "/" in name}):
            if _MODULE_FOLDER.fullmatch(folder):
                inside = [name.removeprefix(f"{folder}/") for name in listing if name.startswith(f"{folder}/")]
                small += [f"{folder}/{name}" for name in inside if fnmatchcase(name, "*.json") or name in _TOKENIZER]
                weights += [f"{folder}/{name}" for name in _weight_files(inside)]
    return small + [name for name in weights if name not in small]


def gguf_files(listing: Collection[str]) -> list[str]:
    """The GGUF files at the top of a repository or folder, unless it has other weights, which come first."""
    if not WEIGHT_FILES.keys().isdisjoint(listing):
        return []
    return sorted(name for name in listing if "/" not in name and name.endswith(".gguf"))


def _weight_files(names: Collection[str]) -> list[str]:
    """The weights among `names` in the one format that would be opened, shards before their index."""
    for name in WEIGHT_FILES:
        if name in names:
            stem, _, rest = name.partition(".")
            suffix = rest.removesuffix(".index.json")
            shards = [other for other in names if fnmatchcase(other, f"{stem}-*-of-*.{suffix}")]
            return [*sorted(shards), name] if rest.endswith(".index.json") else [name]
    return []


def missing_files(folder: Path, want: Want, absent: Path, file: str | None = None) -> list[str]:
    """What `want` asks for and `folder` lacks; a name under `absent` is known not to exist at the source.

    A GGUF file that wasn't named counts only where the source is known to have no other weights.
    """
    if file:
        return [] if (folder / file).is_file() else [file]
    if all((absent / name).exists() for name in WEIGHT_FILES) and gguf_files([each.name for each in folder.iterdir()]):
        return []
    missing = []
    if want != "tokenizer" and not (folder / "config.json").is_file():
        missing.append("config.json")
    if want in ("model", "all", "embedding"):
        missing += _missing_weights(folder)
    # A model without a tokenizer may be all there is, but not what someone wants who asks for a tokenizer.
    none_there = want != "tokenizer" and (absent / "tokenizer.json").exists()
    if want in ("tokenizer", "all", "embedding") and not none_there and not _has_vocabulary(folder):
        missing.append("a tokenizer (tokenizer.json, vocab.txt, …)")
    if want in ("all", "embedding"):
        if (folder / "modules.json").is_file():
            missing += _missing_modules(folder)
        elif want == "embedding" and not (absent / "modules.json").exists():
            missing.append("modules.json")
    return missing


def _has_vocabulary(folder: Path) -> bool:
    present = [entry.name for entry in folder.iterdir() if entry.is_file()]
    return any(all(_any_match(present, name) for name in names) for names in _VOCABULARIES)


def _any_match(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _missing_weights(folder: Path) -> list[str]:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            if not name.endswith(".index.json"):
                return []
            index = _parsed(folder / name)
            weight_map = index.get("weight_map") if isinstance(index, dict) else None
            shards = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
            return [shard for shard in shards if not (folder / shard).is_file()]
    return ["weights (model.safetensors)"]


def _missing_modules(folder: Path) -> list[str]:
    """The folders of modules that have settings: all but Normalize, of which repositories keep no trace."""
    modules = _parsed(folder / "modules.json")
    entries = [entry for entry in modules if isinstance(entry, dict)] if isinstance(modules, list) else []
    paths = [str(entry.get("path")) for entry in entries if not str(entry.get("type")).endswith("Normalize")]
    return [path for path in paths if path and not (folder / path).is_dir()]


def _parsed(path: Path) -> Any:
    """The content of a JSON file, or None: what is wrong with it is for the loader to say."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None
