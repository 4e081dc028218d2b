"""The same call under any name."""

import functools
import time
from time import sleep
from time import sleep as doze

from helpers import Client, by_default, nap


async def test_aliases(imported_by_conftest):
    time.sleep(0.001)  # expect: TRU251 time.sleep
    sleep(0.001)  # expect: TRU251 time.sleep
    doze(0.001)  # expect: TRU251 time.sleep
    getattr(time, "sleep")(0.001)  # expect: TRU251 time.sleep
    one, two = imported_by_conftest
    one(0.001)  # expect: TRU251 time.sleep
    two()
    nap()


async def test_bound_at_import():
    by_default(0.001)
    Client().go()
    Client.wait(0.001)  # expect: TRU251 time.sleep


async def test_called_from_c():
    list(map(sleep, [0.001] * 3))  # expect: TRU251 time.sleep x3
    functools.partial(sleep, 0.001)()  # expect: TRU251 time.sleep
    sorted([1], key=lambda _: nap())
    [nap() for _ in range(1)]


async def test_loops_are_counted():
    for _ in range(3):
        sleep(0.001)  # expect: TRU251 time.sleep x3


async def test_swallowed():
    try:
        sleep(0.001)  # expect: TRU251 time.sleep
        raise RuntimeError
    except BaseException:
        pass


def test_no_loop_runs():
    time.sleep(0.001)
    open(__file__).close()
