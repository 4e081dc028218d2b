"""Every way off the loop: what waited in the thread is named, with the line that sent it there."""

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import anyio.to_thread
import pytest
import trio
from asgiref.sync import sync_to_async
from starlette.concurrency import run_in_threadpool


def nap(seconds=0.001):
    time.sleep(seconds)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_asyncio(pool):
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(nap)  # expect: TRU351 time.sleep via asyncio.to_thread
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep via asyncio.to_thread
    await loop.run_in_executor(None, nap)  # expect: TRU351 time.sleep via loop.run_in_executor
    await loop.run_in_executor(pool, partial(nap, 0.001))  # expect: TRU351 time.sleep via loop.run_in_executor
    future = pool.submit(nap)  # expect: TRU351 time.sleep via ThreadPoolExecutor.submit
    await asyncio.wrap_future(future)
    list(pool.map(nap, [0.001]))  # expect: TRU351 time.sleep via Executor.map; TRU263 concurrent.futures.Executor.map


async def test_frameworks():
    await anyio.to_thread.run_sync(nap)  # expect: TRU351 time.sleep via anyio.to_thread.run_sync
    await run_in_threadpool(nap)  # expect: TRU351 time.sleep via run_in_threadpool
    await sync_to_async(nap)()  # expect: TRU351 time.sleep via sync_to_async


def test_trio():
    async def main():
        await trio.to_thread.run_sync(nap)  # expect: TRU351 time.sleep via trio.to_thread.run_sync

    trio.run(main)


async def test_bare_threads():
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def work():
        time.sleep(0.001)
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work).start()  # expect: TRU351 time.sleep via threading.Thread
    await done.wait()


async def test_legitimate(tmp_path):
    await asyncio.to_thread(sum, range(10))  # note: TRU302 sum via asyncio.to_thread
    path = tmp_path / "file"
    await asyncio.to_thread(path.write_text, "x")  # note: TRU302 pathlib.Path.write_text via asyncio.to_thread


async def test_the_loops_own():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def test_swallowed_and_in_context():
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(3)

    def work():
        try:
            assert variable.get() == 3
            nap()
            raise ValueError
        except BaseException:
            return "done"

    assert await asyncio.to_thread(work) == "done"  # expect: TRU351 time.sleep via asyncio.to_thread


async def test_exceptions_pass():
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 / 0)  # note: TRU302 test_ways.test_exceptions_pass.<locals>.<lambda> via asyncio.to_thread


async def test_arguments_of_any_name(pool):
    def work(self, function):
        return self, function

    future = pool.submit(work, self=1, function=2)  # note: TRU302 test_ways.test_arguments_of_any_name.<locals>.work via ThreadPoolExecutor.submit
    assert await asyncio.wrap_future(future) == (1, 2)


def test_from_no_loop():
    with ThreadPoolExecutor(1) as pool:
        wait([pool.submit(nap)])
    thread = threading.Thread(target=nap)
    thread.start()
    thread.join()


async def test_a_thread_for_nobody():
    thread = threading.Thread(target=nap)
    thread.start()  # note: TRU302 test_ways.nap via threading.Thread
    while thread.is_alive():
        await asyncio.sleep(0.001)
