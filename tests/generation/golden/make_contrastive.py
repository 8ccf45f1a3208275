"""Makes contrastive.json, what contrastive search wrote: python -m tests.generation.golden.make_contrastive.

Made with transformers 4.55.4 (the last that has it), torch 2.13.0.
"""

import json
from pathlib import Path
from typing import Any

import torch

from tests.generation.golden.weights import CONFIGS, prompts, tiny

HERE = Path(__file__).parent

OPTIONS: list[dict[str, Any]] = [
    {"penalty_alpha": 0.6, "top_k": 4},
    {"penalty_alpha": 0.9, "top_k": 7},
    {"penalty_alpha": 0.3, "top_k": 2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
]


def cases() -> list[dict[str, Any]]:
    """For every model and all options: prompts, and the new tokens of each, which was alone: padding would count."""
    found = []
    for model_type in CONFIGS:
        model = tiny(model_type)
        for number, options in enumerate(OPTIONS):
            rows = prompts(number, rows=3, longest=9)
            new = []
            for row in rows:
                written = model.generate(torch.tensor([row]), max_new_tokens=25, **options)[0].tolist()
                new.append(written[1 if model.config.is_encoder_decoder else len(row) :])
            found.append({"model": model_type, "options": options, "prompts": rows, "new": new})
    return found


if __name__ == "__main__":
    (HERE / "contrastive.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]\n")
