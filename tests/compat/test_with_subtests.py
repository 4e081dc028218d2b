"""Beside subtests: of pytest itself since 9, of pytest-subtests before."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import time
import unittest

async def test_each(subtests):
    for n in range(3):
        with subtests.test(n=n):
            if n == 1:
                time.sleep(0.001)  # expect: TRU251 time.sleep
    open(__file__).close()  # expect: TRU230 open

async def test_between(subtests):
    time.sleep(0.001)  # expect: TRU251 time.sleep
    with subtests.test("fine"):
        pass

class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_each(self):
        for n in range(2):
            with self.subTest(n=n):
                time.sleep(0.001)  # expect: TRU251 time.sleep x2

async def test_fine(subtests):
    with subtests.test("fine"):
        pass
"""


@pytest.mark.parametrize("mode", ["warn", "fail"])
def test_subtests(pytester: pytest.Pytester, mode: str) -> None:
    need("pytest_asyncio")
    if pytest.version_tuple < (9,):
        need("pytest_subtests")
    ran = run(pytester, {"test_it": SOURCE}, plugins=("asyncio", "subtests"), mode=mode)
    assert ran.found == ran.expected, ran.out
    assert ran.left == ((),)
    assert ran.tests == 4
    if mode == "warn":
        assert ran.code == 0
        assert ran.outcomes["passed"] == 4
    else:
        assert ran.code == 1
        for part in ("test_it.py::test_each", "test_it.py::TestCase::test_each"):
            assert any("SUBFAIL" in row and part in row for row in ran.out.splitlines()), ran.out
        assert not [row for row in ran.out.splitlines() if "FAIL" in row and "test_fine" in row]
