"""An alarm that the kernel keeps, on Linux: for where there is no part in C."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from typing import Any, Final

from pytest_truasync._detect import originals

_SIGNAL: Final[int] = getattr(signal, "SIGRTMAX", 0) - 5
"""Sent to the sampler's thread alone, which waits for it; there is no handler."""
_TO_THREAD: Final = 4  # SIGEV_THREAD_ID
_MONOTONIC: Final = 1  # CLOCK_MONOTONIC
_NS: Final = 1_000_000_000


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
    postponed_ns = 0

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
