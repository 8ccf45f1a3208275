"""A model folder on this machine."""

from pathlib import Path

from enfold.errors import SourceError

__all__ = ["looks_like_path", "resolve_folder"]


def looks_like_path(text: str) -> bool:
    """Whether `text` can only be meant as a path of this machine, so that no hub is asked about it."""
    return text.startswith((".", "~", "/")) or "\\" in text or Path(text).is_absolute()


def resolve_folder(folder: Path, given: str) -> Path:
    """`folder`, if it is one.

    Raises:
        SourceError: it doesn't exist (names like it are listed), or is a file.
    """
    if folder.is_dir():
        return folder
    if folder.exists():
        raise SourceError(f"{given} is a file; expected the folder of a model, such as {folder.parent}")
    parent = folder.parent
    if not parent.is_dir():
        raise SourceError(f"no folder {given}: its parent {parent} doesn't exist either. Look at the spelling")
    import difflib  # for this message alone

    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    near = difflib.get_close_matches(folder.name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else _listing(parent, names)
    raise SourceError(f"no folder {given}; {hint}")


def _listing(parent: Path, names: list[str]) -> str:
    if not names:
        return f"{parent.absolute()} holds no folders"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"the folders of {parent.absolute()} are {shown}"
