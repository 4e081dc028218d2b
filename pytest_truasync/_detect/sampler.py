"""A thread of ours that looks at others: every few milliseconds, while one holds on.

Each look needs the GIL, and to ask for it slows down who has it. So a loop that comes round puts
the next look off: the sampler sleeps for as long as all that is watched comes round in time.
"""

from __future__ import annotations

import _thread
import signal
from collections.abc import Callable
from typing import Final, Protocol

from pytest_truasync._detect import originals
from pytest_truasync._detect.alarms import Alarm, alarm
from pytest_truasync._detect.clocks import Wakes, Waking, await_end
from pytest_truasync._detect.queues import native_id
from pytest_truasync._detect.recorder import ThreadWatch

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
        resting: called when there is none: whoever comes back is to call `start`.
        tick_ns: time from one look to the next.
        clock: nanoseconds.
        threads: those that are looked at; while all of them are parked, or there is none, the alarm
            may rest.
    """

    def __init__(
        self,
        look: Look,
        wanted: Callable[[], bool],
        resting: Callable[[], None],
        tick_ns: int,
        clock: Callable[[], int],
        threads: dict[int, ThreadWatch] | None = None,
    ) -> None:
        self._threads = threads
        self._look = look
        self._wanted = wanted
        self._resting = resting
        self._tick_ns = tick_ns
        self._clock = clock
        self._here = originals.allocate_lock()
        self._gone = originals.allocate_lock()
        self.alarm: Alarm | None = None
        """While its thread runs."""
        self.asleep = True
        """It waits to be called by `start`."""
        self._due_ns = 0
        self._started = False
        self._ending = False
        self._thread = 0

    def start(self) -> None:
        """Begin, or go on."""
        if self._ending and self._started and _wait(self._gone, False):
            self._started = False  # `stop` did not wait for so long, but it has ended
        if not self._started:
            self._started = True
            self._ending = self.asleep = False
            _wait(self._gone, False)  # as the last thread left them
            _wait(self._here, False)
            _start_thread(self._run, ())
            _wait(self._here, True, 1)  # a test that counts threads sees it before, or not at all
        elif self.asleep:
            self.put_off()

    def put_off(self, pause_ns: int = -1) -> None:
        """Look *pause_ns* from now, not when it was planned; by default a tick."""
        self.asleep = False
        self._plan(self._clock(), self._tick_ns if pause_ns < 0 else pause_ns)

    def _plan(self, now: int, pause_ns: int) -> None:
        self._due_ns = now + pause_ns
        if self.alarm is not None:
            self.alarm.set(pause_ns)

    def stop(self) -> bool:
        """End the thread; tell whether it has ended. It may be started again."""
        if not self._started:
            return True
        self._ending = True
        if self.alarm is not None:
            self.alarm.set(0)
        if not _wait(self._gone, True, 1):
            return False
        self._started, self.asleep = False, True
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
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        rings = self.alarm = alarm(self._clock, self._threads, self._tick_ns)
        self._thread = native_id()
        self.put_off()
        _wake(self._here)
        try:
            self._sample(rings)
        finally:
            self.alarm = None
            rings.close()
            _wake(self._gone)

    def _sample(self, rings: Alarm) -> None:
        wakes = Wakes()
        own = originals.get_ident()
        while True:
            if not self._ending:
                rings.wait()
            if self._ending:
                return
            woke = self._clock()
            wakes.note(rings.switches)
            late = woke - self._due_ns - rings.postponed_ns
            if late < 0:  # put off while it waited for the GIL: a loop has come round
                wakes.count_queue()
                self._plan(woke, -late)
            elif self._wanted():
                self._look(own, late_ns=late, why=wakes.why)
                # The look may have had to wait for the GIL itself.
                now = self._clock()
                self._plan(now, max(0, woke + self._tick_ns - now))
            else:
                wakes.count_queue()
                self._sleep()

    def _sleep(self) -> None:
        """Wait until there is a thread to watch, which tells so by `start`."""
        self.asleep = True
        self._resting()
        if self._wanted():  # it came back before it could know
            self.put_off()
