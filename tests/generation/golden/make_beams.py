"""Makes beams.json, searches that transformers 5 no longer has: python -m tests.generation.golden.make_beams.

Made with transformers 4.55.4, torch 2.13.0.
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.generation.beam_search import BeamHypotheses

from tests.generation.golden.tiny import CONFIGS, VOCABULARY, tiny

transformers.utils.logging.set_verbosity_error()

CASES_PER_MODEL = 24

_add = BeamHypotheses.add


def _add_without_path(self: Any, tokens: Any, score: float, beam_indices: Any = None, **given: Any) -> None:
    """The reference fails where some texts have beam_indices and others, of unfulfilled constraints, don't."""
    _add(self, tokens, score, **given)


BeamHypotheses.add = _add_without_path


def group_options(chance: random.Random) -> dict[str, Any]:
    """Diverse groups."""
    groups = chance.choice([2, 3])
    return {
        "num_beams": groups * chance.choice([1, 2, 3]),
        "num_beam_groups": groups,
        "diversity_penalty": chance.choice([0.3, 1.0, 5.0]),
    }


def constrained_options(chance: random.Random) -> dict[str, Any]:
    """Phrases, and choices between phrases."""
    wanted: list[Any] = []
    for _ in range(chance.randint(1, 2)):
        firsts = chance.sample(range(3, VOCABULARY - 1), 2)
        phrases = [[first, *chance.sample(range(3, VOCABULARY - 1), chance.randint(0, 2))] for first in firsts]
        wanted.append(phrases[0] if chance.random() < 0.6 else phrases)
    return {"num_beams": chance.choice([2, 4, 5]), "force_words_ids": wanted}


def options(chance: random.Random, encoder: bool) -> dict[str, Any]:
    """A mode and everything else."""
    made = chance.choice([group_options, constrained_options])(chance)
    made["num_return_sequences"] = chance.randint(1, made["num_beams"])
    made["max_new_tokens"] = chance.choice([4, 8, 14])
    made["length_penalty"] = chance.choice([-1.0, 0.0, 1.0, 2.0])
    made["early_stopping"] = chance.choice([True, False, "never"])
    # more than one end token, so that texts do end; none that is to be written before the end
    demanded = {int(token) for token in re.findall(r"\d+", str(made.get("force_words_ids")))}
    free = [token for token in range(3, VOCABULARY - 1) if token not in demanded]
    made["eos_token_id"] = chance.sample(free, chance.choice([1, 3, 8]))
    extra: dict[str, Any] = chance.choice(
        [{}, {}, {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.4}, {"min_new_tokens": 3}]
    )
    if encoder and chance.random() < 0.3:
        extra = {**extra, "bad_words_ids": [[chance.randint(3, 20)], [5, 6]]}
    if encoder:
        extra = {**extra, "forced_eos_token_id": None}  # BART's configuration has one
    if encoder and chance.random() < 0.3:
        extra = {**extra, "forced_bos_token_id": 1, "forced_eos_token_id": made["eos_token_id"][0]}
    return {**made, **extra}


def prompts(chance: random.Random, encoder: bool, end: int) -> list[list[int]]:
    """Of different lengths."""
    return [
        [chance.randint(3, VOCABULARY - 2) for _ in range(chance.randint(1, 9))] + [end] * encoder for _ in range(3)
    ]


def run(model: Any, rows: list[list[int]], given: dict[str, Any]) -> list[list[Any]]:
    """New tokens and scores of the best texts of each prompt; prompts are padded where they have to be."""
    encoder, pad = model.config.is_encoder_decoder, model.config.pad_token_id
    longest = max(map(len, rows))
    pads = [[pad] * (longest - len(row)) for row in rows]
    ids = [row + fill if encoder else fill + row for row, fill in zip(rows, pads, strict=True)]
    mask = [[1] * len(row) + [0] * len(fill) for row, fill in zip(rows, pads, strict=True)]
    if not encoder:
        mask = [each[::-1] for each in mask]
    answer = model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        return_dict_in_generate=True,
        output_scores=True,
        **given,
    )
    new = answer.sequences[:, 1 if encoder else longest :].tolist()
    best = [[] for _ in rows]
    for place, (tokens, score) in enumerate(zip(new, answer.sequences_scores.tolist(), strict=True)):
        if score > -1e6:  # the others are no texts: rows that were never alive, or that write what is forbidden
            best[place // given["num_return_sequences"]].append(
                [_to_end(tokens, given["eos_token_id"]), round(score, 4)]
            )
    return best


def _to_end(row: list[int], ends: list[int]) -> list[int]:
    return row[: next((place for place, token in enumerate(row, 1) if token in ends), len(row))]


def cases() -> list[dict[str, Any]]:
    """Every model, with what the reference wrote."""
    made = []
    for number, model_type in enumerate(CONFIGS):
        chance = random.Random(number)
        for seed in range(CASES_PER_MODEL):
            model = tiny(model_type, seed)
            encoder = model.config.is_encoder_decoder
            given = options(chance, encoder)
            rows = prompts(chance, encoder, model.config.eos_token_id)
            # padding counts as text for the reference's processors, so that such prompts are given one by one
            looks_back = {"no_repeat_ngram_size", "repetition_penalty"} & {*given} and not encoder
            batches = [[row] for row in rows] if looks_back else [rows]
            best = [texts for batch in batches for texts in run(model, batch, given)]
            made.append({"model": model_type, "seed": seed, "options": given, "prompts": rows, "best": best})
    return made


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in cases())
    (Path(__file__).parent / "beams.json").write_text(f"[\n{lines}\n]\n")
