"""A model folder, or a GGUF file, on this machine."""

from pathlib import Path

from enfold.errors import SourceError

__all__ = ["looks_like_path", "resolve_folder"]


def looks_like_path(text: str) -> bool:
    """Whether `text` can only be meant as a path of this machine, so that no hub is asked about it."""
    return text.startswith((".", "~", "/")) or "\\" in text or Path(text).is_absolute()


def resolve_folder(folder: Path, given: str) -> Path:
    """`folder`, if it is one, or a GGUF file.

    Raises:
        SourceError: it doesn't exist (names like it are listed), or is a file of another kind.
    """
    if folder.is_dir() or (folder.suffix == ".gguf" and folder.is_file()):
        return folder
    if folder.exists():
        raise SourceError(f"{given} is a file; expected the folder of a model, such as {folder.parent}, or a GGUF file")
    kind = "file" if folder.suffix == ".gguf" else "folder"
    parent = folder.parent
    if not parent.is_dir():
        raise SourceError(f"no {kind} {given}: its parent {parent} doesn't exist either. Look at the spelling")
    import difflib  # for this message alone

    names = sorted(entry.name for entry in parent.iterdir() if _is_kind(entry, kind))
    near = difflib.get_close_matches(folder.name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else _listing(parent, kind, names)
    raise SourceError(f"no {kind} {given}; {hint}")


def _is_kind(entry: Path, kind: str) -> bool:
    return entry.is_dir() if kind == "folder" else entry.suffix == ".gguf"


def _listing(parent: Path, kind: str, names: list[str]) -> str:
    what = "folders" if kind == "folder" else "GGUF files"
    if not names:
        return f"{parent.absolute()} holds no {what}"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"the {what} of {parent.absolute()} are {shown}"
