"""Makes the golden files of what transformers 5 no longer has: python -m tests.generation.golden.make (4.55 to 4.57).

Made with transformers 4.57.6, torch 2.13.0.
"""

import json
import random
from pathlib import Path

import torch
from transformers.generation.beam_constraints import ConstraintListState, DisjunctiveConstraint, PhrasalConstraint
from transformers.generation.logits_process import HammingDiversityLogitsProcessor

HERE = Path(__file__).parent


def constraint_cases() -> list[dict[str, object]]:
    """Random texts over few tokens, and the state of random constraints after each token."""
    chance = random.Random(3)
    cases = []
    while len(cases) < 60:
        wanted = []
        for _ in range(chance.randint(1, 3)):
            phrases = [[chance.randint(0, 4) for _ in range(chance.randint(1, 4))] for _ in range(chance.randint(1, 3))]
            wanted.append(phrases[0] if len(phrases) == 1 else phrases)
        try:
            constraints = [
                DisjunctiveConstraint(each) if isinstance(each[0], list) else PhrasalConstraint(each) for each in wanted
            ]
        except ValueError:
            continue  # a phrase that begins another one
        state = ConstraintListState(constraints)
        tokens = [chance.randint(0, 4) for _ in range(30)]
        steps = [snapshot(state)]
        for token in tokens:
            state.add(token)
            steps.append(snapshot(state))
        cases.append({"force_words_ids": wanted, "tokens": tokens, "steps": steps})
    return cases


def snapshot(state: ConstraintListState) -> dict[str, object]:
    """What a beam search asks of a state."""
    return {"bank": state.get_bank(), "advance": state.advance() or [], "completed": state.completed}


def diversity_cases() -> list[dict[str, object]]:
    """Four beams in two groups, for two inputs."""
    cases = []
    for seed in range(4):
        torch.manual_seed(seed)
        scores, current = torch.randn(4, 7), torch.randint(0, 7, (8,))
        processor = HammingDiversityLogitsProcessor(0.5 + seed, num_beams=4, num_beam_groups=2)
        processed = processor(torch.zeros(4, 1), scores, current, beam_group_idx=1)
        chosen = [current[0:2].tolist()] * 2 + [current[4:6].tolist()] * 2
        cases.append(
            {"penalty": 0.5 + seed, "scores": scores.tolist(), "chosen": chosen, "processed": processed.tolist()}
        )
    return cases


if __name__ == "__main__":
    (HERE / "constraints.json").write_text(json.dumps(constraint_cases()) + "\n")
    (HERE / "diversity.json").write_text(json.dumps(diversity_cases()) + "\n")
