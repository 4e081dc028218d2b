"""A thread that waits for the other end of a pipe does no work on files."""

import asyncio
import multiprocessing
import os
import queue
import socket
import subprocess
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

LATE = ["sh", "-c", "sleep 0.05; echo a; sleep 0.05"]


@pytest.fixture
def process():
    with subprocess.Popen(LATE, stdout=subprocess.PIPE, text=True) as made:
        yield made


async def test_output_of_a_process(process):
    assert await asyncio.to_thread(list, process.stdout) == ["a\n"]  # expect: TRU320 io.FileIO.readinto via asyncio.to_thread x2


async def test_lines_handed_to_the_loop(process):
    loop, lines = asyncio.get_running_loop(), []

    def pump():
        for line in process.stdout:
            loop.call_soon_threadsafe(lines.append, line)

    await asyncio.to_thread(pump)  # expect: TRU320 io.FileIO.readinto via asyncio.to_thread x2
    await asyncio.sleep(0)
    assert lines == ["a\n"]


@pytest.fixture
def connection():
    here, there = multiprocessing.get_context("fork").Pipe()
    timer = threading.Timer(0.05, there.send, ["a"])
    timer.start()
    yield here
    timer.join()


async def test_another_process(connection):
    assert await asyncio.to_thread(connection.recv) == "a"  # expect: TRU360 multiprocessing.connection._ConnectionBase.recv via asyncio.to_thread


async def test_a_socket_by_its_number():
    left, right = socket.socketpair()
    with left, right:
        timer = threading.Timer(0.05, right.send, [b"x"])
        timer.start()  # note: TRU302 threading.Timer.run via threading.Thread
        number = left.fileno()
        assert await asyncio.to_thread(os.read, number, 1) == b"x"  # expect: TRU370 os.read via asyncio.to_thread


async def step():
    pass


def loops_and_sleeps():
    asyncio.run(step())
    time.sleep(0.001)


async def test_a_loop_does_not_excuse_the_rest():
    await asyncio.to_thread(loops_and_sleeps)  # expect: TRU351 time.sleep via asyncio.to_thread
    await asyncio.to_thread(asyncio.run, step())


class OneThread(Executor):
    """As a library's own: its thread is older than any loop."""

    def __init__(self):
        self.work = queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while work := self.work.get():
            work()

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.work.put(lambda: future.set_result(fn(*args, **kwargs)))
        return future


@pytest.fixture(scope="module")
def executor():
    made = OneThread()
    yield made
    made.work.put(None)


async def test_an_executor_of_another_make(executor):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(executor, time.sleep, 0.001)  # expect: TRU351 time.sleep via loop.run_in_executor


class Inline(Executor):
    """As tests have it: the work is done at once, by the loop's own thread."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))  # expect: TRU251 time.sleep
        return future


def nap():
    time.sleep(0.001)  # expect: TRU251 time.sleep


async def test_what_was_not_taken_off_the_loop():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(Inline(), nap)
    await loop.run_in_executor(Inline(), time.sleep, 0.001)


class Kept(Executor):
    """As a mock of one: it wants to know what it was given."""

    def submit(self, fn, /, *args, **kwargs):
        assert fn == nap
        assert {fn: 1} == {nap: 1}
        future = Future()
        future.set_result(None)
        return future


async def test_what_an_executor_is_given():
    await asyncio.get_running_loop().run_in_executor(Kept(), nap)


def wakes_and_drains():
    read, write = os.pipe()
    os.write(write, b"x")
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)


async def test_what_has_come_is_not_waited_for():
    await asyncio.to_thread(wakes_and_drains)  # note: TRU302 test_other_ends.wakes_and_drains via asyncio.to_thread


class Proxy:
    """As those of frameworks, outside of their context."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    @property
    def __class__(self):
        raise RuntimeError("class")

    def __call__(self):
        return 7


async def test_a_proxy_is_asked_for_nothing():
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, Proxy()) == 7  # note: TRU302 test_other_ends.Proxy via loop.run_in_executor
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep via asyncio.to_thread


@pytest.fixture
def used():
    pool = ThreadPoolExecutor(2)
    assert pool.submit(int).result() == 0
    return pool


async def test_a_pool_whose_threads_are_idle(used):
    used.shutdown()


async def test_waiting_for_what_the_loop_does():
    waited = asyncio.run_coroutine_threadsafe(step(), asyncio.get_running_loop())
    await asyncio.to_thread(waited.result)  # note: TRU302 concurrent.futures._base.Future.result via asyncio.to_thread
