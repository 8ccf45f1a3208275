"""`TensorView.numpy` gives exact values; `narrow` rounds as torch does and refuses what doesn't fit."""

import numpy as np
import pytest
import torch

from enfold.checkpoint.tensors import DTYPES, TensorView, narrow
from enfold.errors import InputError


def _view(bits: np.ndarray, dtype: str) -> TensorView:
    return TensorView("w", dtype, bits.shape, bits)


def test_every_bfloat16_widens_and_narrows_exactly() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    values = _view(bits, "bfloat16").numpy()
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(values.view(np.uint32), expected.view(np.uint32))
    back = narrow(values, "bfloat16")
    nan = np.isnan(values)
    assert np.array_equal(back[~nan], bits[~nan])
    assert np.isnan(_view(back[nan], "bfloat16").numpy()).all()


def test_narrowing_to_bfloat16_rounds_like_torch() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    values = bits.view(np.float32)
    rounded = torch.from_numpy(values).bfloat16()
    kept = np.isfinite(values) & torch.isfinite(rounded).numpy()
    assert np.array_equal(narrow(values[kept], "bfloat16"), rounded.view(torch.int16).numpy()[kept].view(np.uint16))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_that_overflow_are_refused_but_infinities_are_kept(dtype: str) -> None:
    with pytest.raises(InputError, match="1 values are too large for " + dtype):
        narrow(np.array([1.0, 3.4e38], np.float32), dtype)
    assert np.isinf(_view(narrow(np.array([np.inf], np.float32), dtype), dtype).numpy()).all()


def test_a_change_of_kind_is_refused() -> None:
    with pytest.raises(InputError, match="int64 can't be stored as float32"):
        narrow(np.arange(3, dtype=np.int64), "float32")


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "bfloat16"])
def test_the_stored_type_is_shared_not_copied(dtype: str) -> None:
    array = np.ones((2, 3), dtype)
    assert np.shares_memory(_view(array, dtype).numpy(dtype), array)
    assert np.shares_memory(_view(array, dtype).raw(), array)


def test_strided_and_unaligned_bits_come_out_contiguous_and_aligned() -> None:
    unaligned = np.frombuffer(b"\0" + np.arange(6, dtype=np.float32).tobytes(), np.float32, 6, 1)
    values = _view(unaligned.reshape(2, 3).T, "float32").numpy()
    assert values.flags.c_contiguous
    assert values.flags.aligned
    assert values.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_scalar_keeps_its_empty_shape() -> None:
    assert narrow(np.array(1.5, np.float32), "bfloat16").shape == ()
    assert _view(np.array(0x3FC0, np.uint16), "bfloat16").numpy().shape == ()
    assert _view(np.array(2.0, np.float32), "float32").raw().shape == ()
