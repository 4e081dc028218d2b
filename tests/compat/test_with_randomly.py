"""Beside pytest-randomly: any order, the same report."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import asyncio
import random
import time

import pytest

async def load():
    time.sleep(0.001)  # expect: TRU251 time.sleep x3

@pytest.fixture(scope="module")
async def once():
    await load()

@pytest.mark.parametrize("n", [1, 2])
async def test_load(n):
    await load()

@pytest.mark.asyncio(loop_scope="module")
async def test_once(once):
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep

@pytest.mark.parametrize("n", range(3))
def test_draws(n):
    with open("drawn.txt", "a") as drawn:
        print(n, random.random(), file=drawn)
"""


def test_seeds(pytester: pytest.Pytester) -> None:
    need("pytest_randomly", "pytest_asyncio")
    ini = (
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = module\n"
        "asyncio_default_test_loop_scope = module\n"
    )
    drawn, seen = pytester.path / "drawn.txt", []
    for seed, truasync in ((1, False), (1, True), (2, True)):
        ran = run(
            pytester,
            {"test_it": SOURCE},
            *(f"--randomly-seed={seed}", "-v"),
            plugins=("asyncio", "randomly"),
            ini=ini,
            truasync=truasync,
        )
        assert ran.outcomes == {"passed": 6}, ran.out
        order = [row.split()[0] for row in ran.out.splitlines() if " PASSED" in row]
        seen.append((order, drawn.read_text(encoding="utf-8")))
        drawn.unlink()
        if truasync:
            ran.check(passed=6)
    assert seen[0] == seen[1] != seen[2]
