"""Keeps what the probes see: bounded, on record before the call runs, drained after each test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import CodeType
from typing import Any, Final, Protocol

from pytest_truasync._detect import native, originals
from pytest_truasync._model import CallSite, Observation, Phase, merge_observations

MOST_GROUPS: Final = 5_000
"""Groups kept for one test; what comes after is counted and dropped (TRU905)."""

_MOST_APART: Final = 100
"""Ready observations that are alike are kept so far, then made one: to merge two costs as much."""

MOST_NOTED: Final = 2 * MOST_GROUPS
"""Notes are counted when somebody asks for them, or when there are so many."""

_NEVER: Final = (1 << 63) - 1

_PATIENCE_S: Final = 1
"""A lock that a fork left taken is not waited for longer."""


Place = tuple[int, CodeType, int]
"""Number of a frame, its code and its instruction."""


class Call:
    """One call that a user's line made, while it is being watched.

    Args:
        code: its rule, as far as it is known.
        target: public name of the call.
        site: the user's line.
        permission: keys of the blocks that it stands in.
        entry: mark of the library function called; None where the line called the target itself.
        steady: it cannot be suspended: from its first wait to its last it held the thread.
        place: of the user's line; None where a loop itself makes the call, as a callback.
        rank: how much its code says.
        started_ns: when it began.
    """

    chain: tuple[CallSite, ...] = ()
    total_ns: int = 0
    waited_ns: int = 0
    """Time inside the watched primitives alone."""
    longest_ns: int = 0
    """Longest of these waits, which names the primitive."""
    running: bool = True
    """It is in a primitive now."""
    settled: bool = True
    """Its rule is known: no call of a network library that has only read a file so far."""
    brief: bool = False
    """A lock that was free again before anybody could call it a wait."""

    def __init__(
        self,
        *,
        code: str,
        target: str,
        site: CallSite,
        permission: str,
        entry: object,
        steady: bool,
        place: Place | None,
        rank: int,
        started_ns: int,
    ) -> None:
        self.code = code
        self.target = self.primitive = target
        self.site = site
        self.permission = permission
        self.entry = entry
        self.steady = steady
        self.place = place
        self.rank = rank
        self.started_ns = started_ns

    @property
    def taken_ns(self) -> int:
        """Time of the thread that the call explains."""
        return max(self.total_ns, self.waited_ns)

    def add(self, target: str, started_ns: int, ended_ns: int) -> None:
        """Take in one wait of the call, in *target*."""
        self.running = False
        waited = ended_ns - started_ns
        self.waited_ns += waited
        if waited > self.longest_ns:
            self.longest_ns = waited
            self.primitive = target
        if self.steady:
            self.total_ns = ended_ns - self.started_ns
        else:
            self.total_ns += ended_ns - started_ns


class Timed(Protocol):
    """What takes the time of a watched call: the call on record, or the work that it is part of."""

    def add(self, target: str, started_ns: int, ended_ns: int) -> None:
        """Take in one wait, in *target*."""


class Sink(Protocol):
    """Where finished calls go: a test's record, or that of an offload."""

    def fold(self, call: Call) -> None:
        """Take in a finished call."""


class ThreadWatch:
    """A thread that is watched now: it runs an event loop, or work taken off one."""

    __slots__ = (
        "began",
        "below",
        "born_ns",
        "busy",
        "call",
        "explained_ns",
        "loop",
        "parked",
        "poller",
        "renew_ns",
        "rested",
        "sink",
        "subject",
        "work",
    )

    def __init__(self, sink: Sink, *, loop: Any = None, work: Any = None) -> None:
        self.sink = sink
        self.loop = loop
        self.work = work
        self.began: Any = None
        """The clocks when it began, as long as there is no `subject`: most work and most loops are
        over before anybody looks."""
        self.born_ns = 0
        """When the thread had only begun, and took up its first loop; 0 where that is unknown."""
        self.busy = False
        self.call: Call | None = None
        self.below: ThreadWatch | None = None
        self.explained_ns = 0
        """Time that the calls handed over took."""
        self.subject: Any = None
        """What the lag probe knows of the thread."""
        self.rested: Any = None
        """The same, between two loops."""
        self.parked = False
        """The loop waits for events: nothing is held."""
        self.poller: CodeType | None = None
        """What polls for the events of the loop, or is right above it; None where it is unknown."""
        self.renew_ns = 0
        """From when on it is of use to say again that the loop has come round."""

    def answer(self) -> None:
        """Take note that work calls back into the loop."""
        self.finish()
        self.work.answer()

    def finish(self) -> None:
        """Hand over the call that is open, if any."""
        call = self.call
        if call is None:
            return
        taken_ns = call.taken_ns
        if self.call is not call:  # another thread has done it meanwhile
            return
        self.call = None  # no call from above to here: only one of them does it
        self.explained_ns += taken_ns
        if not call.brief:
            self.sink.fold(call)


native.know_slots(ThreadWatch)


class Group:
    """Calls that are alike."""

    count: int = 0
    total_ns: int = 0
    longest_ns: int = 0

    def __init__(self, first: Call) -> None:
        self.first = first

    def add(self, call: Call) -> None:
        """Count *call* in."""
        self.count += 1
        self.total_ns += call.total_ns
        self.longest_ns = max(self.longest_ns, call.total_ns)

    def merge(self, other: Group) -> None:
        """Count the calls of another group in."""
        self.count += other.count
        self.total_ns += other.total_ns
        self.longest_ns = max(self.longest_ns, other.longest_ns)


class Note:
    """What is said of work alike in any test.

    Args:
        seen: the observation, without test, counts, times and texts of lines.
    """

    __slots__ = ("_told", "seen")

    def __init__(self, seen: Observation) -> None:
        self.seen = seen
        self._told: Observation | None = None

    def told(self, source: Callable[[CallSite], CallSite]) -> Observation:
        """Return the observation with the texts of its lines, as *source* gives them."""
        if self._told is None:
            self._told = _sourced(self.seen, source)
        return self._told


Noted = tuple[Note, int, int, int]
"""A note, how often, for how long in all, and for how long at most, in nanoseconds."""


def merge_notes(noted: Iterable[Noted]) -> list[Noted]:
    """Return each note once, with all its counts and times."""
    merged: dict[Note, Noted] = {}
    for one in noted:
        note, count, total_ns, longest_ns = merged.get(one[0], (one[0], 0, 0, 0))
        counts = (count + one[1], total_ns + one[2], max(longest_ns, one[3]))
        merged[note] = (note, *counts)
    return list(merged.values())


class Recorder:
    """Groups of calls on event loops, and ready observations of other probes, of one test."""

    dropped: int = 0

    def __init__(self) -> None:
        self.test = ""
        """The test that runs now; work may outlive the one that it was handed over in."""
        self.groups: dict[tuple[Any, ...], Group] = {}
        self.ready: dict[tuple[Any, ...], list[Observation]] = {}
        self.noted: deque[Noted] = deque()
        """As they came, as there are many: to add here takes no lock."""
        self._mutex: Any = originals.Mutex()
        """Loops and workers in several threads add, and the test's thread drains."""

    def fold(self, call: Call) -> None:
        """Count a finished call in its group."""
        key = (call.code, call.target, call.site, call.permission)
        held = originals.acquire(self._mutex, True, _PATIENCE_S)
        try:
            group = self.groups.get(key)
            if group is None:
                if len(self.groups) >= MOST_GROUPS:
                    self.dropped += 1
                    return
                group = self.groups[key] = Group(call)
            group.add(call)
        finally:
            if held:
                originals.release(self._mutex)

    def add(self, seen: Observation) -> None:
        """Count a ready observation in."""
        key = (*seen.key, seen.permission, seen.pool, seen.inner, seen.test)
        held = originals.acquire(self._mutex, True, _PATIENCE_S)
        try:
            known = self.ready.get(key)
            if known is None:
                if len(self.ready) >= MOST_GROUPS:
                    self.dropped += 1
                else:
                    self.ready[key] = [seen]
                return
            known.append(seen)
            if len(known) >= _MOST_APART:
                known[:] = [merge_observations(known)[0]]
        finally:
            if held:
                originals.release(self._mutex)

    def note(self, note: Note, taken_ns: int) -> None:
        """Count a note in."""
        noted = self.noted
        noted.append((note, 1, taken_ns, taken_ns))
        if len(noted) >= MOST_NOTED:
            self._take_notes(make_fewer=True)

    def notes(self) -> list[Noted]:
        """Hand out the notes since the last time."""
        return self._take_notes() if self.noted else []

    def _take_notes(self, *, make_fewer: bool = False) -> list[Noted]:
        """Return all notes; with *make_fewer* they stay, those that are alike as one."""
        noted = self.noted
        found: list[Noted] = []
        held = originals.acquire(self._mutex, True, _PATIENCE_S)
        try:
            for _ in range(len(noted)):  # other threads may add to them meanwhile
                found.append(noted.popleft())  # noqa: PERF401 - none that is taken may be lost
            if make_fewer:
                merged = merge_notes(found)
                self.dropped += sum(one[1] for one in merged[MOST_GROUPS:])
                noted.extend(merged[:MOST_GROUPS])
        except IndexError:  # a fork left the lock taken, and another thread was here meanwhile
            return found
        finally:
            if held:
                originals.release(self._mutex)
        return found

    def drain(
        self, test: str, when: Phase, source: Callable[[CallSite], CallSite] = lambda site: site
    ) -> Iterator[Observation]:
        """Hand out what was seen since the last time, but for notes.

        Args:
            test: in which it was, but for what an earlier test had handed over.
            when: in which phase of it.
            source: gives a line its text.
        """
        held = originals.acquire(self._mutex, True, _PATIENCE_S)
        groups, ready = list(self.groups.values()), list(self.ready.values())
        self.groups.clear()
        self.ready.clear()
        if held:
            originals.release(self._mutex)
        for group in groups:
            yield group_observation(group, test, when, source)
        for alike in ready:
            seen, _ = merge_observations(alike)
            yield _sourced(seen, source)._replace(test=seen.test or test, when=when)


def _sourced(seen: Observation, source: Callable[[CallSite], CallSite]) -> Observation:
    """Return *seen* with the texts of its lines."""
    return seen._replace(
        site=source(seen.site),
        inner=source(seen.inner) if seen.inner is not None else None,
        chain=tuple(map(source, seen.chain)),
    )


def group_observation(
    group: Group, test: str, when: Phase, source: Callable[[CallSite], CallSite]
) -> Observation:
    """Return a group of calls as one observation."""
    call = group.first
    return Observation(
        code=call.code,
        target=call.target,
        primitive=call.primitive,
        site=source(call.site),
        chain=tuple(map(source, call.chain)),
        count=group.count,
        total_ns=group.total_ns,
        longest_ns=group.longest_ns,
        test=test,
        when=when,
        permission=call.permission,
    )


class Follower(Protocol):
    """Who looks at the threads from outside."""

    def begin(self, watch: ThreadWatch) -> None:
        """Begin to look at the calling thread."""

    def begin_again(self, watch: ThreadWatch) -> None:
        """Begin to look at the calling thread, which runs one loop after another."""

    def resume(self, watch: ThreadWatch) -> None:
        """Go on, after it was not looked at for a while."""

    def come_round(self, watch: ThreadWatch, now: int) -> None:
        """Take note that the loop of the calling thread has come round."""

    def end(self, watch: ThreadWatch) -> None:
        """Cease."""


class Watch:
    """The threads that are watched, and the call that each of them makes now.

    `threads` is read by every wrapper: thread number → what is known of it.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.threads: dict[int, ThreadWatch] = native.Threads()
        self.lag: Follower | None = None
        self._closed = False

    def push(self, watch: ThreadWatch) -> None:
        """Begin to watch the calling thread, on top of what it was watched for."""
        if self._closed:
            return
        ident = originals.get_ident()
        below = self.threads.get(ident)
        if below is not None:
            below.finish()
        watch.below = below
        watch.busy = True  # what we do ourselves is not the user's
        self.threads[ident] = watch  # first: the sampler must not go to sleep meanwhile
        if self.lag is not None:
            self.lag.begin(watch)
        watch.busy = False

    def push_again(self, watch: ThreadWatch) -> None:
        """Do what `push` does for a thread that nobody watches and that has been here before."""
        if self._closed:
            return
        watch.busy = True
        self.threads[originals.get_ident()] = watch
        if self.lag is not None:
            self.lag.begin_again(watch)
        watch.busy = False

    def pop(self, watch: ThreadWatch) -> None:
        """End what `push` began, and all that was begun on top of it."""
        ident = originals.get_ident()
        at = self.threads.get(ident)
        while at is not None:
            if at.call is not None:
                at.finish()
            if self.lag is not None and (
                at.subject is not None or (at.began is not None and at.loop is not None)
            ):
                self.lag.end(at)
            if at is watch:
                break
            at = at.below
        if watch.below is None:
            self.threads.pop(ident, None)
        else:
            self.threads[ident] = watch.below

    def rest(self, watch: ThreadWatch) -> None:
        """Let the calling thread be what it was before, until `resume` or for good.

        Where a loop gives its thread away between its steps, `push` and `pop` for each would cost
        more than many a step. `end` concludes.
        """
        ident = originals.get_ident()
        while (at := self.threads.get(ident)) is not None and at is not watch:
            self.pop(at)
        if watch.call is not None:
            watch.finish()
        if watch.below is None:
            self.threads.pop(ident, None)
        else:
            self.threads[ident] = watch.below

    def resume(self, watch: ThreadWatch) -> None:
        """Watch the calling thread again for what it was watched for until `rest`."""
        if self._closed:
            return
        ident = originals.get_ident()
        below = watch.below = self.threads.get(ident)
        if below is not None:
            below.finish()
        self.threads[ident] = watch
        if self.lag is not None:
            self.lag.resume(watch)

    def come_round(self, watch: ThreadWatch, now: int) -> None:
        """Take note that the loop of the calling thread has come round; see `renew_ns`."""
        if self.lag is not None:
            self.lag.come_round(watch, now)
        else:
            watch.renew_ns = _NEVER

    def end(self, watch: ThreadWatch) -> None:
        """Conclude what is at rest."""
        if self.lag is not None:
            self.lag.end(watch)

    def clear(self) -> None:
        """Watch no thread for now."""
        self.threads.clear()

    def close(self) -> None:
        """Watch no thread any more, also where a replaced function lives on under another name."""
        self._closed = True
        self.threads.clear()

    def any_open(self) -> bool:
        """Tell whether a thread has something to settle: a server between two requests has not."""
        for watch in list(self.threads.values()):
            at: ThreadWatch | None = watch
            while at is not None:
                subject = at.subject  # its thread may take it away meanwhile
                if at.call is not None or at.work is not None:
                    return True
                if subject is not None and subject.stay is not None:
                    return True
                at = at.below
        return False

    def settle(self) -> None:
        """Hand over the calls that are open in all threads, those that still run included."""
        for watch in list(self.threads.values()):
            at: ThreadWatch | None = watch
            while at is not None:
                at.finish()
                at = at.below
