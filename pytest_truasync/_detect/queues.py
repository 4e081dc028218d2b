"""How long a thread stood in the queue for a processor, which Linux tells in small files."""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib import import_module
from typing import Any, Final

from pytest_truasync._detect import native

_QUEUE: Final = b"/proc/self/task/%d/schedstat"
_STATE: Final = b"/proc/self/task/%d/stat"
_FIRST_NUMBER: Final = 200
"""Of the descriptors that are kept: who looks at the lowest free ones finds them as ever."""

# Held before the probes replace them.
native_id: Final = threading.get_native_id
_open: Final = os.open
_close: Final = os.close
_status: Final = os.fstat
_duplicate: Final = os.dup2

_core: Final[Any] = (
    native if native.read_file is not None else import_module("pytest_truasync._detect.by_address")
)
_kept: Final[dict[int, QueueFile]] = {}
"""Thread → the file of it that is open."""


class QueueFile:
    """The file of one thread, kept open: to look up its name takes ten times as long as to read it.

    Its descriptor keeps one number, taken before any test: who counts them sees no change. Without
    the part in C there is none.
    """

    def __init__(self) -> None:
        self._number = -1
        self._identity = (-1, -1)
        self._thread = 0
        if native.read_open is not None:
            self.point_at(native_id())

    def point_at(self, thread: int) -> None:
        """Be the file of *thread* from now on, in the process of which it is."""
        if native.read_open is None or (self._number >= 0 and not self._is_ours()):
            return
        self._forget()
        try:
            opened = _open(_QUEUE % thread, os.O_RDONLY)
        except OSError:  # another kernel
            return
        try:
            self._keep(opened)
        except OSError:  # no number is left
            return
        finally:
            _close(opened)
        self._thread = thread
        _kept[thread] = self

    def _keep(self, opened: int) -> None:
        if self._number < 0:
            import fcntl

            self._number = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _FIRST_NUMBER)
        else:
            _duplicate(opened, self._number, False)
        found = _status(self._number)
        self._identity = (found.st_dev, found.st_ino)

    def read(self) -> list[bytes]:
        """Return the words in it; none where somebody has closed it and uses its number."""
        words = native.read_open(self._number).split() if native.read_open is not None else []
        return words if len(words) == 3 and all(word.isdigit() for word in words) else []

    def close(self) -> None:
        """Give the number back, if it is still ours."""
        self._forget()
        if self._number >= 0 and self._is_ours():
            _close(self._number)
        self._number = -1

    def _forget(self) -> None:
        if _kept.get(self._thread) is self:
            del _kept[self._thread]

    def _is_ours(self) -> bool:
        try:
            found = _status(self._number)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity


_read: Final = _core.read_file


def queue_of(thread: int) -> tuple[int, int]:
    """Return how long *thread* stood in the queue, and how often it got a processor.

    Args:
        thread: the system's number of a thread of this process.

    Returns:
        Nanoseconds and a number, or twice -1 where they are unknown.
    """
    kept = _kept.get(thread)
    found = kept.read() if kept is not None else []
    if not found and _read is not None:
        found = _read(_QUEUE % thread).split()
    return (int(found[1]), int(found[2])) if len(found) == 3 else (-1, -1)


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
