"""One server of all tiny models for the tests that leave it as it is."""

from collections.abc import Iterator

import httpx
import pytest

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
