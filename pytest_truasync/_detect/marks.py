"""Tell two runs of one function apart without holding on to the frame of either."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

_C_TRACER: Final = "CTracer"
"""Coverage's tracer in C leaves itself in each frame, and does not look for it there."""


class Mark:
    """A label that lives as long as its frame, or whoever asked for it.

    It sits where a frame keeps its local trace function, which nothing reads while nobody traces.
    The number of a frame is used again as soon as it ended; the frame itself, held, would keep
    all the variables of its callers alive.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False  # a debugger that asks whether a frame is traced is told: no

    def __call__(self, *event: object) -> None:
        """Trace nothing."""


def mark_of(frame: FrameType) -> object:
    """Return what tells this run of the frame's function from any other.

    Under a debugger it is the number of the frame, which the next run may have as well.
    """
    known = frame.f_trace
    if type(known) is Mark:
        return known
    if (known is None and sys.gettrace() is None) or type(known).__name__ == _C_TRACER:
        mark = Mark()
        frame.f_trace = mark
        return mark
    return id(frame)
