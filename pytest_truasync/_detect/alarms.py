"""What wakes the sampler: an alarm that is put off again and again.

Whoever waits with a time limit must wake to learn that the limit has moved. Who waits in Python
needs the GIL for that. On Linux the kernel keeps the time: a timer of POSIX that sends a signal to
the sampler's own thread, which waits for it without the GIL and does not notice that it is put off.
That is the alarm of `_native.c`, which also rests while nobody need look; without the part in C
there is one by way of ctypes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

from pytest_truasync._detect import native, originals

# Held before the probes replace them.
_wait: Final = type(originals.allocate_lock()).acquire
_wake: Final = type(originals.allocate_lock()).release


class Alarm(Protocol):
    """Rings once, at a time that may still be moved."""

    @property
    def switches(self) -> int | None:
        """How often the thread that waits had gone to sleep when it rang; None where unknown."""

    @property
    def postponed_ns(self) -> int:
        """For how long it has put itself off since it was set."""

    def set(self, pause_ns: int) -> None:
        """Ring *pause_ns* from now, not when it was to ring before; what is due rings, though."""

    def wait(self) -> None:
        """Sleep until it rings; for one thread, the one that made it."""

    def close(self) -> None:
        """Ring no more."""


class Bell:
    """An alarm on any system: who waits wakes when it was to ring first, and asks again.

    Args:
        clock: nanoseconds.
    """

    switches: int | None = None
    postponed_ns = 0

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = originals.allocate_lock()
        _wait(self._lock)
        self._due_ns: int | None = None
        self._asleep = False
        """Whoever waits does so for ever."""

    def set(self, pause_ns: int) -> None:
        """Ring *pause_ns* from now, not when it was to ring before; what is due rings, though."""
        now = self._clock()
        if self._due_ns is None or self._due_ns > now:
            self._due_ns = now + pause_ns
        if self._asleep or pause_ns <= 0:
            self._asleep = False
            self._ring()

    def _ring(self) -> None:
        try:
            _wake(self._lock)
        except RuntimeError:
            return  # it rings already

    def wait(self) -> None:
        """Sleep until it rings."""
        while True:
            self._asleep = True  # before the question: who sets it from now on rings
            due = self._due_ns
            if due is None:
                self._count()
                _wait(self._lock)
                continue
            self._asleep = False
            pause = due - self._clock()
            if pause <= 0:
                self._due_ns = None
                return
            self._count()
            _wait(self._lock, True, pause / 1e9)

    def _count(self) -> None:
        """Count the sleep to come; those after it are waits for the GIL."""
        if originals.thread_usage is not None:
            self.switches = originals.thread_usage().ru_nvcsw + 1

    def close(self) -> None:
        """Ring no more."""


# Imported now: later that might run code which a test has replaced. ctypes takes a while to load.
_timer: Final[Callable[[], Alarm] | None] = (
    import_module("pytest_truasync._detect.timers").Timer if native.Alarm is None else None
)


def alarm(
    clock: Callable[[], int], threads: dict[int, Any] | None = None, tick_ns: int = 0
) -> Alarm:
    """Return the best alarm of this system, for the calling thread to wait for.

    Args:
        clock: nanoseconds.
        threads: while all of these wait for events, or there is none, the alarm may rest.
        tick_ns: from when one of them comes back to when it rings.
    """
    if native.Alarm is not None:
        return native.Alarm() if threads is None else native.Alarm(threads, tick_ns)
    try:
        return _timer() if _timer is not None else Bell(clock)
    except OSError:
        return Bell(clock)
