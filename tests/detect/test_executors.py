"""Work taken off the loop: each way is seen, and judged by what was done in the thread."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
from lean import lean
from stories import SAMPLES, check, expected, reported, run

from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.offloads import Handover, Offload, Offloaded, OffloadJudge
from pytest_truasync._detect.recorder import Note, Recorder
from pytest_truasync._model import CallSite

pytest_plugins = ("pytester",)


def handed_over(one: int, *, two: int) -> int:
    """Add."""
    return one + two


def test_what_is_handed_over_looks_like_the_function() -> None:
    work = Offload(0, handed_over, Handover([]), None, "", None, 0, bare=False)
    given: Any = Offloaded(cast("Any", None), work, raw=False, many=False)
    assert given.__name__ == "handed_over"
    assert given.__doc__ == "Add."
    assert repr(given) == repr(handed_over)
    assert inspect.signature(given) == inspect.signature(handed_over)
    assert copy.copy(given) is copy.deepcopy(given) is handed_over
    assert pickle.loads(pickle.dumps(given)) is handed_over
    assert not inspect.iscoroutinefunction(given)


def test_a_note_is_one_for_all_that_is_alike(tmp_path: Path) -> None:
    """Also where no line of the user's is on the stack: a suite makes thousands of such notes."""
    judge = OffloadJudge(FrameReader(FileSorter(tmp_path, ())), Recorder(), {}, lambda _: None)
    handover = Handover([], fallback=CallSite("library.py", 3))

    def note(name: str, site: CallSite | None = None, permission: str = "") -> Note:
        work = Offload(0, handed_over, handover, None, permission, None, 0, bare=False)
        return judge.note(work, site, name, "open")

    here = CallSite("test_one.py", 5)
    alike = {note("read"), note("read")}
    assert len(alike) == 1
    apart = {*alike, note("write"), note("read", here), note("read", permission="known")}
    assert len(apart) == 4
    assert note("read", here).seen.site == here
    assert note("write").seen.site == handover.fallback


def test_offloads(pytester: pytest.Pytester) -> None:
    report = check(pytester, "executors")
    pools = sorted(report["pools"], key=lambda pool: pool["peak_queued"], reverse=True)
    trios, full, *others = sorted(pools[:2], key=lambda pool: pool["name"]) + pools[2:]
    assert trios["name"] == "CapacityLimiter(2)"
    assert full["name"] == "ThreadPoolExecutor(max_workers=2)"
    for pool in (trios, full):
        assert (pool["capacity"], pool["calls"]) == (2, 6)
        assert (pool["peak_running"], pool["peak_queued"]) == (2, 4)
        assert pool["total_wait_ms"] >= pool["longest_wait_ms"] >= 30
    assert {pool["peak_queued"] for pool in others} == {0}


def test_strict(pytester: pytest.Pytester) -> None:
    """Every offload is an error then, a legitimate one too."""
    report = run(pytester, "executors", "--truasync-offload=strict")
    strict = {one for one in reported(report, "violations") if one[2] == "TRU304"}
    noted = expected(SAMPLES / "executors", "note")
    assert strict == {(file, line, "TRU304", *rest) for file, line, _, *rest in noted}
    assert not report["notes"]


def test_work_that_outlives_its_test_is_told_of_there(pytester: pytest.Pytester) -> None:
    """Each time, and of no test after it: which is over first is a matter of luck."""
    pytester.makepyfile(
        """
        import asyncio
        import threading

        go, begun = threading.Event(), threading.Event()
        threads = []

        def work():
            begun.set()
            go.wait()

        def test_begins():
            async def main():
                threads.append(threading.Thread(target=work))
                threads[0].start()
                while not begun.is_set():
                    await asyncio.sleep(0)
            asyncio.run(main())

        def test_other():
            asyncio.run(asyncio.sleep(0))

        def test_ends():
            go.set()
            threads[0].join()
        """
    )
    strict = ("--truasync", "--truasync-offload=strict", "--truasync-report=json:report.json")
    result = pytester.runpytest_subprocess(*lean(), *strict, timeout=120)
    result.assert_outcomes(failed=1, passed=2)
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    (told,) = report["violations"]
    assert (told["code"], told["line"]) == ("TRU304", 14)
    assert [test.partition("::")[2] for test in told["tests"]] == ["test_begins"]


LATE = """
import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

first, go, over = threading.Event(), threading.Event(), threading.Event()
pool = ThreadPoolExecutor(1)

def keep():
    while not go.is_set():
        pass

def late():
    time.sleep(0.001)
    over.set()

def test_culprit():
    async def main():
        pool.submit(first.set)
        pool.submit(keep)
        pool.submit(late)  # begins when this test is over
        while not first.is_set():
            await asyncio.sleep(0)
    asyncio.run(main())

def test_innocent():
    go.set()
    assert over.wait(10)
    pool.shutdown()
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_work_does_late_fails_the_run_and_no_other_test(
    pytester: pytest.Pytester, workers: str
) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(LATE)
    options = ("--truasync", "--truasync-report=json:report.json", "-n", workers)
    result = pytester.runpytest_subprocess(*lean("xdist"), *options, timeout=120)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    late = [one for one in report["violations"] if one["code"] == "TRU351"]
    assert [test.partition("::")[2] for one in late for test in one["tests"]] == ["test_culprit"]
    assert late[0]["detail"] == "It went on when its test was over."
    result.stdout.fnmatch_lines(["truasync: what its tests left behind fails the run"])
    warned = pytester.runpytest_subprocess(
        *lean("xdist"), *options, "--truasync-mode=warn", timeout=120
    )
    assert warned.ret == pytest.ExitCode.OK


def test_a_test_that_is_expected_to_fail_may_leave_something_behind(
    pytester: pytest.Pytester,
) -> None:
    mark = '@pytest.mark.xfail(reason="known")\n'
    pytester.makepyfile(LATE.replace("def test_culprit", f"{mark}def test_culprit"))
    result = pytester.runpytest_subprocess(*lean(), "--truasync", timeout=120)
    result.assert_outcomes(passed=1, xpassed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["truasync: * violation* in 1 test*"])


def test_a_permission_covers_what_its_test_has_left_behind(pytester: pytest.Pytester) -> None:
    mark = '@pytest.mark.allow_blocking(reason="known")\n'
    pytester.makepyfile(LATE.replace("def test_culprit", f"{mark}def test_culprit"))
    result = pytester.runpytest_subprocess(*lean(), "--truasync", timeout=120)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
