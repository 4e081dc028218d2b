"""A thread that has only begun."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def in_thread(function: Callable[[], R]) -> R:
    """Return what *function* does in a thread that has only begun."""
    found: list[R] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]
