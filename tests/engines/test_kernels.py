"""The CPU engine's arithmetic against PyTorch's, and its pool."""

import threading

import numpy as np
import pytest
import torch

from enfold import threads
from enfold.engines.cpu import kernels
from enfold.engines.torch.leaves import ACTIVATIONS
from enfold.threads import in_parallel


@pytest.fixture(autouse=True)
def several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of the work even where the machine has one core."""
    monkeypatch.setattr(threads, "available_cores", lambda: 4)


SIZES = [0, 1, 7, 1 << 17, (1 << 17) + 3, 600_001]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", kernels.ACTIVATIONS)
def test_activations_equal_torch(name: str, size: int) -> None:
    values = (np.random.default_rng(0).standard_normal(size) * 4).astype(np.float32)
    expected = ACTIVATIONS[name](torch.from_numpy(values).double()).numpy()  # some of its float32 kernels are 1e-6 off
    np.testing.assert_allclose(kernels.ACTIVATIONS[name](values.copy()), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", kernels.ACTIVATIONS)
def test_activations_keep_what_is_far_out(name: str) -> None:
    values = np.array([-np.inf, -1e30, -100, -7, -0.0, 0.0, 7, 100, 1e4, np.nan], np.float32)
    ours = kernels.ACTIVATIONS[name](values.copy())
    expected = ACTIVATIONS[name](torch.from_numpy(values[1:].copy())).numpy()
    np.testing.assert_allclose(ours[1:], expected, atol=1e-6)


def test_gelu_is_exact_to_the_rounding_of_float32() -> None:
    values = np.linspace(-10, 10, 400_001).astype(np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(values).double()).numpy()
    assert np.abs(kernels.gelu(values.copy()) - exact).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (200, 768), (2000, 33)])
def test_layer_norm_equals_torch(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    values = (generator.standard_normal(shape) * 3 + 5).astype(np.float32)
    weight, bias = generator.standard_normal((2, shape[1])).astype(np.float32)
    expected = torch.nn.functional.layer_norm(
        torch.from_numpy(values), shape[1:], torch.from_numpy(weight), torch.from_numpy(bias), 1e-5
    )
    np.testing.assert_allclose(
        kernels.layer_norm(values.copy(), weight, bias, 1e-5), expected.numpy(), atol=2e-5, rtol=1e-5
    )


def test_softmax_equals_torch_and_does_not_overflow() -> None:
    scores = (np.random.default_rng(0).standard_normal((3, 4, 50)) * 1e4).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(scores), -1).numpy()
    np.testing.assert_allclose(kernels.softmax(scores.copy()), expected, atol=1e-6)


def test_parts_cover_the_range_once() -> None:
    seen = np.zeros(1000, int)

    def part(begin: int, end: int) -> None:
        seen[begin:end] += 1

    for total in (0, 1, 3, 999):
        seen[:] = 0
        in_parallel(part, total, grain=1)
        assert seen[:total].sum() == total and seen.max(initial=0) <= 1


def test_an_error_in_a_part_reaches_the_caller() -> None:
    def part(begin: int, end: int) -> None:
        if end == 100:
            raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end"):
        in_parallel(part, 100, grain=1)


def test_many_threads_may_use_the_pool() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    expected = kernels.gelu(values.copy())
    wrong = []

    def work() -> None:
        if not np.array_equal(kernels.gelu(values.copy()), expected):
            wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert not wrong
