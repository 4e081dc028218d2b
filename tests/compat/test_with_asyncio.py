"""Beside pytest-asyncio."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import asyncio
import time

import pytest
import pytest_asyncio

@pytest_asyncio.fixture
async def feed():
    time.sleep(0.001)  # expect: TRU251 time.sleep x2
    yield "feed"
    await asyncio.sleep(0)
    time.sleep(0.001)  # expect: TRU251 time.sleep x2

@pytest.fixture
def plain():
    time.sleep(0.001)

@pytest.mark.asyncio
async def test_feed(feed, plain):
    await asyncio.to_thread(len, feed)  # expect: TRU302 len
    time.sleep(0.001)  # expect: TRU251 time.sleep

@pytest.mark.asyncio
@pytest.mark.parametrize("n", [1, 2])
async def test_many(n):
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep x2

@pytest.mark.asyncio(loop_scope="module")
class TestOneLoop:
    loop = None

    async def test_first(self):
        TestOneLoop.loop = asyncio.get_running_loop()

    async def test_second(self):
        assert TestOneLoop.loop is asyncio.get_running_loop()
        open(__file__).close()  # expect: TRU230 open

@pytest.mark.asyncio
async def test_silent(feed):
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.001))

@pytest.mark.asyncio
@pytest.mark.xfail(raises=KeyError, strict=True)
async def test_fails_as_ever():
    raise KeyError

def test_sync(plain):
    time.sleep(0.001)
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_each_mode(pytester: pytest.Pytester, mode: str) -> None:
    need("pytest_asyncio")
    ini = f"asyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
    ran = run(pytester, {"test_it": SOURCE}, ini=ini)
    ran.check(passed=7, xfailed=1)
    assert ran.tests == 8


def test_debug_mode(pytester: pytest.Pytester) -> None:
    need("pytest_asyncio")
    run(pytester, {"test_it": SOURCE}, env={"PYTHONASYNCIODEBUG": "1"}).check(passed=7, xfailed=1)
