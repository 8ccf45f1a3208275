"""A pass that fails leaves the cache of its caller as it was."""

from typing import Any

import numpy as np
import pytest

import enfold
from enfold.errors import EnfoldError

SIZES = {
    "gpt2": {"n_embd": 32, "n_head": 2, "n_layer": 2, "vocab_size": 90, "n_positions": 32},
    "bart": {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 90,
        "max_position_embeddings": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("family", SIZES)
def test_a_cache_is_as_it_was_after_a_pass_that_failed(family: str, engine: Any) -> None:
    auto = enfold.AutoModelForCausalLM if family == "gpt2" else enfold.AutoModelForSeq2SeqLM
    model = auto.from_config(enfold.AutoConfig.for_model(family, **SIZES[family]), engine=engine)
    model.eval()
    names = ("input_ids",) if family == "gpt2" else ("input_ids", "decoder_input_ids")
    source, new = np.array([[5, 6, 7, 8], [9, 10, 11, 12]]), np.array([[13], [14]])
    if engine == "torch":
        import torch

        source, new = torch.from_numpy(source), torch.from_numpy(new)
    logits = []
    for fails in (False, True):
        cache = model(**dict.fromkeys(names, source), use_cache=True).past_key_values
        if fails:
            with pytest.raises(EnfoldError):  # found when all is computed
                model(**{names[-1]: new}, past_key_values=cache, labels=source[:, :3])
            assert cache.lengths == [4, 4] and cache.get_seq_length() == 4
        logits.append(np.asarray(model(**{names[-1]: new}, past_key_values=cache).logits.tolist()))
    np.testing.assert_array_equal(*logits)
