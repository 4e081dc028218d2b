"""What the lag probe keeps of a thread: what was seen of it, and how long it stayed in one step."""

from __future__ import annotations

from typing import Any, Final

from pytest_truasync._detect import native
from pytest_truasync._detect.blame import Blame, Place
from pytest_truasync._detect.clocks import Held, Reading, ThreadClocks, Waking
from pytest_truasync._detect.recorder import ThreadWatch
from pytest_truasync._detect.steps import Step, StepReader
from pytest_truasync._model import Observation

_MOST_PLACES: Final = 500
_CPU: Final = "TRU401"
_WAITING: Final = "TRU402"


class Subject:
    """One thread under the sampler: it runs a loop, or work taken off one.

    Args:
        clocks: of the thread.
        steps: reads the loop's step; None for work.
        first: the clocks at the begin.
        debugged: the thread runs under a debugger.
    """

    __slots__ = (
        "clocks",
        "collected",
        "collections",
        "debugged",
        "explained_ns",
        "last",
        "places",
        "resumed_ns",
        "stay",
        "steps",
    )

    def __init__(
        self, clocks: ThreadClocks, steps: StepReader | None, first: Reading, *, debugged: bool
    ) -> None:
        self.clocks = clocks
        self.last = first
        self.resumed_ns = first.wall_ns
        """When the thread came back to its loop: what was before is not the loop's."""
        self.steps = steps
        self.debugged = debugged
        self.explained_ns = 0
        """As of the last tick."""
        self.collections: list[int] = []
        """CPU time of the full garbage collections that fell to this thread."""
        self.collected = 0
        """How many there were at the last tick."""
        self.stay: Stay | None = None
        self.places: dict[tuple[int, int], Place] = {}
        """Of work: where it waited."""

    @property
    def before(self) -> Reading:
        """The clocks at the last tick, or when the thread came back to its loop if that is later.

        In the latter case those that only the system keeps are of the tick, a moment earlier.
        """
        last = self.last
        return last if last.wall_ns >= self.resumed_ns else last._replace(wall_ns=self.resumed_ns)

    def read_at(self, reading: Reading) -> None:
        """Note *reading* as the last, unless the thread itself has taken a later one meanwhile."""
        if reading.wall_ns >= self.last.wall_ns:
            self.last = reading

    def begin_again(self, loop: Any, explained_ns: int, stale_ns: int, *, debugged: bool) -> bool:
        """Begin anew, with another loop in the same thread; False for one of another kind."""
        if self.steps is None or type(loop) is not self.steps.kind:
            return False
        self.steps.loop = loop
        self.last = self.clocks.read_all(stale_ns)
        self.explained_ns = explained_ns
        self.debugged = debugged
        if self.collections:
            self.collections.clear()
            self.collected = 0
        return True


native.know_slots(Subject)


class Stay:
    """How long a thread has been in one step.

    Args:
        step: as it was seen first.
        since: the clocks at its begin, or later.
        explained_ns: time that the call probe had explained until then.
        collected: how many garbage collections there had been.
    """

    __slots__ = (
        "busy_ns",
        "collected",
        "cpu_ns",
        "explained_ns",
        "held_ns",
        "places",
        "reported",
        "since",
        "step",
    )

    def __init__(self, step: Step, since: Reading, explained_ns: int, collected: int) -> None:
        self.step = step
        self.since = since
        self.explained_ns = explained_ns
        self.collected = collected
        self.busy_ns = 0
        self.held_ns = 0
        self.cpu_ns = 0
        self.places: dict[tuple[int, int], Place] = {}
        self.reported = False

    def add(self, place: Place, spent: Held, *, inside: bool) -> None:
        """Count a stretch of time in.

        Args:
            place: where the thread was at its end.
            spent: the stretch.
            inside: it was one C call.
        """
        self.held_ns += spent.total_ns
        self.cpu_ns += spent.cpu_ns
        count(self.places, place, spent.total_ns, inside=inside)

    def own_ns(self, explained_ns: int, collections: list[int]) -> int:
        """Return for how long the step held the thread, less what has another reason.

        That is what other probes explain, and one full garbage collection, which could have fallen
        to any line. A second one in the same step is due to what the step allocates.
        """
        explained = explained_ns - self.explained_ns - self.busy_ns
        collected = max(collections[self.collected :], default=0)
        return self.held_ns - max(0, explained) - collected


def count(
    places: dict[tuple[int, int], Place], place: Place, spent_ns: int, *, inside: bool
) -> None:
    """Count a while that a thread was at *place*, all of it *inside* of one C call or not."""
    known = places.get(place.key)
    if known is None:
        if len(places) >= _MOST_PLACES:
            return
        known = places[place.key] = place
    known.spent_ns += spent_ns
    if inside:
        known.inside_ns += spent_ns


class Tick:
    """One waking of the sampler.

    Args:
        late_ns: how much too late it was.
        punctual: it was not late by more than a tick: the machine is not overloaded.
        alone: only one other thread runs Python.
    """

    why: Waking = Waking()

    def __init__(self, late_ns: int, *, punctual: bool, alone: bool) -> None:
        self.late_ns = late_ns
        self.punctual = punctual
        self.alone = alone


class Sight:
    """What was seen of a thread in one tick.

    Args:
        before: the clocks as they were read last. The thread goes on as soon as it is let.
        reading: the clocks.
        explained_ns: time of the thread that the call probe has explained.
        collected: how many garbage collections fell to it.
        busy: it was in a call that is watched.
    """

    step: Step | None = None
    same: bool = False
    """The step is that of the last tick."""
    place: Place | None = None
    """Where it was, if it is the user's to change."""
    looked: bool = False
    """The time since the begin of the step counts, though it is the first tick to see it."""

    def __init__(
        self, before: Reading, reading: Reading, *, explained_ns: int, collected: int, busy: bool
    ) -> None:
        self.before = before
        self.reading = reading
        self.explained_ns = explained_ns
        self.collected = collected
        self.busy = busy


def explained_ns(watch: ThreadWatch) -> int:
    """Return the time of the thread that the call probe has explained so far."""
    call = watch.call
    return watch.explained_ns + (call.taken_ns if call is not None else 0)


def stall_observation(found: Blame, lasted_ns: int, cpu_ns: int) -> Observation:
    """Return a stall as an observation.

    Args:
        found: where it was.
        lasted_ns: how long the step held the loop, at least.
        cpu_ns: how much of it was CPU time.
    """
    computed = cpu_ns * 2 >= lasted_ns
    return Observation(
        code=_CPU if computed else _WAITING,
        target=found.target,
        primitive=found.target,
        site=found.site,
        chain=found.chain,
        total_ns=lasted_ns,
        longest_ns=lasted_ns,
        permission=found.permission,
        detail=found.call,
    )
