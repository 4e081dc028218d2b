"""Beside the debugger: mode raise stops at the call itself."""

from __future__ import annotations

import pytest
from neighbours import line_of, need, run

pytest_plugins = ("pytester",)

SOURCE = """
import time

async def test_first():
    time.sleep(0.001)

async def test_second():
    time.sleep(0.002)
"""


def test_pdb_with_stdin_closed(pytester: pytest.Pytester) -> None:
    need("pytest_asyncio")
    ran = run(pytester, {"test_it": SOURCE}, "--pdb", mode="raise")
    assert ran.code == 2
    assert "BlockingCallError" in ran.out
    assert "entering PDB" in ran.out
    at = line_of(SOURCE, "0.001")
    assert f"test_it.py({at})test_first()" in ran.out, ran.out
    assert ran.left == ((),)


def test_mode_raise(pytester: pytest.Pytester) -> None:
    need("pytest_asyncio")
    ran = run(pytester, {"test_it": SOURCE}, "--tb=short", mode="raise")
    assert ran.outcomes == {"failed": 2}, ran.out
    assert ran.left == ((),)
