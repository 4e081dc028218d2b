"""A thread of ours that looks at others: every few milliseconds while there is any to look at."""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
from collections.abc import Callable
from typing import Final, Protocol

from pytest_truasync._detect import originals
from pytest_truasync._detect.clocks import Wakes, Waking, await_end

LINGER_NS: Final = 1_000_000_000
"""With nothing to watch the sampler goes on for so long: waking it for each test costs more."""

# Held before the probes replace them.
_start_thread: Final = _thread.start_new_thread
_wait: Final = type(originals.allocate_lock()).acquire
_wake: Final = type(originals.allocate_lock()).release


class Look(Protocol):
    """What is done at each waking."""

    def __call__(self, own: int, *, late_ns: int, why: Callable[[int], Waking]) -> None:
        """Look at each thread once.

        Args:
            own: number of the sampler's thread.
            late_ns: how much later than planned this is.
            why: tells of that time why it was late.
        """


class Sampler:
    """Calls *look* again and again, in a thread of its own.

    Args:
        look: looks at each thread.
        wanted: whether there is a thread to look at.
        tick_ns: time from one look to the next.
        clock: nanoseconds.
    """

    def __init__(
        self, look: Look, wanted: Callable[[], bool], tick_ns: int, clock: Callable[[], int]
    ) -> None:
        self._look = look
        self._wanted = wanted
        self._tick_ns = tick_ns
        self._clock = clock
        self._bell = originals.allocate_lock()
        self._here = originals.allocate_lock()
        self._gone = originals.allocate_lock()
        self.asleep = False
        """It waits to be called by `start`."""
        self._called_ns = 0
        self._started = False
        self._ending = False
        self._thread = 0

    def start(self) -> None:
        """Begin, or go on."""
        if not self._started:
            self._started = True
            self._ending = False
            self._called_ns = self._clock()
            _wait(self._bell, False)  # as the last thread left them
            _wait(self._gone, False)
            _wait(self._here, False)
            _start_thread(self._run, ())
            _wait(self._here, True, 1)  # a test that counts threads sees it before, or not at all
        elif self.asleep:
            self._called_ns = self._clock()
            self.asleep = False
            _wake(self._bell)

    def stop(self) -> bool:
        """End the thread; tell whether it has ended. It may be started again."""
        if not self._started:
            return True
        self._ending = True
        with contextlib.suppress(RuntimeError):
            _wake(self._bell)
        if not _wait(self._gone, True, 1):
            return False
        self._started = self.asleep = False
        return True

    def stop_before_fork(self) -> None:
        """End the thread for the system as well: the interpreter warns of a fork beside others."""
        thread, self._thread = self._thread, 0
        if self._started and self.stop():
            await_end(thread)

    def quit(self) -> None:
        """Make the thread's end its next waking, without waiting for it."""
        self._ending = True

    def _run(self) -> None:
        _wake(self._here)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._sample()
        finally:
            _wake(self._gone)

    def _sample(self) -> None:
        wakes = Wakes(self._clock)
        own = originals.get_ident()
        due = self._called_ns
        idle_ns = 0
        self._thread = threading.get_native_id()
        while not self._ending:
            woke = self._clock()
            late = woke - due
            wakes.note()
            if self._wanted():
                idle_ns = 0
                self._look(own, late_ns=late, why=wakes.why)
            else:
                idle_ns += self._tick_ns
                wakes.why(0)
            if idle_ns < LINGER_NS:
                due = woke + self._tick_ns  # the look may have had to wait for the GIL itself
                if (pause := due - self._clock()) > 0:
                    _wait(self._bell, True, pause / 1e9)
            else:
                idle_ns = 0
                self._sleep()
                due = self._called_ns

    def _sleep(self) -> None:
        """Wait until there is a thread to watch, which is told by the bell."""
        self.asleep = True
        if not self._wanted() and not self._ending:
            _wait(self._bell)
        self.asleep = False
