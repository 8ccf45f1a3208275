"""Makes the golden records beside this file with the reference's pipelines, on the models of tests/tasks/tiny.py.

Run it from the repository's root in an environment with transformers 4.57 (the last release with all of these tasks),
torch, numpy and safetensors::

    python -m tests.tasks.golden.make --uncased FOLDER --chinese FOLDER --roberta FOLDER

The folders hold the vocabulary files of bert-base-uncased, bert-base-chinese and roberta-base.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

from tests.tasks.golden.cases import CASES
from tests.tasks.tiny import TOKENIZERS, Tiny, build


def plain(value: Any) -> Any:
    """Records as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def answer(task: str, tiny: Tiny, vocabularies: dict[str, Path], calls: list[dict[str, Any]]) -> list[Any]:
    """The reference's records for the calls on one model."""
    with tempfile.TemporaryDirectory() as folder:
        build(tiny, vocabularies[tiny.vocabulary], Path(folder))
        model_class = getattr(transformers, json.loads((Path(folder) / "config.json").read_text())["architectures"][0])
        model, report = model_class.from_pretrained(folder, output_loading_info=True)
        if any(report.values()):
            raise SystemExit(f"the tiny {tiny} does not fit the reference: {report}")
        pipe = transformers.pipeline(task, model=model, tokenizer=folder, device="cpu")
        return [plain(pipe(*call["args"], **call["kwargs"])) for call in calls]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in TOKENIZERS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    vocabularies = vars(parser.parse_args())
    versions = {module.__name__: module.__version__ for module in (transformers, torch, numpy)}
    for task, models in CASES.items():
        made = [
            {"model": asdict(tiny), "calls": calls, "records": answer(task, tiny, vocabularies, calls)}
            for tiny, calls in models
        ]
        text = json.dumps({"versions": versions, "models": made}, indent=1, ensure_ascii=False)
        Path(__file__).with_name(f"{task}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
