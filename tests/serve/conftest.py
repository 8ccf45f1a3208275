"""One server of all tiny models for the tests that leave it as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.browsing import Look, browsing, looked_after, page_of
from tests.serve.models import KINDS, folder
from tests.serve.running import Running, running


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """Serves every model of :mod:`tests.serve.models`."""
    with running(*(folder(name) for name in KINDS), threads=1, max_texts=50, max_new_tokens=60) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """Asks that server."""
    with httpx.Client(base_url=server.address, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as long as a file's tests: while it is there, no test of its thread can begin an event loop."""
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Any, server: Running) -> Iterator[Look]:
    """A page of the playground; :func:`look` is what tests take."""
    with page_of(browser, server.address) as found:
        yield found


@pytest.fixture
def look(page: Look, tmp_path: Path) -> Iterator[Look]:
    """The playground on the server of all tiny models."""
    with looked_after(page, tmp_path) as found:
        yield found
