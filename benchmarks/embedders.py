"""Texts to embeddings with one library in one setting: the contenders of ``encoders.py`` and ``embeddings.py``.

A setting is words as ``int8 batch=32 sorted streams=2``: what to compute in, texts a batch, whether batches are made
of texts of like length, and how many batches are worked on at once, each with its share of the threads. All but enfold
and sentence-transformers get the tokenizer, the batches and the pooling from here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import THREADS, Side, contest, median_seconds, show, times
from peers import BACKENDS, choose_backend, make_ctranslate2, make_onnx

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]
Encode = Callable[[Sequence[Sequence[int]]], Floats]

MANNERS = ("batch=8 sorted", "batch=32 sorted", "batch=8 sorted streams=2", "batch=32 sorted streams=2")
SIDES = {
    "transformers, batch of 32": Side("transformers", ("batch=32",)),
    "transformers, best": Side("transformers", ("batch=1", "batch=1 streams=2", *MANNERS)),
    "sentence-transformers": Side("sentence-transformers", ("batch=32",)),
    **{
        f"CTranslate2 {kind}": Side(
            "ctranslate2", tuple(f"{kind} {manner} {backend}".strip() for backend in backends for manner in MANNERS)
        )
        for kind, backends in {"float32": BACKENDS, "int8": BACKENDS[:1]}.items()
    },
    **{
        f"onnxruntime {kind}": Side(
            "onnxruntime", tuple(f"{kind} {manner}" for manner in ("batch=1", "batch=1 streams=2", *MANNERS))
        )
        for kind in ("float32", "int8", "int8-channels")
    },
    "enfold, torch engine": Side("enfold-torch", ("float32",)),
    "enfold, cpu engine": Side("enfold", ("float32",)),
    "enfold, cpu engine, int8": Side("enfold", ("int8",)),
}
"""By name; the first is what cosines are taken to."""


@dataclass(frozen=True)
class Setting:
    """How a library runs."""

    kind: str = "float32"
    batch: int = 32
    sort: bool = False
    streams: int = 1
    backend: str = ""

    @classmethod
    def read(cls, words: str) -> Setting:
        """From words."""
        given = words.split()
        numbers = {name: int(value) for name, _, value in (word.partition("=") for word in given) if value}
        kind = next((word for word in given if word.startswith(("float", "int"))), "float32")
        backend = next((word for word in given if word in BACKENDS), "")
        return cls(kind, sort="sorted" in given, backend=backend, **numbers)

    @property
    def threads(self) -> int:
        """Threads of one stream."""
        return THREADS // self.streams


def padded(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask, (B, S)."""
    longest = max(len(row) for row in rows)
    ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows])
    return ids, (np.arange(longest) < np.array([[len(row)] for row in rows])).astype(np.int64)


def from_encoder(folder: Path, setting: Setting, encode: Encode) -> Embed:
    """Tokenizes, cuts into batches, pools by the mean and makes vectors of length 1."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    pool = ThreadPoolExecutor(setting.streams)

    def pooled(rows: Sequence[Sequence[int]]) -> Floats:
        mask = padded(rows)[1].astype(np.float32)
        sums = np.matmul(mask[:, None], encode(rows))[:, 0]
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)

    def embed(texts: Sequence[str]) -> Floats:
        rows = [encoded.ids for encoded in tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index])) if setting.sort else range(len(rows))
        batches = [order[at : at + setting.batch] for at in range(0, len(rows), setting.batch)]
        vectors = list(pool.map(lambda batch: pooled([rows[index] for index in batch]), batches))
        result = np.empty((len(rows), vectors[0].shape[1]), np.float32)
        for batch, found in zip(batches, vectors, strict=True):
            result[list(batch)] = found
        return result

    return embed


def transformers_embedder(folder: Path, setting: Setting) -> Embed:
    """As its documentation shows; its pipeline does the same and more."""
    import torch
    import transformers

    torch.set_num_threads(setting.threads)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def encode(rows: Sequence[Sequence[int]]) -> Floats:
        ids, mask = padded(rows)
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        return states.numpy()

    return from_encoder(folder, setting, encode)


def sentence_transformers_embedder(folder: Path, setting: Setting) -> Embed:
    """Its own tokenizer, order and pooling."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=setting.batch)


def ctranslate2_embedder(folder: Path, setting: Setting) -> Embed:
    """It takes padding out itself."""
    choose_backend(setting.backend)
    import ctranslate2

    model = ctranslate2.Encoder(
        str(folder / "ctranslate2"),
        compute_type=setting.kind,
        inter_threads=setting.streams,
        intra_threads=setting.threads,
    )
    return from_encoder(folder, setting, lambda rows: np.array(model.forward_batch(list(rows)).last_hidden_state))


def onnxruntime_embedder(folder: Path, setting: Setting) -> Embed:
    """A session of one thread runs in the caller's, so that several callers run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    path = folder / "onnx" / f"{setting.kind}.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def encode(rows: Sequence[Sequence[int]]) -> Floats:
        ids, mask = padded(rows)
        return session.run(None, {"ids": ids, "mask": mask})[0]

    return from_encoder(folder, setting, encode)


def enfold_embedder(folder: Path, setting: Setting, engine: str = "cpu") -> Embed:
    """As it comes."""
    import enfold

    return enfold.pipeline("embed", enfold.AutoModel.from_pretrained(folder, engine=engine, dtype=setting.kind))


EMBEDDERS = {
    "transformers": transformers_embedder,
    "sentence-transformers": sentence_transformers_embedder,
    "ctranslate2": ctranslate2_embedder,
    "onnxruntime": onnxruntime_embedder,
    "enfold": enfold_embedder,
    "enfold-torch": lambda folder, setting: enfold_embedder(folder, setting, "torch"),
}


def worker(library: str, setting: str, folder: str) -> None:
    """Embeds the folder's texts once a line of input, and leaves the vectors beside them."""
    texts = json.loads(Path(folder, "texts.json").read_text())
    embed = EMBEDDERS[library](Path(folder), Setting.read(setting))
    path = Path(folder, f"{os.getpid()}.npy")
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        vectors = embed(texts)
        seconds = time.perf_counter() - began
        np.save(path, vectors)
        print(json.dumps({"seconds": seconds, "vectors": str(path)}), flush=True)


def compare(
    title: str,
    folder: Path,
    texts: Sequence[str],
    unit: tuple[str, int],
    names: Mapping[str, str],
    options: argparse.Namespace,
) -> None:
    """Makes the peers' formats of a checkpoint with its tokenizer, runs everybody on the texts and prints a table.

    Args:
        title: of the table.
        folder: the checkpoint; the peers' formats are put into it.
        texts: what to embed.
        unit: what is counted, and how many of it the texts are.
        names: the sides to run, and those to be compared with, each with its column.
        options: of the contest.
    """
    (folder / "texts.json").write_text(json.dumps(list(texts)))
    make_ctranslate2(folder, folder / "ctranslate2")
    make_onnx(folder, folder / "onnx")
    results = contest(__file__, {name: SIDES[name] for name in names}, folder, options)
    seconds = median_seconds(results)
    vectors = {name: np.load(runs[0]["vectors"]) for name, runs in results.items()}
    vectors = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    against = {name: column for name, column in names.items() if column}
    rows = []
    for name, value in seconds.items():
        cosines = (vectors[name] * vectors[next(iter(names))]).sum(axis=1)
        ratios = [times(seconds, other, name) for other in against]
        rows.append([name, f"{unit[1] / value:.0f}", *ratios, f"{cosines.mean():.5f}", f"{cosines.min():.5f}"])
    columns = ["", f"{unit[0]}/s", *(f"times {column}" for column in against.values()), "cosine: mean", "least"]
    show(f"{title}, median of {options.rounds}", columns, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", nargs=3, required=True)
    worker(*parser.parse_args().worker)
