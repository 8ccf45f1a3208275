"""Requests that nobody would send, drawn by schemathesis from a server's OpenAPI page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from enfold.tasks.registry import TASKS
from tests.serve.models import KINDS
from tests.serve.running import Running

__all__ = ["fuzz"]

HOOKS = """
import random
import schemathesis

MODELS = {models!r}
TASKS = {tasks!r}

def _chosen(values, name, among):
    if isinstance(values, dict) and name in values and random.random() < 0.9:
        return {{**values, name: random.choice(among)}}
    return values

@schemathesis.hook
def map_body(context, body):
    return _chosen(body, "model", MODELS)

@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return _chosen(_chosen(path_parameters, "model", MODELS), "task", TASKS)

@schemathesis.hook
def map_query(context, query):
    return _chosen(_chosen(query, "model", MODELS), "task", TASKS)
"""


def fuzz(server: Running, examples: int, home: Path) -> int:
    """How many cases were sent in one run.

    Raises:
        AssertionError: a case was answered with 500 or above; says which, and what the server's log has of it.
    """
    (home / "hooks.py").write_text(HOOKS.format(models=list(KINDS), tasks=list(TASKS)))
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{server.address}/openapi.json", "--no-color"]
    command += ["--checks", "not_a_server_error", "--max-examples", str(examples), "--continue-on-failure"]
    hooks = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(home)}
    ran = subprocess.run([*command, "--request-timeout", "60"], capture_output=True, text=True, cwd=home, env=hooks)
    found = re.search(r"(\d+) generated", ran.stdout)
    if ran.returncode or found is None:
        other = [line for line in server.log.read_text("utf-8").splitlines() if '"level": "info"' not in line]
        raise AssertionError("\n".join([ran.stdout, ran.stderr, *other]))
    return int(found[1])
