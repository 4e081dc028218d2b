"""Any thread that runs an event loop is watched while it runs it, however that came about."""

from __future__ import annotations

import pytest
from stories import check

pytest_plugins = ("pytester",)


def test_loops(pytester: pytest.Pytester) -> None:
    pytest.importorskip("uvloop")
    check(pytester, "loops")
