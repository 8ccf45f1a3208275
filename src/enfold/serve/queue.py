"""Who is next: requests that wait, in an order that is fair to those who ask."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

__all__ = ["WEIGHTS", "FairQueue", "Job", "Priority"]

Priority = Literal["high", "normal", "low"]
WEIGHTS: dict[Priority, float] = {"high": 4.0, "normal": 1.0, "low": 0.25}
"""How many times as much of the machine a request gets as a normal one, while there are others."""

_numbers = count(1)


@dataclass(eq=False)
class Job:
    """A request to a model.

    Attributes:
        model: its name.
        do: the job, a name of :data:`enfold.serve.jobs.JOBS`.
        given: what the job needs.
        cost: tokens, about, that it will take.
        texts: texts that it has written at once; 0 where it only reads.
        owner: the key that asks; all who have none are one.
        priority: before others, or after.
        number: no other job has it.
    """

    model: str
    do: str
    given: dict[str, Any]
    cost: int = 1
    texts: int = 0
    owner: str = ""
    priority: Priority = "normal"
    number: int = field(default_factory=lambda: next(_numbers))


class FairQueue:
    """Waiting jobs, by self-clocked fair queueing: each owner gets an equal share, whoever asks for more.

    A job's tag is when it would end if its owner's jobs followed each other on a machine of their own, on a clock that
    shows the tag of the job that was taken last; the lowest tag is next (Golestani, 1994). A job of higher priority
    makes its owner's clock run slower.

    Args:
        most: jobs that may wait.
        most_cost: what all that wait may cost.
    """

    def __init__(self, most: int, most_cost: int) -> None:
        self._most, self._most_cost = most, most_cost
        self._heap: list[tuple[float, int, Job]] = []
        self._waiting: set[Job] = set()
        self._ends: dict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._now = 0.0
        self.cost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def has_room(self, job: Job) -> bool:
        """Whether one more may wait.

        One that is larger than the limit may where nothing else does; and where others have filled the queue, each
        owner still has a share of its own, so that nobody locks the others out.
        """
        if not self._waiting or (len(self) < self._most and self.cost + job.cost <= self._most_cost):
            return True
        others = len(self._counts.keys() - {job.owner})
        return bool(others) and self._counts[job.owner] < self._most // (others + 2)

    def put(self, job: Job) -> None:
        """Adds a job behind those of its owner."""
        tag = max(self._now, self._ends[job.owner]) + job.cost / WEIGHTS[job.priority]
        self._ends[job.owner] = tag
        heapq.heappush(self._heap, (tag, job.number, job))
        self._waiting.add(job)
        self._counts[job.owner] += 1
        self.cost += job.cost

    def discard(self, job: Job) -> None:
        """Takes out a job that nobody waits for any more; its owner is not charged for it."""
        if job in self._waiting:
            self._ends[job.owner] -= job.cost / WEIGHTS[job.priority]
            self._take_out(job)

    def _take_out(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._counts[job.owner] -= 1
            self._counts += Counter()  # without those who have none
            self.cost -= job.cost
            if len(self._heap) > 2 * len(self._waiting) + 16:  # those who left may be large
                self._heap = [each for each in self._heap if each[2] in self._waiting]
                heapq.heapify(self._heap)

    @property
    def next(self) -> Job | None:
        """The job whose turn it is."""
        while self._heap and self._heap[0][2] not in self._waiting:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def pop(self) -> Job | None:
        """Takes the job whose turn it is."""
        job = self.next
        if job is not None:
            self._now, _, _ = heapq.heappop(self._heap)
            self._take_out(job)
            if not self._waiting:
                self._ends.clear()
                self._now = 0.0
        return job
