"""What a thread did in a stretch of time: it computed, it waited, or it was not let.

Another thread asks, so the clocks are those that the system keeps of a thread: its CPU time, and
on Linux how long it stood in the queue for a processor and how often it got one.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from pytest_truasync._detect import originals
from pytest_truasync._detect.queues import has_queue, native_id, queue_of, state_of, turns_here

WAKES_NS: Final = 10_000_000
"""A thread that waits for the GIL wakes every 5 ms to ask for it again; one that wakes less often
than this waits for something else."""

LATE_NS: Final = 10_000_000
"""A sampler that wakes so much too late did not merely wait for its turn at the GIL."""
PROMPT_NS: Final = 2_000_000
"""A sampler that gets the GIL so soon found nobody who held it."""

_TURN_NS: Final = 50_000_000
"""No thread stands longer in the queue at once, where others of its process get their turns. Linux
6.12 and later count the sleep of a thread as such when they move it to another processor."""
_IDLE: Final = 0.05
"""Who computes for no more of the time than this hardly ever stands in the queue."""

_INTERVALS: Final = 2
_SWITCHES: Final = 0.1
"""How often a thread that waits for the GIL goes back to sleep, by interval, on a busy machine."""
_SWITCHES_UNSURE: Final = 0.5
_SWITCHES_MOST: Final = 2
_SWITCHES_SPARE: Final = 10
"""Who goes to sleep more often than so many times an interval, and these, was woken by threads that
let go of the GIL and took it back at once, as each round of a loop does."""

YOUNG_NS: Final = 2_000_000
"""A thread that has computed for less has only begun: to start one takes some 0.1 ms."""

# Held before a test can put something else in their place.
_monitoring: Final = getattr(sys, "monitoring", None)
debugging_tool: Final[Callable[[], str | None]] = (
    partial(_monitoring.get_tool, _monitoring.DEBUGGER_ID) if _monitoring else lambda: None
)
"""Who has registered with the interpreter as a debugger, if anybody has."""

_open: Final = os.open
_close: Final = os.close
_clock_of: Final[Callable[[int], int] | None] = getattr(time, "pthread_getcpuclockid", None)
_gettime_ns: Final[Callable[[int], int] | None] = getattr(time, "clock_gettime_ns", None)
_acquire: Final = type(originals.allocate_lock()).acquire
monotonic: Final = time.monotonic


class Reading(NamedTuple):
    """The clocks of a thread at one moment; -1 where this system has none."""

    wall_ns: int
    cpu_ns: int = -1
    process_ns: int = 0
    """CPU time of all threads together."""
    delay_ns: int = -1
    """Time in the queue for a processor. It may have been read earlier: never too much."""
    turns: int = -1
    """How often the thread got a processor; as old as `delay_ns`."""


class Clocks(NamedTuple):
    """Time of the process and of the calling thread."""

    wall_ns: int
    thread_ns: int
    process_ns: int
    switches: int
    delay_ns: int
    """In the queue for a processor; -1 where this system does not tell."""
    cpu_clock: int | None
    """Number of the thread's CPU clock, for others to read."""


def own_cpu_clock() -> int | None:
    """Return the number of the calling thread's CPU clock, or None where there is none.

    To ask for that of a thread that has ended is a crash; to read it then is only an error.
    """
    return _clock_of(originals.get_ident()) if _clock_of is not None else None


class Begun(NamedTuple):
    """The clocks of a thread that took up a loop, and how to read them from another thread."""

    wall_ns: int
    cpu_ns: int
    process_ns: int
    explained_ns: int
    """Time that the calls handed over before took."""
    native: int
    cpu_clock: int
    born_ns: int
    """When it had stood in no queue for a processor: a moment ago."""
    turns: int
    """How often it has got one since; 0 where nobody has asked."""


class Held(NamedTuple):
    """How a thread spent a stretch in which nothing took it away from one step."""

    cpu_ns: int
    waited_ns: int

    @property
    def total_ns(self) -> int:
        """Time that the step itself held the thread."""
        return self.cpu_ns + self.waited_ns


def held(
    before: Reading,
    after: Reading,
    *,
    waits: bool = True,
    starved: bool = False,
    queued_ns: int = 0,
    punctual: bool = True,
    alone: bool = False,
) -> Held:
    """Return how long a thread itself held on, less what was done to it, between two readings.

    Not its own are its time in the queue for a processor, and the time in which it waited for the
    GIL.

    Args:
        before: the clocks at the begin.
        after: the clocks at the end.
        waits: at the end it was found in a C call, and not running.
        starved: somebody held the GIL all along.
        queued_ns: how long the sampler itself stood in the queue meanwhile, if it was starved.
        punctual: the sampler itself was on time, so the machine is not overloaded.
        alone: no other thread of this process runs Python.
    """
    wall = max(0, after.wall_ns - before.wall_ns)
    process = after.process_ns - before.process_ns
    if after.cpu_ns >= 0:
        cpu = min(max(0, after.cpu_ns - before.cpu_ns), wall)
    else:
        cpu = min(process, wall) if alone else 0
    waited = wall - cpu if waits else 0
    turns = -1
    if after.delay_ns >= 0:
        turns = after.turns - before.turns
        delay = after.delay_ns - before.delay_ns
        if starved and cpu < wall * _IDLE:
            known = turns if before.turns else 1  # at 0 nobody has asked, see `read_all`
            delay = min(delay, max(1, known) * _TURN_NS + queued_ns)
        waited = max(0, waited - delay)
    elif not punctual:
        waited = 0
    if waited < max(1, turns) * WAKES_NS or turns < 0:
        waited = 0 if starved else max(0, waited - max(0, process - cpu))
    return Held(cpu, waited)


def begin_young(
    clock: Callable[[], int], explained_ns: int, born_ns: int, youth_ns: int
) -> Begun | None:
    """Return the clocks of the calling thread, if it has only begun: see `read_all`.

    Args:
        clock: nanoseconds.
        explained_ns: time that the calls handed over before took.
        born_ns: when it was here first, and had only begun; 0 if it was not.
        youth_ns: for so long it counts as such, whatever it has done.
    """
    cpu_clock = own_cpu_clock()
    if cpu_clock is None or originals.thread_time_ns is None:
        return None
    cpu, wall = originals.thread_time_ns(), clock()
    if wall - born_ns >= youth_ns if born_ns else cpu >= YOUNG_NS:
        return None
    process = originals.process_time_ns()
    turns = turns_here() if born_ns else 0
    born = born_ns or wall
    return Begun(wall, cpu, process, explained_ns, native_id(), cpu_clock, born, turns)


class ThreadClocks:
    """The clocks of a thread, for another one to read.

    Args:
        clock: nanoseconds.
        cpu_clock: of a thread whose queue and state nobody asks for; None for the calling one.
    """

    __slots__ = ("_clock", "_cpu", "_queue", "_queue_ns", "native")

    def __init__(self, clock: Callable[[], int], cpu_clock: int | None = None) -> None:
        self._clock = clock
        self.native = native_id() if cpu_clock is None else 0
        # The clock's number holds the thread's: reading it after the thread has ended is an
        # error, where asking for it by the thread's identity would be a crash.
        self._cpu = cpu_clock if cpu_clock is not None else own_cpu_clock()
        self._queue = (-1, -1)
        self._queue_ns = -1

    def begin_at(self, begun: Begun) -> Reading:
        """Take over the clocks of a thread that had only begun then, and return what they told."""
        self.native = begun.native
        if has_queue():
            self._queue, self._queue_ns = (0, begun.turns), begun.born_ns  # as in `read_all`
        return Reading(*begun[:3], *self._queue)

    def read(self) -> Reading:
        """Return the clocks now; the time in the queue is what it was when last asked for.

        It does not let go of the GIL, so that what is read next is of the same moment.
        """
        cpu = -1
        if self._cpu is not None and _gettime_ns is not None:
            try:
                cpu = _gettime_ns(self._cpu)
            except OSError:  # the thread has ended
                self._cpu = None
        return Reading(self._clock(), cpu, originals.process_time_ns(), *self._queue)

    def is_running(self) -> bool:
        """Tell whether the thread is on a processor now, or in the queue for one."""
        return state_of(self.native) == b"R"

    def read_all(self, stale_ns: int) -> Reading:
        """Return the clocks now, with a time in the queue that is not older than *stale_ns*.

        Called in the thread itself. At first, one that has only begun is taken to have stood in no
        queue: the system makes the file that tells so when it is opened, which takes longer than
        all else of a short loop. If it did stand there, the next reading counts that to the queue
        as well, so that a first step that waited may be taken to have waited for less.
        """
        reading = self.read()
        if self._queue_ns < 0 and 0 <= reading.cpu_ns < YOUNG_NS and has_queue():
            self._queue, self._queue_ns = (0, 0), reading.wall_ns
            return Reading(*reading[:3], *self._queue)
        if 0 <= reading.wall_ns - self._queue_ns < stale_ns:
            return reading
        return self.with_queue(reading)

    def with_queue(self, reading: Reading) -> Reading:
        """Return *reading*, taken just now, with the time in the queue, which reads a file."""
        self._queue = queue_of(self.native)
        self._queue_ns = reading.wall_ns
        return Reading(*reading[:3], *self._queue)


class Waking(NamedTuple):
    """Why a sampler woke when it did."""

    starved_ns: int = 0
    """For so long, at least, somebody held the GIL and did not let go."""
    prompt: bool = True
    """Nobody held it. Who runs Python gives it up only when its turn has lasted an interval."""
    queued_ns: int = 0
    """For so long it stood in the queue for a processor."""


class Wakes:
    """Tells a sampler that wakes late why: for want of the GIL, or of a processor."""

    def __init__(self) -> None:
        self._thread = native_id()
        self._delay_ns = 0  # the thread is new and has not stood in the queue
        self._switches = 0
        self._slept = 0

    def note(self, woken_at: int | None = None) -> None:
        """Take note of a wake-up.

        Args:
            woken_at: see `Alarm.switches`; None where the thread has slept but once since the last
                note.
        """
        if originals.thread_usage is not None:
            before, self._switches = self._switches, originals.thread_usage().ru_nvcsw
            self._slept = self._switches - (before if woken_at is None else woken_at - 1)

    def why(self, late_ns: int) -> Waking:
        """Return why the calling thread woke so much too late; call it after each `note`."""
        delayed = self.count_queue()
        prompt = late_ns - (delayed or 0) < PROMPT_NS
        if late_ns <= LATE_NS or originals.thread_usage is None:
            return Waking(0, prompt=prompt)
        starved = starved_ns(late_ns, delayed, self._slept, sys.getswitchinterval())
        return Waking(starved, prompt=prompt, queued_ns=delayed or 0)

    def count_queue(self) -> int | None:
        """Return how long the thread stood in the queue since this was asked last, if known."""
        before, self._delay_ns = self._delay_ns, queue_of(self._thread)[0]
        return self._delay_ns - before if self._delay_ns >= 0 else None


def starved_ns(late_ns: int, delayed_ns: int | None, switches: int, interval_s: float) -> int:
    """Return how long a thread that woke too late waited for a GIL that nobody let go of, at least.

    Who waits for the GIL wakes every switch interval to ask for it, and whenever somebody lets go
    of it; who waits for a processor, or was stopped by a signal, does not.

    Args:
        late_ns: how much too late.
        delayed_ns: how long it stood in the queue for a processor; None where unknown.
        switches: how often it went to sleep.
        interval_s: the switch interval.
    """
    blocked = late_ns - (delayed_ns or 0)
    intervals = blocked / (interval_s * 1e9)
    share = _SWITCHES_UNSURE if delayed_ns is None else _SWITCHES
    held = share * intervals <= switches <= _SWITCHES_MOST * intervals + _SWITCHES_SPARE
    return blocked if intervals >= _INTERVALS and held else 0


def has_thread_clock() -> bool:
    """Tell whether this system has a CPU clock of each thread."""
    return _clock_of is not None and _gettime_ns is not None


def await_end(native: int) -> None:
    """Wait until the system has forgotten a thread that has left our code; 20 ms at most."""
    pause = originals.allocate_lock()
    _acquire(pause)
    for _ in range(200):
        try:
            _close(_open(f"/proc/self/task/{native}", os.O_RDONLY))
        except OSError:
            return
        _acquire(pause, True, 1e-4)
