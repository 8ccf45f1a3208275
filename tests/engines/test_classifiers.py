"""Classifiers that read a text's last token: packed runs give what padded calls give, as tasks need it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_model
from enfold.packing import pack
from tests.reference import make_reference


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bart", "mbart", "t5"])
def test_packed_runs_equal_padded_calls(model_type: str, engine: str, tmp_path: Path) -> None:
    reference = make_reference(model_type, "sequence-classification", 21, tmp_path)
    model: Any = load_model(tmp_path, "sequence-classification", engine=engine)  # type: ignore[arg-type]
    rows = [ids[mask].numpy() for ids, mask in zip(reference.inputs["input_ids"], reference.mask, strict=True)]
    if model_type == "mbart":  # whose texts end with their language, after the end of the sentence
        rows = [np.append(row, 7 + index) for index, row in enumerate(rows)]
        length = max(len(row) for row in rows)
        padded = np.array([np.pad(row, (0, length - len(row)), constant_values=1) for row in rows])
        reference.inputs.update(input_ids=torch.tensor(padded), attention_mask=torch.tensor(padded != 1).long())
    theirs = reference.outputs().logits.numpy()
    source = model.arch.encoder or model.arch
    for chosen in ([0, 1, 2, 3], [2], [3, 0]):
        ours = model.run(pack(source, [rows[index] for index in chosen]))["logits"]
        np.testing.assert_allclose(ours, theirs[chosen], atol=1e-5 * max(1, np.abs(theirs).max()))


def test_a_text_without_its_end_is_refused(tmp_path: Path) -> None:
    make_reference("bart", "sequence-classification", 21, tmp_path)
    model: Any = load_model(tmp_path, "sequence-classification")
    with pytest.raises(ValueError, match="must end with the end-of-sequence token"):
        model(torch.tensor([[5, 6, 7]]))
