"""What is watched looks, and behaves, as what it stands for."""

import _socket
import _thread
import asyncio
import inspect
import os
import pathlib
import pickle
import signal
import socket
import sqlite3
import sys
import threading
import time
import traceback
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.allow_blocking(reason="how the calls look is asked, not what they do")


class Thing:
    pass


async def test_pickles():
    for function in (time.sleep, os.stat, os.listdir, _socket.getaddrinfo):
        assert pickle.loads(pickle.dumps(function)) is function
    for method in (_socket.socket.recv, sqlite3.Cursor.execute):
        assert pickle.loads(pickle.dumps(method)) is method


async def test_inspect():
    assert inspect.isbuiltin(time.sleep)
    assert repr(time.sleep) == "<built-in function sleep>"
    assert str(inspect.signature(os.stat)) == "(path, *, dir_fd=None, follow_symlinks=True)"
    assert list(inspect.signature(sqlite3.Cursor.execute).parameters)[0] == "self"
    assert inspect.signature(ThreadPoolExecutor.submit).parameters.keys() >= {"self", "fn"}
    assert threading.Lock().acquire.__qualname__ == "lock.acquire"
    assert not inspect.iscoroutinefunction(asyncio.to_thread(int).close() or time.sleep)


async def test_sets_of_os():
    assert os.stat in os.supports_fd
    assert os.stat in os.supports_dir_fd
    assert os.stat in os.supports_follow_symlinks
    assert os.scandir in os.supports_fd


async def test_messages():
    with pytest.raises(TypeError, match=r"^time.sleep\(\) takes exactly one arg"):
        time.sleep()
    with pytest.raises(ValueError, match="^sleep length must be non-negative$"):
        time.sleep(-1)
    with pytest.raises(OverflowError, match="timestamp"):
        threading.Lock().acquire(timeout=1e100)
    with pytest.raises(TypeError):
        threading.Lock().acquire("a", "b")
    with pytest.raises(FileNotFoundError) as caught:
        os.stat("absent")
    assert caught.value.filename == "absent"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it warns since 3.12")
async def test_a_warning_names_the_users_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        database = sqlite3.connect(":memory:")
        database.execute("select :a", (1,))
        database.close()
    assert [one.filename for one in caught] == [__file__]
    assert "execute" in pathlib.Path(__file__).read_text().splitlines()[caught[0].lineno - 1]


async def test_locals_are_let_go_with_their_frame():
    def reads():
        thing = Thing()
        pathlib.Path(__file__).read_text()
        return weakref.ref(thing)

    assert reads()() is None


async def test_arguments_are_let_go_by_an_exception():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        data = bytearray(4)
        try:
            ours.recv_into(memoryview(data))
        except BlockingIOError:
            data.extend(b"more")  # not while a view of it is held
        ours.settimeout(0.01)
        try:
            ours.recv_into(memoryview(data))
        except TimeoutError:
            data.extend(b"more")


async def test_debug_traces_end_at_the_users_line():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    task = asyncio.create_task(asyncio.sleep(0))
    handle = loop.call_soon_threadsafe(int)
    loop.set_debug(False)
    for made in (task, handle):
        assert not [one for one in made._source_traceback if "pytest_truasync" in one.filename]
    assert handle._source_traceback[-1].filename == __file__
    await task


async def test_a_handler_may_raise_in_the_middle():
    def handler(*_):
        raise InterruptedError("by a signal")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(InterruptedError, match="by a signal"):
            time.sleep(10)
    finally:
        signal.signal(signal.SIGALRM, before)


async def test_threads_run_what_they_were_given():
    seen = []

    def work(*args, **kwargs):
        seen.append((args, kwargs, threading.current_thread().name))

    thread = threading.Thread(target=work, args=(1,), kwargs={"b": 2}, name="mine")
    thread.start()
    thread.join()
    assert seen == [((1,), {"b": 2}, "mine")]


async def test_errors_in_threads_end_in_the_users_line():
    def fails():
        raise LookupError("inside")

    with pytest.raises(LookupError) as caught:
        await asyncio.to_thread(fails)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fails"


async def test_a_subclass_goes_its_own_way():
    class Quiet(socket.socket):
        def recv(self, *args):
            return b"mine"

    with Quiet() as sock:
        assert sock.recv(10) == b"mine"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_exception_that_ends_a_raw_thread():
    told, threads = [], _thread._count()

    def hook(unraisable):
        shown = f"{unraisable.err_msg} {unraisable.object!r}"
        told.append((shown, unraisable.exc_value, unraisable.exc_traceback.tb_frame.f_code.co_name))

    def fails():
        raise LookupError("inside")

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        _thread.start_new_thread(fails, ())
        while not told or _thread._count() > threads:
            await asyncio.sleep(0.001)
    finally:
        sys.unraisablehook = before
    ((shown, error, first),) = told
    assert repr(fails) in shown
    assert str(error) == "inside"
    assert first == "fails"
