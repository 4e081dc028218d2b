"""Work that was taken off a loop, judged by what it did in its thread."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Mapping
from copy import copy
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any, Final, Protocol

from pytest_truasync._detect import native, originals
from pytest_truasync._detect.blame import Blame
from pytest_truasync._detect.callsite import FrameReader, attributes_of, name_of
from pytest_truasync._detect.clocks import Clocks, own_cpu_clock
from pytest_truasync._detect.filework import are_plain
from pytest_truasync._detect.pools import Pool
from pytest_truasync._detect.queues import native_id, queue_delay_ns
from pytest_truasync._detect.recorder import Call, Group, Note, Recorder, ThreadWatch
from pytest_truasync._detect.standins import unraisable_in_thread
from pytest_truasync._model import LATE, CallSite, Observation

UNSEEN_WAIT_NS: Final = 50_000_000
"""A thread that waited longer than this, and no probe saw for what, waited for a C driver."""

UNSEEN_PER_SWITCH_NS: Final = 15_000_000
"""A wait for the GIL ends every 5 ms to ask for it again; a wait for a socket does not."""

NEW_NS: Final = 2_000_000
"""A thread that has computed for less has hardly lived."""

COMPUTATION: Final = "computation"
"""What a thread did in which no call was seen."""

STALE_NS: Final = 100_000_000
"""A time in the queue that was asked for longer ago than this is asked for anew."""

_MOST_THREADS: Final = 1_000
_MOST_NOTES: Final = 1_000
_NOWHERE: Final = CallSite("", 0)
_WAITED: Final = "TRU301"
_WORKED: Final = "TRU302"


class Handover:
    """What is the same each time that some lines hand over work.

    Args:
        codes: of the frames, which keep their numbers as long as they are here.
        via: name of the way off the loop.
        site: the user's line that hands it over, if one is on the stack.
        fallback: a library's line, where none is.
        chain: frames from the loop down to that line.
        loops_own: it is what the loop itself uses a thread for, and nobody's to change.
    """

    __slots__ = ("_codes", "chain", "fallback", "last", "loops_own", "notes", "site", "via")

    def __init__(
        self,
        codes: list[CodeType],
        *,
        via: str = "",
        site: CallSite | None = None,
        fallback: CallSite = _NOWHERE,
        chain: tuple[CallSite, ...] = (),
        loops_own: bool = False,
    ) -> None:
        self._codes = codes
        self.via = via
        self.site = site
        self.fallback = fallback
        self.chain = chain
        self.loops_own = loops_own
        self.notes: dict[tuple[Any, ...], tuple[tuple[Any, ...], Note]] = {}
        """What was said of such work, with what else tells it apart."""
        self.last: tuple[tuple[Any, ...], Note] | None = None
        """What was said last; most often it is said again."""
        native.set_apart((self, codes, chain))


class Offload:
    """Work that one line took off the loop.

    Args:
        number: of all work of the run.
        function: what is to be done.
        handover: how.
        site: the user's line that handed it over, if it is known.
        permission: keys of the blocks that it stands in.
        pool: that runs it, if it is one that is known.
        submitted_ns: when it was handed over.
        bare: a thread of its own, which nobody need wait for.
        test: in which it was handed over.
    """

    __slots__ = (
        "answered",
        "bare",
        "called",
        "cut",
        "explained_ns",
        "function",
        "groups",
        "handover",
        "hosted",
        "noted",
        "number",
        "permission",
        "pool",
        "since",
        "site",
        "submitted_ns",
        "test",
        "told",
        "touched",
    )

    def __init__(
        self,
        number: int,
        function: Any,
        handover: Handover,
        site: CallSite | None,
        permission: str,
        pool: Pool | None,
        submitted_ns: int,
        bare: bool,
        test: str = "",
    ) -> None:
        self.number = number
        self.function = function
        self.handover = handover
        self.site = site
        self.permission = permission
        self.pool = pool
        self.submitted_ns = submitted_ns
        self.bare = bare
        self.test = test
        # A thread forgets what it was made to run when it has; of others nobody may ever ask.
        self.called = spoken_name(function) if bare else ""
        self.groups: dict[tuple[Any, ...], Group] = {}
        """The calls inside, that is, of a bare thread those that came before it answered."""
        self.since: dict[tuple[Any, ...], Group] | None = {} if bare else None
        """Those of a bare thread since then: nobody is known to wait for them."""
        self.touched: tuple[str, ...] = ()
        """Names of the calls inside that are what threads are for, the first of them."""
        self.answered = False
        """It has called back into the loop."""
        self.hosted = False
        """It ran an event loop of its own: a host for one, and what it did besides was done in a
        thread."""
        self.told = False
        """What it did up to the end of a test has been reported."""
        self.noted = False
        """So has that it was done in a thread."""
        self.explained_ns = 0
        self.cut = False
        """A call of it was told at the end of a test while it still ran, so that nothing can be
        said of waits that no probe explains."""

    @property
    def via(self) -> str:
        """Name of the way off the loop."""
        return self.handover.via

    @property
    def chain(self) -> tuple[CallSite, ...]:
        """Frames from the loop down to the line that handed it over."""
        return self.handover.chain

    @property
    def doing(self) -> str:
        """Names of the calls that were made inside, the first three of them."""
        if not (self.groups or self.since or self.touched):
            return COMPUTATION
        groups = [*self.groups.values(), *(self.since or {}).values()]
        named = dict.fromkeys(group.first.target for group in groups)
        return ", ".join(sorted([*named, *self.touched][:3]))

    def with_groups(self, groups: dict[tuple[Any, ...], Group]) -> Offload:
        """Return the same work as having done what *groups* tell, and nothing else."""
        other = copy(self)
        other.groups, other.touched = groups, ()
        return other

    def touch(self, target: str) -> None:
        """Take note that a call was made inside that is what threads are for."""
        if target not in self.touched and len(self.touched) < 3:
            self.touched += (target,)

    def add(self, target: str, started_ns: int, ended_ns: int) -> None:
        """Take in a wait that is nobody's fault."""
        self.explained_ns += ended_ns - started_ns

    def fold(self, call: Call) -> None:
        """Take in a call that was made inside."""
        self.explained_ns += call.waited_ns
        self.cut = self.cut or call.running
        key = (call.code, call.target, call.site, call.permission)
        groups = self.groups if self.since is None else self.since
        group = groups.get(key)
        if group is None:
            if len(groups) >= 500:
                return
            new = Group(call)  # before the look-up: `settle` may take the groups meanwhile
            group = groups.setdefault(key, new)
        group.add(call)

    def answer(self) -> None:
        """Take note that it calls back into the loop, which has waited for what it did so far."""
        self.answered = True
        if self.since:
            since, self.since = self.since, {}
            for key, group in since.items():
                self.groups.setdefault(key, Group(group.first)).merge(group)


class Runner(Protocol):
    """Watches a thread while it works."""

    def begin(self, work: Offload) -> ThreadWatch | None:
        """Watch the calling thread, which begins with *work*."""

    def end(self, work: Offload, on: ThreadWatch) -> None:
        """Watch the calling thread for it no longer, and judge what was done."""


class FileRunner(Runner, Protocol):
    """Takes note of work on files as well."""

    def begin_file_work(self, work: FileWork) -> int:
        """Take note that *work* begins, which needs no watching; return the time."""

    def end_file_work(self, work: FileWork, began_ns: int) -> None:
        """Take note that it was done, which began at that time."""


class Offloaded:
    """A function that was handed to a thread: it does the same, and is watched meanwhile.

    It has the attributes of the function, which are looked up when somebody asks: one of these is
    made for each piece of work.

    Args:
        runner: watches.
        work: the offload.
        raw: it runs in a thread without a `threading.Thread`, where the interpreter itself tells
            of exceptions.
        many: it is called for each of many items.
        once: it is run once and no more, by a pool that is known. Who looks then at what holds the
            function finds that this does not.
    """

    __slots__ = ("__weakref__", "_function", "_many", "_once", "_raw", "_runner", "work")

    def __init__(
        self, runner: Runner, work: Offload, *, raw: bool, many: bool, once: bool = False
    ) -> None:
        self._runner = runner
        self._function = work.function
        self.work = work
        self._raw = raw
        self._many = many
        self._once = once

    def is_awaited_by(self, answer: Any) -> None:
        """Take note of the future or coroutine that its result will come by."""
        work = self.work
        if work.pool is not None:
            work.pool.awaited(work.number, answer)

    def withdraw(self) -> None:
        """Take note that the pool did not take it."""
        work = self.work
        if work.pool is not None:
            work.pool.withdrawn(work.number)

    def run_offloaded(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        work = self.work.with_groups({}) if self._many else self.work
        on = self._runner.begin(work)
        try:
            return self._function(*args, **kwargs)
        except BaseException as error:
            __tracebackhide__ = True
            del args, kwargs  # a traceback keeps this frame: let go what was only passed on
            if self._raw and not isinstance(error, SystemExit):
                unraisable_in_thread(self._function, error)
                return None
            raise
        finally:
            if on is not None:
                self._runner.end(work, on)
            if self._once:
                self._function = work.function = None

    __call__ = run_offloaded

    @property
    def __wrapped__(self) -> Any:
        """The function, for `inspect.signature`."""
        return self._function

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]  # what a class has, its objects have
        """The function's."""
        return getattr(self._function, "__doc__", None)

    def __getattr__(self, name: str) -> Any:
        if name == "_function":  # of an object that is not made yet
            raise AttributeError(name)
        return getattr(self._function, name)

    def __eq__(self, other: object) -> bool:
        theirs: Any = other
        return bool(self._function == (theirs._function if is_watched(other) else other))

    def __hash__(self) -> int:
        return hash(self._function)

    def __reduce__(self) -> Any:
        return _the_same, (self._function,)  # a copy is not handed to a thread

    def __repr__(self) -> str:
        return repr(self._function)


def is_watched(function: Any) -> bool:
    """Tell whether *function* is watched when it runs; without asking it for its class."""
    return issubclass(type(function), Offloaded)


def _the_same(function: Any) -> Any:
    return function


class FileWork(Offloaded):
    """One call on files, handed to a thread: as long as it is no more than that.

    Args:
        runner: takes note.
        function: what is to be done.
        called: its name.
        handover: how it was handed over.
        site: see `Offload`, as for the rest.
        permission: of it.
        pool: of it.
        number: of it.
        submitted_ns: of it.
        test: of it.
    """

    __slots__ = (
        "called",
        "handover",
        "number",
        "permission",
        "pool",
        "site",
        "submitted_ns",
        "test",
    )

    _runner: FileRunner

    def __init__(
        self,
        runner: FileRunner,
        function: Any,
        called: str,
        handover: Handover,
        site: CallSite | None,
        permission: str,
        pool: Pool | None,
        number: int,
        submitted_ns: int,
        test: str,
    ) -> None:
        self._runner = runner
        self._function = function
        self._raw = self._many = self._once = False
        self.called = called
        self.handover = handover
        self.site = site
        self.permission = permission
        self.pool = pool
        self.number = number
        self.submitted_ns = submitted_ns
        self.test = test

    @property
    def function(self) -> Any:
        """What is to be done."""
        return self._function

    @property
    def work(self) -> Offload:  # type: ignore[override]  # made where somebody needs it
        """The same as work in which anything may happen."""
        work = Offload(
            self.number,
            self._function,
            self.handover,
            self.site,
            self.permission,
            self.pool,
            self.submitted_ns,
            bare=False,
            test=self.test,
        )
        work.called, work.touched = self.called, (self.called,)
        return work

    def is_awaited_by(self, answer: Any) -> None:
        """Take note of the future or coroutine that its result will come by."""
        if self.pool is not None:
            self.pool.awaited(self.number, answer)

    def withdraw(self) -> None:
        """Take note that the pool did not take it."""
        if self.pool is not None:
            self.pool.withdrawn(self.number)

    def run_offloaded(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        began_ns = -1
        try:
            if kwargs or not are_plain(args):
                return super().run_offloaded(*args, **kwargs)
            began_ns = self._runner.begin_file_work(self)
            return self._function(*args)
        except BaseException:
            __tracebackhide__ = True
            del args, kwargs  # a traceback keeps this frame
            raise
        finally:
            if began_ns >= 0:
                self._runner.end_file_work(self, began_ns)

    __call__ = run_offloaded


delays: Final[dict[int, tuple[int, int]]] = {}
"""Thread → when it was last asked how long it has stood in the queue for a processor, and that."""


def read_clocks() -> Clocks | None:
    """Return the clocks of the calling thread, or None where a thread has none.

    The time in the queue is read from a file, at most ten times a second: it may be too little. A
    thread that has just begun has not stood there.
    """
    if originals.thread_time_ns is None:
        return None
    now, delay_ns = originals.clock_ns(), 0
    cpu_ns, process_ns, switches, cpu_clock = _thread_clocks()
    if cpu_ns > NEW_NS:
        thread = native_id()  # the other number is given again to the next thread
        asked_ns, delay_ns = delays.get(thread, (0, 0))
        if now - asked_ns > STALE_NS:
            delay_ns = _ask_delay(thread, now)
    return Clocks(now, cpu_ns, process_ns, switches, delay_ns, cpu_clock)


def thread_clocks_in_python() -> tuple[int, int, int, int | None]:
    """Return what the system keeps of the calling thread.

    CPU time of it and of the process, in nanoseconds, how often it went to sleep, -1 where that is
    unknown, and the number of its CPU clock.
    """
    usage, thread_time_ns = originals.thread_usage, originals.thread_time_ns
    return (
        thread_time_ns() if thread_time_ns is not None else 0,
        originals.process_time_ns(),
        usage().ru_nvcsw if usage is not None else -1,
        own_cpu_clock(),
    )


_thread_clocks: Final[Callable[[], tuple[int, int, int, int | None]]] = (
    native.thread_clocks or thread_clocks_in_python
)


def _ask_delay(thread: int, now: int) -> int:
    delay_ns = queue_delay_ns()
    if len(delays) >= _MOST_THREADS:
        delays.clear()
    delays[thread] = (now, delay_ns)
    return delay_ns


for _kind in (Handover, Offload, Offloaded, Pool):
    native.know_slots(_kind)


class OffloadJudge:
    """Says what an offload was.

    Args:
        reader: knows where a function is defined.
        recorder: takes the notes.
        codes: rule of a blocking call → rule of the same inside an offload.
        waited_at: the line in a worker on which it was seen to wait for longest.
    """

    def __init__(
        self,
        reader: FrameReader,
        recorder: Recorder,
        codes: Mapping[str, str],
        waited_at: Callable[[ThreadWatch], Blame | None],
    ) -> None:
        self._reader = reader
        self._recorder = recorder
        self._codes = codes
        self._waited_at = waited_at

    def judge(
        self, work: Offload, before: Clocks | None, on: ThreadWatch | None = None
    ) -> list[Observation]:
        """Return what is to be said of work that is done, or of what it has done so far.

        That it only worked is a note, which is on record already.

        Args:
            work: the offload.
            before: the clocks at its begin; None says nothing of waits that no probe saw.
            on: the watch of its thread.
        """
        seen = self._judge_calls(work) if work.groups else []
        if seen or work.told or work.hosted:
            return seen
        wall_ns = originals.clock_ns() - before.wall_ns if before is not None else 0
        waited = self._unseen(work, before, wall_ns)
        carried = work_of(work.function)
        name = work.called or name_of(carried)
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
                    test=self._late(work),
                )
            ]
        if on is not None and not (work.noted or self._late(work)):
            self._take_note(work, carried, name, wall_ns)
        return []

    def tell(self, work: Offload, before: Clocks | None) -> None:
        """Note that work was done, which is still under way; it is told once.

        Args:
            work: the offload.
            before: the clocks at its begin.
        """
        carried = work_of(work.function)
        wall_ns = originals.clock_ns() - before.wall_ns if before is not None else 0
        work.noted = True
        self._take_note(work, carried, work.called or name_of(carried), wall_ns)

    def _take_note(self, work: Offload, carried: Any, name: str, taken_ns: int) -> None:
        site = work.site or self._reader.site_of(carried)
        self._recorder.note(self.note(work, site, name, work.doing), taken_ns)

    def _judge_calls(self, work: Offload) -> list[Observation]:
        """Return what is to be said of the calls that were made inside."""
        seen = []
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
                    test=self._late(work),
                )
            )
        return seen

    def _late(self, work: Offload) -> str:
        """Return the test that handed *work* over, if it is another one that runs now."""
        return work.test if work.test != self._recorder.test else ""

    def note(self, work: Offload | FileWork, site: CallSite | None, name: str, text: str) -> Note:
        """Return the note that *work* was done in a thread: one for all that is alike.

        Args:
            work: the offload.
            site: a line of the user's that stands for it, if there is one.
            name: of its function.
            text: what was done.
        """
        handover, pool = work.handover, work.pool
        key = (name, text, site, work.permission, pool.key if pool is not None else "")
        last = handover.last
        if last is not None and last[0] == key:  # of the same objects, so no text is compared
            return last[1]
        known = handover.notes.get(key)
        if known is None:
            note = Note(self._observation(work, _WORKED, name, name, site=site, detail=text))
            known = (key, note)
            if len(handover.notes) < _MOST_NOTES:
                handover.notes[key] = known
            native.set_apart((known, note, note.seen, handover.notes))
        handover.last = known
        return known[1]

    def _unseen(self, work: Offload, before: Clocks | None, wall_ns: int) -> int:
        """Return the wall time that nothing explains, 0 if there is none to speak of.

        Wall time less CPU time is waiting: for I/O, for the GIL, or for a turn on the processor.
        While a thread waits for the GIL another one computes, and the wait is cut into slices of
        5 ms; while it waits for a turn, it stands in the queue for a processor.
        """
        if before is None or work.cut or wall_ns - work.explained_ns < UNSEEN_WAIT_NS:
            return 0
        if (after := read_clocks()) is None:
            return 0
        cpu = after.thread_ns - before.thread_ns
        waited = after.wall_ns - before.wall_ns - cpu - work.explained_ns
        if waited >= UNSEEN_WAIT_NS and before.delay_ns >= 0:
            delay_ns = _ask_delay(native_id(), after.wall_ns)
            waited -= max(0, delay_ns - before.delay_ns)
        others = after.process_ns - before.process_ns - cpu
        if waited < UNSEEN_WAIT_NS or others > waited // 2:
            return 0
        if before.switches >= 0:
            switches = after.switches - before.switches
            if switches == 0 or waited // switches < UNSEEN_PER_SWITCH_NS:
                return 0
        return waited

    def _observation(
        self,
        work: Offload | FileWork,
        code: str,
        target: str,
        primitive: str,
        *,
        site: CallSite | None = None,
        inner: CallSite | None = None,
        count: int = 1,
        total_ns: int = 0,
        longest_ns: int = 0,
        chain: tuple[CallSite, ...] = (),
        detail: str = "",
        permission: str = "",
        test: str = "",
    ) -> Observation:
        site = (
            site
            or work.site
            or inner
            or self._reader.site_of(work_of(work.function))
            or work.handover.fallback
        )
        return Observation(
            code=code,
            target=target,
            primitive=primitive,
            site=site,
            inner=inner if inner != site else None,
            via=work.handover.via,
            chain=chain or work.handover.chain,
            test=test,
            detail=" ".join(filter(None, (detail, LATE if test else ""))),
            count=count,
            total_ns=total_ns,
            longest_ns=longest_ns,
            permission="\n".join(filter(None, (work.permission, permission))),
            pool=work.pool.key if work.pool is not None else "",
        )


def spoken_name(function: Any) -> str:
    """Return the name of what a thread was made to run, for people."""
    return name_of(work_of(function))


def work_of(function: Any) -> Any:
    """Return what a thread was made to run, not what carries it there."""
    for _ in range(10):
        kind, inner = type(function), None
        if kind is FunctionType:
            inner = _enclosed(function)
        elif kind is MethodType:
            own = function.__self__
            if issubclass(type(own), threading.Thread):
                target = attributes_of(own).get("_target")
                return target if target is not None else own.run
            if type(own).__name__ == "SyncToAsync":
                inner = attributes_of(own).get("func")
        elif issubclass(kind, functools.partial):
            inner = function.func
            if type(inner) is BuiltinFunctionType and type(inner.__self__) is contextvars.Context:
                inner = function.args[0] if function.args else None
        if inner is None:
            break
        function = inner
    return function


def _enclosed(function: FunctionType) -> Any:
    """Return what a function of trio's or anyio's was made to carry to a thread, if it is one."""
    names = function.__code__.co_freevars
    if "sync_fn" in names:  # trio's worker_fn
        cell = names.index("sync_fn")
    elif "func" in names and function.__module__ == "anyio._backends._trio":
        cell = names.index("func")
    else:
        return None
    try:
        return (function.__closure__ or ())[cell].cell_contents
    except ValueError:  # it is empty
        return None
