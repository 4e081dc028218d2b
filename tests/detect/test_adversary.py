"""Suites that were once judged wrongly, or that once changed under the plugin."""

from __future__ import annotations

import json
from typing import Any

import pytest

BACK = """
import asyncio
import threading
import concurrent.futures as futures
import trio
import anyio.from_thread
import anyio.to_thread
from asgiref.sync import async_to_sync, sync_to_async

async def work():
    await anyio.sleep(0.1)

async def test_asyncio():
    loop = asyncio.get_running_loop()

    def send():
        return asyncio.run_coroutine_threadsafe(work(), loop)

    def by_hand():
        done, answer = threading.Event(), futures.Future()
        loop.call_soon_threadsafe(loop.call_later, 0.1, done.set)
        loop.call_soon_threadsafe(loop.call_later, 0.2, answer.set_result, 1)
        done.wait()
        answer.result()

    await asyncio.to_thread(by_hand)
    await asyncio.to_thread(lambda: send().result())
    await asyncio.to_thread(lambda: futures.wait([send()]))
    await asyncio.to_thread(lambda: list(futures.as_completed([send(), send()])))
    await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(work))
    await sync_to_async(lambda: async_to_sync(work)())()

def test_trio():
    async def main():
        await trio.to_thread.run_sync(lambda: trio.from_thread.run(work))

    trio.run(main)
"""

POOLS = """
import asyncio
from concurrent.futures import ThreadPoolExecutor

async def test_idle():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, sum, range(9)) for _ in range(5)))
    pool = ThreadPoolExecutor(2)
    await asyncio.wrap_future(pool.submit(sum, range(9)))
    pool.shutdown()

def spin():
    return sum(sum(range(100)) for _ in range(50_000))  # the GIL goes round meanwhile

async def test_busy():
    with ThreadPoolExecutor(2) as pool:
        pool.submit(spin)
"""

READY = """
import asyncio
import multiprocessing
import os
import socket
import threading
import pytest
import uvloop

@pytest.fixture(params=[asyncio.run, uvloop.run])
def run(request):
    return request.param

def test_a_reader_is_called_when_there_is_something_to_read(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        source, sink = os.pipe()
        server = socket.create_server(("127.0.0.1", 0))
        found = [loop.create_future() for _ in range(3)]
        loop.add_reader(ours, lambda: found[0].done() or found[0].set_result(ours.recv(9)))
        loop.add_reader(source, lambda: found[1].done() or found[1].set_result(os.read(source, 9)))
        loop.add_reader(server, lambda: found[2].done() or found[2].set_result(server.accept()))
        theirs.send(b"a")
        os.write(sink, b"b")
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, server.getsockname())
        assert (await found[0], await found[1]) == (b"a", b"b")
        accepted, _ = await found[2]
        for fd in (ours, source, server):
            loop.remove_reader(fd)
        os.close(source), os.close(sink)
        for sock in (ours, theirs, server, client, accepted):
            sock.close()
    run(main())

def test_a_few_bytes_fit_in(run):
    async def main():
        queue = multiprocessing.SimpleQueue()
        queue.put(1)
        queue.close()
    run(main())

async def test_locks_of_processes():
    event = multiprocessing.Event()
    lock = multiprocessing.Lock()
    assert lock.acquire(block=False) and not lock.acquire(timeout=-1)
    threading.Timer(0.05, event.set).start()
    event.wait()  # for ever
    assert not lock.acquire(block=True, timeout=0.01)  # with a timeout
    lock.release()

async def test_a_task_that_only_hopes():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"a")
        ours.recv(9)  # blocking: a read
        theirs.sendall(bytes(100_000))  # blocking: too much
"""

ZONES = """
import datetime
import zoneinfo

async def test_zones():
    zone = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
    assert datetime.datetime.now(zone).tzinfo is zone
"""

PICKLES = """
import asyncio
import concurrent.futures
import os
import pickle
import time
import typing

import pytest

@pytest.mark.parametrize("function", [os.stat, os.listdir, os.rename, time.sleep, open, input])
def test_pickle(function):
    assert pickle.loads(pickle.dumps(function)) is function

def test_hints():
    typing.get_type_hints(asyncio.BaseEventLoop.create_task)
    typing.get_type_hints(concurrent.futures.ThreadPoolExecutor.submit)
"""

RUNS = """
import asyncio
import time
import trio
import uvloop

def nap():
    time.sleep(0.001)

def test_asyncio():
    asyncio.run(asyncio.to_thread(nap))

def test_uvloop():
    uvloop.run(asyncio.to_thread(nap))

def test_by_hand():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.to_thread(nap))
    loop.close()

def test_trio():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, nap)

    trio.run(main)
"""

THREADS = """
import asyncio
import time
from multiprocessing.pool import ThreadPool

def nap(*_):
    time.sleep(0.001)

async def test_asynchronous():
    loop = asyncio.get_running_loop()
    with ThreadPool(2) as pool:
        done = loop.create_future()
        answer = lambda result: loop.call_soon_threadsafe(done.set_result, result)
        pool.apply_async(nap, callback=answer)
        await done
        result = pool.map_async(nap, range(4))
        while not result.ready():
            await asyncio.sleep(0.01)
"""


def judged(pytester: pytest.Pytester, **modules: str) -> Any:
    """Run the modules under the plugin, which must pass, and return the report."""
    pytester.makepyfile(**modules)
    result = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:randomly", "-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("--truasync", "--truasync-mode=warn", "--truasync-report=json:report.json"),
        timeout=120,
    )
    assert result.ret == 0, result.stdout.str()
    return json.loads((pytester.path / "report.json").read_text("utf-8"))


def test_what_is_nobodys_fault(pytester: pytest.Pytester) -> None:
    report = judged(pytester, test_back=BACK, test_pools=POOLS, test_zones=ZONES)
    found = [(one["path"], one["code"], one["source"]) for one in report["violations"]]
    assert found == [("test_pools.py", "TRU263", "with ThreadPoolExecutor(2) as pool:")]


def test_what_is_ready_is_not_waited_for(pytester: pytest.Pytester) -> None:
    report = judged(pytester, test_ready=READY)
    assert [(one["code"], one["source"].partition("  # ")[2]) for one in report["violations"]] == [
        ("TRU260", "for ever"),
        ("TRU260", "with a timeout"),
        ("TRU270", "blocking: a read"),
        ("TRU270", "blocking: too much"),
    ]


def test_functions_stay_what_they_are(pytester: pytest.Pytester) -> None:
    assert judged(pytester, test_pickles=PICKLES)["violations"] == []


def test_the_line_that_made_the_only_task(pytester: pytest.Pytester) -> None:
    report = judged(pytester, test_runs=RUNS)
    assert [one["source"] for one in report["violations"]] == [
        "asyncio.run(asyncio.to_thread(nap))",
        "uvloop.run(asyncio.to_thread(nap))",
        "loop.run_until_complete(asyncio.to_thread(nap))",
        "nursery.start_soon(trio.to_thread.run_sync, nap)",
    ]


def test_threads_of_multiprocessing(pytester: pytest.Pytester) -> None:
    report = judged(pytester, test_threads=THREADS)
    found = {
        one["via"]: (one["code"], one["target"], one["count"])
        for one in report["violations"]
        if one["via"]
    }
    assert found == {
        "ThreadPool.apply_async": ("TRU351", "time.sleep", 1),
        "ThreadPool.map_async": ("TRU351", "time.sleep", 4),
    }
