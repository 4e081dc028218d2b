"""Tells what a descriptor would do at once: what is ready is not waited for.

A socket or pipe in blocking mode does not block where a loop has just said that it is ready, nor
where its other end is on this machine and a few bytes fit in. Across a network, a call that finds
its answer there already has only been lucky.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any, Final

PIPE_BUF: Final = 512
"""A pipe that says it can be written takes so many bytes at least: POSIX's own minimum."""

READ: Final = 1
WRITE: Final = 4
_HUNG_UP: Final = 16
_poll: Final[Any] = getattr(select, "poll", None)
# Held before the probes replace it; the other methods are not watched.
_ask: Final[Any] = getattr(type(_poll()), "poll", None) if _poll is not None else None
_select: Final = select.select


def reads_in_callback(fd: int) -> bool:
    """Tell whether a callback of the loop, and no task, reads what is there to be read.

    `loop.add_reader` calls such a callback.
    """
    loop = asyncio._get_running_loop()
    return loop is not None and asyncio.current_task(loop) is None and is_ready(fd, READ)


def takes(fd: int, data: Any) -> bool:
    """Tell whether a pipe or local socket takes *data* at once: a byte to wake a loop, say."""
    try:
        size = memoryview(data).nbytes
    except TypeError:
        return False
    return size <= PIPE_BUF and is_ready(fd, WRITE)


def is_ready(fd: int, event: int) -> bool:
    """Tell whether a descriptor is ready for an *event*, `READ` or `WRITE`."""
    try:
        if _ask is None:
            found = _select([fd] if event == READ else [], [fd] if event == WRITE else [], [], 0)
            return bool(found[0] or found[1])
        poll = _poll()
        poll.register(fd, event)
        wanted = event | _HUNG_UP if event == READ else event  # its end is there to be read, too
        return any(seen & wanted for _, seen in _ask(poll, 0))
    except (OSError, ValueError):
        return False  # the call itself will say what is wrong
