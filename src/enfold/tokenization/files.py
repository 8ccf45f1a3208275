"""Reading tokenizer files as data: every failure names the file, what was found and what was expected."""

import json
from pathlib import Path
from typing import Any

from enfold.errors import TokenizerError

__all__ = ["read_bytes", "read_json", "read_json_object", "read_merges", "read_text", "read_vocabulary_json"]
__all__ += ["read_vocabulary_txt"]


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        TokenizerError: the file is missing, empty or can't be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: can't be read ({error.strerror or error}).") from error
    if not content:
        raise TokenizerError(f"{path}: is empty. It was probably not downloaded to its end; fetch it again.")
    return content


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, line ends as they are."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"{path}: is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}). "
            "Tokenizer files are UTF-8; save it again in that encoding."
        ) from error


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    text = read_text(path)
    if text.startswith("version https://git-lfs"):
        raise TokenizerError(f"{path}: is a Git LFS pointer, not the file itself. Run `git lfs pull` in its folder.")
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TokenizerError(f"{path}: is not valid JSON: {error}.") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The value of a JSON file that must hold an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: holds a {type(value).__name__}; a JSON object was expected.")
    return value


def read_vocabulary_json(path: Path) -> dict[str, int]:
    """A ``vocab.json``: token → id."""
    vocabulary = read_json_object(path)
    wrong = [f"{token!r}: {number!r}" for token, number in vocabulary.items() if type(number) is not int or number < 0]
    if wrong:
        raise TokenizerError(f"{path}: maps tokens to ids, but {len(wrong)} ids are not whole numbers: {wrong[:3]}.")
    return vocabulary


def read_vocabulary_txt(path: Path) -> dict[str, int]:
    """A ``vocab.txt``: one token a line, the line number from 0 is its id; a token that stands twice keeps the last."""
    lines = read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return {line.removesuffix("\r"): number for number, line in enumerate(lines)}


def read_merges(path: Path) -> list[tuple[str, str]]:
    """A ``merges.txt``: one pair a line, the best first, after an optional ``#version`` line."""
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"{path}: line {number} is {line!r}; two pieces with one space between were expected.")
        merges.append((left, right))
    return merges
