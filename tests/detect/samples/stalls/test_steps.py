"""Steps that hold their loop, and others that only look so.

What computes, computes for so much CPU time, so that a busy machine changes nothing.
"""

import asyncio
import copy
import ctypes
import gc
import json
import re
import sys
import threading
import time
from functools import partial

import pytest

KEEPS_GIL = ctypes.PyDLL(None)
LETS_GO = ctypes.CDLL(None)


def grown(work, size, cpu_s=0.25):
    """Return a size for which *work* takes a while."""
    while True:
        started = time.thread_time()
        work(size)
        if time.thread_time() - started > cpu_s / 2:
            return size * 2
        size *= 2


def text_of(size):
    return "[" + "1," * size + "0]"


def integers(size):
    return 3**size


TEXT = text_of(grown(lambda size: json.loads(text_of(size)), 500_000))
POWER = grown(integers, 100_000)
TREE = [{"a": [1]} for _ in range(grown(lambda n: copy.deepcopy([[n] for n in range(n)]), 4_000))]
MANY = [[n] for n in range(700_000)]


def burn(cpu_s):
    end = time.thread_time() + cpu_s
    while time.thread_time() < end: pass  # noqa: E701  # fmt: skip  # expect: TRU401 burn x2


def rest():
    LETS_GO.usleep(300_000)  # expect: TRU402 LETS_GO.usleep x2


def keep():
    KEEPS_GIL.usleep(300_000)


@pytest.mark.asyncio
async def test_python():
    burn(0.3)


@pytest.mark.asyncio
async def test_task():
    async def inner():
        burn(0.3)

    await asyncio.gather(asyncio.sleep(0), asyncio.create_task(inner()))


@pytest.mark.asyncio
async def test_library():
    copy.deepcopy(TREE)  # expect: TRU401 copy.deepcopy


@pytest.mark.asyncio
async def test_keeps_the_gil():
    value = json.loads(TEXT)  # expect: TRU401 json.loads
    assert value


@pytest.mark.asyncio
async def test_operator():
    value = 3**POWER  # expect: TRU401 test_operator
    other = 2
    await asyncio.sleep(0)
    del value, other


@pytest.mark.asyncio
async def test_raises():
    with pytest.raises(ValueError):
        json.loads(TEXT + "x")  # expect: TRU401 json.loads


@pytest.mark.asyncio
async def test_waits():
    rest()


def test_callback():
    async def main():
        asyncio.get_running_loop().call_soon(rest)
        await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.mark.asyncio
async def test_waits_and_keeps_the_gil():
    KEEPS_GIL.usleep(300_000)  # expect: TRU402 KEEPS_GIL.usleep


def test_other_thread():
    async def main():
        await asyncio.sleep(0.05)  # two threads that wait for the GIL may get it in any order
        re.match(r"(a+)+$", "a" * 22 + "b")  # expect: TRU401 re.match

    thread = threading.Thread(target=partial(asyncio.run, main()))
    thread.start()
    thread.join()


# What is not the fault of a line.


@pytest.mark.asyncio
async def test_explained():
    time.sleep(0.3)  # expect: TRU251 time.sleep


@pytest.mark.asyncio
async def test_many_short_steps():
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        sum(range(2_000))
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_many_short_callbacks_in_one_round():
    loop = asyncio.get_running_loop()
    for _ in range(4_000):
        loop.call_soon(sum, range(2_000))
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_collection():
    assert MANY
    gc.collect()


@pytest.mark.asyncio
async def test_somebody_else_has_the_gil():
    thread = threading.Thread(target=keep)
    thread.start()  # note: TRU302 test_steps.keep via threading.Thread
    for n in range(2_000):
        str(n)
    while thread.is_alive():
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_import():
    for _ in range(100):
        sys.modules.pop("difflib", None)
        import difflib
    assert difflib
