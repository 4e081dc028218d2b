"""How full a pool of threads is: what ran at once, what stood in the queue, for how long."""

from __future__ import annotations

import weakref
from typing import Any

from pytest_truasync._model import CallSite, PoolUse


class Pool:
    """A pool of threads and how full it has been since the last report.

    Args:
        key: identity of the pool within the run.
        name: for people.
        capacity: of threads; 0 where it is unlimited.
    """

    __slots__ = (
        "calls",
        "capacity",
        "key",
        "longest_wait_ns",
        "name",
        "peak_queued",
        "peak_running",
        "permission",
        "running",
        "site",
        "total_wait_ns",
        "waiting",
    )

    def __init__(self, key: str, name: str, capacity: int) -> None:
        self.key = key
        self.name = name
        self.capacity = capacity
        self.running = self.calls = self.peak_running = self.peak_queued = 0
        self.longest_wait_ns = self.total_wait_ns = 0
        self.site: CallSite | None = None
        self.permission = ""
        self.waiting: dict[int, weakref.ref[Any] | None] = {}
        """Number of a call that stands in the queue → its future or coroutine, as soon as it is
        known. One that is cancelled there never runs, and goes when that is gone."""

    def submitted(self, call: int, site: CallSite | None, permission: str) -> None:
        """One more call stands in the queue; take the length of what stands behind a full pool."""
        if not self.calls:
            self.site, self.permission = site, permission
        self.calls += 1
        self.queued(call)

    def queued(self, call: int) -> None:
        """A call stands in the queue."""
        waiting = self.waiting
        waiting[call] = None
        if len(waiting) + self.running > self.capacity > 0:  # most often there is a thread for each
            behind = len(waiting) - max(0, self.capacity - self.running)
            self.peak_queued = max(self.peak_queued, behind)

    def awaited(self, call: int, answer: Any) -> None:
        """Take note of the future or coroutine of a call that may still stand in the queue."""
        if call in self.waiting:
            waiting = self.waiting
            waiting[call] = weakref.ref(answer, lambda _: waiting.pop(call, None))

    def withdrawn(self, call: int) -> None:
        """A call was refused."""
        self.waiting.pop(call, None)

    @property
    def idle(self) -> bool:
        """No call runs, and none waits but those that are cancelled."""
        return self.running <= 0 and all(
            ref is not None and ((future := ref()) is None or future.done())
            for ref in list(self.waiting.values())
        )

    def left(self, call: int, waited_ns: int) -> None:
        """A call left the queue after *waited_ns*."""
        self.waiting.pop(call, None)
        self.total_wait_ns += waited_ns
        if waited_ns > self.longest_wait_ns:
            self.longest_wait_ns = waited_ns

    def started(self, call: int, waited_ns: int) -> None:
        """A call left the queue after *waited_ns*, and runs."""
        # Those that a free worker takes at once were in no queue.
        self.left(call, waited_ns)
        self.running += 1
        if self.running > self.peak_running:
            self.peak_running = self.running

    def ended(self) -> None:
        """A call ended."""
        self.running -= 1

    def take(self) -> PoolUse | None:
        """Return the use since the last time, if any, and begin anew."""
        if not self.calls:
            return None
        use = PoolUse(
            key=self.key,
            name=self.name,
            capacity=self.capacity,
            calls=self.calls,
            peak_running=self.peak_running,
            peak_queued=max(0, self.peak_queued),
            longest_wait_ns=self.longest_wait_ns if self.peak_queued > 0 else 0,
            total_wait_ns=self.total_wait_ns if self.peak_queued > 0 else 0,
            site=self.site,
            permission=self.permission,
        )
        self.calls = self.peak_queued = self.longest_wait_ns = self.total_wait_ns = 0
        self.peak_running = self.running
        return use
