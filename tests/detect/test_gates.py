"""The part in C lets through what the wrappers would only hand on, and nothing else."""

from __future__ import annotations

import gc
import inspect
import json
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest

from pytest_truasync._detect import gates, waits
from pytest_truasync._detect.callsite import FrameReader, stack_key_in_python
from pytest_truasync._detect.files import FileSorter, Role
from pytest_truasync._detect.loops import LoopProbe
from pytest_truasync._detect.recorder import Recorder, Watch

native = pytest.mark.skipif(gates.native is None, reason="built without its part in C")


class Watched:
    """What a gate asks of a watched thread."""

    busy = False
    work: Any = None
    call: Any = None
    round: CodeType | None = None
    parked = False
    renew_ns = 0


@pytest.fixture
def watch() -> Watched:
    return Watched()


@pytest.fixture
def threads(watch: Watched) -> dict[int, Watched]:
    return {threading.get_ident(): watch}


def original(*args: Any, **kwargs: Any) -> Any:
    return "original", args, kwargs


def wrapper(*args: Any, **kwargs: Any) -> Any:
    return "wrapper", args, kwargs


@native
class TestWhatPasses:
    def test_calls_of_other_threads(self, watch: Watched) -> None:
        elsewhere = {threading.get_ident() + 1: watch}
        for threads in ({}, elsewhere):
            gate = gates.gated("plain", threads, original, wrapper)
            assert gate(1, named=2) == ("original", (1,), {"named": 2})

    def test_none_of_a_watched_thread(self, threads: dict[int, Watched]) -> None:
        gate = gates.gated("plain", threads, original, wrapper)
        assert gate(1, named=2) == ("wrapper", (1,), {"named": 2})

    def test_what_is_done_in_a_call_that_is_watched(
        self, threads: dict[int, Watched], watch: Watched
    ) -> None:
        gate = gates.gated("call", threads, original, wrapper, {}, Role.QUIET, Role.IMPORT)
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
        gate = gates.gated("call", threads, original, wrapper, roles, Role.QUIET, Role.IMPORT)
        nobodys = work is None and role in (Role.QUIET, Role.IMPORT)
        assert gate(1)[0] == ("original" if nobodys else "wrapper")

    def test_a_free_lock_on_any_thread(self, threads: dict[int, Watched]) -> None:
        lock = threading.Lock()
        acquire = type(lock).acquire
        for known in ({}, threads):
            gate = gates.gated("lock", known, original, wrapper, acquire)
            for given in ((), (True,)):
                assert gate(lock, *given) is True
                assert lock.locked()
                assert gate(lock, *given)[0] == ("wrapper" if known else "original")
                lock.release()

    def test_who_asks_for_a_lock_without_waiting(self, threads: dict[int, Watched]) -> None:
        gate = gates.gated("lock", threads, original, wrapper, type(threading.Lock()).acquire)
        assert gate("lock", False) == ("original", ("lock", False), {})

    @pytest.mark.parametrize("given", [(True, 1), (1,), (0,), ("x", "y", "z")])
    def test_other_ways_to_ask_are_the_wrappers(
        self, threads: dict[int, Watched], given: tuple[Any, ...]
    ) -> None:
        gate = gates.gated("lock", threads, original, wrapper, type(threading.Lock()).acquire)
        assert gate("lock", *given) == ("wrapper", ("lock", *given), {})
        assert gate("lock", blocking=True) == ("wrapper", ("lock",), {"blocking": True})

    def test_what_is_no_lock_is_an_error(self, threads: dict[int, Watched]) -> None:
        acquire = type(threading.Lock()).acquire
        gate = gates.gated("lock", threads, acquire, wrapper, acquire)
        with pytest.raises(TypeError, match="lock"):
            gate("no lock")
        with pytest.raises(TypeError):
            gates.gated("lock", {}, acquire, wrapper, acquire)()

    @pytest.mark.parametrize(
        ("timeout", "who"), [(0.0, "original"), (1, "wrapper"), (None, "wrapper")]
    )
    def test_sockets_that_never_wait(
        self, threads: dict[int, Watched], timeout: float | None, who: str
    ) -> None:
        gate = gates.gated("socket", threads, original, wrapper, waits.gettimeout)
        with socket.socket() as sock:
            sock.settimeout(timeout)
            assert gate(sock, 1)[0] == who

    def test_what_is_no_socket_says_so_itself(self, threads: dict[int, Watched]) -> None:
        gate = gates.gated("socket", threads, original, wrapper, waits.gettimeout)
        assert gate("no socket")[0] == "original"
        assert gate()[0] == "original"

    @pytest.mark.parametrize(
        ("given", "who"),
        [
            ((0,), "original"),
            ((0, 5), "original"),
            ((0.0,), "original"),
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
        gate = gates.gated("poll", threads, original, wrapper, lambda: 1_000, wrapper)
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

        gate = gates.gated(
            "poll", threads, poll, wrapper, lambda: 7, lambda *given: came.append(given)
        )

        def select() -> Any:
            return gate("poller", 1) if way == "itself" else ask()

        def ask() -> Any:
            return gate("poller", 1)

        watch.round, watch.renew_ns = select.__code__, 8
        assert select() == "events"
        assert (states, watch.parked, came) == ([True], False, [])
        watch.renew_ns = 7
        assert select() == "events"
        assert came == [(watch, 7)]
        watch.call = object()  # one is open: to end it is the wrapper's
        assert select()[0] == "wrapper"
        watch.call = None
        watch.round = wrapper.__code__
        assert select()[0] == "wrapper"
        watch.round = None
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

        watch.round = select.__code__
        with pytest.raises(LookupError, match="a signal"):
            select(gates.gated("poll", threads, fails, wrapper, lambda: 7, fails_too))
        assert not watch.parked
        with pytest.raises(ValueError, match="ours"):
            select(gates.gated("poll", threads, original, wrapper, lambda: 7, fails_too))
        assert not watch.parked

    def test_errors_are_handed_on(self, threads: dict[int, Watched]) -> None:
        def fails(*_: Any) -> Any:
            raise LookupError("asked")

        for kind in ("lock", "socket"):
            with pytest.raises(LookupError, match="asked"):
                gates.gated(kind, threads, original, wrapper, fails)("x")
        with pytest.raises(LookupError, match="asked"):
            gates.gated("poll", threads, original, wrapper, fails)("x", 0)
        with pytest.raises(LookupError, match="asked"):
            gates.gated("plain", {}, fails, wrapper)("x")
        bare: Any = {threading.get_ident(): object()}
        with pytest.raises(AttributeError, match="busy"):
            gates.gated("call", bare, original, wrapper, {}, Role.QUIET, Role.IMPORT)()


@native
class TestTheGate:
    def test_is_a_method_where_a_class_has_it(self) -> None:
        gate = gates.gated("plain", {}, original, wrapper)
        owner: Any = type("Owner", (), {"method": gate})
        one = owner()
        assert one.method(1) == ("original", (one, 1), {})
        assert owner.method is gate
        assert inspect.ismethod(one.method)

    def test_is_known_by_the_name_of_what_it_stands_for(self) -> None:
        code = (
            "import pickle, inspect, _socket\n"
            "def test_it():\n"
            "    gate = _socket.socket.recv\n"
            "    assert hasattr(gate, '__wrapped__')\n"
            "    assert pickle.loads(pickle.dumps(gate)) is gate\n"
            "    assert repr(gate) == repr(gate.__wrapped__)\n"
            "    assert gate.__name__ == 'recv' and gate.__doc__ == gate.__wrapped__.__doc__\n"
            "    assert inspect.isroutine(gate)\n"
        )
        run_with("native", code)

    def test_wants_what_it_can_use(self) -> None:
        with pytest.raises(ValueError, match="no gate of the kind 'other'"):
            gates.gated("other", {}, original, wrapper)
        wrong: Any = []
        with pytest.raises(TypeError):
            gates.gated("plain", wrong, original, wrapper)
        with pytest.raises(TypeError, match="dict"):
            gates.gated("call", {}, original, wrapper, [])
        with pytest.raises(TypeError):
            gates.native.Gate()
        with pytest.raises(TypeError):
            gates.native.Gate("plain", {}, original, wrapper=wrapper)

    def test_goes_when_nobody_holds_it(self) -> None:
        holder: list[Any] = []

        def closing(*_: Any) -> Any:
            return holder

        gate = gates.gated("plain", {}, original, closing)
        holder.append(gate)  # a cycle: gate, wrapper, its cell, the list
        gone = weakref.ref(gate)
        del gate, closing
        holder = []
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("kind", ["plain", "call", "lock", "socket", "poll"])
    def test_keeps_no_reference(
        self, threads: dict[int, Watched], watch: Watched, kind: str
    ) -> None:
        asks: dict[str, tuple[Any, ...]] = {
            "call": ({__file__: Role.QUIET}, Role.QUIET, Role.IMPORT),
            "lock": (lambda lock, blocking: lock is watch,),
            "socket": (lambda sock: 0.0 if sock is watch else None,),
            "poll": (lambda: 0, lambda *_: None),
        }
        gate = gates.gated(kind, threads, lambda *_: None, lambda *_: None, *asks.get(kind, ()))
        watch.renew_ns = 1
        watch.round = sys._getframe().f_code
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

    @native
    def test_note_the_same_line(self, reader: FrameReader, frames: list[FrameType]) -> None:
        class Task:
            pass

        def by_python(probe: LoopProbe, *given: Any) -> None:
            probe._note_task(*given)

        def by_c(tasks: dict[int, Any], *given: Any) -> None:
            walker.note_task(tasks, *given)

        async def own() -> None:
            pass

        walker = reader.walker((own.__code__,))
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
                    by_python(probe, task, None, known)
                    by_c(tasks, task, None, known)
                    lines = [
                        (one.get(hash(task)) or (None, None))[1:] for one in (probe._tasks, tasks)
                    ]
                    assert lines[0] == lines[1]
                    found.add(lines[0])
        assert len(found) > 2

    @native
    def test_note_nothing_of_a_task_that_tells_itself(self, reader: FrameReader) -> None:
        async def own() -> None:
            pass

        def note(walker: Any, coroutine: Any) -> dict[int, Any]:
            tasks: dict[int, Any] = {}
            walker.note_task(tasks, reader, coroutine, None)
            return tasks

        landmarks = reader.sorter.landmarks
        landmarks[__file__] = Role.USER
        coroutine = own()
        assert note(reader.walker(()), None)  # a line of this file
        assert not note(reader.walker(()), coroutine)  # whose own code is the user's
        landmarks[__file__] = None
        assert not note(reader.walker((own.__code__,)), coroutine)
        coroutine.close()

    @native
    def test_a_task_that_cannot_be_noted_is_let_be(self, reader: FrameReader) -> None:
        reader.sorter.landmarks[__file__] = Role.USER
        tasks: dict[int, Any] = {}
        unhashable: Any = []
        (lambda: reader.walker(()).note_task(tasks, unhashable, None, None))()
        (lambda: reader.walker(()).note_task(tasks, 5, None, unhashable))()
        assert tasks == {}

    @native
    def test_tell_stacks_apart_as_in_python(self, frames: list[FrameType]) -> None:
        key: Callable[[FrameType, dict[int, CodeType]], object] = gates.native.stack_key
        for ends in ({}, {id(frames[3].f_code): frames[3].f_code}):
            by_key: dict[object, object] = {}
            for frame in frames:
                plain = stack_key_in_python(frame, ends)
                assert by_key.setdefault(key(frame, ends), plain) == plain
            assert len(by_key) == len(set(by_key.values()))

    @native
    def test_end_in_a_deep_recursion(self) -> None:
        def deep(more: int) -> tuple[int, int]:
            if more:
                return deep(more - 1)
            here = sys._getframe()
            return len(gates.native.stack_key(here, {})) // 16, len(
                stack_key_in_python(here, {})
            ) // 2

        assert deep(600) == (400, 400)

    @native
    def test_want_what_they_can_use(self, reader: FrameReader) -> None:
        wrong: Any = None
        with pytest.raises(TypeError):
            gates.native.stack_key(wrong, {})
        with pytest.raises(TypeError):
            reader.walker(()).note_task(wrong, wrong, wrong, wrong)
        with pytest.raises(TypeError):
            reader.walker(()).note_task()
        with pytest.raises(TypeError):
            reader.walker(wrong)
        with pytest.raises(TypeError):
            gates.native.Walker(landmarks={})


def run_with(core: str, code: str, *options: str) -> str:
    """Run a test module in an interpreter of its own, and return what pytest wrote."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test_it.py")
        path.write_text(code)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--truasync",
                "--rootdir",
                folder,
                *options,
                str(path),
            ],
            cwd=folder,
            env=os.environ | {"TRUASYNC_CORE": core},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        assert done.returncode == 0 or "--truasync-mode=warn" in options, done.stdout
        found = Path(folder, "found.json")
        return found.read_text() if found.exists() else done.stdout


WAYS = """
import asyncio, os, select, socket, threading, time

lock, held = threading.Lock(), threading.RLock()

async def test_sleeps():
    time.sleep(0.001)
    time.sleep(0)

async def test_locks():
    with lock, held, held:
        pass
    lock.acquire()
    threading.Timer(0.05, lock.release).start()
    lock.acquire()
    assert not lock.acquire(False) and not lock.acquire(blocking=False)
    lock.release()

async def test_sockets():
    one, other = socket.socketpair()
    with one, other:
        threading.Timer(0.05, other.send, (b"x",)).start()
        one.recv(1)
        one.setblocking(False)
        try:
            one.recv(1)
        except BlockingIOError:
            pass

async def test_polls():
    poller = select.epoll()
    poller.poll(0)
    poller.poll(0.01)
    poller.close()

async def test_files(tmp_path):
    (tmp_path / "x").write_text("x")
    os.stat(tmp_path / "x")

async def test_offloads():
    await asyncio.to_thread(time.sleep, 0.001)

async def test_task_of_a_library():
    async def later():
        time.sleep(0.001)
    await asyncio.gather(later(), later())
"""


@native
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
def test_reports_do_not_depend_on_it() -> None:
    options = ["--truasync-mode=warn", "--truasync-report=json:found.json", "-p", "no:randomly"]
    options += ["-o", "asyncio_mode=auto"]
    with_it, without = (
        [
            {name: one[name] for name in ("code", "target", "path", "line", "count", "tests")}
            for one in json.loads(run_with(core, WAYS, *options))["violations"]
        ]
        for core in ("native", "python")
    )
    assert with_it == without
    assert len(with_it) >= 7


def test_the_choice_of_python_is_kept() -> None:
    code = (
        "from pytest_truasync._detect import gates\n"
        "def test_it():\n"
        "    assert gates.native is None\n"
    )
    run_with("python", code)
