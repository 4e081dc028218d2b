"""How long a thread stood in the queue for a processor, which Linux tells in small files."""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib import import_module
from typing import Any, Final

from pytest_truasync._detect import native, originals

_QUEUE: Final = b"/proc/self/task/%d/schedstat"
_STATE: Final = b"/proc/self/task/%d/stat"
_FIRST_NUMBER: Final = 200
"""Of the descriptors that are kept: who looks at the lowest free ones finds them as ever."""

# Held before the probes replace them.
native_id: Final = threading.get_native_id
_close: Final = os.close
_status: Final = os.fstat

_core: Final[Any] = (
    native if native.read_file is not None else import_module("pytest_truasync._detect.by_address")
)
_kept: Final[dict[int, QueueFile]] = {}
"""Thread → the file of it that is open."""


class QueueFile:
    """The file of the calling thread, kept open: to look up its name takes ten times as long.

    Made before any test, for the thread that runs them: who counts or lists the open files of the
    process sees no change. Without the part in C, and where there is one already, it is none.
    """

    def __init__(self) -> None:
        self._thread = native_id()
        self._number = -1
        if native.open_high is not None and self._thread not in _kept:
            # Not `os.open`: audit hooks hear of that.
            self._number = native.open_high(_QUEUE % self._thread, _FIRST_NUMBER)
        if self._number >= 0:
            self._identity = _status(self._number).st_ino
            _kept[self._thread] = self

    def read(self) -> tuple[int, int] | None:
        """Return what `queue_of` does; None, for good, where somebody has closed it."""
        found = native.read_queue(self._number) if native.read_queue is not None else None
        if found is None:
            self.leave()
        return found

    def leave(self) -> None:
        """Read it no more."""
        if _kept.get(self._thread) is self:
            del _kept[self._thread]

    def close(self) -> None:
        """Give the number back, if it is still ours."""
        self.leave()
        number, self._number = self._number, -1
        if number < 0:
            return
        try:
            if _status(number).st_ino == self._identity:
                _close(number)
        except OSError:  # somebody has closed it
            return


_read: Final = _core.read_file


def queue_of(thread: int) -> tuple[int, int]:
    """Return how long *thread* stood in the queue, and how often it got a processor.

    Args:
        thread: the system's number of a thread of this process.

    Returns:
        Nanoseconds and a number, or twice -1 where they are unknown.
    """
    kept = _kept.get(thread)
    if kept is not None and (found := kept.read()) is not None:
        return found
    words = _read(_QUEUE % thread).split() if _read is not None else []
    return (int(words[1]), int(words[2])) if len(words) == 3 else (-1, -1)


def turns_here() -> int:
    """Return how often the calling thread got a processor, without a file; -1 if unknown."""
    if native.turns is not None:
        return native.turns()
    if originals.thread_usage is None:
        return -1
    usage = originals.thread_usage()
    turns: int = usage.ru_nvcsw + usage.ru_nivcsw + 1  # it has one now
    return turns


def state_of(thread: int) -> bytes:
    """Return the letter for a thread's state, behind its name in brackets; empty if unknown."""
    text: bytes = _read(_STATE % thread) if _read is not None else b""
    return text.rpartition(b")")[2][1:2]


def queue_delay_ns() -> int:
    """Return how long the calling thread has stood in the queue; -1 if unknown."""
    return queue_of(native_id())[0]


@cache
def has_queue() -> bool:
    """Tell whether this system says how long a thread stood in the queue for a processor."""
    return queue_of(native_id())[0] >= 0
