"""Any thread that runs an event loop is watched while it runs it, however that came about."""

from __future__ import annotations

import pytest
from stories import check

pytest_plugins = ("pytester",)


def test_loops(pytester: pytest.Pytester) -> None:
    pytest.importorskip("uvloop")
    check(pytester, "loops")


def test_a_loop_that_stopped_is_let_go(pytester: pytest.Pytester) -> None:
    """The thread is known for its next loop; of the last one nothing stays."""
    pytester.makepyfile("""
        import asyncio
        import gc
        import weakref


        def run_one():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(asyncio.sleep(0.05))
            loop.close()
            return weakref.ref(loop)


        def test_gone():
            for _ in range(3):
                loop = run_one()
                gc.collect()
                assert loop() is None
    """)
    pytester.runpytest_subprocess("--truasync").assert_outcomes(passed=1)
