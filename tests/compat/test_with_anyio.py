"""Beside anyio's plugin."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import time

import anyio
import anyio.to_thread
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.fixture
async def feed():
    time.sleep(0.001)  # expect: TRU251 time.sleep x4
    yield "feed"
    time.sleep(0.001)  # expect: TRU251 time.sleep x4

async def test_feed(feed):
    time.sleep(0.001)  # expect: TRU251 time.sleep x2

async def test_thread(feed):
    await anyio.to_thread.run_sync(time.sleep, 0.001)  # expect: TRU351 time.sleep x2

async def test_silent():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)
    await anyio.to_thread.run_sync(len, "")  # expect: TRU302 len x2

@pytest.mark.xfail(raises=KeyError, strict=True)
async def test_fails_as_ever():
    raise KeyError
"""


def test_both_backends(pytester: pytest.Pytester) -> None:
    need("anyio", "trio")
    ran = run(pytester, {"test_it": SOURCE}, plugins=("anyio",))
    ran.check(passed=6, xfailed=2)
    assert ran.tests == 8


def test_beside_asyncio_as_well(pytester: pytest.Pytester) -> None:
    need("anyio", "trio", "pytest_asyncio")
    ini = "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
    run(pytester, {"test_it": SOURCE}, plugins=("anyio", "asyncio"), ini=ini).check(
        passed=6, xfailed=2
    )
