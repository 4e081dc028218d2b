"""How full a pool of threads is: what ran at once, what stood in the queue, for how long."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_truasync._model import CallSite, PoolUse


@dataclass(slots=True)
class Pool:
    """A pool of threads and how full it has been since the last report."""

    key: str
    name: str
    capacity: int
    queued: int = 0
    running: int = 0
    calls: int = 0
    peak_running: int = 0
    peak_queued: int = 0
    longest_wait_ns: int = 0
    total_wait_ns: int = 0
    site: CallSite | None = None

    def submitted(self) -> None:
        """One more call stands in the queue."""
        self.calls += 1
        self.queued += 1

    def started(self, waited_ns: int) -> None:
        """A call left the queue after *waited_ns*."""
        # Those that a free worker takes at once were in no queue.
        self.queued -= 1
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        self.longest_wait_ns = max(self.longest_wait_ns, waited_ns)
        self.total_wait_ns += waited_ns

    def note_queue(self) -> None:
        """Take the length of the queue behind a full pool."""
        if self.capacity:
            waiting = self.queued - max(0, self.capacity - self.running)
            self.peak_queued = max(self.peak_queued, waiting)

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
        )
        self.calls = self.peak_queued = self.longest_wait_ns = self.total_wait_ns = 0
        self.peak_running = self.running
        return use
