"""Which step is a loop in: one callback, or one task from an await to the next.

Two samples of a thread show the same step only if nothing else ran in between. The stack alone
cannot tell: a task that is woken again and again looks the same each time. Each kind of loop has
something that can:

- asyncio: the handle that `_run_once` runs, and the moment at which it began this round. All
  handles of a round exist when it begins, so no two of them are the same object.
- trio: the task that `unrolled_run` runs, and how often it has been scheduled.
- others, such as uvloop, have no Python frame of their own: the task, and a callback that we put
  in the loop's queue. It has run as soon as the step is over and a round has passed.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import sys
import time
import weakref
from contextvars import Context
from types import CodeType, FrameType
from typing import Any, Final

from pytest_truasync._detect import native
from pytest_truasync._detect.callsite import CO_ASYNC
from pytest_truasync._detect.clocks import monotonic
from pytest_truasync._detect.files import OURS

ROUND: Final[CodeType] = asyncio.base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]
"""One round of asyncio's loop: it asks the selector, then runs what is ready."""
_LOOP_TIME: Final = asyncio.base_events.BaseEventLoop.time
_LOCALS_ARE_COPIED: Final = sys.version_info < (3, 13)
_DEEPEST: Final = 400


class Step:
    """One step of a loop, seen in a sample.

    Args:
        floor: frame of the loop, where the walk of the stack ended; let go of by `rest`.
        mark: equal in two samples of one step.
        running: the handle or task; the same object in two samples of one step.
        anchor: a frame that is held to the next sample, where nothing else tells steps apart.
        task: that runs, if it is one.
        context: of the step.
        function: the callback, if it is no task.
        began_ns: nanoseconds from the begin of the step to the sample; -1 where they are unknown.
        at_most_ns: the same, at most: the step is one of several in a round that began then.
    """

    __slots__ = (
        "anchor",
        "at_most_ns",
        "began_ns",
        "context",
        "floor",
        "function",
        "mark",
        "running",
        "task",
    )

    def __init__(
        self,
        floor: FrameType | None,
        mark: tuple[Any, ...],
        running: weakref.ref[Any] | None = None,
        anchor: FrameType | None = None,
        task: weakref.ref[Any] | None = None,
        context: Context | None = None,
        function: Any = None,
        began_ns: int = -1,
        at_most_ns: int = -1,
    ) -> None:
        self.floor = floor
        self.mark = mark
        self.running = running
        self.anchor = anchor
        self.task = task
        self.context = context
        self.function = function
        self.began_ns = began_ns
        self.at_most_ns = at_most_ns

    def is_same(self, other: Step) -> bool:
        """Tell whether *other* is a later sample of the same step."""
        if self.mark != other.mark or self.anchor is not other.anchor:
            return False
        if self.running is None or other.running is None:
            return self.running is other.running
        return self.running() is other.running()

    def rest(self) -> None:
        """Let go of what would keep the user's objects alive until the next sample."""
        self.floor = self.context = self.function = None


def asks_for_events(caller: FrameType, poller: CodeType | None) -> bool:
    """Tell whether *caller*, which polls, does so for its thread's loop, which has come round.

    trio as a guest polls in the midst of a step of its host's, which has another poller.

    Args:
        caller: the frame.
        poller: see `ThreadWatch.poller`.
    """
    if poller is None:
        return False
    above = caller.f_back
    return caller.f_code is poller or (above is not None and above.f_code is poller)


def needs_caller(loop: Any) -> bool:
    """Tell whether the steps of *loop* are known only by what called it: uvloop's, say."""
    return not isinstance(loop, asyncio.base_events.BaseEventLoop) and hasattr(
        loop, "call_soon_threadsafe"
    )


class StepReader:
    """Reads the step that a loop is in off the stack of its thread.

    Args:
        loop: the loop.
        caller: frame of what told that the loop is running.
    """

    __slots__ = ("_floor", "_own", "_pinged", "_pings", "kind", "loop")

    def __init__(self, loop: Any, caller: FrameType | None) -> None:
        self.loop = loop
        self._pings = 0
        self._pinged = -1
        self._floor: CodeType | None = None
        self._own = isinstance(loop, asyncio.base_events.BaseEventLoop)
        self.kind = None if needs_caller(loop) else type(loop)
        """Of loops that one reader can read, one after another."""
        if self.kind is None:
            self._floor = _floor_of(caller)

    def read(self, frame: FrameType) -> Step | None:
        """Return the step that a thread is in, or None where the loop itself is at work.

        Args:
            frame: the innermost frame of the thread.
        """
        below: FrameType | None = None
        at: FrameType | None = frame
        for _ in range(_DEEPEST):
            if at is None:
                return None
            code = at.f_code
            if code is ROUND:
                return self._asyncio_step(at, below)
            if code is self._floor:
                return self._other_step(at, below)
            if code.co_name == "unrolled_run" and below is not None and _is_trios(code):
                return _trio_step(at, below)
            below, at = at, at.f_back
        return None

    def _asyncio_step(self, floor: FrameType, below: FrameType | None) -> Step | None:
        if below is None or below.f_code.co_name != "_run":
            return None
        names = floor.f_locals
        handle, began = names.get("handle"), names.get("end_time")
        first = names.get("i") == 0
        if _LOCALS_ARE_COPIED:
            names.clear()  # the copy hangs on the frame, and would keep the handle alive
        if handle is None or not isinstance(began, float):
            return None
        since = -1
        mark: tuple[Any, ...] = (id(floor), began)
        anchor = None
        if self._tells_time():
            since = max(0, int((monotonic() - began) * 1e9))
        else:
            anchor = floor
        return Step(
            floor=floor,
            mark=mark,
            running=weakref.ref(handle),
            anchor=anchor,
            task=_ref(_task_of(self.loop)),
            context=getattr(handle, "_context", None),
            function=getattr(handle, "_callback", None),
            began_ns=since if first else -1,
            at_most_ns=since,
        )

    def _tells_time(self) -> bool:
        """Tell whether the loop's clock is the real one: a test may have put another in place."""
        loop = self.loop
        return (
            self._own
            and type(loop).time is _LOOP_TIME
            and "time" not in vars(loop)
            and time.monotonic is monotonic
        )

    def _other_step(self, floor: FrameType, below: FrameType | None) -> Step | None:
        if below is None:
            return None
        task = _task_of(self.loop)
        step = Step(
            floor=floor,
            mark=(self._pings,),
            running=_ref(task),
            anchor=below if task is None else None,
            task=_ref(task),
            context=task.get_context() if hasattr(task, "get_context") else None,
            began_ns=-1,
        )
        self._ping()
        return step

    def _ping(self) -> None:
        """Ask the loop to say when it has come round."""
        if self._pinged == self._pings:
            return
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except Exception:  # noqa: BLE001 - the loop was closed meanwhile
            self._pings += 1
            return
        self._pinged = self._pings

    def _answer(self) -> None:
        self._pings += 1


native.know_slots(StepReader)


def _trio_step(floor: FrameType, below: FrameType) -> Step | None:
    if not below.f_code.co_flags & CO_ASYNC:
        return None
    names = floor.f_locals
    task = names.get("task")
    if _LOCALS_ARE_COPIED:
        names.clear()
    if task is None:
        return None
    running = weakref.ref(task)
    return Step(floor, (task._schedule_points,), running, task=running, context=task.context)


def _floor_of(caller: FrameType | None) -> CodeType | None:
    """Return the code that runs the loop: what is called below it is a step."""
    at = caller
    while at is not None:
        code = at.f_code
        if code.co_name == "run_forever" or not code.co_filename.startswith(OURS):
            return code
        at = at.f_back
    return None


def _is_trios(code: CodeType) -> bool:
    return code.co_filename.replace("\\", "/").endswith("trio/_core/_run.py")


def _task_of(loop: Any) -> Any:
    try:
        return asyncio.current_task(loop)
    except Exception:  # noqa: BLE001 - a loop of a kind that asyncio does not know
        return None


def _ref(thing: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(thing) if thing is not None else None
    except TypeError:
        return None
