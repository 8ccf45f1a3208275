"""API keys: who may ask, how much, and before whom. A file has hashes alone, so that reading it lets nobody in."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import InputError
from enfold.serve.faults import Fault
from enfold.serve.queue import Priority

__all__ = ["Caller", "Keys", "new_key"]

logger = logging.getLogger("enfold.serve")

_MINUTE_S = 60.0
_PREFIX = "enfold-"


@dataclass
class Caller:
    """Who asks.

    Attributes:
        name: of the key; "" where no keys are needed.
        priority: of its requests.
        requests_per_minute: None for no limit.
        tokens_per_minute: about; None for no limit.
        operator: whether it may load models anew.
    """

    name: str = ""
    priority: Priority = "normal"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    operator: bool = False
    _left: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)
    _clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def spend(self, tokens: int) -> None:
        """Counts a request, of about so many tokens; :meth:`settle` corrects them.

        Raises:
            Fault: 429, there were too many in the last minute; then nothing is counted.
        """
        now = self._clock()
        after = {}
        for kind, amount, limit in (
            ("requests", 1, self.requests_per_minute),
            ("tokens", tokens, self.tokens_per_minute),
        ):
            if limit is None:
                continue
            left, then = self._left.get(kind, (float(limit), now))
            left = min(float(limit), left + max(0.0, now - then) * limit / _MINUTE_S)
            if left < min(amount, limit):
                wait = str(max(1, round((min(amount, limit) - left) * _MINUTE_S / limit)))
                told = f"the key {self.name!r} may spend {limit:,} {kind} a minute, and they are spent: wait {wait} s"
                raise Fault(429, f"{kind}_per_minute", told, headers={"Retry-After": wait})
            after[kind] = (left - amount, now)
        self._left |= after

    def settle(self, guessed: int, spent: int) -> None:
        """A request has ended: the tokens that it took count, not those that were guessed."""
        if "tokens" in self._left:
            left, then = self._left["tokens"]
            self._left["tokens"] = (left + guessed - spent, then)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(path: Path, name: str, **limits: Any) -> str:
    """Adds a key to a file, which is made where it is missing; the key itself is told this once and kept nowhere.

    Args:
        path: the file.
        name: whose key it is.
        limits: ``priority``, ``requests_per_minute``, ``tokens_per_minute``, ``operator``.

    Raises:
        InputError: there is a key of this name, or the file is none of keys.
    """
    entries = _read(path) if path.exists() else []
    if any(entry["name"] == name for entry in entries):
        raise InputError(f"{path} has a key {name!r} already: choose another name, or remove its entry first")
    key = _PREFIX + secrets.token_urlsafe(32)
    known = {each: value for each, value in limits.items() if value is not None}
    entries.append({"name": name, "sha256": _hash(key), **known})
    with atomic_write(path) as file:
        file.write((json.dumps({"keys": entries}, indent=2, ensure_ascii=False) + "\n").encode())
    path.chmod(0o600)
    return key


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text("utf-8"))["keys"]
        for entry in entries:
            Caller(**{name: value for name, value in entry.items() if name != "sha256"})
            if len(entry["sha256"]) != 64 or entry.get("priority", "normal") not in get_args(Priority):
                raise ValueError(f"the entry of {entry['name']!r} is not right")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no file of keys ({error}); expected what 'enfold key' writes: "
            '{"keys": [{"name": …, "sha256": …}]}'
        ) from error
    return list(entries)


class Keys:
    """The keys of a file, read anew when it changes; a file that has become unreadable leaves them as they were.

    Args:
        path: the file.

    Raises:
        InputError: it can't be read, or is none of keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._changed()
        self._callers = self._load(_read(path))

    def _changed(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _load(self, entries: list[dict[str, Any]]) -> dict[str, Caller]:
        made = {}
        for entry in entries:
            limits = {name: value for name, value in entry.items() if name != "sha256"}
            made[entry["sha256"]] = Caller(**limits)
        return made

    def who(self, key: str | None) -> Caller:
        """Whose key it is; every key of the file is compared, in time that doesn't depend on how alike they are.

        Raises:
            Fault: 401, nobody's.
        """
        stamp = self._changed()
        if stamp is not None and stamp != self._stamp:
            self._stamp = stamp
            try:
                fresh = self._load(_read(self._path))
            except InputError as error:
                logger.error("keys stay as they were", extra={"error": str(error)})
                fresh = self._callers
            kept = {_fixed(caller): caller for caller in self._callers.values()}
            self._callers = {each: kept.get(_fixed(caller), caller) for each, caller in fresh.items()}
        given, found = _hash(key or ""), None
        for each, caller in self._callers.items():
            if hmac.compare_digest(each, given):
                found = caller
        if found is None:
            lacking = "no API key was given" if not key else "this API key is not known"
            raise Fault(
                401, "invalid_api_key", f"{lacking}: send a valid one as 'Authorization: Bearer KEY'",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return found


def _fixed(caller: Caller) -> tuple[Any, ...]:
    return caller.name, caller.priority, caller.requests_per_minute, caller.tokens_per_minute, caller.operator
