"""Chat templates in the files of a checkpoint.

Today there is one file, ``chat_template.jinja``, with those of other names beside it in a folder; until 2025 they stood
in ``tokenizer_config.json``, as a text or as a list of names and texts. The files overrule that.
"""

from pathlib import Path

from enfold.errors import TokenizerError
from enfold.tokenization.chat import Templates
from enfold.tokenization.files import read_text

__all__ = ["TEMPLATE_FILES", "read_templates", "write_templates"]

_DEFAULT = "chat_template.jinja"
_FOLDERS = ("chat_templates", "additional_chat_templates")  # the reference writes the second
TEMPLATE_FILES = (_DEFAULT, *(f"{name}/*.jinja" for name in _FOLDERS))


def read_templates(folder: Path) -> Templates:
    """The templates that are files of their own; ``None`` where there are none.

    Raises:
        TokenizerError: a file is empty or not UTF-8.
    """
    file = folder / _DEFAULT
    found = {"default": read_text(file)} if file.is_file() else {}
    for each in filter(Path.is_dir, (folder / name for name in _FOLDERS)):
        found |= {path.stem: read_text(path) for path in sorted(each.glob("*.jinja"))}
    return found["default"] if list(found) == ["default"] else found or None


def write_templates(folder: Path, templates: Templates) -> list[str]:
    """Write templates as files; return their paths inside the folder.

    Raises:
        TokenizerError: a name that is no file name.
    """
    named = {"default": templates} if isinstance(templates, str) else templates or {}
    written = []
    for name, text in named.items():
        if not name or name.startswith(".") or {"/", "\\", "\0"} & set(name):
            raise TokenizerError(f"A chat template is named {name!r}, which can't be a file name. Rename it.")
        path = _DEFAULT if name == "default" else f"{_FOLDERS[1]}/{name}.jinja"
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="")
        written.append(path)
    return written
