"""The part in C does as its partners in Python do."""

from __future__ import annotations

import gc
import hashlib
import inspect
import io
import json
import operator
import queue
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, cast

import hypothesis as hy
import pytest
from hypothesis import strategies as st

from pytest_truasync._detect import by_address, native, originals, waits
from pytest_truasync._detect.calls import holders_in_python
from pytest_truasync._detect.callsite import DEEPEST, FrameReader, stack_key_in_python
from pytest_truasync._detect.files import FileSorter, Role
from pytest_truasync._detect.loops import LoopProbe
from pytest_truasync._detect.offloads import Handover, Offload, thread_clocks_in_python
from pytest_truasync._detect.patches import IMMUTABLE_TYPE, builtin_twin
from pytest_truasync._detect.recorder import Recorder, ThreadWatch, Watch
from pytest_truasync._detect.standins import has_ours_in_python

Run = Callable[..., pytest.RunResult]

built = pytest.mark.skipif(native.Gate is None, reason="built without its part in C")


class Watched:
    """What a gate asks of a watched thread."""

    busy = False
    work: Any = None
    call: Any = None
    poller: CodeType | None = None
    parked = False
    renew_ns = 0


def here(watch: Any = None) -> dict[int, Any]:
    """Return the threads that are watched: the calling one, or none."""
    threads = native.Threads()
    if watch is not None:
        threads[threading.get_ident()] = watch
    return threads


def elsewhere(watch: Any) -> dict[int, Any]:
    threads = native.Threads()
    threads[threading.get_ident() + 1] = watch
    return threads


@pytest.fixture
def watch() -> Watched:
    return Watched()


@pytest.fixture
def threads(watch: Watched) -> dict[int, Watched]:
    return here(watch)


def original(*args: Any, **kwargs: Any) -> Any:
    return "original", args, kwargs


def wrapper(*args: Any, **kwargs: Any) -> Any:
    return "wrapper", args, kwargs


@built
class TestWhatPasses:
    def test_calls_of_other_threads(self, watch: Watched) -> None:
        for threads in (here(), elsewhere(watch)):
            gate = native.gated("plain", threads, original, wrapper)
            assert gate(1, named=2) == ("original", (1,), {"named": 2})

    def test_none_of_a_watched_thread(self, threads: dict[int, Watched]) -> None:
        gate = native.gated("plain", threads, original, wrapper)
        assert gate(1, named=2) == ("wrapper", (1,), {"named": 2})

    def test_what_is_done_in_a_call_that_is_watched(
        self, threads: dict[int, Watched], watch: Watched
    ) -> None:
        gate = native.gated("call", threads, original, wrapper, {}, Role.QUIET, Role.IMPORT)
        assert gate(1)[0] == "wrapper"
        watch.busy = True
        assert gate(1)[0] == "original"

    @pytest.mark.parametrize("role", [Role.QUIET, Role.IMPORT, Role.USER, Role.LIBRARY, None])
    @pytest.mark.parametrize("work", [None, object()])
    def test_calls_of_the_harness_but_not_in_a_worker(
        self, threads: dict[int, Watched], watch: Watched, role: Role | None, work: object
    ) -> None:
        roles = {} if role is None else {__file__: role}
        watch.work = work
        gate = native.gated("call", threads, original, wrapper, roles, Role.QUIET, Role.IMPORT)
        nobodys = work is None and role in (Role.QUIET, Role.IMPORT)
        assert gate(1)[0] == ("original" if nobodys else "wrapper")

    @pytest.mark.parametrize("role", [Role.QUIET, Role.USER])
    @pytest.mark.parametrize("busy", [True, False])
    def test_light_calls_outside_of_a_worker(
        self, threads: dict[int, Watched], watch: Watched, role: Role, busy: bool
    ) -> None:
        watch.busy = busy
        light = ({__file__: role}, Role.QUIET, Role.IMPORT, "open", lambda: 0, True)
        gate = native.gated("light", threads, original, wrapper, *light)
        nobodys = busy or role is Role.QUIET
        assert gate("path", named=1) == (
            "original" if nobodys else "wrapper",
            ("path",),
            {"named": 1},
        )

    @pytest.mark.parametrize(
        ("path", "passes"),
        [
            *[("name", True), ("/tmp/name", True), ("/usr/name", True), ("", True), ("ä", True)],
            *[("/dev/null", False), ("/proc/1", False), ("/sys/x", False), (b"name", False)],
            *[(3, False), (Path("name"), False), ("\udcff", False)],
        ],
    )
    def test_light_calls_in_a_worker(
        self, threads: dict[int, Watched], watch: Watched, path: Any, passes: bool
    ) -> None:
        work = watch.work = Offload(0, original, Handover([]), None, "", None, 0, bare=False)
        times = iter(range(0, 100, 7))
        light = ({__file__: Role.QUIET}, Role.QUIET, Role.IMPORT, "open", lambda: next(times))
        gate = native.gated("light", threads, original, wrapper, *light, True)
        for count in (1, 2):
            assert gate(path) == ("original" if passes else "wrapper", (path,), {})
            assert work.touched == (("open",) if passes else ())
            assert work.explained_ns == (7 * count if passes else 0)
        assert gate(path=path)[0] == "wrapper"
        anyway = native.gated("light", threads, original, wrapper, *light, False)
        assert anyway(path)[0] == anyway()[0] == "original"

    def test_a_light_call_that_fails_takes_its_time(
        self, threads: dict[int, Watched], watch: Watched
    ) -> None:
        def fails(_: Any) -> Any:
            raise ZeroDivisionError("its own")

        work = watch.work = Offload(0, original, Handover([]), None, "", None, 0, bare=False)
        times = iter(range(0, 1000, 7))
        roles: dict[str, Role] = {}
        light = (roles, Role.QUIET, Role.IMPORT)
        for name in ("one", "two", "three", "four"):
            gate = native.gated(
                "light", threads, fails, wrapper, *light, name, lambda: next(times), True
            )
            with pytest.raises(ZeroDivisionError, match="its own"):
                gate("path")
        assert work.touched == ("one", "two", "three")
        assert work.explained_ns == 28

    def test_a_free_lock(self, threads: dict[int, Watched]) -> None:
        lock = threading.Lock()
        gate = native.gated("lock", threads, original, wrapper, type(lock).acquire)
        for given in ((), (True,)):
            assert gate(lock, *given) is True
            assert lock.locked()
            assert gate(lock, *given) == ("wrapper", (lock, *given), {})
            lock.release()

    def test_locks_of_other_threads(self, watch: Watched) -> None:
        for threads in (here(), elsewhere(watch)):
            gate = native.gated("lock", threads, original, wrapper, original)
            for given in ((), (True,), (False,), (True, 1)):
                assert gate("lock", *given) == ("original", ("lock", *given), {})

    def test_who_asks_for_a_lock_without_waiting(self, threads: dict[int, Watched]) -> None:
        gate = native.gated("lock", threads, original, wrapper, type(threading.Lock()).acquire)
        assert gate("lock", False) == ("original", ("lock", False), {})

    @pytest.mark.parametrize("given", [(True, 1), (1,), (0,), ("x", "y", "z")])
    def test_other_ways_to_ask_are_the_wrappers(
        self, threads: dict[int, Watched], given: tuple[Any, ...]
    ) -> None:
        gate = native.gated("lock", threads, original, wrapper, type(threading.Lock()).acquire)
        assert gate("lock", *given) == ("wrapper", ("lock", *given), {})
        assert gate("lock", blocking=True) == ("wrapper", ("lock",), {"blocking": True})

    def test_what_is_no_lock_is_an_error(self, threads: dict[int, Watched]) -> None:
        acquire = type(threading.Lock()).acquire
        gate = native.gated("lock", threads, acquire, wrapper, acquire)
        with pytest.raises(TypeError, match="lock"):
            gate("no lock")
        with pytest.raises(TypeError):
            native.gated("lock", {}, acquire, wrapper, acquire)()

    @pytest.mark.parametrize(
        ("timeout", "who"), [(0.0, "original"), (1, "wrapper"), (None, "wrapper")]
    )
    def test_sockets_that_never_wait(
        self, threads: dict[int, Watched], timeout: float | None, who: str
    ) -> None:
        gate = native.gated("socket", threads, original, wrapper, waits.gettimeout)
        with socket.socket() as sock:
            sock.settimeout(timeout)
            assert gate(sock, 1)[0] == who

    def test_what_is_no_socket_says_so_itself(self, threads: dict[int, Watched]) -> None:
        gate = native.gated("socket", threads, original, wrapper, waits.gettimeout)
        assert gate("no socket")[0] == "original"
        assert gate()[0] == "original"

    @pytest.mark.parametrize(
        ("given", "who"),
        [
            ((0,), "original"),
            ((0, 5), "original"),
            ((0.0,), "original"),
            ((False,), "original"),
            ((1,), "wrapper"),
            ((-1,), "wrapper"),
            ((0.5,), "wrapper"),
            ((None,), "wrapper"),
            ((), "wrapper"),
        ],
    )
    def test_polls_that_do_not_wait_until_it_is_time_to_say_so(
        self, threads: dict[int, Watched], watch: Watched, given: tuple[Any, ...], who: str
    ) -> None:
        gate = native.gated("poll", threads, original, wrapper, lambda: 1_000, wrapper)
        watch.renew_ns = 1_001
        assert gate("poller", *given)[0] == who
        watch.renew_ns = 1_000
        assert gate("poller", *given)[0] == "wrapper"
        assert gate("poller", timeout=0)[0] == "wrapper"

    @pytest.mark.parametrize("way", ["itself", "below"])
    def test_a_loop_that_waits_for_its_events_is_parked(
        self, threads: dict[int, Watched], watch: Watched, way: str
    ) -> None:
        came: list[tuple[Watched, int]] = []
        states: list[bool] = []

        def poll(*_: Any) -> str:
            states.append(watch.parked)
            return "events"

        gate = native.gated(
            "poll", threads, poll, wrapper, lambda: 7, lambda *given: came.append(given)
        )

        def select() -> Any:
            return gate("poller", 1) if way == "itself" else ask()

        def ask() -> Any:
            return gate("poller", 1)

        watch.poller, watch.renew_ns = select.__code__, 8
        assert select() == "events"
        assert (states, watch.parked, came) == ([True], False, [])
        watch.renew_ns = 7
        assert select() == "events"
        assert came == [(watch, 7)]
        watch.call = object()  # one is open: to end it is the wrapper's
        assert select()[0] == "wrapper"
        watch.call = None
        watch.poller = wrapper.__code__
        assert select()[0] == "wrapper"
        watch.poller = None
        assert select()[0] == "wrapper"

    def test_a_loop_that_was_woken_by_an_error_is_parked_no_more(
        self, threads: dict[int, Watched], watch: Watched
    ) -> None:
        def fails(*_: Any) -> Any:
            raise LookupError("a signal")

        def fails_too(*_: Any) -> Any:
            raise ValueError("ours")

        def select(gate: Callable[..., Any]) -> Any:
            return gate("poller", 1)

        watch.poller = select.__code__
        with pytest.raises(LookupError, match="a signal"):
            select(native.gated("poll", threads, fails, wrapper, lambda: 7, fails_too))
        assert not watch.parked
        with pytest.raises(ValueError, match="ours"):
            select(native.gated("poll", threads, original, wrapper, lambda: 7, fails_too))
        assert not watch.parked

    def test_a_loop_that_polls_by_the_clock_of_the_run(
        self, threads: dict[int, Watched], watch: Watched
    ) -> None:
        came: list[int] = []

        def polls(*_: Any) -> str:
            return select(gate)

        def select(gate: Any) -> str:
            return str(gate("self", 1))

        gate: Any = native.gated(
            "poll",
            threads,
            original,
            wrapper,
            originals.clock_ns,
            lambda _, now: came.append(now),
        )
        watch.poller = select.__code__
        for renew_ns in (-1, 0, originals.clock_ns(), 1 << 62, 1 << 63, 1 << 80):
            before, watch.renew_ns = originals.clock_ns(), renew_ns
            polls()
            assert len(came) == (renew_ns <= originals.clock_ns())
            assert all(before <= now <= originals.clock_ns() for now in came)
            came.clear()

    def test_errors_are_handed_on(self, threads: dict[int, Watched]) -> None:
        def fails(*_: Any) -> Any:
            raise LookupError("asked")

        for kind in ("lock", "socket"):
            with pytest.raises(LookupError, match="asked"):
                native.gated(kind, threads, original, wrapper, fails)("x")
        with pytest.raises(LookupError, match="asked"):
            native.gated("poll", threads, original, wrapper, fails, wrapper)("x", 0)
        with pytest.raises(LookupError, match="asked"):
            native.gated("plain", here(), fails, wrapper)("x")
        bare: Any = here(object())
        with pytest.raises(AttributeError, match="busy"):
            native.gated("call", bare, original, wrapper, {}, Role.QUIET, Role.IMPORT)()
        poll = native.gated("poll", bare, original, wrapper, lambda: 1, wrapper)
        with pytest.raises(AttributeError, match="renew_ns"):
            poll("x", 0)
        with pytest.raises(AttributeError, match="call"):
            poll("x", 1)
        bare[threading.get_ident()] = SimpleNamespace(call=None)
        with pytest.raises(AttributeError, match="poller"):
            poll("x", 1)


@built
class TestThreads:
    """A gate keeps what it was told of a thread until the threads change."""

    def asked(self, threads: dict[int, Any]) -> str:
        who: str = native.gated("plain", threads, original, wrapper)()[0]
        return who

    def test_each_change_counts(self) -> None:
        ident, threads = threading.get_ident(), native.Threads()
        other = threads[ident + 1] = object()
        changes: list[tuple[Callable[[], Any], str]] = [
            (lambda: threads.__setitem__(ident, other), "wrapper"),
            (lambda: threads.pop(ident), "original"),
            (lambda: threads.__setitem__(ident, other), "wrapper"),
            (lambda: threads.__delitem__(ident), "original"),
            (lambda: threads.__setitem__(ident, other), "wrapper"),
            (lambda: threads.pop(ident + 1, None), "wrapper"),
            (lambda: threads.clear(), "original"),
            (lambda: threads.__setitem__(ident, other), "wrapper"),
        ]
        for change, who in changes:
            change()
            assert [self.asked(threads) for _ in range(2)] == [who, who]

    def test_a_thread_that_another_one_puts_in(self) -> None:
        """Each keeps its own answer, and all are told of a change."""
        threads = here()
        answers: queue.Queue[str] = queue.Queue()
        go_on: queue.Queue[bool] = queue.Queue()

        def ask() -> None:
            while go_on.get(timeout=10):
                answers.put(self.asked(threads))

        thread = threading.Thread(target=ask)
        thread.start()
        for known in (False, True, True, False):
            if known:
                threads[thread.ident or 0] = object()
            else:
                threads.pop(thread.ident or 0, None)
                threads[-1] = None
            go_on.put(True)
            assert answers.get(timeout=10) == ("wrapper" if known else "original")
            assert self.asked(threads) == "original"
        go_on.put(False)
        thread.join()

    def test_one_is_not_taken_for_another(self) -> None:
        """Two that are watched in turn, and many that come and go in the same place."""
        one, two = here(object()), here()
        for _ in range(3):
            assert (self.asked(one), self.asked(two)) == ("wrapper", "original")
        for number in range(100):
            assert self.asked(here(object() if number % 2 else None)) == (
                "wrapper" if number % 2 else "original"
            )

    def test_who_asks_while_it_changes(self) -> None:
        """What is let go may run code, which finds the dict changed."""
        ident, threads = threading.get_ident(), native.Threads()
        told: list[str] = []

        class Leaves:
            def __del__(inner) -> None:  # noqa: N805
                told.append(self.asked(threads))

        changes: list[Callable[[], Any]] = [
            lambda: threads.pop(ident) and None,
            lambda: threads.__delitem__(ident),
            lambda: threads.clear(),
            lambda: threads.__setitem__(ident, None),
        ]
        for change in changes:
            threads[ident] = Leaves()
            assert self.asked(threads) == "wrapper"
            change()
            threads.pop(ident, None)
            assert self.asked(threads) == "original"
        assert told == ["original", "original", "original", "wrapper"]

    def test_what_goes_round_the_changes_is_refused(self) -> None:
        threads: Any = here()
        in_place: Callable[[Any, Any], Any] = operator.ior
        changes: list[Callable[[], Any]] = [
            lambda: threads.update({1: 2}),
            lambda: threads.setdefault(1, 2),
            lambda: threads.popitem(),
            lambda: in_place(threads, {1: 2}),
            lambda: threads.__init__({1: 2}),
        ]
        for change in changes:
            with pytest.raises(TypeError, match="one by one"):
                change()
        with pytest.raises(KeyError):
            threads.pop(1)
        with pytest.raises(TypeError, match=r"no arguments|exactly 0"):
            native.Threads({1: 2})
        plain: Any = {}
        with pytest.raises(TypeError, match="Threads"):
            native.gated("plain", plain, original, wrapper)

    def test_another_import_of_the_part_in_c(self) -> None:
        """Each has its own types, and the gates of the first still know the first's threads."""
        code = """
import sys
from pytest_truasync._detect import native
name = "pytest_truasync._detect._native"
first = sys.modules.pop(name)
import importlib
second = importlib.import_module(name)
assert second is not first
for threads in (first.Threads(), second.Threads()):
    for part in (first, second):
        assert part.Gate("plain", threads, lambda: 1, lambda: 2)() == 1
"""
        subprocess.run([sys.executable, "-c", code], check=True)


@built
class TestTheGate:
    def test_is_a_method_where_a_class_has_it(self) -> None:
        gate = native.gated("plain", here(), original, wrapper)
        owner: Any = type("Owner", (), {"method": gate})
        one = owner()
        assert one.method(1) == ("original", (one, 1), {})
        assert owner.method is gate
        assert inspect.ismethod(one.method)

    def test_wants_what_it_can_use(self) -> None:
        gated: Any = native.gated
        with pytest.raises(ValueError, match="no gate of the kind 'other'"):
            gated("other", here(), original, wrapper)
        wrong: Any = []
        with pytest.raises(TypeError):
            native.gated("plain", wrong, original, wrapper)
        for kind, asks in (
            *(("call", ([], 1, 2)), ("call", ({},)), ("lock", ()), ("plain", (1,))),
            *(("light", ({}, 1, 2)), ("light", ([], 1, 2, "name", len, True))),
        ):
            with pytest.raises(TypeError, match=f"not what a gate of the kind '{kind}' asks"):
                gated(kind, here(), original, wrapper, *asks)
        kind_of_all: Any = native.Gate
        with pytest.raises(TypeError):
            kind_of_all()
        with pytest.raises(TypeError):
            kind_of_all("plain", here(), original, wrapper=wrapper)

    def test_goes_when_nobody_holds_it(self) -> None:
        holder: list[Any] = []

        def closing(*_: Any) -> Any:
            return holder

        gate = native.gated("plain", here(), original, closing)
        holder.append(gate)  # a cycle: gate, wrapper, its cell, the list
        gone = weakref.ref(gate)
        del gate, closing
        holder = []
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("kind", ["plain", "call", "light", "lock", "socket", "poll"])
    def test_keeps_no_reference(
        self, threads: dict[int, Watched], watch: Watched, kind: native.Kind
    ) -> None:
        asks: dict[str, tuple[Any, ...]] = {
            "call": ({__file__: Role.QUIET}, Role.QUIET, Role.IMPORT),
            "light": ({}, Role.QUIET, Role.IMPORT, "open", lambda: 0, False),
            "lock": (lambda lock, blocking: lock is watch,),
            "socket": (lambda sock: 0.0 if sock is watch else None,),
            "poll": (lambda: 0, lambda *_: None),
        }
        gate = native.gated(kind, threads, lambda *_: None, lambda *_: None, *asks.get(kind, ()))
        watch.renew_ns = 1
        watch.poller = sys._getframe().f_code
        given = object()
        for each in (gate, watch, given, threads):
            gate(watch, 0)
            before = sys.getrefcount(each)
            for _ in range(50):
                gate(watch, 0)
                gate(given, given)
                gate(given)
            assert sys.getrefcount(each) == before


class TestWalks:
    @pytest.fixture
    def reader(self, tmp_path: Any) -> FrameReader:
        return FrameReader(FileSorter(tmp_path))

    @pytest.fixture
    def frames(self) -> Iterator[list[FrameType]]:
        """Frames of this thread's stack, the innermost first."""
        found: list[FrameType] = []
        at: FrameType | None = sys._getframe(1)
        while at is not None:
            found.append(at)
            at = at.f_back
        yield found
        found.clear()

    @built
    def test_note_the_same_line(self, reader: FrameReader, frames: list[FrameType]) -> None:
        def by_python(*given: Any) -> None:
            probe._note_task(*given)

        def by_c(*given: Any) -> None:
            noter(reader, tasks).note(*given)

        names = sorted({frame.f_code.co_filename for frame in frames})
        landmarks = reader.sorter.landmarks
        task, maker = Task(), Task()
        found = set()
        for role in (None, Role.USER, Role.LOOP, Role.QUIET):
            for name in names:
                probe = LoopProbe(Watch(Recorder()), reader)
                tasks: dict[int, Any] = {}
                landmarks.clear()
                landmarks.update(dict.fromkeys(names))
                landmarks[name] = role
                for known in (None, maker):
                    if known is not None:
                        entry = (weakref.ref(maker), own.__code__, 5)
                        probe._tasks[hash(maker)] = tasks[hash(maker)] = entry
                    by_python(task, None, known)
                    by_c(task, None, known)
                    lines = [
                        (one.get(hash(task)) or (None, None))[1:] for one in (probe._tasks, tasks)
                    ]
                    assert lines[0] == lines[1]
                    found.add(lines[0])
        assert len(found) > 2

    @built
    def test_note_nothing_of_a_task_that_tells_itself(self, reader: FrameReader) -> None:
        def note(coroutine: Any, *endings: CodeType) -> dict[int, Any]:
            tasks: dict[int, Any] = {}
            noter(reader, tasks, *endings).note(task, coroutine, None)
            return tasks

        task, coroutine = Task(), own()
        landmarks = reader.sorter.landmarks
        landmarks[__file__] = Role.USER
        assert note(None)  # a line of this file
        assert not note(coroutine)  # whose own code is the user's
        del landmarks[__file__]
        assert not note(coroutine, own.__code__)
        coroutine.close()

    @built
    def test_another_task_in_the_same_place_is_no_maker(self, reader: FrameReader) -> None:
        def note(maker: Any) -> None:
            noter(reader, tasks).note(task, None, maker)

        task, maker, other = Task(), Task(), Task()
        reader.sorter.landmarks[__file__] = None
        tasks: dict[int, Any] = {hash(maker): (weakref.ref(other), own.__code__, 5)}
        note(maker)
        assert hash(task) not in tasks
        tasks[hash(maker)] = (weakref.ref(maker), own.__code__, 5)
        note(maker)
        assert tasks[hash(task)][1:] == (own.__code__, 5)

    @built
    def test_a_task_that_cannot_be_noted_is_let_be(self, reader: FrameReader) -> None:
        def note(task: Any, maker: Any) -> None:
            noter(reader, tasks).note(task, None, maker)

        tasks: dict[int, Any] = {}
        unhashable: Any = []
        reader.sorter.landmarks[__file__] = Role.USER
        note(unhashable, None)
        note(5, None)  # no weak reference can be made to it
        reader.sorter.landmarks[__file__] = None
        note(Task(), unhashable)
        assert tasks == {}

    @built
    def test_keep_no_reference(self, reader: FrameReader) -> None:
        def note(given: Any) -> None:
            one.note(given, None, None)
            one.note(given, coroutine, given)
            one.note(5, None, [])

        tasks: dict[int, Any] = {}
        one, task, coroutine, here = noter(reader, tasks), Task(), own(), sys._getframe()
        for role in (Role.USER, None):
            reader.sorter.landmarks[__file__] = role
            for each in (task, coroutine, own.__code__, here, here.f_code, note.__code__):
                note(task)
                reader.key(here)
                before = sys.getrefcount(each)
                for _ in range(50):
                    note(task)
                    reader.key(here)
                assert sys.getrefcount(each) == before
        coroutine.close()

    @built
    def test_tell_stacks_apart_as_in_python(self, frames: list[FrameType]) -> None:
        key: Any = native.stack_key
        for ends in ({}, {id(frames[3].f_code): frames[3].f_code}):
            by_key: dict[object, object] = {}
            for frame in frames:
                plain = stack_key_in_python(frame, ends)
                assert by_key.setdefault(key(frame, ends), plain) == plain
            assert len(by_key) == len(set(by_key.values()))

    @built
    def test_end_in_a_deep_recursion(self) -> None:
        def deep(more: int) -> tuple[int, int]:
            if more:
                return deep(more - 1)
            here, by_c, in_python = sys._getframe(), native.stack_key, stack_key_in_python
            assert by_c is not None
            return len(by_c(here, {})) // 16, len(cast("tuple[int]", in_python(here, {}))) // 2

        assert deep(600) == (DEEPEST, DEEPEST)

    @built
    def test_want_what_they_can_use(self, reader: FrameReader) -> None:
        wrong: Any = None
        key: Any = native.stack_key
        with pytest.raises(TypeError):
            key(wrong, {})
        with pytest.raises(TypeError):
            noter(reader, {}).note(wrong)
        with pytest.raises(TypeError):
            noter(reader, wrong)
        kind: Any = native.TaskNoter
        with pytest.raises(TypeError):
            kind(landmarks={})


class Task:
    """What weak references can be made to."""


async def own() -> None:
    """A coroutine of this file."""


def noter(reader: FrameReader, tasks: dict[int, Any], *endings: CodeType) -> Any:
    assert native.TaskNoter is not None
    return native.TaskNoter(tasks, endings, *reader.landmarks)


@built
class TestSlots:
    """A gate reads the slots of a type that it knows where they lie, and other objects as ever."""

    def ask(self, watch: Any) -> Any:
        roles = {__file__: Role.USER}
        gate = native.gated("call", here(watch), original, wrapper, roles, Role.QUIET, Role.IMPORT)
        return gate()[0]

    @pytest.mark.parametrize("busy", [False, True])
    def test_those_of_a_watch(self, busy: bool) -> None:
        watch = ThreadWatch(Recorder())
        watch.busy = busy
        assert self.ask(watch) == ("original" if busy else "wrapper")

    def test_of_a_type_below(self) -> None:
        class Below(ThreadWatch):
            @property
            def busy(self) -> bool:
                return True

            @busy.setter
            def busy(self, value: bool) -> None:
                pass

        assert self.ask(Below(Recorder())) == "original"

    def test_one_that_is_empty(self) -> None:
        watch = ThreadWatch(Recorder())
        del watch.busy
        with pytest.raises(AttributeError, match="busy"):
            self.ask(watch)

    def test_types_that_have_none(self) -> None:
        class Wrong:
            busy = call = "no slot"

            @property
            def work(self) -> int:
                raise AssertionError

        native.know_slots(Wrong)
        native.know_slots(int)
        assert self.ask(ThreadWatch(Recorder())) == "wrapper"
        with pytest.raises(TypeError):
            native.know_slots(Wrong())  # type: ignore[arg-type]

    def test_a_twin_whose_stand_is_empty(self) -> None:
        twin = builtin_twin(len, original)
        assert twin(1) == ("original", (1,), {})
        del twin.__self__.__call__  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="__call__"):
            twin(1)


@built
class TestHolders:
    """`holders` finds what `holders_in_python` finds."""

    @hy.given(
        st.lists(st.dictionaries(st.integers(), st.integers(0, 40))), st.sets(st.integers(0, 50))
    )
    def test_both_find_the_same(self, dicts: list[dict[Any, Any]], wanted: set[int]) -> None:
        things = [object() for _ in range(51)]
        holding = [{name: things[value] for name, value in one.items()} for one in dicts]
        numbers = {id(things[one]): "twin" for one in wanted}
        assert native.holders is not None
        assert native.holders(holding, numbers) == holders_in_python(holding, numbers)

    def test_what_it_takes(self) -> None:
        assert native.holders is not None
        assert native.holders([{}, {"a": 1}], {}) == []
        assert native.holders([None], {id(None): 1}) == []  # type: ignore[list-item]
        with pytest.raises(TypeError):
            native.holders(({},), {})  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            native.holders([{"a": 1}], {"a": 1})  # type: ignore[dict-item]


@built
class TestTypes:
    def test_an_attribute_of_a_type_that_is_immutable(self) -> None:
        assert native.set_on_type is not None
        native.set_on_type(io.FileIO, "truasync", 5)
        assert vars(io.FileIO)["truasync"] == 5
        native.set_on_type(io.FileIO, "truasync")
        assert not hasattr(io.FileIO, "truasync")
        with pytest.raises(AttributeError):
            native.set_on_type(io.FileIO, "truasync")
        assert io.FileIO.__flags__ & IMMUTABLE_TYPE

    def test_one_that_is_not_stays_so(self) -> None:
        class Mine:
            pass

        assert native.set_on_type is not None
        native.set_on_type(Mine, "there", True)
        assert not Mine.__flags__ & IMMUTABLE_TYPE
        with pytest.raises(TypeError):
            native.set_on_type(Mine(), "there", True)

    @pytest.mark.parametrize("text", [None, "", "twin($module)\n--\n\nText."])
    def test_twins_of_both_makes_are_alike(self, text: str | None) -> None:
        class Stand:
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return args, kwargs

        assert native.make_twin is not None
        ours = native.make_twin("twin", text, Stand(), "math")
        other = by_address.make_twin("twin", text, Stand(), "math")
        for name in ("__name__", "__qualname__", "__doc__", "__text_signature__", "__module__"):
            assert getattr(ours, name) == getattr(other, name)
        assert ours(1, b=2) == other(1, b=2) == ((1,), {"b": 2})
        assert type(ours) is type(other) is type(len)

    def test_a_name_that_is_none(self) -> None:
        assert native.make_twin is not None
        with pytest.raises(ValueError, match="null"):
            native.make_twin("a\0b", None, 1, "math")


@built
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone")
class TestSmallFiles:
    def test_both_read_the_first_bytes(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(bytes(range(256)) * 2)
        assert native.read_file is not None
        assert by_address.read_file is not None
        for name in (file, tmp_path, tmp_path / "none"):
            path = str(name).encode()
            assert native.read_file(path) == by_address.read_file(path)
        assert native.read_file(str(file).encode()) == file.read_bytes()[:300]
        with pytest.raises(TypeError):
            native.read_file("text")  # type: ignore[arg-type]

    def test_one_that_is_open_is_read_from_its_begin(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        assert native.read_queue is not None
        for text, queue_of in (
            (b"5912471 34000012 128\n", (34000012, 128)),
            (b"1 2 3", (2, 3)),
            (b"1 2 3 4\n", None),
            (b"1 2\n", None),
            (b"one 2 3\n", None),
            (b"", None),
            (b"1 2 3 " + b" " * 500, (2, 3)),
        ):
            file.write_bytes(text)
            with file.open("rb") as opened:
                opened.read(4)
                assert native.read_queue(opened.fileno()) == queue_of
                assert opened.read() == text[4:]
        assert native.read_queue(-1) is native.read_queue(10**6) is None
        with pytest.raises(TypeError):
            native.read_queue("1")  # type: ignore[arg-type]

    def test_the_clocks_of_a_thread(self) -> None:
        assert native.thread_clocks is not None
        before, by_c = thread_clocks_in_python(), native.thread_clocks()
        after = thread_clocks_in_python()
        assert list(before[:3]) <= list(by_c[:3]) <= list(after[:3])
        assert before[3] == by_c[3]


@built
def test_a_traceback_with_a_line_of_ours() -> None:
    assert native.has_ours is not None
    names = {"ours": False, "theirs": True}
    for files in ((), ("theirs",), ("ours",), ("theirs", "ours"), ("theirs", "theirs")):
        trace = [SimpleNamespace(filename=file) for file in files]
        assert native.has_ours(trace, names) is has_ours_in_python(trace, names)
    unknown = [SimpleNamespace(filename="unknown")]
    with pytest.raises(KeyError):
        native.has_ours(unknown, names)
    with pytest.raises(AttributeError):
        native.has_ours([3], names)
    with pytest.raises(TypeError):
        native.has_ours(names, names)  # type: ignore[arg-type]


def test_it_is_known_by_the_text_that_it_is_built_of() -> None:
    text = Path(native.__file__).with_name("_native.c").read_bytes()
    assert hashlib.sha256(text).hexdigest()[:16] == native.SOURCE, "put that into native.py"


# In runs of pytest.


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(core: str, *options: str) -> pytest.RunResult:
        monkeypatch.setenv("TRUASYNC_CORE", core)
        given = ("--truasync", "--truasync-mode=warn", "-o", "asyncio_mode=auto", *options)
        return pytester.runpytest_subprocess("-p", "no:randomly", *given)

    return run


WAYS = """
import asyncio, os, select, socket, threading, time

lock, held = threading.Lock(), threading.RLock()

def after_a_while(function, *args):
    timer = threading.Timer(0.05, function, args)
    timer.start()
    return timer

async def end_of(timer):  # its thread is of this test, and told with it
    while timer.is_alive():
        await asyncio.sleep(0.001)

async def test_sleeps():
    time.sleep(0.001)
    time.sleep(0)

async def test_locks():
    with lock, held, held:
        pass
    lock.acquire()
    timer = after_a_while(lock.release)
    lock.acquire()
    await end_of(timer)
    assert not lock.acquire(False) and not lock.acquire(blocking=False)
    assert not lock.acquire(True, 0.02) and not lock.acquire(timeout=0)
    assert not lock.__enter__(False) and not lock.__enter__(True, 0.01)
    lock.release()

async def test_sockets():
    one, other = socket.socketpair()
    with one, other:
        timer = after_a_while(other.send, b"x")
        one.recv(1)
        await end_of(timer)
        one.setblocking(False)
        try:
            one.recv(1)
        except BlockingIOError:
            pass

async def test_polls():
    poller = select.epoll()
    poller.poll(0)
    poller.poll(False)
    poller.poll(0.01)
    poller.close()

async def test_files(tmp_path):
    (tmp_path / "x").write_text("x")
    os.stat(tmp_path / "x")

async def test_offloads():
    await asyncio.to_thread(time.sleep, 0.001)

async def test_task_of_a_library():
    await asyncio.gather(asyncio.to_thread(time.sleep, 0.001), asyncio.sleep(0))
    await asyncio.wait_for(asyncio.to_thread(lock.acquire), 5)
    lock.release()

async def test_a_callback_and_a_task_of_it():
    done = asyncio.Event()
    def call():
        task = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.001))
        task.add_done_callback(lambda _: done.set())
    asyncio.get_running_loop().call_soon(call)
    await done.wait()
"""


@built
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
def test_reports_do_not_depend_on_it(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(WAYS)
    found = []
    for core in ("native", "python"):
        run(core, "--truasync-report=json:found.json").assert_outcomes(passed=8)
        told = json.loads(Path("found.json").read_text())
        found.append(
            [
                {name: one[name] for name in ("code", "target", "path", "line", "count", "tests")}
                for level in ("violations", "warnings", "notes")
                for one in told[level]
            ]
        )
    assert found[0] == found[1]
    assert len(found[0]) >= 8


@built
def test_a_gate_is_known_by_the_name_of_what_it_stands_for(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile("""
        import copy, inspect, pickle, _socket

        def test_it():
            gate = _socket.socket.recv
            assert hasattr(gate, "__wrapped__")
            assert pickle.loads(pickle.dumps(gate)) is copy.deepcopy(gate) is gate
            assert repr(gate) == repr(gate.__wrapped__)
            assert gate.__name__ == "recv" and gate.__doc__ == gate.__wrapped__.__doc__
            assert inspect.isroutine(gate)
        """)
    run("native").assert_outcomes(passed=1)


@built
def test_it_can_be_done_without(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("""
        import os
        from pytest_truasync._detect import native

        def test_it():
            assert (native.Gate is None) is (os.environ["TRUASYNC_CORE"] == "python")
        """)
    for core in ("python", "native", ""):
        run(core).assert_outcomes(passed=1)


def test_a_core_that_there_is_not(run: Run) -> None:
    result = run("pyhton")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*TRUASYNC_CORE: 'pyhton' is unknown; did you mean 'python'?*"])


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (
            "types.SimpleNamespace(SOURCE='another')",
            ["*part in C: it was built of another version*"],
        ),
        ("types.SimpleNamespace()", ["*part in C: it was built of another version*"]),
        ("None", []),  # as where it was not built
    ],
)
def test_one_that_cannot_be_used_is_told_of(
    pytester: pytest.Pytester, run: Run, module: str, told: list[str]
) -> None:
    pytester.makepyfile(
        test_it="""
        from pytest_truasync._detect import native

        def test_it():
            assert native.Gate is None
        """,
        stand_in=f"""
        import sys, types
        sys.modules["pytest_truasync._detect._native"] = {module}
        """,
    )
    pytester.syspathinsert()
    result = run("native", "-p", "stand_in")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(told)
    assert bool(told) == ("slower than it could be" in result.stdout.str())
