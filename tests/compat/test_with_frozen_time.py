"""Beside freezegun and time-machine: durations are those of the real clock."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

FREEZEGUN = """
import asyncio
import datetime
import time

import freezegun
import pytest

@pytest.mark.asyncio
@freezegun.freeze_time("2001-02-03", real_asyncio=True)
async def test_frozen():
    time.sleep(0.01)  # expect: TRU251 time.sleep
    await asyncio.to_thread(time.sleep, 0.01)  # expect: TRU351 time.sleep
    await asyncio.sleep(0.001)
    assert datetime.date.today() == datetime.date(2001, 2, 3)
    assert time.monotonic() == time.monotonic()

async def test_moves():
    with freezegun.freeze_time("2001-02-03", real_asyncio=True) as frozen:
        frozen.tick(1_000_000)
        time.sleep(0.01)  # expect: TRU251 time.sleep
        frozen.move_to("1999-01-01")
        open(__file__).close()  # expect: TRU230 open
        assert time.localtime().tm_year == 1999

async def test_thaws():
    assert datetime.date.today() > datetime.date(2001, 2, 3)
    time.sleep(0.01)  # expect: TRU251 time.sleep
"""

TIME_MACHINE = """
import asyncio
import datetime
import time

import pytest
import time_machine

@time_machine.travel(datetime.datetime(2001, 2, 3, 12), tick=False)
async def test_frozen():
    time.sleep(0.01)  # expect: TRU251 time.sleep
    await asyncio.to_thread(time.sleep, 0.01)  # expect: TRU351 time.sleep
    await asyncio.sleep(0.001)
    assert datetime.date.today() == datetime.date(2001, 2, 3)
    assert time.time() == time.time()

async def test_moves(time_machine):
    time_machine.move_to(datetime.datetime(2001, 2, 3, 12))
    time_machine.shift(1_000_000)
    time.sleep(0.01)  # expect: TRU251 time.sleep
    time_machine.move_to(datetime.datetime(1999, 1, 1, 12))
    open(__file__).close()  # expect: TRU230 open
    assert time.localtime().tm_year == 1999

async def test_returns():
    assert datetime.date.today() > datetime.date(2001, 2, 3)
    time.sleep(0.01)  # expect: TRU251 time.sleep
"""


@pytest.mark.parametrize(
    ("module", "source", "plugins"),
    [
        ("freezegun", FREEZEGUN, ("asyncio",)),
        ("time_machine", TIME_MACHINE, ("asyncio", "time_machine")),
    ],
)
def test_time_stands(
    pytester: pytest.Pytester, module: str, source: str, plugins: tuple[str, ...]
) -> None:
    need(module, "pytest_asyncio")
    ran = run(pytester, {"test_it": source}, plugins=plugins)
    ran.check(passed=3)
    for one in ran.report["violations"]:
        least = 10 if one["target"] == "time.sleep" else 0
        assert least <= one["longest_ms"] < 60_000, one
    assert 0 < ran.report["run"]["times"]["total_s"] < 600
