"""Beside pytest-cov: the same findings and the same figures, whichever core traces."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from neighbours import Ran, need, run

pytest_plugins = ("pytester",)

APP = """
import asyncio
import time

async def load(n):
    if n:
        time.sleep(0.001)  # expect: TRU251 time.sleep
    else:
        await asyncio.to_thread(work)
    return n

def work():
    time.sleep(0.001)
    return 1

def never():
    return 2
"""
TESTS = """
import app
import pytest

@pytest.mark.parametrize("n", [0, 1])
async def test_load(n):
    assert await app.load(n) == n
"""
FILES = {"app": APP.replace("to_thread(work)", "to_thread(work)  # expect: TRU351 time.sleep")}
FILES["test_it"] = TESTS


def figures(pytester: pytest.Pytester, ran: Ran) -> dict[str, Any]:
    """Return what coverage measured."""
    path = pytester.path / "coverage.json"
    measured = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    assert set(measured["files"]) == {"app.py"}, ran.out
    return {
        key: measured["files"]["app.py"][key]
        for key in ("executed_lines", "missing_lines", "summary")
    }


@pytest.mark.parametrize(
    ("core", "more"),
    [
        ("ctrace", ("--cov-branch",)),
        pytest.param(
            "sysmon",
            (),
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="no sys.monitoring"),
        ),
    ],
)
def test_core(pytester: pytest.Pytester, core: str, more: tuple[str, ...]) -> None:
    need("pytest_cov", "pytest_asyncio")
    options = ("--cov=app", "--cov-report=json", *more)
    plugins = ("asyncio", "pytest_cov")
    env = {"COVERAGE_CORE": core}
    plain = run(pytester, FILES, *options, plugins=plugins, env=env, truasync=False)
    assert plain.outcomes == {"passed": 2}, plain.out
    without = figures(pytester, plain)
    assert without["missing_lines"] == [16]

    ran = run(pytester, FILES, *options, plugins=plugins, env=env)
    ran.check(passed=2)
    assert figures(pytester, ran) == without
