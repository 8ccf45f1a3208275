"""Whether fetching is switched off."""

import os
from typing import Final

__all__ = ["offline_switch"]

_SWITCHES: Final = ("ENFOLD_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def offline_switch(local_files_only: bool) -> str | None:
    """What forbids fetching, in the words of a message; None when nothing does."""
    if local_files_only:
        return "local_files_only=True"
    for name in _SWITCHES:
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name}={os.environ[name]}"
    return None
