"""Beside pytest-trio."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import time

import pytest
import trio

@pytest.fixture
async def feed():
    time.sleep(0.001)  # expect: TRU251 time.sleep x2
    yield "feed"
    time.sleep(0.001)  # expect: TRU251 time.sleep x2

async def test_feed(feed, nursery):
    nursery.start_soon(trio.sleep, 0.001)
    time.sleep(0.001)  # expect: TRU251 time.sleep

async def test_thread(feed):
    await trio.to_thread.run_sync(time.sleep, 0.001)  # expect: TRU351 time.sleep

async def test_clock(autojump_clock):
    await trio.sleep(3600)
    open(__file__).close()  # expect: TRU230 open

async def test_silent():
    with trio.move_on_after(0.001):
        await trio.sleep_forever()

@pytest.mark.xfail(strict=True)
async def test_fails_as_ever():
    raise KeyError
"""


def test_trio(pytester: pytest.Pytester) -> None:
    need("pytest_trio")
    ran = run(pytester, {"test_it": SOURCE}, plugins=("trio",), ini="trio_mode = true\n")
    ran.check(passed=4, xfailed=1)
    assert ran.tests == 5
