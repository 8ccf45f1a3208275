"""What goes wrong around a server, and what it does then: only who is concerned hears of it, and work goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.models import build, folder, slow_writer
from tests.serve.running import Running, running

ENDLESS: dict[str, Any] = {"prompt": "a", "max_tokens": 4000, "temperature": 0, "logit_bias": {"3": -100}}
FINE = {"inputs": "a b", "model": "judge"}


@pytest.fixture(scope="module")
def busy() -> Iterator[Running]:
    """A server with a model that may write for long, and one that reads."""
    with running(
        f"slow={slow_writer()}", folder("judge"), threads=1, max_new_tokens=4000, max_bytes=100_000, patience=2
    ) as found:
        yield found


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def figure(server: Running, name: str) -> float:
    page = httpx.get(f"{server.address}/metrics").text
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


def works(server: Running) -> None:
    answer = httpx.post(f"{server.address}/predict", json=FINE, timeout=20)
    assert answer.status_code == 200, answer.text


def raw(server: Running, data: bytes, *, seconds: float = 10) -> bytes:
    """What the server answers to these bytes, until it closes or says no more."""
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        with suppress(OSError):  # it may have closed before all was sent
            link.sendall(data)
        found = b""
        try:
            while part := link.recv(1 << 16):
                found += part
        except OSError:
            pass
        return found


# ── clients ──────────────────────────────────────────────────────────────────


def test_a_client_that_goes_in_mid_stream_is_written_for_no_more(busy: Running) -> None:
    with httpx.stream(
        "POST", f"{busy.address}/v1/completions", json={**ENDLESS, "model": "slow", "stream": True}
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert figure(busy, "enfold_running_jobs") == 1
    until(lambda: figure(busy, "enfold_running_jobs") == 0, 5)
    time.sleep(0.7)
    before = figure(busy, "enfold_written_tokens_total")
    time.sleep(0.7)
    assert figure(busy, "enfold_written_tokens_total") == before


def test_a_client_that_does_not_wait_costs_nothing(busy: Running) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{busy.address}/v1/completions", json={**ENDLESS, "model": "slow"}, timeout=0.5)
    until(lambda: figure(busy, "enfold_running_jobs") == 0, 5)
    until(lambda: any(line["status"] == 499 for line in busy.lines("request")), 5)


def test_a_slow_reader_does_not_hold_others_up(busy: Running) -> None:
    host, port = busy.address.removeprefix("http://").split(":")
    body = json.dumps({**ENDLESS, "model": "slow", "stream": True, "max_tokens": 300}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        link.connect((host, int(port)))
        link.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        for _ in range(5):
            works(busy)
        found = b""
        while b"[DONE]" not in found:
            part = link.recv(4096)
            assert part
            found += part


def test_a_slow_sender_does_not_hold_others_up_and_is_not_waited_for(busy: Running) -> None:
    host, port = busy.address.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as head,
        socket.create_connection((host, int(port))) as body,
    ):
        head.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\n")
        body.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        body.settimeout(10)
        works(busy)
        assert head.recv(1000).startswith(b"HTTP/1.1 408")
        assert body.recv(1000).startswith(b"HTTP/1.1 408")
    works(busy)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02\x03" * 2_500_000, (b"400",)),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 10_000_000, (b"413",)),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(10_000)), (b"431",)),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 10_000_000, (b"431",)),
        (b"GET /" + b"a" * 10_000_000, (b"431", b"400")),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n", (b"400",)),
    ],
)  # fmt: skip
def test_garbage_is_refused(busy: Running, data: bytes, status: tuple[bytes, ...]) -> None:
    found = raw(busy, data)
    # a connection that is closed with bytes unread may take the answer with it
    assert not found or found.startswith(tuple(b"HTTP/1.1 " + each for each in status)), found[:200]
    works(busy)


@pytest.mark.parametrize(
    ("body", "kind", "status", "problem"),
    [
        (b"[" * 50_000, "application/json", 400, "JSON"),
        (b'{"a":' * 19_000, "application/json", 400, "JSON"),
        (b'{"inputs": "\xff\xfe"}', "application/json", 400, "JSON"),
        (b'{"inputs": "\\ud800"}', "application/json", 422, "surrogate"),
        (b'{"inputs": "a"', "application/json", 400, "JSON"),
        (b"inputs=a", "application/x-www-form-urlencoded", 415, "Content-Type: application/json"),
        (b'{"inputs": "a"}', "text/plain", 415, "Content-Type: application/json"),
        (b"", "application/json", 422, "Field required"),
        (b'{"inputs": "' + b"a" * 200_000 + b'"}', "application/json", 413, "100,000 bytes"),
        (b'{"inputs": 1e999}', "application/json", 422, "inputs"),
        (b'{"inputs": "a", "parameters": {"top_k": 99999999999999999999999}}', "application/json", 422, ""),
    ],
)  # fmt: skip
def test_bodies_that_are_not_right(busy: Running, body: bytes, kind: str, status: int, problem: str) -> None:
    path = "/models/judge" if b"parameters" in body else "/predict"
    answer = httpx.post(f"{busy.address}{path}", content=body, headers={"content-type": kind})
    assert answer.status_code == status and problem in answer.json()["error"], answer.text
    works(busy)


# ── workers and models ───────────────────────────────────────────────────────


def children(server: Running) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True)
    return [int(each) for each in listed.stdout.split()]


def test_a_killed_worker_takes_its_own_requests_along_and_no_others(busy: Running) -> None:
    (worker,) = children(busy)
    with ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(httpx.post, f"{busy.address}/v1/completions", json={**ENDLESS, "model": "slow"}, timeout=60)
            for _ in range(2)
        ]
        stream = pool.submit(
            httpx.post, f"{busy.address}/v1/completions", json={**ENDLESS, "model": "slow", "stream": True}, timeout=60
        )
        until(lambda: figure(busy, "enfold_running_jobs") == 3)
        time.sleep(0.3)
        os.kill(worker, signal.SIGKILL)
        later = pool.submit(httpx.post, f"{busy.address}/predict", json=FINE, timeout=60)
        for each in asked:
            answer = each.result()
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "worker_lost"
            assert "Retry-After" in answer.headers
        lines = [line for line in stream.result().text.splitlines() if line]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "worker_lost"
        assert later.result().status_code == 200
    busy.wait_until_ready()
    assert children(busy) != [worker] and figure(busy, "enfold_worker_restarts") == 1
    works(busy)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return build(tmp_path / "own", "bert", "sequence-classification")


def test_a_folder_may_be_deleted_under_a_running_server(own: Path) -> None:
    with running(own, threads=1) as server:
        asked = {"inputs": "a b c"}
        before = httpx.post(f"{server.address}/predict", json=asked).json()
        shutil.rmtree(own)
        assert httpx.post(f"{server.address}/predict", json=asked).json() == before
        other = httpx.post(f"{server.address}/embed", json=asked, timeout=20)  # another head, which is not loaded yet
        assert other.status_code == 503 and "own" in other.json()["error"]
        assert httpx.post(f"{server.address}/reload/own").status_code == 422
        assert httpx.post(f"{server.address}/predict", json=asked).json() == before
        (worker,) = children(server)
        os.kill(worker, signal.SIGKILL)
        until(lambda: server.state()["models"] == {"own": "failed"})
        answer = httpx.post(f"{server.address}/predict", json=asked)
        assert answer.status_code == 503 and "could not be loaded" in answer.json()["error"]


def test_what_was_never_asked_for_needs_no_files_either(own: Path) -> None:
    with running(own, threads=1) as server:
        (own / "config.json").rename(own / "aside")
        assert httpx.post(f"{server.address}/reload/own").status_code == 422
        answer = httpx.post(f"{server.address}/predict", json={"inputs": "a b c", "truncate": True})
        assert answer.status_code == 200, answer.text


def test_a_corrupt_model_leaves_the_old_one_and_a_good_one_takes_its_place(own: Path, tmp_path: Path) -> None:
    asked = {"inputs": "a b c"}
    with running(own, threads=1) as server:
        before = httpx.post(f"{server.address}/predict", json=asked).json()
        better = build(tmp_path / "better", "bert", "sequence-classification", seed=1)
        whole = (own / "model.safetensors").read_bytes()
        (own / "new").write_bytes(whole[: len(whole) // 2])
        (own / "new").replace(own / "model.safetensors")
        answer = httpx.post(f"{server.address}/reload/own")
        assert answer.status_code == 422 and "stays as it was" in answer.json()["error"], answer.text
        assert httpx.post(f"{server.address}/predict", json=asked).json() == before
        assert server.state()["ready"]
        for name in ("config.json", "model.safetensors"):
            shutil.copy(better / name, own / "new")
            (own / "new").replace(own / name)
        failed: list[str] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                found = httpx.post(f"{server.address}/predict", json=asked)
                if found.status_code != 200:
                    failed.append(found.text)

        with ThreadPoolExecutor(2) as pool:
            for _ in range(2):
                pool.submit(ask)
            answer = httpx.post(f"{server.address}/reload/own", timeout=30)
            done.set()
        assert answer.status_code == 200 and not failed
        assert httpx.post(f"{server.address}/predict", json=asked).json() != before


def test_a_model_that_is_not_there_is_told_of_and_others_answer(tmp_path: Path) -> None:
    with running(folder("judge"), f"none={tmp_path / 'nothing'}", ready=False, threads=1) as server:
        until(lambda: server.state()["models"] == {"judge": "ready", "none": "failed"})
        state = server.state()
        assert not state["ready"] and "nothing" in state["errors"]["none"]
        works(server)
        answer = httpx.post(f"{server.address}/models/none", json={"inputs": "a"})
        assert answer.status_code == 503 and "could not be loaded" in answer.json()["error"]


# ── the machine ──────────────────────────────────────────────────────────────


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_for_logs_is_no_reason_to_stop() -> None:
    with running(folder("judge"), threads=1, log_file="/dev/full") as server:
        for _ in range(3):
            works(server)


@pytest.mark.parametrize("flag", ["--keys", "--log-file"])
def test_files_that_can_not_be_opened_end_the_start(flag: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "enfold", "serve", str(folder("judge")), "--port", "0", flag]
    ended = subprocess.run([*command, str(tmp_path / "none" / "file")], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "the server can't begin" in ended.stderr and "none/file" in ended.stderr


def test_a_server_without_any_model_ends_and_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "enfold", "serve", f"one={tmp_path / 'none'}", "enfold:sentimant", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "no model could be loaded: one: " in ended.stderr and "enfold:sentiment" in ended.stderr


def test_ending_finishes_what_runs_and_refuses_the_rest() -> None:
    with running(f"slow={slow_writer()}", threads=1, max_new_tokens=4000) as server, ThreadPoolExecutor(1) as pool:
        asked = {**ENDLESS, "model": "slow", "max_tokens": 250}
        first = pool.submit(httpx.post, f"{server.address}/v1/completions", json=asked, timeout=60)
        until(lambda: figure(server, "enfold_running_jobs") == 1)
        with httpx.Client(base_url=server.address) as open_before:
            assert open_before.get("/ready").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.address}/health")
        answer = first.result()
        assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 250
        assert server.process.wait(20) == 0


def test_what_is_not_done_when_the_grace_is_over_is_told() -> None:
    with running(f"slow={slow_writer()}", threads=1, max_new_tokens=4000, grace=1, slots=1) as server:
        asked = {**ENDLESS, "model": "slow"}
        with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.address, timeout=30) as client:
            with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as stream:
                lines = stream.iter_lines()
                next(lines)
                queued = pool.submit(httpx.post, f"{server.address}/v1/completions", json=asked, timeout=60)
                until(lambda: figure(server, "enfold_queue_requests") == 1)
                server.process.send_signal(signal.SIGTERM)
                events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
            assert events[-1]["error"]["code"] == "ending" and "1 s" in events[-1]["error"]["message"]
            assert queued.result().status_code == 503
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text("utf-8")


def test_a_server_whose_workers_are_told_to_end_leaves_none_behind() -> None:
    with running(folder("judge"), workers=2) as server:
        workers = children(server)
        assert len(workers) == 2
        server.process.kill()
        server.process.wait()
        until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers), 10)


# ── limits ───────────────────────────────────────────────────────────────────


def test_a_full_queue_says_when_to_come_back() -> None:
    with (
        running(f"slow={slow_writer()}", threads=1, slots=1, queue=2, max_new_tokens=4000) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = {**ENDLESS, "model": "slow", "max_tokens": 150}
        answers = list(
            pool.map(lambda _: httpx.post(f"{server.address}/v1/completions", json=asked, timeout=60), range(8))
        )
        statuses = sorted(each.status_code for each in answers)
        assert statuses[0] == 200 and statuses[-1] == 429 and statuses.count(200) in (2, 3, 4)
        full = next(each for each in answers if each.status_code == 429)
        assert int(full.headers["Retry-After"]) >= 1 and full.json()["error"]["type"] == "rate_limit_error"
        assert figure(server, "enfold_refused_total") == statuses.count(429)


def test_a_request_ends_when_its_time_is_over() -> None:
    with running(f"slow={slow_writer()}", threads=1, timeout=0.5, max_new_tokens=4000) as server:
        answer = httpx.post(f"{server.address}/v1/completions", json={**ENDLESS, "model": "slow"}, timeout=20)
        assert answer.status_code == 504 and "0.5 s" in answer.json()["error"]["message"]
        until(lambda: figure(server, "enfold_running_jobs") == 0, 5)


def test_a_request_may_have_so_many_tokens() -> None:
    with running(folder("judge"), threads=1, max_tokens=40) as server:
        assert httpx.post(f"{server.address}/predict", json={"inputs": "a " * 38}).status_code == 200
        answer = httpx.post(f"{server.address}/predict", json={"inputs": ["a " * 20, "b " * 20]})
        assert (
            answer.status_code == 422
            and "44 tokens" in answer.json()["error"]
            and "max_tokens" in answer.json()["error"]
        )


def test_models_are_unloaded_and_loaded_again() -> None:
    with running(folder("judge"), folder("reader"), threads=1, memory="1KB") as server:
        until(lambda: sorted(server.state()["models"].values()) == ["asleep", "ready"])
        for _ in range(2):
            works(server)
            assert httpx.post(f"{server.address}/models/reader", json={"inputs": "a [MASK]"}).status_code == 200
            until(lambda: server.state()["models"] == {"judge": "asleep", "reader": "ready"})


def test_keys_open_the_server(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = made_key(file, "ann")
    assert key not in file.read_text() and oct(file.stat().st_mode & 0o777) == "0o600"
    with running(folder("judge"), threads=1, keys=file) as server, httpx.Client(base_url=server.address) as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": key}, {"x-api-key": key + "x"}):
            answer = client.post("/predict", json=FINE, headers=headers)
            assert answer.status_code == 401 and "WWW-Authenticate" in answer.headers
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            assert client.post("/predict", json=FINE, headers=headers).status_code == 200
        assert server.lines("request")[-1]["key"] == "ann"
        limited = made_key(file, "bob", "--requests-per-minute", "2")  # a key that is added while the server runs
        headers = {"authorization": f"Bearer {limited}"}
        statuses = [client.post("/predict", json=FINE, headers=headers).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert client.post("/reload/judge", headers={"x-api-key": key}).status_code == 403
        operator = {"x-api-key": made_key(file, "cy", "--operator")}
        assert client.post("/reload/judge", headers=operator, timeout=30).status_code == 200
        file.write_text("{")  # an unreadable file leaves the keys as they were
        assert client.post("/predict", json=FINE, headers={"x-api-key": key}).status_code == 200
        assert key not in server.log.read_text()


def made_key(file: Path, name: str, *options: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "enfold", "key", str(file), name, *options], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_browser_asks_without_a_key_whether_it_may_ask(tmp_path: Path) -> None:
    key = made_key(tmp_path / "keys.json", "ann")
    origin = {"origin": "https://example.org"}
    with running(folder("judge"), threads=1, keys=tmp_path / "keys.json", cors="https://example.org") as server:
        first = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        found = httpx.options(f"{server.address}/predict", headers=first)
        assert found.status_code == 200 and "authorization" in found.headers["access-control-allow-headers"].lower()
        for headers, status in (({"authorization": f"Bearer {key}"}, 200), ({}, 401)):
            found = httpx.post(f"{server.address}/predict", json=FINE, headers={**origin, **headers})
            assert found.status_code == status
            assert found.headers["access-control-allow-origin"] == "https://example.org"


def test_pages_of_other_sites_may_ask_only_where_they_are_named() -> None:
    origin = {"origin": "https://example.org"}
    with running(folder("judge"), threads=1, cors="https://example.org") as server:
        found = httpx.post(f"{server.address}/predict", json=FINE, headers=origin)
        assert found.headers["access-control-allow-origin"] == "https://example.org"
        found = httpx.post(f"{server.address}/predict", json=FINE, headers={"origin": "https://example.com"})
        assert "access-control-allow-origin" not in found.headers


def test_a_page_of_another_site_loads_nothing_anew(busy: Running) -> None:
    answer = httpx.post(f"{busy.address}/reload/judge", headers={"origin": "https://example.org"})
    assert answer.status_code == 403


def test_without_names_no_site_may_ask(busy: Running) -> None:
    found = httpx.post(f"{busy.address}/predict", json=FINE, headers={"origin": "https://example.org"})
    assert "access-control-allow-origin" not in found.headers


def test_encrypted_connections(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", tmp_path / "key", "-out", tmp_path / "certificate", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    secure = {"certificate": tmp_path / "certificate", "private_key": tmp_path / "key"}
    with running(folder("judge"), threads=1, ready=False, **secure) as server:
        trusted = ssl.create_default_context(cafile=tmp_path / "certificate")
        address = server.address.replace("http", "https")
        until(lambda: httpx.get(f"{address}/ready", verify=trusted).status_code == 200)
        assert httpx.post(f"{address}/predict", json=FINE, verify=trusted).status_code == 200
        assert "https://127.0.0.1" in server.log.read_text()


def test_a_large_request_does_not_hold_up_a_small_one() -> None:
    with (
        running(folder("judge"), threads=1, token_budget=64, max_tokens=10**6) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        many = {"inputs": ["a b c d e f g h i j " * 5] * 1000, "model": "judge"}
        large = pool.submit(httpx.post, f"{server.address}/embed", json=many, timeout=120)
        until(lambda: figure(server, "enfold_running_jobs") == 1)
        works(server)
        assert not large.done()
        assert large.result().status_code == 200


def test_a_large_request_finds_room_beside_a_busy_model() -> None:
    done = threading.Event()
    with running(f"slow={slow_writer()}", folder("writer"), threads=1, slots=4, timeout=15) as server:

        def flood() -> None:
            while not done.is_set():
                asked = {**ENDLESS, "model": "slow", "max_tokens": 40}
                httpx.post(f"{server.address}/v1/completions", json=asked, timeout=30)

        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(flood)
            until(lambda: figure(server, "enfold_queue_requests") > 0)
            large = {"model": "writer", "prompt": ["a", "b", "c", "d"], "max_tokens": 5}
            answer = httpx.post(f"{server.address}/v1/completions", json=large, timeout=30)
            done.set()
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/models/slow", {"inputs": "a", "parameters": {"num_beams": 5000}}, "num_beams is 5000, expected 1 to 32"),
        ("/models/slow", {"inputs": "a", "parameters": {"output_scores": True}}, "would fill the memory"),
        ("/models/slow", {"inputs": "a", "parameters": {"frequency_penalty": "x"}}, "frequency_penalty is 'x'"),
        ("/models/slow", {"inputs": "a", "parameters": {"stop": [""]}}, "stop is ['']"),
        ("/models/judge", {"inputs": "a", "parameters": {"top_k": "x"}}, "top_k is 'x'"),
        ("/models/slow", {"inputs": "a", "parameters": {"num_beams": 2, "length_penalty": 1e308}}, "too far from 0"),
        ("/models/slow", {"inputs": "a", "parameters": {"details": True, "num_beams": 2}}, "beams don't keep"),
        ("/embed", {"inputs": "a " * 700_000, "model": "judge"}, "more than 262,"),
        ("/models/judge", {"inputs": "a", "parameters": {"candidate_labels": ["x"] * 1025}}, "max_texts"),
        ("/models/judge", {"inputs": "a", "parameters": {"long": {"a": 1}}}, "long is"),
        ("/models/judge", {"inputs": json.loads("[" * 900 + "]" * 900)}, "empty"),
        ("/decode", {"ids": [[5] * 100_000, [6] * 40_000]}, "140,000 token ids"),
        ("/rerank", {"query": "a", "texts": ["b"], "truncate": True, "truncation_direction": "left"}, "at their end"),
        ("/embed_all", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
    ],
)  # fmt: skip
def test_what_would_take_too_much_or_have_no_effect_is_refused(
    path: str, body: Any, problem: str, large: Running
) -> None:
    answer = httpx.post(f"{large.address}{path}", json=body, timeout=60)
    assert answer.status_code == 422 and problem in answer.json()["error"], answer.text[:500]


@pytest.fixture(scope="module")
def large() -> Iterator[Running]:
    """A server with usual limits."""
    with running(f"slow={slow_writer()}", folder("judge"), threads=1) as found:
        yield found


def test_a_model_without_a_limit_is_served(tmp_path: Path) -> None:
    made = build(tmp_path / "endless", "t5", "seq2seq-lm", limit=10**30)
    with running(made, threads=1) as server:
        asked = {"inputs": "a b", "parameters": {"max_new_tokens": 3}}
        assert httpx.post(f"{server.address}/models/endless", json=asked).status_code == 200
        (card,) = httpx.get(f"{server.address}/v1/models").json()["data"]
        assert card["max_length"] is None


def test_who_asks_once_does_not_wait_for_all_of_who_asks_often(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    often, once = made_key(file, "often"), made_key(file, "once")
    ended: list[str] = []
    with running(f"slow={slow_writer()}", threads=1, slots=1, max_new_tokens=4000, keys=file) as server:

        def ask(key: str) -> None:
            body = {**ENDLESS, "model": "slow", "max_tokens": 30}
            headers = {"authorization": f"Bearer {key}"}
            answer = httpx.post(f"{server.address}/v1/completions", json=body, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            ended.append(key)

        with ThreadPoolExecutor(13) as pool:
            asked = [pool.submit(ask, often) for _ in range(12)]
            until(lambda: len(ended) >= 1)
            asked.append(pool.submit(ask, once))
            for each in asked:
                each.result()
    assert ended.index(once) <= 4, [key == once for key in ended]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux' account of shared memory")
def test_workers_share_the_memory_of_files() -> None:
    size = (slow_writer() / "model.safetensors").stat().st_size
    with running(f"slow={slow_writer()}", workers=2, threads=1) as server:
        until(lambda: bool(server.lines("model loaded")))  # in both
        with ThreadPoolExecutor(4) as pool:
            body = {**ENDLESS, "model": "slow", "max_tokens": 50}
            list(pool.map(lambda _: httpx.post(f"{server.address}/v1/completions", json=body, timeout=60), range(4)))
        for worker in children(server):
            lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
            shared = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Shared_")]
            assert sum(shared) > 0.9 * size  # a file that was just written may still be dirty


# ── the log ──────────────────────────────────────────────────────────────────


def test_requests_have_ids_and_are_logged(busy: Running) -> None:
    answer = httpx.post(f"{busy.address}/predict", json=FINE, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    forged = httpx.post(f"{busy.address}/predict", json=FINE, headers={"x-request-id": 'a" injected'})
    assert len(forged.headers["x-request-id"]) == 32
    until(lambda: any(line["id"] == "mine-1" for line in busy.lines("request")), 5)
    (line,) = [line for line in busy.lines("request") if line["id"] == "mine-1"]
    assert (
        line["path"] == "/predict" and line["status"] == 200 and line["model"] == "judge" and line["read_tokens"] == 4
    )
    assert line["client"] == "127.0.0.1"
    assert httpx.get(f"{busy.address}/nothing").status_code == 404
    until(lambda: any(line.get("error") == "not_found" for line in busy.lines("request")), 5)
    assert line["level"] == "info" and line["time"].endswith("Z") and line["ms"] > 0
    assert "a b" not in json.dumps(busy.lines("request"))  # what was asked is nobody's business


def test_figures_are_prometheus(busy: Running) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    works(busy)
    page = httpx.get(f"{busy.address}/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(page)}
    wanted = {
        "enfold_http_requests", "enfold_http_request_seconds", "enfold_job_seconds", "enfold_queue_requests",
        "enfold_batch_tokens", "enfold_step_texts", "enfold_read_tokens", "enfold_written_tokens",
        "enfold_prefix_cache_bytes", "enfold_worker_restarts", "enfold_model_loaded",
    }  # fmt: skip
    assert wanted <= found.keys()
