"""Process start to the first embedding of all-MiniLM-L6-v2, and the memory that BERT-base takes in int8.

A process of its own each time, against sentence-transformers. Then BERT-base's shape: what a process holds after its
first embedding, beside what it holds with the same libraries and no model, and at its peak; enfold from the float32
checkpoint and from what it saves of it in int8, and CTranslate2.

Usage: ``python benchmarks/coldstart.py [--rounds 7]``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ENVIRONMENT, console, describe_machine, median, minilm_folder, show
from encoders import make_model
from peers import make_ctranslate2

OURS = """
import sys, enfold
embed = enfold.pipeline("embed", sys.argv[1], engine="cpu")
print(embed("The quick brown fox jumps over the lazy dog.").shape)
"""
THEIRS = """
import sys
from sentence_transformers import SentenceTransformer
print(SentenceTransformer(sys.argv[1], device="cpu").encode("The quick brown fox jumps over the lazy dog.").shape)
"""
LOADED = """
import sys, enfold
embed = enfold.pipeline("embed", enfold.AutoModel.from_pretrained(sys.argv[1], engine="cpu", dtype={dtype!r}))
print(embed("The quick brown fox jumps over the lazy dog.").shape)
"""
CTRANSLATE2 = """
import sys, numpy, ctranslate2, tokenizers
ids = tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode("The quick brown fox jumps.").ids
model = ctranslate2.Encoder(sys.argv[1] + "/ctranslate2", compute_type="int8", intra_threads=2)
print(numpy.array(model.forward_batch([ids]).last_hidden_state).mean(axis=1)[0].shape)
"""
MEMORY = """
import pathlib
lines = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
kilobytes = [int(lines[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile", "VmHWM")]
print(*kilobytes)
"""


def run(code: str, folder: str) -> str:
    """What a process of its own prints.

    Raises:
        RuntimeError: it failed; the message is the last line of its errors.
    """
    command = [sys.executable, "-c", code, folder]
    # compiled modules are kept, as those of every installed package are
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | ENVIRONMENT
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def start(code: str, folder: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    printed = run(code, folder)
    seconds = time.perf_counter() - began
    assert printed.endswith("(384,)"), printed
    return seconds


def memory_mb(code: str, folder: str) -> list[float]:
    """What the process holds at its end, of it anonymous and of files, and at its peak, in MB (Linux)."""
    return [int(word) / 1024 for word in run(code + MEMORY, folder).split()[-4:]]


def compare_starts(rounds: int) -> None:
    """The first table."""
    folder = minilm_folder()
    contenders = {"sentence-transformers": THEIRS, "enfold": OURS}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, code in contenders.items():
            taken = start(code, folder)
            if turn:
                seconds[name].append(taken)
    slow = median(seconds["sentence-transformers"])
    rows = []
    for name, code in contenders.items():
        value = median(seconds[name])
        rows.append([name, f"{value:.2f} s", f"{memory_mb(code, folder)[-1]:.0f} MB", f"{slow / value:.1f}"])
    columns = ["", "time", "peak memory", "times faster"]
    show(f"Process start to first embedding, median of {rounds}", columns, rows)


def compare_memory(folder: Path) -> None:
    """The second table."""
    plain, small = folder / "model", folder / "int8"
    make_model(plain)
    make_ctranslate2(plain, plain / "ctranslate2")
    save = 'import enfold, sys; enfold.AutoModel.from_pretrained(sys.argv[1], engine="cpu", dtype="int8")'
    save += f".save_pretrained({str(small)!r}); enfold.AutoTokenizer.from_pretrained(sys.argv[1])"
    save += f".save_pretrained({str(small)!r})"
    contenders = {
        "enfold, no model": ("import enfold, enfold.tasks.embed, enfold.engines.cpu.model\n", plain),
        "enfold float32": (LOADED.format(dtype="float32"), plain),
        "enfold int8, from float32": (LOADED.format(dtype="int8"), plain),
        "enfold int8, saved so": (LOADED.format(dtype="int8"), small),
        "CTranslate2 int8, from float32": (CTRANSLATE2, plain),
    }
    rows = []
    for name, (code, source) in contenders.items():
        try:
            if source == small:
                run(save, str(plain))
            rows.append([name, *(f"{value:.0f} MB" for value in memory_mb(code, str(source)))])
        except RuntimeError as error:
            console.print(f"{name}: does not take part: {error}", markup=False)
    show("Memory of BERT-base after its first embedding", ["", "resident", "its own", "of files", "at its peak"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    console.print(describe_machine(("enfold", "sentence-transformers", "ctranslate2", "torch", "numpy", "tokenizers")))
    compare_starts(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        compare_memory(Path(folder))


if __name__ == "__main__":
    main()
