"""The module of kernels: which one runs, on how many threads, and that nothing given to it can crash it."""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.engines.cpu import native_module
from enfold.engines.cpu.native_module import native
from tests.native.place import python

compiled = pytest.mark.skipif(native is None, reason=f"no compiled kernels: {native_module.reason}")

SAYS = "from enfold.engines.cpu.native_module import *\nprint(available, isa, reason)"


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = native.threads()
    native.set_threads(4)
    yield
    native.set_threads(before)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def byte_matrix(n: int, k: int, largest: int = 127) -> tuple[Any, ...]:
    """The arguments of Bytes for a random matrix (N, K); from 33 on its sums of eight may not fit sixteen bits."""
    generator = np.random.default_rng(0)
    panels = generator.integers(-largest, largest + 1, (-(-n // 16), -(-k // 16), 4, 16, 4), dtype=np.int8)
    sums = panels.sum(axis=(1, 2, 4), dtype=np.int32).reshape(-1)[:n].copy()
    places = np.arange(0, k, 3, dtype=np.int32)[:2]
    apart = generator.standard_normal((len(places), n), np.float32)
    return panels, generator.uniform(0.001, 0.01, n).astype(np.float32), sums, places, apart, k


def block_matrix(n: int, groups: int) -> tuple[Any, ...]:
    """The arguments of Blocks for a random matrix (N, 32 · groups) of four bits."""
    panels = np.random.default_rng(0).integers(0, 64, (-(-n // 16), groups, 32 * 16 // 2 + 64), dtype=np.uint8)
    return panels, n, 4, 32, True, 8


# --- which kernels run ------------------------------------------------------------------------------------------------


def test_what_runs_is_told() -> None:
    assert native_module.available == (native is not None) == (native_module.isa is not None)
    assert native_module.available == (native_module.reason is None)


def test_numpy_can_be_forced() -> None:
    assert python(SAYS, ENFOLD_ISA="numpy").stdout == "False None ENFOLD_ISA is numpy\n"


@compiled
def test_portable_code_can_be_forced() -> None:
    assert python(SAYS, ENFOLD_ISA="portable").stdout == "True portable None\n"


@compiled
@pytest.mark.parametrize("name", ["sse9", "AVX2", " ", "portable,avx2", "%s%n" * 50])
def test_an_unknown_instruction_set_is_an_error_that_lists_what_there_is(name: str) -> None:
    done = python(SAYS, ENFOLD_ISA=name)
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert (
        error.startswith("enfold.errors.InputError: ENFOLD_ISA is") and name in error and "portable, and numpy" in error
    )


NOT_BUILT = """
import importlib.util, sys
sys.modules.pop("enfold.engines.cpu._native", None)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name.endswith("_native") else find(name)
"""
NOT_LOADED = "import sys\nsys.modules['enfold.engines.cpu._native'] = None"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(NOT_BUILT, "enfold was installed without a compiler"), (NOT_LOADED, "the kernels can't be loaded: ")],
    ids=["not built", "not loaded"],
)
def test_without_the_module_numpy_computes(broken: str, reason: str) -> None:
    product = "from enfold.engines.cpu.matrices import FloatMatrix\nprint(FloatMatrix(two).product(two).tolist())"
    done = python(f"{broken}\n{SAYS}\nimport numpy as np\ntwo = np.full((1, 2), 2, np.float32)\n{product}")
    assert (done.stderr, done.stdout[:11]) == ("", "False None ")
    assert reason in done.stdout and done.stdout.endswith("\n[[8.0]]\n")


PRODUCTS = """
import numpy as np, sys
from enfold.engines.cpu.native_module import native
from tests.engines.test_native import byte_matrix, floats
results = []
for m, n, k in [(1, 1, 1), (1, 50, 33), (5, 33, 7), (17, 16, 64), (50, 40, 100), (7, 3, 513)]:
    for activation in range(6):
        x, bias, gate = floats(m, k), floats(n, seed=1), floats(m, n, seed=2)
        out = np.empty((m, n), np.float32)
        native.gemm_float(x, floats(n, k, seed=3), bias, activation, gate, out)
        results.append(out.copy())
        native.gemm_bytes(x, native.Bytes(*byte_matrix(n, k, largest=32)), bias, activation, gate, out)
        results.append(out)
np.save(sys.stdout.buffer, np.concatenate([each.reshape(-1) for each in results]))
"""


@compiled
def test_instruction_sets_agree(tmp_path: Any) -> None:
    def run(name: str) -> np.ndarray | None:
        file = tmp_path / f"{name}.npy"
        code = PRODUCTS.replace("sys.stdout.buffer", repr(str(file)))
        done = python(code, ENFOLD_ISA=name, ENFOLD_NUM_THREADS="2")
        if "InputError" in done.stderr:
            return None  # not of this machine
        assert done.returncode == 0, done.stderr
        return np.load(file)

    portable = run("portable")
    others = {name: found for name in ("avx2", "avx512", "neon") if (found := run(name)) is not None}
    for found in others.values():
        np.testing.assert_allclose(found, portable, atol=1e-4, rtol=1e-4)


# --- threads ----------------------------------------------------------------------------------------------------------


@compiled
def test_the_number_of_threads_comes_from_the_environment() -> None:
    code = "from enfold.engines.cpu.native_module import native\nprint(native.threads())"
    assert python(code, ENFOLD_NUM_THREADS="3").stdout == "3\n"
    assert python(code, ENFOLD_NUM_THREADS="0").stderr.strip().splitlines()[-1].startswith("enfold.errors.InputError")


@compiled
@pytest.mark.parametrize("count", [0, -1, 1025, 2**31 - 1])
def test_a_number_of_threads_that_cannot_be_meant_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"threads must be 1 to 1024, not {count}"):
        native.set_threads(count)


@compiled
@pytest.mark.usefixtures("four_threads")
def test_several_python_threads_get_their_own_results_while_the_number_changes() -> None:
    x, w = floats(60, 64), floats(100, 64, seed=1)
    expected = x @ w.T
    wrong = []

    def work() -> None:
        out = np.empty((60, 100), np.float32)
        for _ in range(100):
            out[:] = np.nan
            native.gemm_float(x, w, None, 0, None, out)
            if not np.allclose(out, expected, atol=1e-4):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for count in (1, 3, 2, 4, 1, 2):
        native.set_threads(count)
    for each in workers:
        each.join()
    assert not wrong


FORKS = """
import os, warnings, numpy as np
warnings.simplefilter("ignore")  # Python warns of forks beside threads: that they work is what is tested
from enfold.engines.cpu.native_module import native
x, w, out = np.ones((100, 64), np.float32), np.ones((200, 64), np.float32), np.empty((100, 200), np.float32)
def right():
    out[:] = 0
    native.gemm_float(x, w, None, 0, None, out)
    return bool((out == 64).all())
assert right()
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(0 if right() and right() else 7)
    assert right()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("same")
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    done = python(FORKS, ENFOLD_NUM_THREADS="3")
    assert (done.stdout, done.stderr) == ("same\n", "")


@compiled
@pytest.mark.parametrize("rows", [2**40, 2**58])
def test_what_no_machine_holds_is_a_memory_error(rows: int) -> None:
    with pytest.raises(MemoryError):
        native.take(rows, 4)


MEMORY = """
import resource, numpy as np
from enfold.engines.cpu.native_module import native
from tests.engines.test_native import byte_matrix, floats
x, out = np.ones((40, 1 << 20), np.float32), np.empty((40, 16), np.float32)
matrix = native.Bytes(*byte_matrix(16, 1 << 20))
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (24 << 20), held + (24 << 20)))
try:
    native.gemm_bytes(x, matrix, None, 0, None, out)
except MemoryError:
    print("refused")
native.gemm_bytes(x[:1], matrix, None, 0, None, out[:1])
print("goes on")
"""


@compiled
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.skipif("ENFOLD_TEST_NATIVE" in os.environ, reason="AddressSanitizer takes all addresses for itself")
def test_want_of_memory_is_a_memory_error() -> None:
    done = python(MEMORY, ENFOLD_NUM_THREADS="2")
    assert (done.stdout, done.stderr) == ("refused\ngoes on\n", "")


# --- what can't be meant ----------------------------------------------------------------------------------------------


def _lengths(draw: Callable[..., Any], total: int) -> tuple[np.ndarray, np.ndarray]:
    """Where two sequences begin, and how long they are."""
    cut = draw(st.integers(0, total))
    return np.array([0, cut], np.int64), np.array([cut, total - cut], np.int64)


def run_program(width: int, steps: list[Any], arguments: list[Any]) -> None:
    """Writes a program down and runs it."""
    program = native.Program(width)
    for name, each in steps:
        getattr(program, name)(*each)
    program.run(*arguments)


def function(name: str) -> Callable[..., Any]:
    """A function of the module, or :func:`run_program`."""
    found: Callable[..., Any] = run_program if name == "run_program" else getattr(native, name)
    return found


def program_of(m: int, heads: int, size: int, cached: bool) -> list[Any]:
    """What :func:`run_program` takes, for a small layer of ``m`` rows."""
    width = heads * size
    x, projected, mixed, hidden = ((i * width, width, 0, width) for i in (0, 1, 4, 5))
    query, key, value = ((width, 3 * width, i * width, width) for i in range(3))
    projected = (width, 3 * width, 0, 3 * width)
    kind = [heads, heads, size, 0.5, True, 0, False, mixed]
    attend = ("attend_cached", [0, query, (key, value), *kind]) if cached else ("attend", [query, key, value, *kind])
    steps = [
        ("product", [floats(3 * width, width), floats(3 * width), 0, None, x, projected]),
        ("rotate", [key, size]),
        attend,
        ("norm", [mixed, floats(size), None, 1e-5, hidden]),
        ("copy", [query, hidden]),
        ("product", [native.Bytes(*byte_matrix(width, width)), None, 1, hidden, mixed, x]),
        ("join", [[x, hidden], mixed, [(floats(width), floats(width), 1e-5, hidden)]]),
    ]
    store = np.zeros((3, heads, 64, size + 4), np.int8) if cached and m % 2 else floats(3, heads, 64, size)
    begin, count = np.array([0], np.int64), np.array([m], np.int64)
    stored = ([store], [store + 1], np.array([1], np.int64), np.array([2], np.int64), count + 2)
    angles = floats(m, size // 2 * 2), floats(m, size // 2 * 2)
    out = np.empty((m, width), np.float32)
    own = stored if cached else None
    return [6 * width, steps, [[(floats(m, width), x)], hidden, out, begin, count, angles, None, own, None]]


@st.composite
def calls(draw: Callable[..., Any]) -> tuple[str, list[Any]]:
    """A function of the module and arguments that fit it."""
    m, n, k = (draw(st.sampled_from([0, 1, 3, 8, 16, 17, 49])) for _ in range(3))
    groups, ids = draw(st.integers(0, 3)), np.arange(min(m, n))
    heads, size = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 4, 8, 10]))
    width = heads * size
    begin, count = _lengths(draw, m)
    bias = draw(st.sampled_from([None, floats(n)]))
    gate = draw(st.sampled_from([None, floats(m, n)]))
    finish = [bias, draw(st.integers(0, 5)), gate, np.empty((m, n), np.float32)]
    store: Any = floats(3, heads, 20, size)
    if draw(st.booleans()):
        store = np.zeros((3, heads, 20, size + 4), np.int8)
    rows, past = np.array([0, 2], np.int64), np.array([1, 0], np.int64)
    kept = np.minimum(count, 19) + 1
    attention = [0.5, False, draw(st.integers(0, 3)), None, np.empty((m, width), np.float32)]
    x = floats(m, width)
    return draw(
        st.sampled_from(
            [
                ("gemm_float", [floats(m, k), floats(n, k), *finish]),
                ("Bytes", list(byte_matrix(n, k))),
                ("gemm_bytes", [floats(m, k), native.Bytes(*byte_matrix(n, k)), *finish]),
                ("Blocks", list(block_matrix(n, groups))),
                ("gemm_blocks", [floats(m, 32 * groups), native.Blocks(*block_matrix(n, groups)), *finish]),
                (
                    "block_rows",
                    [native.Blocks(*block_matrix(n, groups)), ids, np.empty((len(ids), 32 * groups), np.float32)],
                ),
                ("attend_packed", [x, x + 1, x + 2, heads, heads, size, begin, count, begin, count, *attention]),
                ("attend_stored", [x, store, store + 1, heads, begin, count, rows, kept, *attention]),
                ("keep", [x, x + 1, store, store + 1, begin, np.minimum(count, 19), rows, past]),
                ("rotate", [x, size, floats(m, size // 2 * 2), floats(m, size // 2 * 2)]),
                ("join", [[x, x + 1], x + 2, [(floats(width), None, 1e-5, x + 3)]]),
                ("take", [m, n]),
                ("log_softmax", [floats(m, n)]),
                ("highest", [floats(m, n), np.empty((m, n // 2), np.float32), np.empty((m, n // 2), np.int64)]),
                ("run_program", program_of(m, heads, size, draw(st.booleans()))),
            ]
        )
    )


WRONG_NUMBERS = [
    -1,
    0,
    1,
    2,
    7,
    2**31 - 1,
    2**31,
    2**63 - 1,
    -(2**63),
    2**64,
    0.5,
    float("nan"),
    None,
    "x",
    [],
    object(),
]


@st.composite
def spoilt(draw: Callable[..., Any], value: Any) -> Any:
    """Something else in an argument's place."""
    if isinstance(value, list | tuple) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return type(value)([*value[:at], draw(spoilt(value[at])), *value[at + 1 :]])
    if not isinstance(value, np.ndarray) or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from([*WRONG_NUMBERS, floats(3, 3), floats(0)]))
    how = draw(
        st.sampled_from(["type", "longer", "shorter", "turned", "strided", "fixed", "misaligned", "wild", "flat"])
    )
    if how == "type":
        other = draw(st.sampled_from([np.float64, np.float16, np.int8, np.int32, np.int64, np.bool_, np.complex64]))
        with np.errstate(all="ignore"), warnings.catch_warnings():  # wild numbers fit few types
            warnings.simplefilter("ignore")
            return value.astype(other)
    if how == "longer":
        return np.concatenate([value, value[:1], value[:1]])
    if how == "shorter":
        return value[: len(value) // 2]
    if how == "turned":
        return value.T
    if how == "strided":
        return np.repeat(value, 2, axis=-1)[..., ::2] if draw(st.booleans()) else value[::-1]
    if how == "fixed":
        fixed = value.copy()
        fixed.flags.writeable = False
        return fixed
    if how == "misaligned":
        return (
            np.frombuffer(b"\0" + value.tobytes() + b"\0" * 8, np.uint8)[1 : 1 + value.nbytes]
            .view(value.dtype)
            .reshape(value.shape)
        )
    if how == "flat":
        return value.reshape(-1)
    numbers = [-1, 2**31 - 1, -(2**31), 50] if value.dtype.kind in "iu" else [np.nan, np.inf, -np.inf, 3e38, 1e-40]
    changed = value.copy()
    if changed.size:
        changed.reshape(-1)[draw(st.integers(0, changed.size - 1))] = np.array(draw(st.sampled_from(numbers))).astype(
            value.dtype
        )
    return changed


@compiled
@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_argument_crashes_the_module(data: st.DataObject) -> None:
    name, arguments = data.draw(calls())
    for at in data.draw(st.lists(st.integers(0, len(arguments) - 1), max_size=2)):
        arguments[at] = data.draw(spoilt(arguments[at]))
    native.set_threads(data.draw(st.sampled_from([1, 2])))
    try:
        function(name)(*arguments)
    except (TypeError, ValueError, AttributeError, MemoryError):
        pass
    finally:
        native.set_threads(1)


@compiled
@settings(max_examples=100, deadline=None)
@given(calls())
def test_arguments_that_fit_are_taken(call: tuple[str, list[Any]]) -> None:
    name, arguments = call
    function(name)(*arguments)


@compiled
@pytest.mark.parametrize(
    "spoil",
    [
        lambda out: out.astype(np.float64),
        lambda out: np.asfortranarray(out),
        lambda out: np.broadcast_to(np.float32(0), out.shape),
        lambda out: out.tolist(),
        lambda out: None,
    ],
    ids=["type", "order", "read-only", "list", "none"],
)
def test_an_output_that_would_have_to_be_copied_is_refused(spoil: Callable[[np.ndarray], Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.gemm_float(floats(2, 3), floats(4, 3), None, 0, None, spoil(np.empty((2, 4), np.float32)))


@compiled
def test_scales_that_are_no_numbers_are_refused() -> None:
    for wrong in (np.nan, np.inf):
        arguments = byte_matrix(4, 8)
        arguments[1][2] = wrong
        with pytest.raises(ValueError, match="scales must be finite"):
            native.Bytes(*arguments)


@compiled
def test_places_of_outliers_can_not_be_changed_afterwards() -> None:
    arguments = byte_matrix(4, 8)
    matrix, x, out = native.Bytes(*arguments), floats(3, 8), np.empty((2, 3, 4), np.float32)
    native.gemm_bytes(x, matrix, None, 0, None, out[0])
    arguments[3][:] = 2**30
    native.gemm_bytes(x, matrix, None, 0, None, out[1])
    np.testing.assert_array_equal(out[0], out[1])


@compiled
def test_sizes_that_overflow_do_not_pass_for_small_ones() -> None:
    x, one, heads = floats(3, 4), np.array([3], np.int64), 2**62 + 1  # times four it is four again, in 64 bits
    with pytest.raises(ValueError, match="numbers are too large"):
        native.attend_packed(
            x, x, x, heads, heads, 4, one * 0, one, one * 0, one, 1.0, False, 0, None, np.empty_like(x)
        )
