"""The part in C, `_native.c`: it makes dear steps cheap, and decides nothing that Python does not.

It need not be there: each of its users has the same in Python, which CI runs the tests with, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

if TYPE_CHECKING:
    from pytest_truasync._detect import _native

SOURCE: Final = "9e042035faa9cb77"
"""Head of the SHA-256 of `_native.c`, which the build puts in: an older build is not used."""

Kind = Literal["plain", "call", "light", "lock", "socket", "poll"]
LaneKind = Literal["answer", "task", "spawn", "loop"]


def _load() -> tuple[Any, str]:
    """Return the part in C, or None and why it is not used though it was built."""
    if os.environ.get("TRUASYNC_CORE") == "python":
        return None, ""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, ""  # to import it would switch the GIL on
    try:
        import pytest_truasync._detect._native as _native
    except ModuleNotFoundError:
        return None, ""  # not built: the same is found without it
    except ImportError as error:
        return None, str(error)
    if getattr(_native, "SOURCE", "") != SOURCE:
        return None, "it was built of another version; install the package again"
    return _native, ""


_loaded, unusable = _load()
Gate: Final = cast("type[_native.Gate] | None", getattr(_loaded, "Gate", None))
Threads: Final[type[dict[int, Any]]] = getattr(_loaded, "Threads", dict)
"""What `Watch.threads` is: a gate knows without a look-up whether it has changed."""
Lane: Final = cast("type[_native.Lane] | None", getattr(_loaded, "Lane", None))
"""From CPython 3.12 on."""
TaskNoter: Final = cast("type[_native.TaskNoter] | None", getattr(_loaded, "TaskNoter", None))
Offloader: Final = cast("type[_native.Offloader] | None", getattr(_loaded, "Offloader", None))
"""On Linux alone, see `OffloadProbe`."""
Alarm: Final = cast("type[_native.Alarm] | None", getattr(_loaded, "Alarm", None))
"""On Linux alone, see `alarms.py`."""
set_apart: Final[Callable[[list[Any] | tuple[Any, ...]], None]] = getattr(
    _loaded, "set_apart", lambda _: None
)
"""Says that these objects, and the tuples in tuples, live as long as the run: a garbage collection
does not visit them until `give_back`, or they die. On CPython up to 3.13."""
give_back: Final[Callable[[], None]] = getattr(_loaded, "give_back", lambda: None)
"""Ends that for all of them: also for those of a run around this one, in the same process."""
make_twin: Final = cast("Callable[..., Any] | None", getattr(_loaded, "make_twin", None))
set_on_type: Final = cast("Callable[..., None] | None", getattr(_loaded, "set_on_type", None))
"""Both as in `by_address.py`."""
know_slots: Final[Callable[[type], None]] = getattr(_loaded, "know_slots", lambda _: None)
"""Says that objects of this type come by gates again and again."""
holders: Final = cast(
    "Callable[[list[dict[str, Any]], dict[int, Any]], list[int]] | None",
    getattr(_loaded, "holders", None),
)
read_file: Final = cast("Callable[[bytes], bytes] | None", getattr(_loaded, "read_file", None))
open_high: Final = cast("Callable[[bytes, int], int] | None", getattr(_loaded, "open_high", None))
read_queue: Final = cast(
    "Callable[[int], tuple[int, int] | None] | None", getattr(_loaded, "read_queue", None)
)
turns: Final = cast("Callable[[], int] | None", getattr(_loaded, "turns", None))
"""These four on Linux alone, see `queues.py`."""
thread_clocks: Final = cast(
    "Callable[[], tuple[int, int, int, int]] | None", getattr(_loaded, "thread_clocks", None)
)
"""On Linux alone, see `offloads.py`."""
has_ours: Final = cast(
    "Callable[[list[Any], dict[str, bool]], bool] | None", getattr(_loaded, "has_ours", None)
)
stack_key: Final = cast(
    "Callable[[FrameType, dict[int, Any]], bytes] | None", getattr(_loaded, "stack_key", None)
)


def gated(
    kind: Kind,
    threads: dict[int, Any],
    original: Callable[..., Any],
    wrapper: Callable[..., Any],
    *asks: Any,
) -> Callable[..., Any]:
    """Return *wrapper* with a gate before it, or alone where there is no part in C.

    A gate calls *original* where the wrapper would do so at once, and hands all else on to the
    wrapper. On a thread that is not watched all calls pass. Others pass by kind:

    - "plain": none.
    - "call", asks: roles of files by name, `Role.QUIET`, `Role.IMPORT`. Where the watch is busy, or
      one of those roles calls on a loop.
    - "light", asks: as "call"; its name, the clock, and whether its first argument is a path. Also
      in work that was taken off a loop, which takes in name and time.
    - "lock", asks: `acquire` of its type. A free lock is taken.
    - "socket", asks: `gettimeout`. At timeout 0.
    - "poll", asks: the clock, `Watch.come_round`. Without waiting, until it is time to say that the
      loop came round; where the loop waits for its events, it is parked meanwhile.

    Args:
        kind: see above.
        threads: number of a thread → its `ThreadWatch`; the same `Threads` for good.
        original: what is called in the end.
        wrapper: what decides.
        asks: see above.

    Raises:
        TypeError: not the *asks* of that kind.
    """
    return wrapper if Gate is None else Gate(kind, threads, original, wrapper, *asks)


def laned(
    kind: LaneKind, function: Callable[..., Any], original: Callable[..., Any], *asks: Any
) -> Callable[..., Any]:
    """Return *function*, a wrapper; where there is a part in C, calls of it go by a lane.

    A lane does what *function* would do most often, without a frame for it, and runs *function*
    where it is not sure. The function stays what it is, for `inspect` and all others. By kind:

    - "answer", asks: threads, `without_us`. All but what offloaded work calls.
    - "task", asks: a `TaskNoter`, `current_task`, `without_us`.
    - "spawn", asks: a `TaskNoter`. The coroutine is an attribute of the task that is made.
    - "loop", asks: what enters a loop, what leaves it, `_Here`, the `Watch`, its threads, the
      tasks that are noted, how many of them are few, the type of asyncio's loops, `ROUND`, a
      `ThreadWatch` as each begins, `debugging_tool`, `Begun` and `YOUNG_NS`. A thread that takes up
      a loop of the kind that it had a moment ago, or one of asyncio's while it is young or was so a
      moment ago, or that leaves one, and has nothing else on watch.

    Args:
        kind: see above.
        function: a function in Python that has no lane.
        original: what it is the wrapper of.
        asks: see above.

    Raises:
        TypeError: not the *asks* of that kind.
        ValueError: *function* has a lane.
    """
    if Lane is not None:
        Lane(kind, function, original, asks)
    return function


def is_gate(function: object) -> bool:
    """Tell whether *function* is a gate."""
    return Gate is not None and type(function) is Gate
