"""No request makes the server err, however odd; ``benchmarks/fuzzing.py`` sends ten thousand."""

from pathlib import Path

from tests.serve.fuzzing import fuzz
from tests.serve.running import Running


def test_no_request_makes_the_server_err(server: Running, tmp_path: Path) -> None:
    assert fuzz(server, 4, tmp_path) > 100
