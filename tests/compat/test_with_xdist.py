"""Beside pytest-xdist."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SHARED = """
import time

def load():
    time.sleep(0.001)  # expect: TRU251 time.sleep x6
"""
FIRST = """
import asyncio
import time

import pytest
import shared

@pytest.mark.parametrize("n", range(3))
async def test_shared(n):
    shared.load()

async def test_thread():
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep

def test_sync():
    time.sleep(0.001)
"""
SECOND = """
import pytest
import shared

@pytest.mark.parametrize("n", range(3))
async def test_shared(n):
    shared.load()

@pytest.mark.allow_blocking("TRU230", reason="small")
async def test_allowed():
    open(__file__).close()

async def test_reads():
    open(__file__).close()  # expect: TRU230 open
"""
FILES = {"shared": SHARED, "test_first": FIRST, "test_second": SECOND}


@pytest.mark.parametrize("options", [("-n2",), ("-n2", "--dist=loadfile")])
def test_two_workers(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    need("xdist")
    ran = run(pytester, FILES, *options, plugins=("asyncio", "xdist"))
    ran.check(passed=10, processes=3)
    assert ran.tests == 10
    assert [one["calls"] for one in ran.report["permissions"]] == [1]


def test_tests_fail_in_their_workers(pytester: pytest.Pytester) -> None:
    need("xdist")
    ran = run(pytester, FILES, "-n2", plugins=("asyncio", "xdist"), mode="fail")
    ran.check(passed=2, failed=8, processes=3)
    assert ran.code == 1


def test_a_crashed_worker_loses_only_its_running_test(pytester: pytest.Pytester) -> None:
    need("xdist")
    crash = """
    import os
    import time

    import pytest

    async def test_before():
        time.sleep(0.001)  # expect: TRU251 time.sleep

    async def test_crash():
        time.sleep(0.001)
        os._exit(3)

    @pytest.mark.parametrize("n", range(4))
    async def test_after(n):
        time.sleep(0.001)  # expect: TRU251 time.sleep x4
    """
    ran = run(
        pytester, {"test_it": crash}, "-n1", "--max-worker-restart=2", plugins=("asyncio", "xdist")
    )
    assert ran.outcomes == {"passed": 5, "failed": 1}, ran.out
    assert "crashed while running 'test_it.py::test_crash'" in ran.out
    assert ran.found == ran.expected
    assert ran.left == ((), ())  # of the one that came after, and of the controller
