"""Functions of the standard library that the probes use, held before anything is replaced.

A probe that called `time.monotonic` through the module would watch itself, or run whatever a test
has put there (freezegun, time-machine, a mock).
"""

from __future__ import annotations

import _thread
import importlib
import os
import stat
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

getframe: Final[Callable[[int], FrameType]] = sys._getframe
get_ident: Final = _thread.get_ident
allocate_lock: Final = _thread.allocate_lock
# `with lock` would go through what the probes put in place.
Mutex: Final = _thread.RLock
acquire: Final = _thread.RLock.acquire
release: Final = _thread.RLock.release
clock_ns: Final = time.perf_counter_ns
process_time_ns: Final = time.process_time_ns
thread_time_ns: Final[Callable[[], int] | None] = getattr(time, "thread_time_ns", None)
fstat: Final = os.fstat
get_blocking: Final[Callable[[int], bool] | None] = getattr(os, "get_blocking", None)
realpath: Final = os.path.realpath
abspath: Final = os.path.abspath
S_IFMT: Final = stat.S_IFMT
modules: Final = sys.modules

# The functions of `signal` call those of `_signal`, which are watched.
_signal: Final[Any] = importlib.import_module("_signal")
sigwait: Final[Callable[[tuple[int]], int] | None] = getattr(_signal, "sigwait", None)
sigtimedwait: Final[Callable[[tuple[int], float], Any] | None] = getattr(
    _signal, "sigtimedwait", None
)


def _thread_usage() -> Callable[[], Any] | None:
    try:
        import resource

        who = resource.RUSAGE_THREAD
    except (ImportError, AttributeError):  # Windows, macOS
        return None
    usage = resource.getrusage
    return lambda: usage(who)


thread_usage: Final = _thread_usage()
"""Resource usage of the calling thread, or None where the system does not tell."""


def _interpreter_lister() -> Callable[[], list[Any]] | None:
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            lister: Callable[[], list[Any]] = importlib.import_module(name).list_all
        except (ImportError, AttributeError):
            continue
        return lister
    return None


_list_interpreters: Final = _interpreter_lister()


def other_interpreters() -> bool:
    """Tell whether interpreters beside the main one live in this process (PEP 684, PEP 734)."""
    return _list_interpreters is not None and len(_list_interpreters()) > 1
