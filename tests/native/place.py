"""Which kernels are tested: those that are installed, or a build in the folder that ENFOLD_TEST_NATIVE names."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["place", "python"]

_ROOT = Path(__file__).resolve().parents[2]


def place() -> None:
    """Makes ``enfold.engines.cpu._native`` the build of ENFOLD_TEST_NATIVE, where that is set."""
    folder = os.environ.get("ENFOLD_TEST_NATIVE")
    name = "enfold.engines.cpu._native"
    if not folder or name in sys.modules:
        return
    (file,) = (path for path in Path(folder).glob("_native.*") if path.suffix in (".so", ".pyd"))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, with the kernels under test."""
    return subprocess.run(
        [sys.executable, "-c", f"from tests.native.place import place\nplace()\n{code}"],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, **environment},
        timeout=120,
    )
