"""Probe: loop lag. A sampler looks at the watched threads and names the line that holds one.

No watched function need be called: a regular expression, a driver in C or a long Python loop is
found by where its thread is, sample after sample, within one step of the loop. What is measured
is a lower bound: from the first sample of the step to the last.

The sampler is a thread and needs the GIL. A call that keeps the GIL keeps the sampler waiting; the
interpreter hands the GIL over right after the call, and the thread is still on that line. How
long the sampler waited for the GIL is then how long the call took, at least.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from pytest_truasync._detect import originals
from pytest_truasync._detect.blame import Blame, blame, culprit, is_excused, place_of
from pytest_truasync._detect.calls import Guard
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import (
    LATE_NS,
    Begun,
    Clocks,
    Reading,
    ThreadClocks,
    Waking,
    begin_young,
    debugging_tool,
    has_thread_clock,
    held,
)
from pytest_truasync._detect.files import Role
from pytest_truasync._detect.patches import PatchStack
from pytest_truasync._detect.queues import QueueFile, has_queue, native_id
from pytest_truasync._detect.recorder import ThreadWatch, Watch
from pytest_truasync._detect.sampler import Sampler
from pytest_truasync._detect.stays import (
    Sight,
    Stay,
    Subject,
    Tick,
    count,
    explained_ns,
    stall_observation,
)
from pytest_truasync._detect.steps import ROUND, Step, StepReader, needs_caller
from pytest_truasync._model import PERMISSION, CallSite

LONGEST_TICK_NS: Final = 20_000_000
SHORTEST_TICK_NS: Final = 2_000_000
TICKS_PER_THRESHOLD: Final = 5
_MOST_CLOCKS: Final = 100
_MOST_OVER: Final = 100
_FULL: Final = 2  # generation of a garbage collection that takes a while

_DEBUGGERS: Final = ("/bdb.py", "/pdb.py", "/cmd.py")
_DEBUGGER_PARTS: Final = ("/pydevd", "/debugpy/", "/IPython/core/debugger", "/_pydev")

# Held before a test can put something else in their place.
_frames: Final = sys._current_frames
_errors: Final = sys._current_exceptions


class LagProbe:
    """Finds the steps of loops that hold their thread, and where offloaded work waits.

    Args:
        watch: the threads.
        reader: reads the user's line off a stack.
        threshold_s: how long a step may hold its thread; None looks at no loop.
        workers: look at offloaded work.
        origin: a task → the user's line that made it.
        guard: hears of faults.
        clock: nanoseconds.
    """

    def __init__(
        self,
        watch: Watch,
        reader: FrameReader,
        *,
        threshold_s: float | None,
        workers: bool,
        origin: Callable[[Any], CallSite | None],
        guard: Guard,
        clock: Callable[[], int] = originals.clock_ns,
    ) -> None:
        self._watch = watch
        self._reader = reader
        self.loops = threshold_s is not None
        """It looks at loops. As all else here that is public it is asked for by the part in C."""
        self._workers = workers
        self.threshold_ns = round((threshold_s or 0.1) * 1e9)
        self.tick_ns = min(
            LONGEST_TICK_NS, max(SHORTEST_TICK_NS, self.threshold_ns // TICKS_PER_THRESHOLD)
        )
        self.fresh_ns = self.tick_ns // 2
        """The clocks of a thread that were read so lately are as good as new."""
        self.youth_ns = self.tick_ns * 5 // 2
        """For so long a thread that had only begun counts as young: it stood in no queue."""
        self.renew_ns = self.tick_ns * 3 // 4
        """A loop of asyncio's that comes round says so no more often than this. Others do twice as
        often, and are looked at twice as soon: nobody knows when their steps began."""
        self._origin = origin
        self._guard = guard
        self.clock = clock
        self._mutex = originals.Mutex()
        self._clocks: dict[int, ThreadClocks] = {}
        self.over: list[tuple[Stay, int]] = []
        self.looking = False
        """The sampler has begun to look, and may be in the midst of what it keeps of a thread."""
        self.sampler = Sampler(
            self.tick, self._is_wanted, self._rest, self.tick_ns, clock, watch.threads
        )
        self._off = True
        self._gc_began_ns = -1
        self._file: QueueFile | None = None
        """Of the thread that runs the tests, and most of the loops."""

    # Installing.

    def install(self, patches: PatchStack) -> None:
        """Follow the threads that are watched from now on."""
        if not (self.loops or self._workers) or not _gil():
            return
        self._off = False
        self._watch.lag = self
        self._file = QueueFile()
        gc.callbacks.append(self._on_gc)
        patches.callback(self.uninstall)

    def uninstall(self) -> None:
        """Stop the sampler."""
        self._off = True
        self._watch.lag = None
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
        self.sampler.stop()
        if self._file is not None:
            self._file.close()

    def before_fork(self) -> None:
        """End the sampler: the interpreter warns of a fork beside other threads."""
        self.sampler.stop_before_fork()

    def after_fork_here(self) -> None:
        """Go on, in the process that forked."""
        if not self._off and self._watch.threads:
            self.sampler.start()

    def after_fork(self) -> None:
        """Rest: the sampler did not come along, and the locks are as it left them."""
        self._off = True
        self._watch.lag = None
        if self._file is not None:
            self._file.leave()  # it tells of the other process

    @property
    def unavailable(self) -> tuple[str, ...]:
        """What cannot be seen on this platform, in words."""
        if not (self.loops or self._workers):
            return ()
        if not _gil():
            return ("stalls of the loop (no GIL: frames of other threads cannot be read)",)
        if not self.loops:
            return ()
        if not has_thread_clock():
            return ("stalls while other threads compute (no CPU clock of a thread)",)
        if not has_queue():
            return ("stalls by waiting while the machine is busy (no run-queue times)",)
        return ()

    # Called by the watched threads.

    def begin(self, watch: ThreadWatch) -> None:
        """Take the calling thread under the sampler."""
        loop = watch.loop
        if self._off or not (self._workers if loop is None else self.loops):
            return
        if loop is None:  # most work is done before anybody looks
            if self.sampler.asleep:
                self.sampler.start()
            return
        below = watch.below
        was_busy = False
        if below is not None:
            was_busy, below.busy = below.busy, True  # what we read is not the user's
        try:
            known: Subject | None = watch.rested
            debugged = _is_debugged()
            if known is None and not debugged and not needs_caller(loop):
                begun = begin_young(self.clock, watch.explained_ns, watch.born_ns, self.youth_ns)
                if begun is not None:
                    watch.began = begun
                    watch.born_ns = begun.born_ns
                    self.sampler.start()
                    self._put_off(watch, begun.wall_ns)
                    return
            if known is None or not known.begin_again(
                loop, watch.explained_ns, self.tick_ns, debugged=debugged
            ):
                clocks = self._clocks_here()
                steps = StepReader(loop, originals.getframe(2))
                known = watch.rested = Subject(
                    clocks, steps, clocks.read_all(self.tick_ns), debugged=debugged
                )
            watch.subject = known
            self.sampler.start()
            self._put_off(watch, known.last.wall_ns)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
        finally:
            if below is not None:
                below.busy = was_busy

    def begin_again(self, watch: ThreadWatch) -> None:
        """Take the calling thread under the sampler again, mostly right after it left.

        A harness runs several loops for each test, one after another. What was read of the thread
        a moment ago is good still.
        """
        subject: Subject | None = watch.rested
        now = self.clock()
        if (
            subject is None
            or subject.steps is None
            or type(watch.loop) is not subject.steps.kind
            or now - subject.last.wall_ns > self.fresh_ns
            or self.sampler.asleep
        ):
            self.begin(watch)
            return
        subject.resumed_ns = now
        subject.steps.loop = watch.loop
        subject.explained_ns = watch.explained_ns
        watch.subject = subject

    def _clocks_here(self) -> ThreadClocks:
        """Return the clocks of the calling thread, which runs a loop anew for each test."""
        ident = originals.get_ident()
        clocks = self._clocks.get(ident)
        thread = threading._active.get(ident)  # type: ignore[attr-defined]
        # A number is given again to a later thread; to ask the system for its own is a call.
        if clocks is None or clocks.native != (getattr(thread, "native_id", None) or native_id()):
            if len(self._clocks) >= _MOST_CLOCKS:
                self._clocks.clear()
            clocks = self._clocks[ident] = ThreadClocks(self.clock)
        return clocks

    def resume(self, watch: ThreadWatch) -> None:
        """Go on with the calling thread, which was not under the sampler for a while."""
        subject = self._subject_of(watch)
        if subject is None:
            return
        if self.sampler.asleep:
            self.sampler.start()
        if subject.stay is None:
            subject.resumed_ns = self.clock()
            if subject.resumed_ns - subject.last.wall_ns > self.fresh_ns:
                subject.last = subject.clocks.read_all(self.tick_ns)
        elif originals.acquire(self._mutex, True, 1):
            try:
                self._conclude(watch, subject)
                subject.last = subject.clocks.read_all(self.tick_ns)
            except Exception as error:  # noqa: BLE001 - never the user's problem
                self._fail(error)
            finally:
                originals.release(self._mutex)

    def come_round(self, watch: ThreadWatch, now: int) -> None:
        """Take note that the loop of the calling thread has come round: it holds nothing.

        So there is nothing to see of it for a while, nor of the others if they wait for events.
        """
        if self._begins_anew(watch):
            if self.sampler.asleep:
                self.sampler.start()
            self._put_off(watch, now)
            return
        subject = self._subject_of(watch)
        if self._off or subject is None:
            watch.renew_ns = now + self.renew_ns
            return
        self.resume(watch)
        subject.explained_ns = explained_ns(watch)
        subject.collected = len(subject.collections)
        self._put_off(watch, now)

    def _begins_anew(self, watch: ThreadWatch) -> bool:
        """Take the clocks of a thread that nobody has looked at yet as if its loop began now."""
        if self._off or watch.subject is not None or type(watch.began) is not Begun:
            return False
        try:
            begun = begin_young(self.clock, explained_ns(watch), watch.born_ns, self.youth_ns)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
            return False
        # The sampler may have made its subject meanwhile, and does not from here on: nothing is
        # called.
        if begun is None or watch.subject is not None:
            return False
        watch.began = begun
        return True

    def _put_off(self, watch: ThreadWatch, now: int) -> None:
        """Look later, and hear of the loop of the calling thread later: it holds nothing yet."""
        known = watch.poller is ROUND
        watch.renew_ns = now + (self.renew_ns if known else self.renew_ns // 2)
        threads = self._watch.threads
        if len(threads) == 1 or all(
            other.parked or other is watch for other in list(threads.values())
        ):
            self.sampler.put_off(self.tick_ns if known else self.tick_ns // 2)

    def _is_wanted(self) -> bool:
        """Tell whether there is a thread to look at."""
        return any(not watch.parked for watch in list(self._watch.threads.values()))

    def _rest(self) -> None:
        """The sampler goes to sleep: whoever comes round is to wake it."""
        for watch in list(self._watch.threads.values()):
            watch.renew_ns = 0

    def end(self, watch: ThreadWatch) -> None:
        """Let the thread of *watch* go; what it did is judged before its test ends."""
        subject: Subject | None = watch.subject
        watch.began = None  # nobody makes one of it from now on
        if subject is None:
            return
        if subject.stay is None and not (self.looking or self.over):  # as after most steps
            _let_go(watch, subject)
            return
        if not originals.acquire(self._mutex, True, 1):
            return
        try:
            self._conclude(watch, subject)
            self._report()
            _let_go(watch, subject)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
        finally:
            originals.release(self._mutex)

    def settle(self) -> None:
        """Judge the steps that are over, and those under way that have held on too long."""
        if self._off or not self._watch.threads or not originals.acquire(self._mutex, True, 1):
            return
        try:
            for watch in list(self._watch.threads.values()):
                subject = watch.subject
                if subject is not None and subject.stay is not None:
                    self._judge(watch, subject, subject.stay)
            self._report()
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
        finally:
            originals.release(self._mutex)

    def waited_at(self, watch: ThreadWatch) -> Blame | None:
        """Return the line where offloaded work waited for longest, if it was seen to."""
        subject = watch.subject
        if subject is None:
            return None
        return blame(self._reader, list(subject.places.values()))  # the sampler may add to them

    def tick(
        self, own: int, *, late_ns: int = 0, why: Callable[[int], Waking] = lambda _: Waking()
    ) -> None:
        """Look at each thread once.

        First all is taken that the threads would change as soon as they get the GIL back; only
        then files are read, which lets go of it.

        Args:
            own: number of the sampler's thread.
            late_ns: how much later than planned this is.
            why: tells of that time why it was late.
        """
        if originals.other_interpreters():
            return  # their frames are in the list as well, and to make them here crashes both
        self.looking = True  # before the frames are taken: who leaves from now on waits for us
        frames = _frames()
        if not originals.acquire(self._mutex, True, 1):
            self.looking = False
            frames.clear()  # they hold our own frame, and with it each other
            return
        try:
            frames.pop(own, None)
            tick = Tick(late_ns, punctual=late_ns < self.tick_ns, alone=len(frames) == 1)
            sights = []
            for ident, watch in list(self._watch.threads.items()):
                frame = frames.get(ident)
                subject = self._subject_of(watch) if frame is not None else None
                if frame is None or subject is None:
                    continue
                if not watch.parked or subject.stay is not None:
                    sights.append((watch, self._see(ident, watch, frame, tick)))
            frames.clear()
            frame = None
            tick.why = why(late_ns)
            for watch, sight in sights:
                subject = watch.subject
                if subject is None:
                    continue  # it has ended meanwhile
                if subject.steps is None:
                    self._count_work(subject, sight)
                else:
                    self._count_step(watch, subject, sight, tick)
                subject.explained_ns, subject.collected = sight.explained_ns, sight.collected
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
        finally:
            self.looking = False
            frames.clear()
            originals.release(self._mutex)

    def _subject_of(self, watch: ThreadWatch) -> Subject | None:
        """Return what is known of a thread; of one that has only begun it is made now."""
        known: Subject | None = watch.subject
        began: Clocks | Begun | None = watch.began
        if known is not None or began is None:
            return known
        try:
            return self._make_subject(watch, began)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._fail(error)
            return None

    def _make_subject(self, watch: ThreadWatch, began: Clocks | Begun) -> Subject | None:
        made: Subject
        clocks = ThreadClocks(self.clock, began.cpu_clock)
        if isinstance(began, Begun):
            made = Subject(
                clocks, StepReader(watch.loop, None), clocks.begin_at(began), debugged=False
            )
            made.explained_ns = began.explained_ns
        elif self._workers and watch.work is not None:
            first = Reading(began.wall_ns, began.thread_ns, began.process_ns)
            made = Subject(clocks, None, first, debugged=False)
        else:
            return None
        # Its thread may have let go of it meanwhile, and does not from here on: nothing is called.
        if watch.began is not began:
            return None
        watch.subject = made
        if made.steps is not None:
            watch.rested = made
            watch.began = None
        return made

    def _fail(self, error: Exception) -> None:
        self._off = True
        self._watch.lag = None
        self.sampler.quit()
        self._guard.broken("stalls", error)

    # What a thread is seen to do.

    def _see(self, ident: int, watch: ThreadWatch, frame: FrameType, tick: Tick) -> Sight:
        """Take all that is needed of a thread, while it stands still."""
        subject: Subject = watch.subject
        sight = Sight(
            subject.before,
            subject.clocks.read(),
            explained_ns=explained_ns(watch),
            collected=len(subject.collections),
            busy=watch.busy,
        )
        if subject.steps is not None:
            step = sight.step = subject.steps.read(frame)
            if step is None:
                return sight
            stay = subject.stay
            sight.same = stay is not None and stay.step.is_same(step)
            if not sight.same and tick.late_ns <= LATE_NS:
                step.rest()
                return sight  # that it is in a step is all there is to know of its first sample
        if not sight.busy:
            self._see_place(ident, subject, frame, sight, tick)
        if sight.step is not None:
            sight.step.rest()
        return sight

    def _see_place(
        self, ident: int, subject: Subject, frame: FrameType, sight: Sight, tick: Tick
    ) -> None:
        step = sight.step
        at, instruction = frame, -1
        if tick.late_ns > LATE_NS:
            at, instruction = culprit(frame, _errors().get(ident))
        stack = self._reader.read(at, on_loop=step is not None)
        if is_excused(stack) or (step is None and stack.user is None):
            if stack.nearest is Role.QUIET and _in_debugger(frame):
                subject.debugged = True
            return
        place = sight.place = place_of(
            self._reader,
            stack,
            function=step.function if step is not None else None,
            instruction=instruction if stack.user is at else -1,
        )
        if step is not None and step.context is not None:
            place.permission = step.context.get(PERMISSION, "")

    # Loops.

    def _count_step(self, watch: ThreadWatch, subject: Subject, sight: Sight, tick: Tick) -> None:
        step, now = sight.step, sight.reading
        if step is None:
            self._conclude(watch, subject)
            subject.read_at(subject.clocks.with_queue(now))
            return
        if not sight.same:
            self._conclude(watch, subject)
            self._arrive(subject, step, sight, tick)
        stay = subject.stay
        if stay is None or not (sight.same or sight.looked):
            return
        now = subject.clocks.with_queue(now)
        starved = tick.why.starved_ns > 0
        spent = held(
            stay.since,
            now,
            waits=starved or (tick.why.prompt and not subject.clocks.is_running()),
            starved=starved,
            queued_ns=tick.why.queued_ns,
            punctual=tick.punctual,
            alone=tick.alone,
        )
        place = sight.place
        if sight.busy:
            stay.busy_ns += now.wall_ns - stay.since.wall_ns
        elif place is not None:
            task = step.task() if step.task is not None else None
            if not place.users and task is not None:
                place.origin = self._origin(task)
            stay.add(place, spent, inside=starved or tick.why.prompt)
        stay.since = now
        subject.read_at(now)

    def _arrive(self, subject: Subject, step: Step, sight: Sight, tick: Tick) -> None:
        """Begin a stay, as early as is certain."""
        before, now = sight.before, subject.clocks.with_queue(sight.reading)
        subject.read_at(now)
        ago = step.began_ns
        if ago < 0 and tick.why.starved_ns:  # one call held the GIL, so nothing else ran meanwhile
            ago = tick.why.starved_ns
            if step.at_most_ns >= 0:
                ago = min(ago, step.at_most_ns)
        began = max(now.wall_ns - max(ago, 0), before.wall_ns)
        since = before._replace(wall_ns=began) if ago > 0 else now
        earlier = ago > 0
        subject.stay = Stay(
            step,
            since,
            subject.explained_ns if earlier else sight.explained_ns,
            subject.collected if earlier else sight.collected,
        )
        sight.looked = now.wall_ns - began > LATE_NS and tick.late_ns > LATE_NS

    def _conclude(self, watch: ThreadWatch, subject: Subject) -> None:
        stay, subject.stay = subject.stay, None
        if stay is not None:
            self._judge(watch, subject, stay)

    def _judge(self, watch: ThreadWatch, subject: Subject, stay: Stay) -> None:
        """Keep a stay that was too long.

        To name its line takes reading files, which lets go of the GIL: the sampler would lose it
        to the next stall, and find that one over.
        """
        lasted = stay.own_ns(explained_ns(watch), subject.collections)
        if stay.reported or subject.debugged or lasted < self.threshold_ns:
            return
        stay.reported = True
        self.over.append((stay, lasted))
        if len(self.over) >= _MOST_OVER:
            self._report()

    def _report(self) -> None:
        """Name the lines of the stays that were too long."""
        over = list(self.over)
        self.over.clear()
        for stay, lasted in over:
            found = blame(self._reader, stay.places.values())
            if found is not None and found.target != "gc.collect":
                self._watch.recorder.add(stall_observation(found, lasted, min(stay.cpu_ns, lasted)))

    # Offloaded work.

    def _count_work(self, subject: Subject, sight: Sight) -> None:
        before, now = sight.before, sight.reading
        subject.read_at(now)
        wall = now.wall_ns - before.wall_ns
        cpu = now.cpu_ns - before.cpu_ns
        place = sight.place
        if place is None or cpu * 2 > wall:
            return
        count(subject.places, place, wall - cpu, inside=True)

    # Garbage collections.

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        """Note how long a full collection takes, in the thread that happens to make it."""
        if info["generation"] != _FULL:
            return
        now = (originals.thread_time_ns or self.clock)()
        if phase == "start":
            self._gc_began_ns = now
            return
        watch = self._watch.threads.get(originals.get_ident())
        if watch is not None and self._gc_began_ns >= 0:
            subject = self._subject_of(watch)
            if subject is not None:
                subject.collections.append(now - self._gc_began_ns)
        self._gc_began_ns = -1


def _let_go(watch: ThreadWatch, subject: Subject) -> None:
    """Look no more at a thread that has left its loop, nor at what came up since it was judged."""
    if subject.steps is not None:
        watch.subject = subject.stay = None
        subject.steps.loop = None


def _gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def _is_debugged() -> bool:
    """Tell whether the calling thread is traced by something that is not coverage."""
    if debugging_tool() is not None:
        return True
    tracer = sys.gettrace()
    if tracer is None:
        return False
    owner = type(getattr(tracer, "__self__", tracer)).__module__ or ""
    return not owner.startswith("coverage")


def _in_debugger(frame: FrameType) -> bool:
    at: FrameType | None = frame
    while at is not None:
        path = at.f_code.co_filename.replace("\\", "/")
        if path.endswith(_DEBUGGERS) or any(part in path for part in _DEBUGGER_PARTS):
            return True
        at = at.f_back
    return False
