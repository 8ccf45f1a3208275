"""What a server answers to requests that nobody would send: schemathesis draws them from the OpenAPI page.

A server of tiny models is asked until so many cases were sent; not one may be answered with 500 or above. Names of
models and tasks are drawn from those that there are, as cases that name none never get beyond 404. Usage:
``python benchmarks/fuzzing.py [--cases 10000]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.serve.fuzzing import fuzz  # noqa: E402
from tests.serve.models import KINDS, folder  # noqa: E402
from tests.serve.running import running  # noqa: E402


def main() -> None:
    """Sends cases until there were enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    wanted = parser.parse_args().cases
    models = [folder(name) for name in KINDS]
    sent = 0
    with tempfile.TemporaryDirectory() as home, running(*models, threads=1, max_new_tokens=16, max_texts=20) as server:
        while sent < wanted:
            sent += fuzz(server, max(5, min(150, (wanted - sent) // 40)), Path(home))
            print(f"{sent} cases, none answered with 500 or above", flush=True)
        lines = server.lines("request")
    statuses = sorted({line["status"] for line in lines})
    for status in statuses:
        print(f"{status}: {sum(line['status'] == status for line in lines)}")


if __name__ == "__main__":
    main()
