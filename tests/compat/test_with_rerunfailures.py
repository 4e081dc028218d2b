"""Beside pytest-rerunfailures: a test that failed for a violation is run again."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import time

import pytest

runs = []

async def test_blocks_at_first():
    runs.append(1)
    if len(runs) == 1:
        time.sleep(0.001)  # expect: TRU251 time.sleep

async def test_blocks_each_time():
    time.sleep(0.001)  # expect: TRU251 time.sleep x3

fixture_runs = []

@pytest.fixture
async def feed():
    yield
    fixture_runs.append(1)
    if len(fixture_runs) == 1:
        open(__file__).close()  # expect: TRU230 open

async def test_blocks_in_teardown(feed):
    pass

async def test_fine():
    pass

@pytest.mark.allow_blocking("TRU251", reason="lets three through")
async def test_fails_of_itself():
    time.sleep(0.001)
    assert len(runs) < 0
"""


def test_is_run_again(pytester: pytest.Pytester) -> None:
    need("pytest_rerunfailures", "pytest_asyncio")
    ran = run(
        pytester,
        {"test_it": SOURCE},
        "--reruns=2",
        "-rR",
        plugins=("asyncio", "rerunfailures"),
        mode="fail",
    )
    assert ran.outcomes == {"passed": 4, "failed": 2, "rerun": 6}, ran.out
    assert ran.found == ran.expected, ran.out
    assert ran.left == ((),)
    assert ran.tests == 5  # however often each was run
    assert [one["calls"] for one in ran.report["permissions"]] == [3]
    failures = ran.out.partition("= FAILURES =")[2].partition("= rerun test summary info =")[0]
    assert failures.count("TRU251") >= 1
    assert "test_blocks_at_first" not in failures


def test_a_run_whose_violations_went_away_succeeds(pytester: pytest.Pytester) -> None:
    need("pytest_rerunfailures", "pytest_asyncio")
    source = """
    import time

    runs = []

    async def test_blocks_at_first():
        runs.append(1)
        if len(runs) == 1:
            time.sleep(0.001)  # expect: TRU251 time.sleep
    """
    ran = run(
        pytester,
        {"test_it": source},
        *("--reruns=1", "-n1"),
        plugins=("asyncio", "rerunfailures", "xdist"),
        mode="fail",
    )
    ran.check(passed=1, rerun=1, processes=2)
    assert ran.code == 0
    assert ran.tests == 1
