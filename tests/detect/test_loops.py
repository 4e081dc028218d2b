"""Any thread that runs an event loop is watched while it runs it, however that came about."""

from __future__ import annotations

import json

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


def said(pytester: pytest.Pytester) -> list[tuple[str, int]]:
    """Run the tests and return all that was said: code and count."""
    pytester.runpytest_subprocess("--truasync", "--truasync-report=json:said.json")
    report = json.loads((pytester.path / "said.json").read_text())
    levels = ("violations", "warnings", "notes")
    return [(one["code"], one["count"]) for level in levels for one in report[level]]


def test_work_that_runs_a_loop_is_its_host(pytester: pytest.Pytester) -> None:
    """What blocks it is told as on any loop, and that it was handed to a thread is no note."""
    pytest.importorskip("trio")
    pytester.makepyfile("""
        import asyncio
        import time

        import pytest
        import trio


        async def block():
            time.sleep(0.001)


        def run_trio():
            trio.run(block)


        def run_asyncio():
            asyncio.run(block())


        @pytest.mark.parametrize("run", [run_trio, run_asyncio])
        def test_host(run):
            asyncio.run(asyncio.to_thread(run))
    """)
    assert said(pytester) == [("TRU251", 2)]


def test_the_next_trio_in_a_thread(pytester: pytest.Pytester) -> None:
    """What is known of the thread is kept, and of the last run nothing stays."""
    pytest.importorskip("trio")
    pytester.makepyfile("""
        import gc
        import time
        import weakref

        import trio


        async def hold(runs):
            runs.append(weakref.ref(trio.lowlevel.current_task()))
            end = time.thread_time() + 0.3
            while time.thread_time() < end:
                pass


        def test_both_are_seen():
            runs = []
            for _ in range(2):
                trio.run(hold, runs)
                gc.collect()
                assert runs[-1]() is None
    """)
    assert said(pytester) == [("TRU401", 2)]


def test_a_guest_in_a_thread_that_has_only_begun(pytester: pytest.Pytester) -> None:
    """The sampler sleeps between its steps, and is woken by the next one."""
    pytest.importorskip("trio")
    pytester.makepyfile("""
        import queue
        import threading
        import time

        import trio


        async def hold():
            await trio.sleep(0.3)
            end = time.thread_time() + 0.3
            while time.thread_time() < end:
                pass
            await trio.sleep(0.01)


        def host():
            calls, ended = queue.SimpleQueue(), []
            trio.lowlevel.start_guest_run(
                hold, run_sync_soon_threadsafe=calls.put, done_callback=ended.append
            )
            while not ended:
                calls.get()()


        def test_it_is_seen():
            thread = threading.Thread(target=host)
            thread.start()
            thread.join()
    """)
    assert ("TRU401", 1) in said(pytester)
