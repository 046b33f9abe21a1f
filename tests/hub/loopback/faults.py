"""Faults on demand: what a bad network, a broken server or a hostile one does."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """What to do to matching requests.

    Attributes:
        path: regular expression, searched in the path of a request.
        method: None matches all.
        times: how many requests it hits before it is spent.
        status: answer with this error instead.
        delay: seconds to wait before the answer.
        first: called before the request is looked at, e.g. to move a branch.
        cut: bytes of the body to send before the connection breaks.
        size: what the headers say the size is.
        content: sent instead of the true body, with the true headers but for the length.
        lose_answer: do as asked, then break the connection without a word.
    """

    path: str
    method: str | None = None
    times: int = 1
    status: int | None = None
    delay: float = 0.0
    first: Callable[[], object] | None = None
    cut: int | None = None
    size: int | None = None
    content: bytes | None = None
    lose_answer: bool = False
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.hits < self.times and self.method in (None, method) and bool(re.search(self.path, path))


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted as one hit."""
        with self._lock:
            found = next((fault for fault in self._waiting if fault.matches(method, path)), None)
            if found is not None:
                found.hits += 1
            return found
