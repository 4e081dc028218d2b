"""Blocking calls on a loop: found under any name, one for each call, and nothing else."""

from __future__ import annotations

import shutil

import pytest
from lean import lean
from stories import SAMPLES, check

pytest_plugins = ("pytester",)


def test_calls(pytester: pytest.Pytester) -> None:
    check(pytester, "calls")


def test_what_is_said_of_their_looks_holds_without_the_plugin(pytester: pytest.Pytester) -> None:
    for name in ("test_transparent.py", "conftest.py", "helpers.py"):
        shutil.copy(SAMPLES / "calls" / name, pytester.path)
    result = pytester.runpytest_subprocess(*lean())
    assert result.ret == 0, result.stdout.str()
