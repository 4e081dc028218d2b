"""The part in C hands work over, begins it and ends it as `OffloadProbe` does."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import posixpath
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
from young import in_thread

from pytest_truasync._detect import native, offloads, originals
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import Clocks
from pytest_truasync._detect.executors import OffloadProbe
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.filework import FileCalls
from pytest_truasync._detect.loops import LoopProbe
from pytest_truasync._detect.offloads import FileWork, Offload, Offloaded
from pytest_truasync._detect.pools import Pool
from pytest_truasync._detect.queues import has_queue
from pytest_truasync._detect.recorder import Call, Recorder, ThreadWatch, Watch
from pytest_truasync._model import PERMISSION, CallSite

pytestmark = pytest.mark.skipif(native.Offloader is None, reason="on Linux, built with it")

BOTH = pytest.mark.parametrize("way", ["native", "python"])
VIA = "anyio.to_thread.run_sync"


def work(*args: Any, **kwargs: Any) -> Any:
    """Return what was given."""
    return args, kwargs


def sleep() -> None:
    time.sleep(0)


@functools.wraps(work)
def wrapped(*args: Any) -> Any:
    return work(*args)


def carrier(sync_fn: Any) -> Any:
    def worker_fn(*args: Any) -> Any:
        return sync_fn(*args)

    return worker_fn


def emptied() -> Any:
    def worker_fn(*args: Any) -> Any:
        return sync_fn(*args)  # noqa: F821 - that it is unbound is the point

    sync_fn = work
    del sync_fn
    return worker_fn


def anyios(func: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return func(*args)

    wrapper.__module__ = "anyio._backends._trio"
    return wrapper


def known_by_its_func(*args: Any) -> Any:
    return args


known_by_its_func.func = work  # type: ignore[attr-defined]


def of_no_module(*args: Any) -> Any:
    return args


of_no_module.__module__ = None  # type: ignore[assignment]


def as_builtin(*args: Any) -> Any:
    return args


as_builtin.__module__ = "builtins"


class Doer:
    def do(self, *args: Any) -> Any:
        return args

    def __call__(self, *args: Any) -> Any:
        return args

    by_builtin = MethodType(print, "")


class SyncToAsync:
    """As that of asgiref."""

    def __init__(self, func: Any) -> None:
        self.func = func

    def thread_handler(self, *args: Any) -> Any:
        return self.func(*args)


class Proxy:
    """As werkzeug's outside of its context: to ask it for anything is an error."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("class")

    def __call__(self, *args: Any) -> Any:
        return args


class Partial(functools.partial[Any]):
    pass


FUNCTIONS: dict[str, Any] = {
    "function": work,
    "of the standard library": posixpath.basename,
    "method": Doer().do,
    "object": Doer(),
    "class": Doer,
    "builtin": sum,
    "method of a builtin": [1].count,
    "method by a builtin": Doer.by_builtin,
    "partial": functools.partial(work, 1),
    "partial of a partial": functools.partial(functools.partial(Doer().do, 1), 2),
    "partial of a kind of its own": Partial(work, 1),
    "in a context": functools.partial(contextvars.copy_context().run, work),
    "nothing in a context": functools.partial(contextvars.copy_context().run),
    "wrapped": wrapped,
    "carried": carrier(work),
    "carried twice": carrier(carrier(Doer().do)),
    "carried by anyio": anyios(functools.partial(work)),
    "of asgiref": SyncToAsync(work).thread_handler,
    "of a thread": threading.Thread(target=work).run,
    "with a func": known_by_its_func,
    "of no module": of_no_module,
    "as a builtin": as_builtin,
    "proxy": Proxy(),
    "method by a proxy": MethodType(Proxy(), 1),
    "of an empty cell": emptied(),
    "lambda": lambda *args: args,
}


class Guard:
    def __init__(self) -> None:
        self.faults: list[BaseException] = []

    def broken(self, probe: str, error: BaseException) -> None:
        self.faults.append(error)

    def refuse(self, call: Call) -> None:
        """Refuse nothing."""


class Bench:
    """A probe of offloads, of which nothing is installed."""

    def __init__(self, way: str, user: Path) -> None:
        self.reader = FrameReader(FileSorter(user))
        self.recorder = Recorder()
        self.watch = Watch(self.recorder)
        self.loops = LoopProbe(self.watch, self.reader)
        self.guard = Guard()
        self.files = FileCalls()
        self.probe = OffloadProbe(
            self.watch,
            self.reader,
            offload_codes={},
            origin=self.loops.origin,
            noter=self.loops.noter,
            files=self.files,
            guard=self.guard,
        )
        self.python = 0
        """How often the probe itself did it."""
        for name in ("_track", "begin", "end"):
            self.count(name)
        if way == "python":
            self.probe._runner, self.probe._take_off = self.probe, self.probe._track
        self.pool = Pool("a pool", "a pool", 1)

    def count(self, name: str) -> None:
        method = getattr(self.probe, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.python += 1
            return method(*args, **kwargs)

        setattr(self.probe, name, counted)

    def hand_over(self, function: Any, pool_of: Any = "the pool", owner: Any = None) -> Any:
        if pool_of == "the pool":
            pool_of = lambda *_: self.pool  # noqa: E731
        on = ThreadWatch(self.recorder, loop=object())
        self.watch.push(on)
        try:
            return self.probe._take_off(function, sys._getframe(1), VIA, pool_of, owner)
        finally:
            self.watch.pop(on)

    def known(self, function: Any = work) -> Any:
        """Hand over twice from one line: the second time the line is known."""
        for _ in range(2):
            given = self.hand_over(function)
        return given

    def do(self, work: Offload) -> None:
        """Begin and end what nobody calls."""
        on = self.probe._runner.begin(work)
        assert on is not None
        self.probe._runner.end(work, on)

    def told(self) -> list[Any]:
        """What was noted, but for the time that it took."""
        return [(note.seen, count) for note, count, *_ in self.recorder.noted]

    def state(self) -> dict[str, Any]:
        """What is known of the calling thread."""
        watch = self.watch.threads.get(threading.get_ident())
        if watch is None:
            return {}
        fields = {name: getattr(watch, name) for name in ThreadWatch.__slots__}
        fields["began"] = type(fields["began"])
        for name in ("sink", "work"):
            fields[name] = fields[name].function
        return fields

    def pools(self) -> dict[str, Any]:
        return {
            name: getattr(self.pool, name)
            for name in Pool.__slots__
            if not name.endswith("_ns") and name != "site"
        }


def both(tmp_path: Path, story: Callable[[Bench], Any]) -> Any:
    """Return what a story comes to in the part in C, which is what it comes to in Python."""
    found = {way: story(Bench(way, tmp_path)) for way in ("native", "python")}
    assert found["native"] == found["python"]
    return found["native"]


@pytest.fixture(params=[True, False], ids=["the user's", "a library's"])
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The user's project: this folder, or another one."""
    return Path(__file__).parent if request.param else tmp_path


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_what_is_told_of_it(user: Path, kind: str) -> None:
    function = FUNCTIONS[kind]

    def story(bench: Bench) -> Any:
        given = bench.known(function)
        assert isinstance(given, Offloaded)
        for _ in range(2):
            in_thread(lambda: bench.do(given.work))
        first, second = bench.recorder.noted
        assert first[0] is second[0]
        return bench.told(), bench.pools()

    told, _ = both(user, story)
    assert told[0][0].target
    assert told[0][0].via == VIA


def test_most_is_done_without_the_probe(tmp_path: Path) -> None:
    bench = Bench("native", tmp_path)
    first = bench.hand_over(work)
    assert bench.python == 1
    given = bench.known(work)
    bench.python = 0
    given = [bench.hand_over(work) for _ in range(2)][1]
    assert bench.python == 1, "of each line the first time"
    assert in_thread(lambda: given(1, two=2)) == ((1,), {"two": 2})
    assert bench.python == 1
    in_thread(first)
    assert bench.python == 1


@BOTH
def test_while_it_runs_and_after(tmp_path: Path, way: str) -> None:
    bench = Bench(way, tmp_path)

    def look() -> Any:
        return bench.state(), dict(bench.pools())

    given = bench.known(look)
    state, pool = in_thread(given)
    nothing = dict.fromkeys(("call", "below", "subject", "rested", "loop", "poller"))
    counts = {"born_ns": 0, "explained_ns": 0, "renew_ns": 0, "busy": False, "parked": False}
    assert state == {**nothing, **counts, "sink": look, "work": look, "began": Clocks}
    assert (pool["running"], pool["calls"], len(pool["waiting"])) == (1, 2, 1)
    assert not bench.watch.threads
    assert bench.pool.running == 0
    assert bench.pool.peak_running == 1
    assert bench.pool.total_wait_ns >= bench.pool.longest_wait_ns > 0
    assert bench.python == (1 if way == "native" else 4)


def test_the_error_is_its_own(tmp_path: Path) -> None:
    def story(bench: Bench) -> Any:
        given = bench.known(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError) as raised:
            given()
        return raised.value.__context__, bench.told()

    assert both(tmp_path, story)[0] is None


def test_permissions_and_queues(tmp_path: Path) -> None:
    def story(bench: Bench) -> Any:
        token = PERMISSION.set("a block")
        given = [bench.hand_over(work) for _ in range(4)]
        PERMISSION.reset(token)
        waiting = bench.pool.peak_queued
        for one in given:
            in_thread(one)
        return waiting, bench.pools(), bench.told(), bench.pool.permission

    assert both(tmp_path, story)[0] == 3


def test_what_it_does_is_told(tmp_path: Path) -> None:
    def story(bench: Bench) -> Any:
        def touches() -> None:
            on = bench.watch.threads[threading.get_ident()]
            on.work.touch("os.stat")

        in_thread(bench.known(touches))
        return bench.told()

    ((note, count),) = both(tmp_path, story)
    assert (note.detail, count) == ("os.stat", 1)


@pytest.mark.parametrize("flag", ["hosted", "told", "noted"])
def test_of_some_nothing_is_told(tmp_path: Path, flag: str) -> None:
    def story(bench: Bench) -> Any:
        def flags() -> None:
            setattr(bench.watch.threads[threading.get_ident()].work, flag, True)

        in_thread(bench.known(flags))
        assert not bench.watch.threads
        return bench.told(), bench.pools()

    assert both(tmp_path, story)[0] == []


def test_a_long_wait_is_judged(tmp_path: Path) -> None:
    def story(bench: Bench) -> Any:
        judged: list[Any] = []
        judge = bench.probe._judged
        bench.probe._judged = lambda *args: judged.append(args) or judge(*args)  # type: ignore[func-returns-value]

        def waits() -> None:
            end = originals.clock_ns() + 2 * offloads.UNSEEN_WAIT_NS
            while originals.clock_ns() < end:
                time.sleep(0.01)

        in_thread(bench.known(waits))
        return len(judged)

    assert both(tmp_path, story) == 1


def test_a_thread_that_is_watched_already(tmp_path: Path) -> None:
    def story(bench: Bench) -> Any:
        inner = bench.known()

        def outer() -> Any:
            on = bench.watch.threads[threading.get_ident()]
            inner()
            return bench.watch.threads[threading.get_ident()] is on

        assert in_thread(bench.known(outer)) is True
        assert not bench.watch.threads
        return bench.told()

    assert len(both(tmp_path, story)) == 2


def test_an_old_thread_is_asked_for_its_time_in_the_queue(tmp_path: Path) -> None:
    """Where it was asked a moment ago, what it said then is good still."""

    def story(bench: Bench) -> Any:
        def delay() -> int:
            found: int = bench.watch.threads[threading.get_ident()].began.delay_ns
            return found

        def grow_old() -> Any:
            end = time.thread_time_ns() + 2 * offloads.NEW_NS
            while time.thread_time_ns() < end:
                pass
            thread = threading.get_native_id()
            offloads.delays.pop(thread, None)
            bench.known(delay)()
            assert thread in offloads.delays
            offloads.delays[thread] = (originals.clock_ns(), 12_345)
            told = bench.known(delay)()
            long_ago = originals.clock_ns() - 10 * offloads.STALE_NS
            offloads.delays[thread] = (long_ago, 12_345)
            bench.known(delay)()
            return told, offloads.delays.pop(thread)[0] > long_ago

        return in_thread(grow_old)

    if not has_queue():
        pytest.skip("this system does not tell of the queue")
    assert both(tmp_path, story) == (12_345, True)


def test_the_sampler_cannot_be_woken(tmp_path: Path) -> None:
    """As at the limit of threads of a container: a fault of ours, and the work is done."""

    def story(bench: Bench) -> Any:
        class Sampler:
            asleep = True

        class Lag:
            sampler = Sampler()

            def begin(self, _: Any) -> None:
                raise RuntimeError("can't start new thread")

        given = bench.known()
        bench.watch.lag = Lag()  # type: ignore[assignment]
        done = in_thread(lambda: given(1))
        bench.watch.lag = None
        return done, list(map(repr, bench.guard.faults)), bench.pool.running

    done, faults, _ = both(tmp_path, story)
    assert done == ((1,), {})
    assert len(faults) == 1


def test_it_lets_its_function_go(tmp_path: Path) -> None:
    """A pool calls it once, and tells of its result before it lets it go itself."""

    def story(bench: Bench) -> Any:
        def local() -> None:
            """Do nothing."""

        given = bench.known(local)
        gone = weakref.ref(local)
        del local
        given()
        kept = bench.hand_over(work, None)
        return gone() is None, kept() == kept() == ((), {})

    assert both(tmp_path, story) == (True, True)


def test_it_is_equal_to_its_function(tmp_path: Path) -> None:
    bench = Bench("native", tmp_path)
    given = bench.known()
    assert given == work
    assert work == given == bench.known()
    assert hash(given) == hash(work)
    assert given != sleep


class TestHandingOver:
    def test_where_it_comes_from(self, tmp_path: Path) -> None:
        """A task that a user's line made, which is on no stack, is who hands it over."""

        def story(bench: Bench) -> Any:
            made: list[Any] = []

            async def main() -> None:
                on = ThreadWatch(bench.recorder, loop=asyncio.get_running_loop())
                bench.watch.push(on)
                task = asyncio.current_task()
                assert task is not None
                bench.loops._tasks[hash(task)] = (weakref.ref(task), work.__code__, 0)
                for _ in range(2):
                    bench.python = 0
                    frame = sys._getframe(0)
                    made.append(bench.probe._take_off(work, frame, VIA, None, None))
                bench.watch.pop(on)

            asyncio.run(main())
            return [one.work.site for one in made]

        sites = both(tmp_path, story)
        assert {site.line for site in sites} == {work.__code__.co_firstlineno}

    def test_the_loop_s_own(self, tmp_path: Path) -> None:
        def story(bench: Bench) -> Any:
            bench.known()
            for handover in bench.probe._handovers.values():
                handover.loops_own = True
            found = []
            for _ in range(2):
                found.append(bench.hand_over(work))
                for handover in bench.probe._handovers.values():
                    handover.loops_own = True
            return found[1] is work

        assert both(tmp_path, story) is True

    def test_twice(self, tmp_path: Path) -> None:
        def story(bench: Bench) -> Any:
            given = bench.known()
            return bench.known(given) is given

        assert both(tmp_path, story) is True

    def test_a_call_on_files(self, tmp_path: Path) -> None:
        def story(bench: Bench) -> Any:
            bench.files.add(work, "os.stat")
            given = [
                bench.known(function)
                for function in (work, functools.partial(work, "name"), functools.partial(work, []))
            ]
            return [type(one) is FileWork for one in given]

        assert both(tmp_path, story) == [True, True, False]

    def test_no_pool(self, tmp_path: Path) -> None:
        def refuses(*_: Any) -> Any:
            raise LookupError("of the user's")

        def story(bench: Bench) -> Any:
            found = []
            for pool_of in (None, refuses, lambda *_: None):
                given = [bench.hand_over(work, pool_of) for _ in range(2)][1]
                in_thread(given)
                found.append(given.work.pool)
            return found, bench.told(), bench.guard.faults

        assert both(tmp_path, story)[0] == [None, None, None]

    def test_what_the_pool_is_asked_by(self, tmp_path: Path) -> None:
        def story(bench: Bench) -> Any:
            asked: list[Any] = []
            for _ in range(2):
                bench.hand_over(work, lambda *args: asked.append(args), "the owner")
            return asked

        for owner, site in both(tmp_path, story):
            assert owner == "the owner"
            assert isinstance(site, CallSite)

    def test_a_fault_of_ours(self, tmp_path: Path) -> None:
        def breaks(_: Any) -> Any:
            raise LookupError("ours")

        def story(bench: Bench) -> Any:
            bench.files.name_of = breaks  # type: ignore[method-assign, assignment]
            found = [bench.hand_over(work) for _ in range(2)]
            return [one is work for one in found], list(map(repr, bench.guard.faults))

        assert both(tmp_path, story) == ([True, True], ["LookupError('ours')"])

    @BOTH
    def test_an_interrupt_is_not_kept(self, tmp_path: Path, way: str) -> None:
        def interrupts(*_: Any) -> Any:
            raise KeyboardInterrupt

        bench = Bench(way, tmp_path)
        for pool_of in (None, interrupts):
            if pool_of is None:
                bench.hand_over(work, pool_of)
            else:
                with pytest.raises(KeyboardInterrupt):
                    bench.hand_over(work, pool_of)
        assert not bench.guard.faults


def test_it_takes_what_it_asks_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench("native", tmp_path)
    assert native.Offloader is not None
    asks = bench.probe._asks(bench.loops.noter)
    native.Offloader(asks)
    for place in range(len(asks)):
        wrong = (*asks[:place], None, *asks[place + 1 :])
        try:
            native.Offloader(wrong)
        except TypeError:
            continue
    with pytest.raises(TypeError):
        native.Offloader(asks[:-1])
    with pytest.raises(TypeError):
        native.Offloader(asks, asks)  # type: ignore[call-arg]
    for method, args in (("track", ()), ("track", (1, 2, 3, 4, 5)), ("end", (1,))):
        with pytest.raises(TypeError):
            getattr(native.Offloader(asks), method)(*args)
