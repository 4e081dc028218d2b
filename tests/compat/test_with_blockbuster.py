"""Beside blockbuster itself, active in the same run."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

CONFTEST = """
import builtins
import pytest

listing = builtins.dir
import blockbuster
builtins.dir = listing  # forbiddenfruit, below blockbuster, puts its own there for good

@pytest.fixture(autouse=True)
def guard(request):
    if "unguarded" in request.keywords:
        yield
        return
    with blockbuster.blockbuster_ctx() as active:
        yield active
"""
SOURCE = """
import asyncio
import os
import time

import blockbuster
import pytest

async def test_raises():
    with pytest.raises(blockbuster.BlockingError):
        time.sleep(0.001)
    await asyncio.sleep(0)

async def test_offload():
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep

@pytest.mark.unguarded
async def test_without():
    time.sleep(0.001)  # expect: TRU251 time.sleep
    open(__file__).close()  # expect: TRU230 open

async def test_raises_again():
    with pytest.raises(blockbuster.BlockingError):
        os.stat(__file__)
"""


def test_its_fixture(pytester: pytest.Pytester) -> None:
    need("blockbuster", "pytest_asyncio")
    ini = "markers =\n    unguarded\n"
    run(pytester, {"conftest": CONFTEST, "test_it": SOURCE}, ini=ini).check(passed=4)
