"""What operators see: counters, gauges and histograms in Prometheus' text format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from enfold.serve.queue import Job

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One server's figures, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("enfold_http_requests", "Answers by route and status", ["route", "status"], **given)
        self.seconds = Histogram(
            "enfold_http_request_seconds", "Seconds from a request's head to its answer's end", ["route"],
            buckets=_SECONDS, **given,
        )  # fmt: skip
        self.jobs = Histogram(
            "enfold_job_seconds", "Seconds that a model's jobs waited and ran", ["model"], buckets=_SECONDS, **given
        )
        self.refused = Counter("enfold_refused", "Requests without room in the queue", ["model"], **given)
        self.queued = Gauge("enfold_queue_requests", "Requests that wait", ["model"], **given)
        self.queued_tokens = Gauge("enfold_queue_tokens", "Tokens that wait, about", ["model"], **given)
        self.running = Gauge("enfold_running_jobs", "Jobs that workers have", ["worker"], **given)
        self.restarts = Gauge(
            "enfold_worker_restarts", "Times that a worker died and was begun anew", ["worker"], **given
        )
        self.loaded = Gauge("enfold_model_loaded", "Whether a model is in memory", ["model"], **given)
        self.read = Counter("enfold_read_tokens", "Tokens that were read", **given)
        self.written = Counter("enfold_written_tokens", "Tokens that were written", **given)
        self.batches = Histogram("enfold_batch_tokens", "Tokens of a pass that reads", buckets=_TOKENS, **given)
        self.steps = Histogram("enfold_step_texts", "Texts of a step that writes", buckets=_TEXTS, **given)
        self.prefix_bytes = Gauge("enfold_prefix_cache_bytes", "Memory of kept beginnings", ["worker"], **given)
        self.prefix_found = Gauge(
            "enfold_prefix_cache_found_tokens", "Prompts' tokens that were copied", ["worker"], **given
        )
        self.prefix_asked = Gauge(
            "enfold_prefix_cache_asked_tokens", "Prompts' tokens that could have been", ["worker"], **given
        )
        self.model_bytes = Gauge("enfold_model_bytes", "Memory of a model's weights in all workers", ["model"], **given)

    def count(self, worker: int, counts: dict[str, Any]) -> None:
        """What a worker did since it last told."""
        number = str(worker)
        self.read.inc(counts["read_tokens"])
        self.written.inc(counts["written_tokens"])
        for tokens in counts["batches"]:
            self.batches.observe(tokens)
        for texts in counts["steps"]:
            self.steps.observe(texts)
        self.prefix_bytes.labels(number).set(counts["prefix_bytes"])
        self.prefix_found.labels(number).set(counts["prefix_found"])
        self.prefix_asked.labels(number).set(counts["prefix_asked"])

    def answered(self, job: Job, seconds: float) -> None:
        """A job's end."""
        self.jobs.labels(job.model).observe(seconds)

    def page(self, dispatcher: Any) -> bytes:
        """Everything, as Prometheus reads it."""
        for model in dispatcher.catalog.models.values():
            held = dispatcher.catalog.is_held(model)
            self.queued.labels(model.name).set(len(model.queue))
            self.queued_tokens.labels(model.name).set(model.queue.cost)
            self.loaded.labels(model.name).set(held)
            self.model_bytes.labels(model.name).set(model.nbytes if held else 0)
        for member in dispatcher.members:
            self.running.labels(str(member.number)).set(len(member.running))
            self.restarts.labels(str(member.number)).set(member.restarts)
        return generate_latest(self.registry)
