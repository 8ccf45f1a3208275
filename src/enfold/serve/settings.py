"""What a server may do and how much of it: every limit in one place, with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enfold.errors import InputError
from enfold.machine import available_cores

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server runs.

    Attributes:
        host: the address to listen on; by default this machine alone can reach it.
        port: TCP port, 0 for any that is free.
        workers: processes that compute; each holds every model, and files' pages are shared.
        threads: of each worker; None shares out the cores that the process may use.
        token_budget: tokens of one pass that reads.
        latency_s: seconds that one such pass may take.
        slots: texts that one worker writes at once.
        prefix_bytes: memory, of each model in each worker, for beginnings of chats and prompts.
        queue_requests: requests of one model that may wait.
        queue_tokens: tokens of one model's waiting requests, as far as their length tells.
        timeout_s: seconds that a request may take, waiting included.
        patience_s: seconds to wait for a request's head, and for each further part of its body.
        max_head_bytes: of a request's head.
        max_bytes: of a request's body.
        max_texts: of one request.
        max_tokens: of one request's texts together.
        max_answer_bytes: of the numbers in one answer, four for each.
        max_new_tokens: that one text may be asked for.
        new_tokens: that one text gets where nobody says.
        memory_bytes: of all models together; None for no limit. Beyond it, those that were not asked for longest are
            unloaded, and loaded again when somebody asks.
        keys: file of API keys; None lets everybody in.
        cors: origins whose pages may call the server, ``"*"`` for all.
        certificate: TLS certificate (PEM); ``private_key`` goes with it.
        private_key: of the certificate.
        grace_s: seconds that running requests get when the server is told to end.
        log_file: where lines of JSON go; None for stderr.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    token_budget: int = 1024
    latency_s: float = 0.1
    slots: int = 16
    prefix_bytes: int = 256 << 20
    queue_requests: int = 256
    queue_tokens: int = 1 << 18
    timeout_s: float = 120.0
    patience_s: float = 20.0
    max_head_bytes: int = 1 << 16
    max_bytes: int = 4 << 20
    max_texts: int = 1024
    max_tokens: int = 1 << 17
    max_answer_bytes: int = 64 << 20
    max_new_tokens: int = 4096
    new_tokens: int = 1024
    memory_bytes: int | None = None
    keys: Path | None = None
    cors: tuple[str, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    grace_s: float = 30.0
    log_file: Path | None = None

    def __post_init__(self) -> None:
        least = {"port": 0, "prefix_bytes": 0}
        numbers = [
            name
            for name, value in vars(self).items()
            if isinstance(value, int | float) and not isinstance(value, bool) and value < least.get(name, 1e-3)
        ]
        problems = [f"{name} is {getattr(self, name)}, expected {least.get(name, 'more than 0')}" for name in numbers]
        if self.port > 65535:
            problems.append(f"port is {self.port}, expected 0 to 65535")
        if (self.certificate is None) != (self.private_key is None):
            problems.append("TLS needs both a certificate and its private key, and one is missing")
        if problems:
            raise InputError("; ".join(problems))

    @property
    def worker_threads(self) -> int:
        """Threads of each worker: never more, all together, than the cores that the process may use."""
        return self.threads or max(1, available_cores() // self.workers)
