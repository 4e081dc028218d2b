"""A function that has a lane does as it would without."""

from __future__ import annotations

import asyncio
import asyncio.events
import gc
import inspect
import pickle
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from young import in_thread

from pytest_truasync._detect import native, originals
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import YOUNG_NS, Begun
from pytest_truasync._detect.executors import OffloadProbe
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.lag import LagProbe
from pytest_truasync._detect.loops import LoopProbe
from pytest_truasync._detect.offloads import Handover, Offload
from pytest_truasync._detect.patches import PatchStack
from pytest_truasync._detect.recorder import Call, Recorder, ThreadWatch, Watch
from pytest_truasync._detect.standins import without_us
from pytest_truasync._detect.steps import ROUND
from pytest_truasync._model import CallSite

pytestmark = pytest.mark.skipif(native.Lane is None, reason="no lanes before CPython 3.12")

BOTH = pytest.mark.parametrize("way", ["lane", "python"])
_set_running_loop = originals.modules["_asyncio"]._set_running_loop


def without_lane(function: Any) -> Any:
    """Return the same function, which nobody has given a lane."""
    code, cells = function.__code__, function.__closure__
    return types.FunctionType(code, function.__globals__, function.__name__, None, cells)


class Guard:
    def broken(self, probe: str, error: BaseException) -> None:
        raise AssertionError(probe) from error

    def refuse(self, call: Call) -> None:
        """Refuse nothing."""


class Bench:
    """The probes of loops and of their lag, whose sampler is awake and looks at nothing."""

    def __init__(self, root: Path, threshold_s: float | None = 60) -> None:
        reader = FrameReader(FileSorter(root))
        self.recorder = Recorder()
        self.watch = Watch(self.recorder)
        self.loops = LoopProbe(self.watch, reader)
        self.patches = PatchStack()
        self.lag = LagProbe(
            self.watch,
            reader,
            threshold_s=threshold_s,
            workers=True,
            origin=lambda _: None,
            guard=Guard(),
        )
        self.lag.install(self.patches)
        self.lag.tick = lambda *_, **__: None  # type: ignore[method-assign]
        self.lag.sampler.start()
        self.entered: list[Any] = []
        enter, leave = self.loops._enter, self.loops._leave
        self.loops._enter = lambda loop: self.entered.append(loop) or enter(loop)  # type: ignore[method-assign, func-returns-value]
        self.loops._leave = lambda: self.entered.append(None) or leave()  # type: ignore[method-assign, func-returns-value]
        self.set_running_loop = self.loops._running_loop_setter(_set_running_loop)
        self.python = without_lane(self.set_running_loop)

    def setter(self, way: str) -> Any:
        return self.set_running_loop if way == "lane" else self.python

    def state(self) -> dict[str, Any]:
        """What is known of the calling thread."""
        watch = self.watch.threads.get(threading.get_ident())
        if watch is None:
            return {}
        subject = watch.subject
        return {
            "loop": watch.loop,
            "poller": watch.poller,
            "sink": watch.sink,
            "busy": watch.busy,
            "below": watch.below,
            "call": watch.call,
            "work": watch.work,
            "parked": watch.parked,
            "began": type(watch.began),
            "later": watch.renew_ns > 0,
            "subject": type(subject),
            "reads": subject.steps.loop if subject is not None else None,
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.patches.close()


@pytest.fixture
def loops() -> Iterator[list[asyncio.AbstractEventLoop]]:
    made: list[asyncio.AbstractEventLoop] = [asyncio.SelectorEventLoop() for _ in range(3)]
    yield made
    for loop in made:
        loop.close()


class TestAnyLane:
    def laned(self) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            return "function", args, kwargs

        return native.laned("answer", function, self.original, native.Threads(), without_us)

    @staticmethod
    def original(*args: Any, **kwargs: Any) -> Any:
        return "original", args, kwargs

    def test_it_is_a_function_still(self) -> None:
        function = self.laned()
        assert inspect.isfunction(function)
        assert str(inspect.signature(function)) == "(*args: 'Any', **kwargs: 'Any') -> 'Any'"
        assert function.__get__(3)(4) == ("original", (3, 4), {})
        assert function(1, a=2) == ("original", (1,), {"a": 2})
        assert function(*[1], a=2) == ("original", (1,), {"a": 2})
        assert function.__code__.co_name == "function"

    def test_calls_that_the_interpreter_has_got_used_to(self) -> None:
        function = self.laned()
        assert {function(1)[0] for _ in range(100)} == {"original"}

    def test_a_copy_has_none(self) -> None:
        function = self.laned()
        copy = without_lane(function)
        copy.__dict__.update(function.__dict__)
        assert copy(1)[0] == "function"

    def test_one_whose_dict_was_emptied(self) -> None:
        function = self.laned()
        function.__dict__.clear()
        gc.collect()
        assert function(1)[0] == "function"
        function._truasync_lane = "something"
        assert function(1)[0] == "function"

    def test_it_goes_with_its_function(self) -> None:
        class Kept:
            def __call__(self, *_: Any) -> None: ...

        original, threads = Kept(), native.Threads()

        def function(*_: Any) -> None: ...

        native.laned("answer", function, original, threads, without_us)
        original.function = function  # type: ignore[attr-defined]  # a cycle
        gone = weakref.ref(original)
        del original, function
        gc.collect()
        assert gone() is None

    def test_references_are_given_back(self) -> None:
        function, given = self.laned(), object()
        function(given)
        before = sys.getrefcount(given)
        for _ in range(50):
            function(given)
        assert sys.getrefcount(given) == before

    def test_what_it_wants(self) -> None:
        lane: Any = native.Lane
        threads = native.Threads()

        def function() -> None: ...

        for kind, *asks in (
            ("other", threads, without_us),
            ("answer", {}, without_us),
            ("answer", threads),
            ("task", object(), None, None),
            ("spawn", object()),
            ("loop", *(None,) * 13),
        ):
            with pytest.raises(TypeError, match="no lane"):
                lane(kind, function, len, tuple(asks))
        with pytest.raises(TypeError):
            lane("answer", len, function, (threads, without_us))
        with pytest.raises(TypeError):
            lane(kind="answer")
        assert function.__dict__ == {}
        laned = self.laned()
        with pytest.raises(ValueError, match="has a lane"):
            native.laned("answer", laned, len, threads, without_us)


class TestAnswers:
    """`call_soon_threadsafe` and its like."""

    @pytest.fixture
    def handle(self) -> Iterator[Any]:
        with asyncio.Runner() as runner:
            yield asyncio.Handle(print, (), runner.get_loop())

    @BOTH
    @pytest.mark.parametrize("state", ["unwatched", "loop", "work"])
    def test_who_calls(self, tmp_path: Path, handle: Any, way: str, state: str) -> None:
        watch = Watch(Recorder())
        calls: list[tuple[Any, ...]] = []

        class Owner:
            def answer(self, *args: Any, **kwargs: Any) -> Any:
                calls.append((args, kwargs))
                return handle

        probe: Any = OffloadProbe.__new__(OffloadProbe)
        probe._watch = watch
        with PatchStack() as patches:
            probe._watch_answers(patches, Owner, "answer")
            answer: Any = Owner.answer if way == "lane" else without_lane(Owner.answer)
            work = Offload(0, print, Handover([]), None, "", None, 0, bare=False)
            if state != "unwatched":
                on = ThreadWatch(watch.recorder, work=work if state == "work" else None)
                watch.threads[threading.get_ident()] = on
            assert answer(Owner(), 1, context=2) is handle
            assert calls == [((1,), {"context": 2})]
            assert work.answered is (state == "work")
            with pytest.raises(TypeError):
                answer()

    @BOTH
    def test_in_debug_mode(self, way: str) -> None:
        ours = types.SimpleNamespace(filename=native.__file__)
        theirs = types.SimpleNamespace(filename=__file__)
        made = types.SimpleNamespace(_source_traceback=[theirs, ours, theirs])

        def answer(*_: Any) -> Any:
            return without_us(made)

        native.laned("answer", answer, lambda _: made, native.Threads(), without_us)
        (answer if way == "lane" else without_lane(answer))(0)
        assert made._source_traceback == [theirs, theirs]

    def test_an_error_is_the_originals(self) -> None:
        def answer(*_: Any) -> None: ...

        function: Any = native.laned("answer", answer, int, native.Threads(), without_us)
        with pytest.raises(ValueError, match="invalid literal") as caught:
            function("x")
        assert len(caught.traceback) == 1


class TestTasks:
    @pytest.fixture
    def probe(self, tmp_path: Path) -> Iterator[LoopProbe]:
        reader = FrameReader(FileSorter(tmp_path))
        probe = LoopProbe(Watch(Recorder()), reader)
        with PatchStack() as patches:
            probe._watch_tasks(patches, asyncio.base_events.BaseEventLoop)
            yield probe

    def make(self, probe: LoopProbe, way: str, *, debug: bool = False) -> list[Any]:
        """Make tasks in tasks, and return of each from where it comes."""
        create: Any = asyncio.base_events.BaseEventLoop.create_task
        create = create if way == "lane" else without_lane(create)
        origins: list[Any] = []
        landmarks = probe._landmarks
        landmarks.clear()
        landmarks.update({__file__: None, asyncio.base_events.__file__: None})

        async def inner() -> None:
            task = create(asyncio.get_running_loop(), asyncio.sleep(0))
            origins.append(probe._origin_of(task))
            if debug:
                files = [line.filename for line in task._source_traceback]
                assert files, "debug mode"
                assert native.__file__ not in files
            await task

        async def outer(user: str) -> None:
            loop = asyncio.get_running_loop()
            landmarks[__file__] = probe._reader.landmarks[1] if user else None
            known = create(loop, asyncio.sleep(0))
            origins.append(probe._origin_of(known))
            landmarks[__file__] = None
            task = create(loop, inner(), name="a name")
            assert task.get_name() == "a name"
            probe._tasks[hash(task)] = (weakref.ref(task), inner.__code__, 2)
            await task
            await known

        for user in ("", "user"):
            asyncio.run(outer(user), debug=debug)
            probe.forget()
        return [found and list(found[1].co_positions())[found[2] // 2] for found in origins]

    @pytest.mark.parametrize("debug", [False, True])
    def test_both_note_the_same(self, probe: LoopProbe, debug: bool) -> None:
        by_lane, in_python = (self.make(probe, way, debug=debug) for way in ("lane", "python"))
        assert by_lane == in_python
        assert any(by_lane)
        assert None in by_lane

    def test_an_error_is_the_originals(self, probe: LoopProbe) -> None:
        loop: Any = asyncio.new_event_loop()
        try:
            with pytest.raises(TypeError, match="coroutine"):
                loop.create_task(3)  # noqa: RUF006 - there is none
            with pytest.raises(TypeError, match="self"):
                type(loop).create_task()
        finally:
            loop.close()

    def test_the_guests_task_is_the_maker(self, probe: LoopProbe) -> None:
        made, root = (type("Task", (), {"coro": None})() for _ in range(2))
        entry = (weakref.ref(root), self.make.__code__, 4)
        found = []
        for guest in (None, types.SimpleNamespace(task=root), object()):
            probe._tasks.clear()
            probe._tasks[hash(root)] = entry
            probe.noter.guest = guest

            def spawn() -> None: ...

            native.laned("spawn", spawn, lambda: made, probe.noter)
            assert spawn() is made  # type: ignore[func-returns-value]
            found.append(probe._tasks.get(hash(made)))
        assert [one and one[1:] for one in found] == [None, entry[1:], None]


class TestLoops:
    @BOTH
    def test_a_young_thread(self, bench: Bench, loops: list[Any], way: str) -> None:
        setter = bench.setter(way)

        def run() -> list[dict[str, Any]]:
            seen = []
            for loop in loops:
                setter(loop)
                assert asyncio.events._get_running_loop() is loop
                seen.append(bench.state())
                setter(None)
                assert asyncio.events._get_running_loop() is None
                seen.append(bench.state())
            return seen

        seen = in_thread(run)
        wanted = {
            "loop": None,
            "poller": ROUND,
            "sink": bench.recorder,
            "busy": False,
            "below": None,
            "call": None,
            "work": None,
            "parked": False,
            "began": Begun,
            "later": True,
            "subject": type(None),
            "reads": None,
        }
        assert seen == [state for loop in loops for state in (wanted | {"loop": loop}, {})]
        in_python = [step for loop in loops for step in (loop, None)]
        assert bench.entered == ([] if way == "lane" else in_python)

    @BOTH
    @pytest.mark.parametrize("youth_ns", [10**12, 0], ids=["a moment ago", "long ago"])
    def test_one_that_was_young(
        self, bench: Bench, loops: list[Any], way: str, youth_ns: int
    ) -> None:
        """Its clocks are read without a file for a while."""
        setter = bench.setter(way)
        bench.lag.youth_ns = youth_ns

        def run() -> tuple[Begun, Any, Any]:
            setter(loops[0])
            watch = bench.watch.threads[threading.get_ident()]
            first: Begun = watch.began
            setter(None)
            while time.thread_time_ns() < 2 * YOUNG_NS:
                pass
            setter(loops[1])
            again, subject = watch.began, watch.subject
            setter(None)
            return first, again, subject

        first, again, subject = in_thread(run)
        assert (first.born_ns, first.turns) == (first.wall_ns, 0)
        if not youth_ns:
            assert again is None
            assert subject.last.turns > 0
            return
        assert subject is None
        assert again.born_ns == first.wall_ns < again.wall_ns
        assert again.cpu_ns >= 2 * YOUNG_NS
        assert again.turns > 0

    @BOTH
    def test_one_that_comes_round_before_anybody_has_looked(
        self, bench: Bench, loops: list[Any], way: str
    ) -> None:
        """It begins anew, as long as it counts as young; nothing is made of it but that."""
        setter = bench.setter(way)

        def run() -> None:
            setter(loops[0])
            watch = bench.watch.threads[threading.get_ident()]
            first: Begun = watch.began
            watch.explained_ns = 7
            bench.lag.youth_ns = 10**12
            bench.lag.come_round(watch, first.wall_ns)
            again: Begun = watch.began
            assert again.wall_ns > first.wall_ns == again.born_ns
            assert again.explained_ns == 7
            assert again.turns > 0
            bench.lag.youth_ns = 0
            bench.lag.come_round(watch, first.wall_ns)
            assert watch.began is None
            subject: Any = watch.subject
            assert subject is watch.rested
            setter(None)

        in_thread(run)

    @BOTH
    def test_one_that_is_looked_at(self, bench: Bench, loops: list[Any], way: str) -> None:
        """What was made of it stays, for its next loop."""
        setter = bench.setter(way)

        def run() -> Any:
            setter(loops[0])
            watch = bench.watch.threads[threading.get_ident()]
            watch.explained_ns = 7
            subject: Any = bench.lag._subject_of(watch)
            assert subject is watch.subject is watch.rested
            assert watch.began is None
            assert subject.steps.loop is loops[0]
            first = subject.resumed_ns
            setter(None)
            assert watch.loop is watch.subject is subject.steps.loop is None
            setter(loops[1])
            assert watch.subject is subject
            again: Any = watch.subject
            assert again.steps.loop is loops[1]
            assert again.explained_ns == 7
            assert again.resumed_ns > first
            setter(None)
            return bench.state()

        assert in_thread(run) == {}

    @BOTH
    @pytest.mark.parametrize("state", ["asleep", "traced", "failed", "closed", "sweeping", "stale"])
    def test_what_is_not_as_ever(
        self,
        bench: Bench,
        loops: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        way: str,
        state: str,
    ) -> None:
        setter = bench.setter(way)

        def run() -> tuple[bool, Any]:
            setter(loops[0])
            bench.lag._subject_of(bench.watch.threads[threading.get_ident()])
            setter(None)
            if state == "asleep":
                bench.lag.sampler.asleep = True
            elif state == "traced":
                monkeypatch.setattr(bench.lag, "fresh_ns", 0)
                sys.settrace(lambda *_: None)
            elif state == "failed":
                bench.watch.lag = None
            elif state == "closed":
                bench.watch.close()
                bench.watch.lag = None
            elif state == "sweeping":
                bench.loops._tasks.update((each, None) for each in range(2_000))  # type: ignore[misc]
                bench.loops._most_tasks = 5_000
            else:
                monkeypatch.setattr(bench.lag, "fresh_ns", -1)
            setter(loops[1])
            sys.settrace(None)
            seen = bench.state()
            setter(None)
            return bool(seen), seen.get("subject")

        watched, subject = in_thread(run)
        assert watched is (state != "closed")
        assert (subject is type(None)) is (state == "failed")
        assert loops[1] in bench.entered
        assert bench.watch.threads == {}

    @BOTH
    def test_another_kind_of_loop(self, bench: Bench, loops: list[Any], way: str) -> None:
        class Other(asyncio.SelectorEventLoop):
            """Of the user's."""

        setter, other = bench.setter(way), Other()
        try:

            def run() -> tuple[Any, ...]:
                setter(loops[0])
                watch = bench.watch.threads[threading.get_ident()]
                bench.lag._subject_of(watch)
                setter(None)
                setter(other)
                subject = watch.subject
                setter(None)
                return watch.loop, subject.steps.kind

            assert in_thread(run) == (None, Other)
        finally:
            other.close()

    @BOTH
    def test_a_loop_in_a_loop(self, bench: Bench, loops: list[Any], way: str) -> None:
        setter = bench.setter(way)

        def run() -> list[Any]:
            setter(loops[0])
            outer = bench.watch.threads[threading.get_ident()]
            setter(loops[1])
            seen = [bench.state()["loop"], bench.state()["below"] is outer]
            setter(None)
            seen += [bench.state()["loop"]]
            setter(None)
            return [*seen, bench.state()]

        assert in_thread(run) == [loops[1], True, loops[0], {}]

    @BOTH
    def test_a_call_that_is_open_is_handed_over(
        self, bench: Bench, loops: list[Any], way: str
    ) -> None:
        setter = bench.setter(way)

        def run() -> None:
            setter(loops[0])
            bench.watch.threads[threading.get_ident()].call = Call(
                code="TRU101",
                target="time.sleep",
                site=CallSite("a.py", 1),
                permission="",
                entry=None,
                steady=True,
                place=None,
                rank=0,
                started_ns=0,
            )
            setter(None)

        in_thread(run)
        assert [group.first.target for group in bench.recorder.groups.values()] == ["time.sleep"]
        assert bench.watch.threads == {}

    @BOTH
    def test_one_that_leaves_while_the_sampler_looks(
        self, bench: Bench, loops: list[Any], way: str
    ) -> None:
        setter = bench.setter(way)

        def run() -> Any:
            setter(loops[0])
            subject = bench.lag._subject_of(bench.watch.threads[threading.get_ident()])
            bench.lag.looking = True
            setter(None)
            return subject

        assert in_thread(run).steps.loop is None
        assert bench.entered[-1] is None
        assert bench.watch.threads == {}

    @BOTH
    def test_where_only_workers_are_looked_at(
        self, tmp_path: Path, loops: list[Any], way: str
    ) -> None:
        bench = Bench(tmp_path, threshold_s=None)
        setter = bench.setter(way)

        def run() -> tuple[Any, ...]:
            setter(loops[0])
            watch = bench.watch.threads[threading.get_ident()]
            seen = watch.began, watch.subject, bench.lag._subject_of(watch)
            setter(None)
            return seen

        try:
            assert in_thread(run) == (None, None, None)
        finally:
            bench.patches.close()

    @BOTH
    def test_what_runs_no_loop_is_let_be(self, bench: Bench, way: str) -> None:
        """A thread that is watched for work, and one that is not watched."""
        setter = bench.setter(way)
        setter(None)
        on = ThreadWatch(bench.recorder, work=types.SimpleNamespace())
        bench.watch.threads[threading.get_ident()] = on
        setter(None)
        assert bench.watch.threads == {threading.get_ident(): on}

    @BOTH
    def test_wrong_arguments(self, bench: Bench, way: str) -> None:
        setter = bench.setter(way)
        for args in ((), (1, 2)):
            with pytest.raises(TypeError):
                setter(*args)

    @BOTH
    def test_references_are_given_back(self, bench: Bench, loops: list[Any], way: str) -> None:
        setter = bench.setter(way)

        def run() -> list[int]:
            counts = []
            for _ in range(4):
                for loop in loops:
                    setter(loop)
                    setter(None)
                bench.entered.clear()
                counts.append(sum(sys.getrefcount(loop) for loop in loops))
            return counts

        counts = in_thread(run)
        assert counts[1] == counts[-1]


def test_a_function_by_its_name() -> None:
    """What stands in the place of a method is found by its name, as the method was."""
    create = asyncio.base_events.BaseEventLoop.create_task
    assert pickle.loads(pickle.dumps(create)) is create


def test_a_lane_goes_with_what_was_replaced(tmp_path: Path) -> None:
    probe = LoopProbe(Watch(Recorder()), FrameReader(FileSorter(tmp_path)))
    hooks = ImportHooks(lambda *_: None)
    before = asyncio.base_events.BaseEventLoop.create_task
    with PatchStack() as patches:
        probe.install(patches, hooks)
        laned = asyncio.base_events.BaseEventLoop.create_task
        assert "_truasync_lane" in vars(laned)
    assert asyncio.base_events.BaseEventLoop.create_task is before
