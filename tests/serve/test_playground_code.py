"""The requests that the playground shows to copy: they run as they stand, and answer what the page shows."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from typing import Any

import pytest

from tests.serve.browsing import Look
from tests.serve.models import folder

HARD = 'it\'s "a" $b `c` \\ 北京 😀\nd ! %'
"""What shells, JSON and Python each read in their own way."""


def test_the_request_as_curl_is_what_the_page_asks(look: Look) -> None:
    look.open(task="token-classification", model="tagger", lang="en")
    look.type(text=HARD)
    with look.page.expect_response("**/pipeline/**") as answered:
        look.run()
    told = subprocess.run(["bash", "-c", look.code("curl")], capture_output=True, check=True, timeout=30).stdout
    assert json.loads(told) == answered.value.json()
    assert json.loads(answered.value.request.post_data)["inputs"] == HARD


@pytest.mark.parametrize(
    ("task", "model", "typed"),
    [
        ("token-classification", "tagger", {"text": HARD}),
        ("text-classification", "judge", {"text": HARD}),
        ("zero-shot-by-embedding", "reader", {"text": HARD, "labels": 'it\'s, "b"'}),
        ("question-answering", "answerer", {"question": "a", "context": HARD}),
        ("sentence-similarity", "reader", {"sentences": HARD}),
        ("text-generation", "writer", {"text": HARD, "max_new_tokens": 5, "temperature": 0}),
        ("summarization", "translator", {"text": HARD, "max_new_tokens": 5}),
        ("tokens", "reader", {"text": HARD}),
        ("embed", "reader", {"text": HARD}),
        ("feature-extraction", "reader", {"text": HARD}),
        ("chat", "writer", {"message": HARD, "max_new_tokens": 5, "temperature": 0}),
    ],
)
def test_the_requests_as_python_run_and_agree(look: Look, task: str, model: str, typed: dict[str, Any]) -> None:
    look.open(task=task, model=model, lang="en")
    look.type(**typed)
    found = look.code("library").replace(f'"{model}"', repr(str(folder(model))))
    library = _printed(found)
    server = _printed(look.code("server"))
    assert library.strip()
    assert server.strip()
    if task in ("token-classification", "sentence-similarity", "text-generation", "summarization", "chat"):
        assert _rounded(library) == _rounded(server)


def _printed(code: str) -> str:
    """What a program prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "playground", "exec"), {})
    return out.getvalue()


def _rounded(text: str) -> str:
    """Numbers with four digits, however arrays and lists are written."""
    text = re.sub(r"\d+\.\d*(e-\d+)?", lambda match: f"{float(match[0]):.3f}", text)
    return re.sub(r"[\s,]+", " ", text)
