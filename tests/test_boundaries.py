"""The boundaries that keep the tree readable: what may import what, how long a family may be, what import costs."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import enfold
from enfold.families import FAMILIES
from tests.support import minilm

ROOT = Path(enfold.__file__).parent
PEERS = {"transformers", "sentence_transformers", "ctranslate2", "onnxruntime", "llama_cpp", "peft", "accelerate"}


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules that a file imports; with ``top_level`` only those that importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_peer_is_imported() -> None:
    for path in ROOT.rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & PEERS, path


def test_torch_is_imported_only_by_its_engine_and_by_training_or_inside_functions() -> None:
    training = ROOT / "training"
    without = {training / "__init__.py", training / "settings.py", training / "report.py", training / "card.py"}
    for path in ROOT.rglob("*.py"):
        learns = training in path.parents and not {training / "data", training / "metrics"} & set(path.parents)
        if (ROOT / "engines" / "torch") not in path.parents and (not learns or path in without):
            assert not any(name.split(".")[0] == "torch" for name in imports(path, top_level=True)), path


def test_families_do_no_tensor_arithmetic() -> None:
    for path in (ROOT / "families").glob("*.py"):
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & {"numpy", "torch"}, path
        assert not any(
            name.startswith(("enfold.engines", "enfold.wiring", "enfold.layout")) for name in imports(path)
        ), path


def test_wiring_layout_and_engines_name_no_family() -> None:
    foreign = [family for family in FAMILIES if family != "enfold"]  # which is the package's own name, too
    words = {part for family in foreign for part in (family, family.replace("-", "_"))}
    names = re.compile(r"\b(" + "|".join(sorted(words)) + r")\b")
    files = [ROOT / "wiring.py", ROOT / "layout.py", ROOT / "packing.py", *(ROOT / "engines").rglob("*.py")]
    for path in files:
        assert not any(name.startswith("enfold.families") for name in imports(path)), path
        code = ast.parse(path.read_text(encoding="utf-8"))
        strings = [
            node.value for node in ast.walk(code) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        docs = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(code)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        assert not [text for text in strings if text not in docs and names.search(text)], path


def test_a_family_is_at_most_110_lines() -> None:
    for path in (ROOT / "families").glob("*.py"):
        if path.stem not in ("__init__", "base"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 110, path


def test_files_stay_short_enough_to_be_read() -> None:
    for path in ROOT.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_costs_little() -> None:
    code = "import time; t = time.perf_counter(); import enfold; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.05


def test_import_loads_nothing_heavy() -> None:
    heavy = run(
        "import sys, enfold; print(sorted({'numpy', 'torch', 'tokenizers', 'rich', 'click'} & set(sys.modules)))"
    )
    assert heavy.strip() == "[]"


def test_cpu_tasks_never_load_torch() -> None:
    code = f"""
import sys, enfold
folder = {str(minilm())!r}
enfold.pipeline("embed", folder, engine="cpu")(["a text", "another"])
enfold.pipeline("search", folder).index(["one", "two"])
tokenizer = enfold.AutoTokenizer.from_pretrained(folder)
enfold.AutoModel.from_pretrained(folder, engine="cpu")(**tokenizer(["x"], return_tensors="np"))
print(sorted({{"torch", "transformers", "huggingface_hub"}} & set(sys.modules)))
"""
    assert run(code).strip() == "[]"


def installed_bytes(name: str, seen: set[str]) -> int:
    """Bytes of a distribution and of all that it requires without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return 0
    seen.add(key)
    try:
        dist = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:  # a requirement for another platform
        return 0
    size = sum(path.stat().st_size for file in dist.files or () if (path := Path(str(file.locate()))).is_file())
    for requirement in dist.requires or ():
        if "extra ==" not in requirement:
            wanted = re.match(r"[\w.-]+", requirement)
            assert wanted
            size += installed_bytes(wanted[0], seen)
    return size


def test_the_base_install_is_small() -> None:
    seen: set[str] = set()
    size = installed_bytes("enfold", seen) + sum(path.stat().st_size for path in ROOT.rglob("*.py"))
    assert "torch" not in seen and "transformers" not in seen
    assert {"numpy", "tokenizers"} <= seen
    assert size < 150e6, f"{size / 1e6:.0f} MB: {sorted(seen)}"


@pytest.mark.parametrize("model_type", ["xlm-roberta", "camembert"])
def test_a_sibling_is_one_line(model_type: str) -> None:
    lines = (ROOT / "families" / "roberta.py").read_text(encoding="utf-8").splitlines()
    assert sum(f'"{model_type}"' in line for line in lines) == 1
