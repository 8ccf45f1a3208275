"""Makes writing.json beside this file with the reference's pipelines, on the models of tests/tasks/writers.py.

Run it from the repository's root in an environment with transformers 4.57 (the last release with all of these tasks),
torch, numpy, sentencepiece and safetensors; the folders hold the vocabulary files of GPT-2, t5-small and a Marian
model::

    python -m tests.tasks.golden.make_writing --gpt2 FOLDER --t5 FOLDER --marian FOLDER
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

from tests.tasks.golden.writing_cases import CASES
from tests.tasks.writers import WRITERS, build


def plain(value: Any) -> Any:
    """Records as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in WRITERS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    vocabularies = vars(parser.parse_args())
    made = []
    for task, kind, calls in CASES:
        with tempfile.TemporaryDirectory() as place:
            folder = str(build(kind, vocabularies[kind], Path(place)))
            pipe = transformers.pipeline(task, model=folder, tokenizer=folder, device="cpu")
            records = [plain(pipe(*call["args"], **call["kwargs"])) for call in calls]
        made.append({"task": task, "model": kind, "calls": calls, "records": records})
    versions = {module.__name__: module.__version__ for module in (transformers, torch, numpy)}
    text = json.dumps({"versions": versions, "cases": made}, indent=1, ensure_ascii=False)
    Path(__file__).with_name("writing.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
