"""Labels that a caller proposes."""

import re

__all__ = ["split_labels"]


def split_labels(text: str) -> list[str]:
    """The labels of a text with commas between, Western or Chinese."""
    return [label.strip() for label in re.split("[,，]", text) if label.strip()]
