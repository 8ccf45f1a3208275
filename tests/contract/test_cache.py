"""The contract of caches: what follows from a cache is what follows without one, on both engines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_model
from tests.contract.test_parity import TOLERANCE
from tests.reference import CASES, Reference, make_reference

WRITERS = [(model_type, kind) for model_type, kind in CASES if kind in ("causal-lm", "seq2seq-lm")]


def close(ours: Any, theirs: Any) -> None:
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * scale, rtol=0)


def as_engine(engine: str, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    return inputs if engine == "torch" else {name: value.numpy() for name, value in inputs.items()}


def unpadded(reference: Reference, kind: str, rows: int) -> dict[str, torch.Tensor]:
    """The longest row, repeated with other tokens: no padding."""
    ids = reference.inputs["input_ids"][:1].repeat(rows, 1)
    ids[1:] = torch.randint(3, reference.model.config.vocab_size, ids[1:].shape)
    if kind == "causal-lm":
        return {"input_ids": ids}
    return {"input_ids": ids, "decoder_input_ids": ids.flip(1)}


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("model_type", "kind"), WRITERS)
def test_pieces_through_a_cache_equal_the_whole(
    model_type: str, kind: Any, seed: int, engine: str, tmp_path: Path
) -> None:
    reference = make_reference(model_type, kind, 100 + seed, tmp_path)
    inputs = unpadded(reference, kind, rows=3)
    name = "input_ids" if kind == "causal-lm" else "decoder_input_ids"
    whole = inputs.pop(name)
    reference.inputs.clear()
    reference.inputs.update({**inputs, name: whole})
    theirs = reference.outputs().logits.numpy()
    model = load_model(tmp_path, kind, engine=engine)  # type: ignore[arg-type]
    pieces, cache, at = [], None, 0
    for size in (4, 1, 1, whole.shape[1] - 6):
        given = {**inputs, name: whole[:, at : at + size]}
        with torch.no_grad():
            output = model(**as_engine(engine, given), past_key_values=cache, use_cache=True)
        pieces.append(np.asarray(output.logits))
        cache, at = output.past_key_values, at + size
    close(np.concatenate(pieces, axis=1), theirs)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize(("model_type", "kind"), [case for case in WRITERS if case[1] == "causal-lm"])
def test_padded_rows_go_on_from_a_cache(model_type: str, kind: Any, padding: str, engine: str, tmp_path: Path) -> None:
    # the reference counts padding among the tokens of a sliding window, enfold does not
    whole = {"sliding_window": None, "use_sliding_window": False} if padding == "right" else {}
    reference = make_reference(model_type, kind, 7, tmp_path, padding=padding, **whole)
    ids, mask = reference.inputs["input_ids"], reference.inputs["attention_mask"]
    model = load_model(tmp_path, kind, engine=engine)  # type: ignore[arg-type]
    new = torch.randint(3, reference.model.config.vocab_size, (4, 2))
    full = torch.cat([mask, torch.ones_like(new)], dim=1)
    with torch.no_grad():
        first = reference.model(input_ids=ids, attention_mask=mask, use_cache=True)
        theirs = reference.model(input_ids=new, attention_mask=full, past_key_values=first.past_key_values).logits
        start = model(**as_engine(engine, {"input_ids": ids, "attention_mask": mask}))
        given = as_engine(engine, {"input_ids": new, "attention_mask": full})
        ours = model(**given, past_key_values=start.past_key_values).logits
    close(np.asarray(ours), theirs.numpy())
