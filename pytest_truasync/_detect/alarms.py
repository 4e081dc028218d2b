"""What wakes the sampler: an alarm that is put off again and again.

Whoever waits with a time limit must wake to learn that the limit has moved. Who waits in Python
needs the GIL for that; the alarm of `_native.c` does not, so that it slows nobody down. Without it
the kernel keeps the time on Linux: a timer of POSIX that sends a signal to the sampler's own
thread, which waits for it without the GIL. To put that off is a system call.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from pytest_truasync._detect import native, originals

# Held before the probes replace them.
_wait: Final = type(originals.allocate_lock()).acquire
_wake: Final = type(originals.allocate_lock()).release


_SIGNAL: Final[int] = getattr(signal, "SIGRTMAX", 0) - 5
"""Sent to the sampler's thread alone, which waits for it; there is no handler."""
_TO_THREAD: Final = 4  # SIGEV_THREAD_ID
_MONOTONIC: Final = 1  # CLOCK_MONOTONIC
_NS: Final = 1_000_000_000


class Alarm(Protocol):
    """Rings once, at a time that may still be moved."""

    @property
    def switches(self) -> int | None:
        """How often the thread that waits had gone to sleep when it rang; None where unknown."""

    def set(self, pause_ns: int) -> None:
        """Ring *pause_ns* from now, not when it was to ring before; what is due rings, though."""

    def wait(self) -> None:
        """Sleep until it rings; for one thread, the one that made it."""

    def close(self) -> None:
        """Ring no more."""


class _Event(ctypes.Structure):
    """`struct sigevent` of 64-bit Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_int * 13),
    )


class _Times(ctypes.Structure):
    """`struct itimerspec` of 64-bit Linux."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Timer:
    """An alarm that the kernel keeps, for the calling thread: without the part in C, on Linux.

    Raises:
        OSError: this system has none, or no more of them.
    """

    switches = None
    """Its thread sleeps once for each time that it rings."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux") or sys.maxsize < 2**32 or originals.sigwait is None:
            raise OSError("no timer that sends a signal to a thread")
        try:
            library: Any = ctypes.PyDLL(None)  # keeps the GIL: the times are one for all threads
            create, self._set, self._delete = (
                library.timer_create,
                library.timer_settime,
                library.timer_delete,
            )
        except AttributeError as error:
            raise OSError("no timers in the C library") from error
        signal.pthread_sigmask(signal.SIG_BLOCK, (_SIGNAL,))  # without a handler it ends a process
        event = _Event(None, _SIGNAL, _TO_THREAD, threading.get_native_id())
        timer = ctypes.c_void_p()
        if create(_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
            raise OSError("no more timers")
        self._timer = timer
        self._times = _Times()
        self._at = ctypes.byref(self._times)
        self._open = True
        self.set(1)
        if originals.sigtimedwait is None or originals.sigtimedwait((_SIGNAL,), 1) is None:
            self.close()
            raise OSError("no signal of a timer arrives")

    def set(self, pause_ns: int) -> None:
        """Ring *pause_ns* from now, and not when it was to ring before."""
        if self._open:
            self._times.first_s, self._times.first_ns = divmod(max(pause_ns, 1), _NS)
            self._set(self._timer, 0, self._at, None)

    def wait(self) -> None:
        """Sleep until it rings."""
        if originals.sigwait is not None:
            originals.sigwait((_SIGNAL,))

    def close(self) -> None:
        """Ring no more."""
        self._open = False
        self._delete(self._timer)


class Bell:
    """An alarm on any system: who waits wakes when it was to ring first, and asks again.

    Args:
        clock: nanoseconds.
    """

    switches: int | None = None

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


def alarm(clock: Callable[[], int]) -> Alarm:
    """Return the best alarm of this system, for the calling thread to wait for."""
    if native.Alarm is not None:
        return native.Alarm()
    try:
        return Timer()
    except OSError:
        return Bell(clock)
