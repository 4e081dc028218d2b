"""Work that was taken off a loop, judged by what it did in its thread."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Final, NamedTuple

from pytest_truasync._detect import originals
from pytest_truasync._detect.blame import Blame
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import STALE_NS, native_id, queue_delay_ns
from pytest_truasync._detect.pools import Pool
from pytest_truasync._detect.recorder import Call, Group, ThreadWatch
from pytest_truasync._model import CallSite, Observation

UNSEEN_WAIT_NS: Final = 50_000_000
"""A thread that waited longer than this, and no probe saw for what, waited for a C driver."""

UNSEEN_PER_SWITCH_NS: Final = 15_000_000
"""A wait for the GIL ends every 5 ms to ask for it again; a wait for a socket does not."""

_MOST_THREADS: Final = 1_000
_WAITED: Final = "TRU301"
WORKED: Final = "TRU302"


class Offload:
    """Work that one line took off the loop.

    Args:
        number: of all work of the run.
        function: what is to be done.
        name: of the function, for people.
        via: name of the way off the loop.
        site: the user's line that handed it over, if one is on the stack.
        fallback: a library's line, where none is.
        chain: frames from the loop down to that line.
        permission: keys of the blocks that it stands in.
        pool: that runs it, if it is one that is known.
        submitted_ns: when it was handed over.
        bare: a thread of its own, which nobody need wait for.
    """

    answered: bool = False
    """It has called back into the loop."""
    hosted: bool = False
    """It ran an event loop of its own: a host for one, not an offload."""
    told: bool = False
    """What it did up to the end of a test has been reported."""
    explained_ns: int = 0
    cut: bool = False
    """A call of it was told at the end of a test while it still ran, so that nothing can be said
    of waits that no probe explains."""

    def __init__(
        self,
        *,
        number: int,
        function: Any,
        name: str,
        via: str,
        site: CallSite | None,
        fallback: CallSite,
        chain: tuple[CallSite, ...],
        permission: str,
        pool: Pool | None,
        submitted_ns: int,
        bare: bool,
    ) -> None:
        self.number = number
        self.function = function
        self.name = name
        self.via = via
        self.site = site
        self.fallback = fallback
        self.chain = chain
        self.permission = permission
        self.pool = pool
        self.submitted_ns = submitted_ns
        self.bare = bare
        self.groups: dict[tuple[Any, ...], Group] = {}
        self.doing: set[str] = set()
        """Names of the calls that were made inside, the first of them."""

    def with_groups(self, groups: dict[tuple[Any, ...], Group]) -> Offload:
        """Return the same work as having done what *groups* tell, and nothing else."""
        other = copy(self)
        other.groups, other.doing = groups, set()
        return other

    def add(self, target: str, started_ns: int, ended_ns: int) -> None:
        """Take in a wait that is nobody's fault."""
        self.explained_ns += ended_ns - started_ns

    def fold(self, call: Call) -> None:
        """Take in a call that was made inside."""
        self.explained_ns += call.waited_ns
        self.cut = self.cut or call.running
        key = (call.code, call.target, call.site, call.permission)
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= 500:
                return
            new = Group(call)  # before the look-up: `settle` may take the groups meanwhile
            group = self.groups.setdefault(key, new)
            if len(self.doing) < 3:
                self.doing.add(call.target)
        group.add(call)


class Clocks(NamedTuple):
    """Time of the process and of the calling thread."""

    wall_ns: int
    thread_ns: int
    process_ns: int
    switches: int
    delay_ns: int
    """In the queue for a processor; -1 where this system does not tell."""


_delays: Final[dict[int, tuple[int, int]]] = {}
"""Thread → when it was last asked how long it has stood in the queue for a processor, and that."""


def read_clocks() -> Clocks | None:
    """Return the clocks of the calling thread, or None where a thread has none.

    The time in the queue is read from a file, at most ten times a second: it may be too little.
    """
    if originals.thread_time_ns is None:
        return None
    usage = originals.thread_usage
    now = originals.clock_ns()
    thread = native_id()  # the other number is given again to the next thread
    asked_ns, delay_ns = _delays.get(thread, (0, 0))
    if now - asked_ns > STALE_NS:
        delay_ns = _ask_delay(thread, now)
    return Clocks(
        now,
        originals.thread_time_ns(),
        originals.process_time_ns(),
        usage().ru_nvcsw if usage is not None else -1,
        delay_ns,
    )


def _ask_delay(thread: int, now: int) -> int:
    delay_ns = queue_delay_ns()
    if len(_delays) >= _MOST_THREADS:
        _delays.clear()
    _delays[thread] = (now, delay_ns)
    return delay_ns


class OffloadJudge:
    """Says what an offload was.

    Args:
        reader: knows where a function is defined.
        codes: rule of a blocking call → rule of the same inside an offload.
        waited_at: the line in a worker on which it was seen to wait for longest.
    """

    def __init__(
        self,
        reader: FrameReader,
        codes: Mapping[str, str],
        waited_at: Callable[[ThreadWatch], Blame | None],
    ) -> None:
        self._reader = reader
        self._codes = codes
        self._waited_at = waited_at

    def judge(
        self, work: Offload, before: Clocks | None, on: ThreadWatch | None = None
    ) -> list[Observation]:
        """Return what is to be said of work that is done, or of what it has done so far.

        Args:
            work: the offload.
            before: the clocks at its begin; None says nothing of waits that no probe saw.
            on: the watch of its thread.
        """
        seen: list[Observation] = []
        if work.hosted:
            return seen
        for group in list(work.groups.values()):
            call = group.first
            code = self._codes.get(call.code)
            if code is None or (work.bare and (not work.answered or code == "TRU360")):
                continue
            inner = call.site if call.site.path else None
            seen.append(
                self._observation(
                    work,
                    code,
                    target=call.target,
                    primitive=call.primitive,
                    inner=inner if inner and inner.package is None else None,
                    count=group.count,
                    total_ns=group.total_ns,
                    longest_ns=group.longest_ns,
                    chain=(*work.chain, *call.chain),
                    permission=call.permission,
                )
            )
        if seen or work.told:
            return seen
        waited, cpu = self._unseen(work, before)
        name = work.name
        if waited and (work.answered or not work.bare):
            text = "no probe explains what it waited for: a driver in C?"
            at = self._waited_at(on) if on is not None else None
            return [
                self._observation(
                    work,
                    _WAITED,
                    target=at.target if at is not None else name,
                    primitive=name,
                    inner=at.site if at is not None else None,
                    total_ns=waited,
                    longest_ns=waited,
                    chain=(*work.chain, *at.chain) if at is not None else (),
                    detail=text,
                )
            ]
        text = ", ".join(sorted(work.doing)) or "computation"
        return [
            self._observation(work, WORKED, name, name, total_ns=cpu, longest_ns=cpu, detail=text)
        ]

    def _unseen(self, work: Offload, before: Clocks | None) -> tuple[int, int]:
        """Return the wall time that nothing explains, 0 if there is none to speak of, and CPU.

        Wall time less CPU time is waiting: for I/O, for the GIL, or for a turn on the processor.
        While a thread waits for the GIL another one computes, and the wait is cut into slices of
        5 ms; while it waits for a turn, it stands in the queue for a processor.
        """
        after = read_clocks()
        if before is None or after is None or work.cut:
            return 0, 0
        cpu = after.thread_ns - before.thread_ns
        waited = after.wall_ns - before.wall_ns - cpu - work.explained_ns
        if waited >= UNSEEN_WAIT_NS and before.delay_ns >= 0:
            delay_ns = _ask_delay(native_id(), after.wall_ns)
            waited -= max(0, delay_ns - before.delay_ns)
        others = after.process_ns - before.process_ns - cpu
        if waited < UNSEEN_WAIT_NS or others > waited // 2:
            return 0, cpu
        if before.switches >= 0:
            switches = after.switches - before.switches
            if switches == 0 or waited // switches < UNSEEN_PER_SWITCH_NS:
                return 0, cpu
        return waited, cpu

    def _observation(
        self,
        work: Offload,
        code: str,
        target: str,
        primitive: str,
        *,
        inner: CallSite | None = None,
        count: int = 1,
        total_ns: int = 0,
        longest_ns: int = 0,
        chain: tuple[CallSite, ...] = (),
        detail: str = "",
        permission: str = "",
    ) -> Observation:
        site = work.site or inner or self._reader.site_of(work_of(work.function)) or work.fallback
        return Observation(
            code=code,
            target=target,
            primitive=primitive,
            site=site,
            inner=inner if inner != site else None,
            via=work.via,
            chain=chain or work.chain,
            count=count,
            total_ns=total_ns,
            longest_ns=longest_ns,
            permission="\n".join(filter(None, (work.permission, permission))),
            pool=work.pool.key if work.pool is not None else "",
            detail=detail,
        )


def work_of(function: Any) -> Any:
    """Return what a thread was made to run, not what carries it there."""
    for _ in range(10):
        own = getattr(function, "__self__", None)
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        inner: Any = None
        if isinstance(own, threading.Thread):
            return getattr(own, "_target", None) or own.run
        if isinstance(function, functools.partial):
            inner = function.func
            if isinstance(getattr(inner, "__self__", None), contextvars.Context):
                inner = function.args[0] if function.args else None
        elif type(own).__name__ == "SyncToAsync":
            inner = getattr(own, "func", None)
        elif "sync_fn" in names:  # trio's worker_fn
            inner = function.__closure__[names.index("sync_fn")].cell_contents
        elif "func" in names and function.__module__ == "anyio._backends._trio":
            inner = function.__closure__[names.index("func")].cell_contents
        if inner is None:
            break
        function = inner
    return function
