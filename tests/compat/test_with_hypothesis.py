"""Beside hypothesis: what each example does is counted, and told once."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import asyncio
import time

import pytest
from hypothesis import given, settings, strategies as st

seen = []

@given(n=st.integers(0, 3))
@settings(max_examples=20, derandomize=True, database=None, deadline=None)
async def test_fine(n):
    seen.append(n)
    await asyncio.sleep(0)

def test_examples_ran():
    assert len(seen) > 3

@given(n=st.just(1))
@settings(max_examples=1, database=None, deadline=None)
async def test_blocks(n):
    time.sleep(0.001)  # expect: TRU251 time.sleep

@given(n=st.just(1))
@settings(max_examples=1, database=None, deadline=None)
def test_runs_a_loop(n):
    async def main():
        await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep

    asyncio.run(main())

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
@given(n=st.integers(0, 3))
@settings(database=None, deadline=None)
async def test_shrinks(n):
    assert 1 / n
"""


def test_examples(pytester: pytest.Pytester) -> None:
    need("hypothesis", "pytest_asyncio")
    ran = run(pytester, {"test_it": SOURCE}, plugins=("asyncio", "hypothesispytest"))
    ran.check(passed=4, xfailed=1)
