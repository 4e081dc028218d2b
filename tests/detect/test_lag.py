"""Stalls: what holds a loop is named, what only looks so is not; by fakes, then for real."""

from __future__ import annotations

import asyncio.base_events
import dis
import inspect
import sys
import time
import typing
import weakref
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, cast

import pytest
from stories import check, run

from pytest_truasync._detect import blame as blaming
from pytest_truasync._detect import clocks, lag
from pytest_truasync._detect.blame import Place, blame, call_text, culprit, name_call
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import Held, Reading, Waking, held, starved_ns
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.lag import LagProbe
from pytest_truasync._detect.patches import PatchStack
from pytest_truasync._detect.recorder import Recorder, ThreadWatch, Watch
from pytest_truasync._detect.stays import Stay, Subject
from pytest_truasync._detect.steps import ROUND, Step, StepReader
from pytest_truasync._model import PERMISSION, CallSite, Observation

pytest_plugins = ("pytester",)

MS = 1_000_000
HERE = Path(__file__).resolve()


def reading(wall: int, cpu: int = 0, **more: int) -> Reading:
    """Return clocks, in milliseconds."""
    known = {"process": cpu, "delay": 0, **more}
    turns = known.pop("turns", 0)
    return Reading(
        wall * MS, cpu * MS, turns=turns, **{f"{k}_ns": v * MS for k, v in known.items()}
    )


# What a stretch of time was.

START = reading(0)


@pytest.mark.parametrize(
    ("after", "said", "cpu", "waited"),
    [
        (reading(100, 100), {}, 100, 0),
        (reading(100, 3, turns=1), {}, 3, 97),
        # it was found running: the rest of the time it was not let
        (reading(100, 30), {"waits": False}, 30, 0),
        # it stood in the queue for a processor
        (reading(100, 30, delay=70), {}, 30, 0),
        (reading(100, 0, delay=60, turns=1), {}, 0, 40),
        # it woke every 5 ms to ask for the GIL, while another thread computed
        (reading(100, 0, process=100, turns=20), {}, 0, 0),
        # it woke as often and nobody computed: it waits in small pieces
        (reading(100, 0, process=2, turns=20), {}, 0, 98),
        # it woke as often, and the sampler could not run either: somebody sleeps with the GIL
        (reading(100, 0, process=2, turns=20), {"starved": True}, 0, 0),
        # it did not wake at all, so it is the one that sleeps with the GIL
        (reading(300, 0, process=2, turns=1), {"starved": True}, 0, 300),
        # the system says that it stood in the queue at once, while others got their turns
        (reading(300, 0, delay=299, turns=2), {"starved": True}, 0, 200),
        # it computes whenever it is let: it may well have stood there, behind others
        (reading(300, 20, delay=279, turns=2), {"starved": True}, 20, 0),
        # so did the sampler, so that is what the machine is like
        (reading(300, 0, delay=299, turns=2), {"starved": True, "queued_ns": 250 * MS}, 0, 0),
        # no queue to ask: only a sampler that is on time can tell
        (reading(100, 0, delay=-1), {}, 0, 100),
        (reading(100, 0, delay=-1), {"punctual": False}, 0, 0),
        (reading(100, 80, delay=-1), {"punctual": False}, 80, 0),
        # no clock of a thread: that of the process, if there is no other thread
        (Reading(100 * MS, -1, 90 * MS), {"alone": True}, 90, 10),
        (Reading(100 * MS, -1, 90 * MS), {}, 0, 10),
    ],
)
def test_held(after: Reading, said: dict[str, Any], cpu: int, waited: int) -> None:
    before = Reading(0, min(0, after.cpu_ns), 0, min(0, after.delay_ns), 5)
    later = after._replace(turns=after.turns + 5)
    assert held(before, later, **said) == Held(cpu * MS, waited * MS)


def test_held_by_a_thread_whose_queue_nobody_had_asked_for() -> None:
    """What it stood there before hides a call that sleeps with the GIL for one turn at most."""
    after = reading(300, 0, delay=400, turns=5)
    assert held(START, after, starved=True).waited_ns == 250 * MS
    assert held(START, after).waited_ns == 0


@pytest.mark.parametrize(
    ("late", "delayed", "switches", "starved"),
    [
        (300, 0, 60, 300),
        (300, 200, 15, 100),
        (300, 295, 60, 0),  # it waited for a processor
        (300, 0, 2, 0),  # the process was stopped
        (8, 0, 2, 0),
        (210, 46, 1715, 0),  # the loop let go of the GIL in each of its rounds
        (24, 8, 95, 0),
        (300, None, 60, 300),
        (300, None, 20, 0),
    ],
)
def test_starved(late: int, delayed: int | None, switches: int, starved: int) -> None:
    """Only who asks for the GIL wakes every 5 ms."""
    delayed_ns = delayed * MS if delayed is not None else None
    assert starved_ns(late * MS, delayed_ns, switches, 0.005) == starved * MS


# A stay in one step.


def step(mark: object = 1, **more: Any) -> Step:
    return Step(None, (mark,), **more)


def place(instruction: int = 0, code: CodeType | None = None) -> Place:
    code = code or place.__code__
    return Place(code, instruction, globals(), "", users=True, rows=((code, 1),))


def test_own_time() -> None:
    """Other probes' time is theirs, also what was seen while it ran; one collection is free."""
    stay = Stay(step(), START, explained_ns=10 * MS, collected=1)
    stay.add(place(), Held(200 * MS, 50 * MS), inside=False)
    assert stay.own_ns(10 * MS, [999 * MS]) == 250 * MS
    assert stay.own_ns(70 * MS, []) == 190 * MS
    stay.busy_ns = 60 * MS
    assert stay.own_ns(70 * MS, []) == 250 * MS
    assert stay.own_ns(10 * MS, [999 * MS, 30 * MS, 40 * MS]) == 210 * MS


# The line and the call.


def sample_code(data: list[int], lib: Any) -> int:
    total = 3**5
    lib.wait(
        data,
    )
    sorted(data, key=str)
    Path("x")
    sys.getsizeof(data)
    (lambda: 1)()
    for one in data:
        total += lib.step(one)
    return total


def instructions(name: str, line: int, code: CodeType = sample_code.__code__) -> int:
    import dis

    found = 0
    for one in dis.get_instructions(code):
        positions = one.positions
        at = positions.lineno if positions is not None else None
        if at == code.co_firstlineno + line and one.opname.startswith(name):
            found = one.offset
    assert found
    return found


@pytest.mark.parametrize(
    ("line", "text", "name"),
    [
        (2, "lib.wait( data, )", "lib.wait"),
        (5, "sorted(data, key=str)", "sorted"),
        (6, 'Path("x")', "pathlib.Path"),
        (7, "sys.getsizeof(data)", "sys.getsizeof"),
        (8, "(lambda: 1)()", "lambda: 1"),
    ],
)
def test_call_is_named(line: int, text: str, name: str) -> None:
    at = place(instructions("CALL", line), sample_code.__code__)
    written, columns = call_text(at.code, at.instruction)
    assert blaming.shorten(written) == text
    assert columns[0] == 5
    assert name_call(written, at).replace("pathlib._local", "pathlib") == name


def test_no_call_is_named() -> None:
    assert call_text(sample_code.__code__, instructions("RETURN", 11)) == ("", (0, 0))
    assert name_call("not python", place()) == ""
    assert name_call("1 + 1", place()) == ""


def reader() -> FrameReader:
    return FrameReader(FileSorter(HERE.parent))


def test_most_of_the_time_is_blamed() -> None:
    code = sample_code.__code__
    places = [place(instructions(*at), code) for at in (("CALL", 5), ("CALL", 7), ("CALL", 10))]
    for one, spent in zip(places, (30, 40, 60), strict=True):
        one.spent_ns = spent
    found = blame(reader(), places)
    assert found is not None
    assert (found.site.path, found.site.line) == (HERE.name, code.co_firstlineno + 10)
    assert found.site.source == "total += lib.step(one)"
    assert (found.target, found.call) == ("sample_code", "")  # each of the calls may be short
    places[2].inside_ns = 50
    found = blame(reader(), places)
    assert found is not None
    assert (found.target, found.call) == ("lib.step", "`lib.step(one)` (columns 18-30)")
    assert blame(reader(), ()) is None


def turning(lib: Any) -> None:
    while lib.step(0):
        lib.count += 1


def turning_not(lib: Any) -> None:
    while not lib.step(0):
        lib.count += 1


@pytest.mark.parametrize("function", [turning, turning_not])
def test_condition_of_a_loop_may_be_short(function: Any) -> None:
    code = function.__code__
    at = place(instructions("CALL", 1, code), code)
    at.spent_ns = 60
    found = blame(reader(), [at])
    assert found is not None
    assert (found.target, found.call) == (function.__name__, "")


def power_then_call(size: int) -> int:
    found = 3**size
    return len(str(found)[:1]) + isinstance(found, int)


def clocked() -> float:
    return time.perf_counter()


def test_a_call_that_never_takes_long_is_not_blamed() -> None:
    """It only happens to stand behind what took long."""
    code = power_then_call.__code__
    at = place(instructions("CALL", 2, code), code)
    at.spent_ns = at.inside_ns = 60
    found = blame(reader(), [at])
    assert found is not None
    assert (found.site.line, found.target, found.call) == (
        code.co_firstlineno + 2,
        "power_then_call",
        "",
    )
    at = place(instructions("CALL", 1, clocked.__code__), clocked.__code__)
    at.spent_ns = at.inside_ns = 60
    found = blame(reader(), [at])
    assert found is not None
    assert (found.target, found.call) == ("clocked", "")


def operator_then_call(size: int) -> int:
    found = 3**size
    return len(found)


def test_the_operator_before_it_is() -> None:
    code = operator_then_call.__code__
    at = place(instructions("CALL", 2, code), code)
    at.spent_ns = at.inside_ns = 60
    found = blame(reader(), [at])
    assert found is not None
    assert found.site.source == "found = 3**size"


@dataclass
class Fake:
    """A frame."""

    f_code: CodeType
    f_lasti: int = 0
    f_back: Fake | None = None
    f_locals: dict[str, Any] = field(default_factory=dict)
    f_globals: dict[str, Any] = field(default_factory=dict)
    f_lineno: int = 1


def frame(code: Any, at: int = 0, back: FrameType | None = None, **names: Any) -> FrameType:
    names_of = getattr(code, "__globals__", globals())
    below = cast("Fake | None", back)
    return cast("FrameType", Fake(getattr(code, "__code__", code), at, below, names, names_of))


async def operator_then_await() -> None:
    await asyncio.sleep(0)
    value = 3**900
    other = value
    await asyncio.sleep(other)


def handles(lib: Any) -> None:
    try:
        lib.fail()
    except ValueError as error:
        print(error)  # noqa: T201 - never run


def test_culprit() -> None:
    """After an operator, the GIL is let go of at the next function entry."""
    code = operator_then_await.__code__
    outer = frame(code, instructions("SEND", 4, code))
    entered = frame(asyncio.sleep, instructions("RESUME", 0, asyncio.sleep.__code__), outer)
    at, instruction = culprit(entered)
    assert at is outer
    assert instruction == instructions("BINARY_OP", 2, code)


def test_culprit_is_a_call() -> None:
    at = frame(sample_code, instructions("CALL", 5))
    assert culprit(at) == (at, at.f_lasti)


def test_culprit_raised() -> None:
    code = handles.__code__
    at = frame(code, instructions("CALL", 4, code) - 4)
    where = instructions("CALL", 2, code)
    trace = SimpleNamespace(tb_frame=at, tb_lasti=where, tb_next=None)
    error = SimpleNamespace(__traceback__=SimpleNamespace(tb_frame=None, tb_next=trace))
    assert culprit(at, error) == (at, where)
    assert culprit(at, (ValueError, error, trace)) == (at, where)
    assert culprit(at, None) == (at, at.f_lasti)


# Steps.


class Handle:
    def __init__(self) -> None:
        self._context = Context()
        self._callback = len

    def _run(self) -> None:
        """Stand for the handle's."""


class Loop(asyncio.base_events.BaseEventLoop):
    pass


RUN_ONCE = asyncio.base_events.BaseEventLoop._run_once  # type: ignore[attr-defined]


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def asyncio_frame(handle: object, began: float, number: int) -> FrameType:
    once = frame(RUN_ONCE, handle=handle, end_time=began, i=number)
    return frame(sample_code, 0, frame(Handle._run, 0, once))


def test_asyncio_steps(loop: Loop) -> None:
    steps = StepReader(loop, None)
    handle, other = Handle(), Handle()
    began = time.monotonic() - 1
    stack = asyncio_frame(handle, began, 0)
    first = steps.read(stack)
    assert first is not None
    assert first.began_ns >= 1_000 * MS
    names = cast("Fake", stack).f_back.f_back.f_locals  # type: ignore[union-attr]
    names.update(handle=handle, end_time=began, i=0)
    again = steps.read(stack)
    assert again is not None
    assert first.is_same(again)
    names.update(handle=other, end_time=began, i=1)
    second = steps.read(stack)
    assert second is not None
    assert not first.is_same(second)
    assert second.began_ns < 0 <= second.at_most_ns
    names.update(handle=handle, end_time=began + 0.1, i=0)
    next_round = steps.read(stack)
    assert next_round is not None
    assert not first.is_same(next_round)


def test_loop_itself_is_no_step(loop: Loop) -> None:
    steps = StepReader(loop, None)
    assert steps.read(frame(RUN_ONCE)) is None
    assert steps.read(frame(sample_code, 0, frame(RUN_ONCE))) is None
    assert steps.read(frame(sample_code)) is None


def test_other_clock_tells_no_begin(loop: Loop) -> None:
    """A frozen clock shows the same time in each round: the frame then tells rounds apart."""
    loop.time = lambda: 1.0  # type: ignore[method-assign]
    steps = StepReader(loop, None)
    handle = Handle()
    first = steps.read(asyncio_frame(handle, 1.0, 0))
    second = steps.read(asyncio_frame(handle, 1.0, 0))
    assert first is not None
    assert second is not None
    assert first.began_ns < 0
    assert not first.is_same(second)


class OtherLoop:
    """Has no Python frames, as uvloop."""

    def __init__(self) -> None:
        self.called: list[Any] = []

    def call_soon_threadsafe(self, callback: Any) -> None:
        self.called.append(callback)


def run_forever() -> None:
    """Stand for the function that runs such a loop."""


def test_steps_of_other_loops() -> None:
    loop = OtherLoop()
    steps = StepReader(loop, frame(run_forever))
    floor = frame(run_forever)
    assert steps.read(floor) is None
    inside = frame(sample_code, 0, floor)
    first, again = steps.read(inside), steps.read(inside)
    assert first is not None
    assert again is not None
    assert first.is_same(again)
    assert len(loop.called) == 1
    loop.called.pop()()  # the loop has come round
    later = steps.read(inside)
    assert later is not None
    assert not first.is_same(later)


def test_a_callback_of_weak_references_names_no_call() -> None:
    """`gc.collect()` runs them; it is the call on the line."""
    frames = []

    class Item:
        def __hash__(self) -> int:
            frames.append(sys._getframe(1))
            return 1

    items: Any = weakref.WeakSet()
    items._remove(Item())
    reader = FrameReader(FileSorter(HERE.parent))
    assert frames[0].f_code.co_name == "_remove"
    place = blaming.place_of(reader, reader.read(frames[0]))
    assert (place.code, place.called) == (sys._getframe().f_code, "")


@pytest.mark.parametrize("module", [inspect, typing, blaming])
def test_what_code_runs_is_read_as_dis_reads_it(module: Any) -> None:
    """Which takes ten times as long."""
    for function in vars(module).values():
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        known = [one for one in dis.get_instructions(code) if one.opname != "CACHE"]
        read = blaming._instructions(code)
        assert [(one.offset, one.name) for one in read] == [
            (one.offset, one.opname) for one in known
        ]
        for here in known[::5]:
            in_loop = any(
                "JUMP_BACKWARD" in one.opname and one.argval <= here.offset <= one.offset
                for one in known
            )
            assert blaming._in_loop(code, here.offset) == in_loop


# The clocks of a thread that is new.


@pytest.mark.parametrize(
    ("cpu_ns", "tells", "asked"),
    [(100_000, True, 0), (5_000_000, True, 1), (100_000, False, 1), (-1, True, 1)],
    ids=["young", "old", "no queue times", "no clock"],
)
def test_only_a_thread_that_has_run_is_asked_for_its_queue(
    monkeypatch: pytest.MonkeyPatch, cpu_ns: int, tells: bool, asked: int
) -> None:
    calls = []

    def queue_of(native: int) -> tuple[int, int]:
        calls.append(native)
        return (7, 3) if tells else (-1, -1)

    monkeypatch.setattr(clocks, "queue_of", queue_of)
    monkeypatch.setattr(clocks, "has_queue", lambda: tells)
    of_thread = clocks.ThreadClocks(lambda: 1_000_000_000)
    monkeypatch.setattr(
        clocks.ThreadClocks, "read", lambda self: Reading(1_000_000_000, cpu_ns, 0, *self._queue)
    )
    first = of_thread.read_all(20_000_000)
    assert len(calls) == asked
    assert (first.delay_ns, first.turns) == ((0, 0) if not asked else (7, 3) if tells else (-1, -1))
    assert of_thread.read_all(20_000_000) == first  # it is not stale yet
    assert len(calls) == asked
    assert of_thread.with_queue(first).delay_ns == (7 if tells else -1)


# The probe, tick by tick.


class FakeClocks:
    def __init__(self) -> None:
        self.now = START
        self.stalest = 0

    def read(self) -> Reading:
        return self.now

    def read_all(self, stale_ns: int = 10**18) -> Reading:
        self.stalest = stale_ns
        return self.now

    def with_queue(self, now: Reading) -> Reading:
        return now

    def is_running(self) -> bool:
        return False


class FakeSteps:
    def __init__(self) -> None:
        self.now: Step | None = None

    def read(self, frame: FrameType) -> Step | None:
        assert frame
        return self.now

    def rest(self) -> None:
        self.now = None


class Guard:
    def broken(self, probe: str, error: BaseException) -> None:
        raise AssertionError(probe) from error

    def refuse(self, call: object) -> None:
        """Let all calls pass."""


class Bench:
    """A probe of one loop, whose clocks and stack are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder = Recorder()
        watch = Watch(self.recorder)
        self.probe = LagProbe(
            watch,
            reader(),
            threshold_s=0.1,
            workers=True,
            origin=lambda _: CallSite("origin.py", 7),
            guard=Guard(),
        )
        self.clocks, self.steps = FakeClocks(), FakeSteps()
        self.watch = ThreadWatch(self.recorder, loop=object())
        self.subject = Subject(
            cast("Any", self.clocks), cast("Any", self.steps), START, debugged=False
        )
        self.watch.subject = self.subject
        watch.threads[1] = self.watch
        self.frame = frame(sample_code, instructions("CALL", 5))
        monkeypatch.setattr(lag, "_frames", lambda: {1: self.frame, 2: self.frame})
        monkeypatch.setattr(lag, "_errors", dict)

    def tick(self, now: Reading, seen: Step | None, **how: Any) -> None:
        self.clocks.now, self.steps.now = now, seen
        self.probe.tick(2, **how)

    def seen(self) -> list[Observation]:
        self.probe._report()
        return list(self.recorder.drain("test", "call"))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_one_stall(bench: Bench) -> None:
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step())
    assert not bench.seen()
    bench.tick(reading(160, 140), None)
    (seen,) = bench.seen()
    assert (seen.code, seen.target) == ("TRU401", "sorted")
    assert (seen.site.path, seen.site.line) == (HERE.name, sample_code.__code__.co_firstlineno + 5)
    assert seen.total_ns == seen.longest_ns == 140 * MS
    assert seen.detail == "`sorted(data, key=str)` (columns 5-25)"
    assert [site.line for site in seen.chain] == [1]
    bench.tick(reading(180, 140), None)
    assert not bench.seen()


def test_waiting(bench: Bench) -> None:
    for tick in range(8):
        bench.tick(reading(20 * tick, 0), step())
    bench.probe.end(bench.watch)
    assert [one.code for one in bench.seen()] == ["TRU402"]


def test_under_way(bench: Bench) -> None:
    """A step that is not over yet is reported with its test, and not again."""
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step())
    bench.probe._off = False
    bench.probe.settle()
    assert len(bench.seen()) == 1
    bench.tick(reading(160, 160), step())
    bench.tick(reading(180, 180), None)
    assert not bench.seen()


def test_short_steps(bench: Bench) -> None:
    for tick in range(20):
        bench.tick(reading(20 * tick, 20 * tick), step(tick // 3))
    bench.tick(reading(400, 400), None)
    assert not bench.seen()


def test_late_sampler(bench: Bench) -> None:
    """The machine was busy: what ran meanwhile is not known, unless the loop tells."""
    bench.tick(reading(20, 20), None)
    bench.tick(reading(400, 400), step(), late_ns=360 * MS)
    bench.tick(reading(420, 420), None)
    assert not bench.seen()
    bench.tick(reading(800, 800), step(began_ns=300 * MS), late_ns=360 * MS)
    bench.tick(reading(820, 820), None)
    (seen,) = bench.seen()
    assert seen.total_ns == 300 * MS


def test_starved_sampler(bench: Bench) -> None:
    """One call held the GIL, so one step it was; the round of the loop may bound it."""
    bench.tick(reading(20, 20), None)
    starved = {"late_ns": 360 * MS, "why": lambda late: Waking(late - 10 * MS)}
    bench.tick(reading(400, 400), step(), **starved)
    bench.tick(reading(420, 420), None)
    assert [one.total_ns for one in bench.seen()] == [350 * MS]
    bench.tick(reading(800, 800), step(at_most_ns=200 * MS), **starved)
    bench.tick(reading(820, 820), None)
    assert [one.total_ns for one in bench.seen()] == [200 * MS]


def test_a_thread_that_goes_on_while_the_sampler_counts(bench: Bench) -> None:
    """It reads its own clocks when it begins the next step: later than what the sampler read."""

    def why(late: int) -> Waking:
        bench.subject.last = reading(425, 25)
        return Waking(late)

    bench.tick(reading(20, 20), None)
    bench.tick(reading(400, 20), step(), late_ns=360 * MS, why=why)
    assert bench.subject.last == reading(425, 25)
    bench.tick(reading(440, 30), None)
    assert [one.total_ns for one in bench.seen()] == [360 * MS]


def test_the_sampler_names_no_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read files, and so let go of the GIL: the next stall would be over without it."""
    named: list[object] = []
    monkeypatch.setattr(lag, "blame", lambda *places: named.append(places))
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step())
    bench.tick(reading(160, 140), None)
    assert not named
    bench.probe._off = False
    bench.probe.settle()
    assert len(named) == 1


def test_explained(bench: Bench) -> None:
    """A watched call that runs in the step is reported by its own probe."""
    for tick in range(8):
        bench.watch.busy = 1 < tick < 6
        bench.tick(reading(20 * tick, 0), step())
        bench.watch.explained_ns = 90 * MS if tick > 5 else 0
    bench.tick(reading(160, 0), None)
    assert not bench.seen()


def test_debugger(bench: Bench) -> None:
    import pdb

    own = bench.frame
    for tick in range(8):
        bench.frame = frame(pdb.Pdb.interaction, 0, own) if tick == 3 else own
        bench.tick(reading(20 * tick, 20 * tick), step())
    bench.tick(reading(160, 140), None)
    assert not bench.seen()


def test_import(bench: Bench) -> None:
    import importlib

    bench.frame = frame(importlib.import_module, 0, bench.frame)
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step())
    bench.tick(reading(160, 140), None)
    assert not bench.seen()


def test_asked_for_collection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blaming, "name_call", lambda *_: "gc.collect")
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step())
    bench.tick(reading(160, 140), None)
    assert not bench.seen()


def test_permission(bench: Bench) -> None:
    context = Context()
    context.run(PERMISSION.set, "with a.py:1 TRU401")
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step(context=context))
    bench.tick(reading(160, 140), None)
    assert [one.permission for one in bench.seen()] == ["with a.py:1 TRU401"]


def test_task_of_a_library(bench: Bench) -> None:
    """No line of the user's is on the stack: the one that made the task is named."""
    import json
    import weakref

    task = Handle()
    bench.frame = frame(json.loads, 0)
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step(task=weakref.ref(task)))
    bench.tick(reading(160, 140), None)
    assert [(one.site.path, one.target) for one in bench.seen()] == [("origin.py", "json.loads")]


def test_worker(bench: Bench) -> None:
    bench.subject.steps = None
    for tick in range(4):
        bench.tick(reading(20 * tick, 0), None)
    bench.frame = frame(sample_code, instructions("CALL", 2))
    bench.tick(reading(200, 0), None)
    bench.watch.busy = True
    bench.tick(reading(2000, 0), None)
    found = bench.probe.waited_at(bench.watch)
    assert found is not None
    assert found.target == "lib.wait"
    assert bench.probe.waited_at(ThreadWatch(bench.recorder)) is None


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("_gil", "stalls of the loop (no GIL: frames of other threads cannot be read)"),
        ("has_thread_clock", "stalls while other threads compute (no CPU clock of a thread)"),
        ("has_queue", "stalls by waiting while the machine is busy (no run-queue times)"),
    ],
)
def test_unavailable(bench: Bench, monkeypatch: pytest.MonkeyPatch, lacks: str, says: str) -> None:
    for name in ("_gil", "has_thread_clock", "has_queue"):
        monkeypatch.setattr(lag, name, lambda name=name: name != lacks)
    assert bench.probe.unavailable == (says,)
    with PatchStack() as patches:
        bench.probe.install(patches)
        assert bench.probe._off == (lacks == "_gil")


def test_not_wanted(bench: Bench) -> None:
    watch = Watch(bench.recorder)
    probe = LagProbe(
        watch, reader(), threshold_s=None, workers=False, origin=lambda _: None, guard=Guard()
    )
    with PatchStack() as patches:
        probe.install(patches)
        assert watch.lag is None
    assert probe.unavailable == ()


# For real.


def test_stalls(pytester: pytest.Pytester) -> None:
    check(pytester, "stalls", "--truasync-stall-threshold=50ms")


def test_other_loops(pytester: pytest.Pytester) -> None:
    pytest.importorskip("trio")
    pytest.importorskip("uvloop")
    check(pytester, "stalls_other", "--truasync-stall-threshold=50ms")


def test_threshold(pytester: pytest.Pytester) -> None:
    """Nothing holds a loop for an hour."""
    options = ("--truasync-stall-threshold=3600s", "-k", "test_waits or test_explained")
    report = run(pytester, "stalls", *options)
    assert {one["code"] for one in report["violations"]} == {"TRU251"}


WORKER = """
import asyncio, ctypes

LIBRARY = ctypes.CDLL(None)

def fetch():
    text = "select 1"
    LIBRARY.usleep(300_000)
    return text

async def test_worker():
    await asyncio.to_thread(fetch)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a C library with usleep")
def test_line_in_a_worker(pytester: pytest.Pytester) -> None:
    """A driver in C that nobody knows: the line that calls it, in the thread, is named."""
    from lean import lean

    pytester.makepyfile(WORKER)
    result = pytester.runpytest_subprocess(*lean(), "--truasync", "--truasync-select=TRU301")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*:11 in test_worker: TRU301*",
            "*LIBRARY.usleep waited in a thread for*",
            "*inside: test_line_in_a_worker.py:7 in fetch",
        ]
    )


SLOW_THREAD = """
import asyncio
import concurrent.futures.thread
import threading
import time
import typing


class Slow(threading.Thread):
    def _set_ident(self):
        time.sleep(0.3)  # as a machine that has no processor for it
        super()._set_ident()


async def test_thread():
    Slow(target=int).start()


async def test_pool(monkeypatch):
    monkeypatch.setattr(threading, "Thread", Slow)
    await asyncio.to_thread(int)
"""


def test_the_wait_for_a_new_thread_is_no_stall(pytester: pytest.Pytester) -> None:
    """The loop holds on until the thread runs, which is the machine's doing."""
    from lean import lean

    pytester.makepyfile(SLOW_THREAD)
    result = pytester.runpytest_subprocess(*lean(), "--truasync", "--truasync-select=TRU4")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["truasync: no violations*"])


def test_a_debugger_beside_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """coverage traces by sys.settrace, and a debugger may use sys.monitoring at the same time."""
    tracer = type("Collector", (), {"__module__": "coverage.pytracer"})()
    monkeypatch.setattr(sys, "gettrace", lambda: tracer)
    monkeypatch.setattr(lag, "debugging_tool", lambda: None)
    assert not lag._is_debugged()
    monkeypatch.setattr(lag, "debugging_tool", lambda: "debugpy")
    assert lag._is_debugged()


# A loop that comes round.


class FakeSampler:
    def __init__(self) -> None:
        self.asleep = False
        self.put_offs = 0
        self.pause_ns = -1

    def start(self) -> None:
        self.asleep = False
        self.put_off()

    def put_off(self, pause_ns: int = -1) -> None:
        self.put_offs += 1
        self.pause_ns = pause_ns


@pytest.fixture
def fake_sampler(bench: Bench) -> FakeSampler:
    bench.probe._off = False
    made = FakeSampler()
    bench.probe.sampler = cast("Any", made)
    return made


def test_a_round_puts_the_sampler_off(bench: Bench, fake_sampler: FakeSampler) -> None:
    """Only where nobody else may be holding a loop meanwhile."""
    other = ThreadWatch(bench.recorder, work=object())
    bench.probe.come_round(bench.watch, 5 * MS)
    assert bench.watch.renew_ns > 5 * MS
    assert bench.clocks.stalest == bench.probe.tick_ns  # as if a look had read the queue
    assert fake_sampler.put_offs == 1
    bench.probe._watch.threads[2] = other
    bench.probe.come_round(bench.watch, 25 * MS)
    assert fake_sampler.put_offs == 1
    other.parked = True
    bench.probe.come_round(bench.watch, 45 * MS)
    assert fake_sampler.put_offs == 2
    other.parked = False
    fake_sampler.asleep = True
    bench.probe.come_round(bench.watch, 65 * MS)
    assert fake_sampler.put_offs == 3


@pytest.mark.parametrize(("poller", "share"), [(ROUND, 1), (None, 2)])
def test_a_loop_that_does_not_tell_when_a_step_began_is_looked_at_sooner(
    bench: Bench, fake_sampler: FakeSampler, poller: CodeType | None, share: int
) -> None:
    bench.watch.poller = poller
    bench.probe.come_round(bench.watch, 5 * MS)
    assert fake_sampler.pause_ns == bench.probe.tick_ns // share
    assert bench.watch.renew_ns == 5 * MS + bench.probe.tick_ns * 3 // 4 // share


def test_what_was_before_a_round_explains_nothing_after_it(
    bench: Bench, fake_sampler: FakeSampler
) -> None:
    assert not fake_sampler.asleep
    bench.watch.explained_ns = 500 * MS  # calls of rounds that the sampler did not see
    bench.probe.come_round(bench.watch, 1)
    for tick in range(8):
        bench.tick(reading(20 * tick, 20 * tick), step(began_ns=5 * MS))
    bench.tick(reading(160, 140), None)
    assert [one.code for one in bench.seen()] == ["TRU401"]


def test_a_loop_that_waits_is_not_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.watch.parked = True
    assert not bench.probe._is_wanted()
    monkeypatch.setattr(bench.steps, "read", None)  # whoever asks fails
    bench.tick(reading(20), None)
    bench.watch.renew_ns = 10**18
    bench.probe._rest()
    assert bench.watch.renew_ns == 0
