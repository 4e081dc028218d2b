"""What a whole run makes of offloads, permissions and its own faults, seen from outside."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from lean import lean

pytest_plugins = ("pytester",)


def run(pytester: pytest.Pytester, *options: str, plugins: tuple[str, ...] = ()) -> Any:
    """Return the result of a run with the report beside it."""
    report = ("--truasync", "--truasync-report=json:report.json")
    return pytester.runpytest_subprocess(*lean(*plugins), *report, *options, timeout=120)


def told(pytester: pytest.Pytester, part: str = "violations") -> list[tuple[str, str]]:
    """Return code and source of what the report holds."""
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    return sorted((one["code"], one["source"]) for one in report[part])


class TestRaise:
    def test_an_offload_is_judged_at_its_end(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("""
            import asyncio, pathlib, time

            async def test_legitimate():
                assert await asyncio.to_thread(pathlib.Path(__file__).read_text)

            async def test_fake():
                await asyncio.to_thread(time.sleep, 0.001)
        """)
        result = run(pytester, "--truasync-mode=raise")
        result.assert_outcomes(passed=1, failed=1)
        assert told(pytester) == [("TRU351", "await asyncio.to_thread(time.sleep, 0.001)")]

    def test_a_library_that_reads_a_file_first(self, pytester: pytest.Pytester) -> None:
        """Both modes give one call the same rule, so that one permission serves both."""
        pytester.makepyfile("""
            import pytest
            import requests

            @pytest.mark.allow_blocking("TRU210", reason="the SDK is sync")
            async def test_allowed():
                with pytest.raises(requests.ConnectionError):
                    requests.get("http://127.0.0.1:9/")

            async def test_not():
                requests.get("http://127.0.0.1:9/")
        """)
        result = run(pytester, "--truasync-mode=raise")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*BlockingCallError: truasync: 1 violation, TRU210*"])

    def test_workers_that_were_asked_for_but_not_started(self, pytester: pytest.Pytester) -> None:
        """`--pdb` makes none of `-n auto`: then this process runs the tests."""
        pytester.makepyfile("""
            import time

            async def test_bad():
                time.sleep(0.001)
        """)
        result = run(pytester, "-n", "auto", "--pdb", plugins=("xdist",))
        result.stdout.fnmatch_lines(["truasync: 1 violation in 1 test"])


class TestBlocks:
    """`with allow(...)`."""

    def test_around_the_yield_of_a_fixture(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("""
            import asyncio, time
            import pytest, pytest_asyncio
            from pytest_truasync import allow

            @pytest_asyncio.fixture
            async def connection():
                with allow("TRU251", reason="its close waits"):
                    yield
                    time.sleep(0.001)

            @pytest_asyncio.fixture(scope="module", loop_scope="module")
            async def server():
                async def serve():
                    while True:
                        time.sleep(0.001)
                        await asyncio.sleep(0.001)

                with allow("TRU251", reason="a stand-in"):
                    task = asyncio.create_task(serve())
                    yield
                    task.cancel()

            async def test_first(connection):
                pass

            @pytest.mark.asyncio(loop_scope="module")
            async def test_second(server):
                await asyncio.sleep(0.01)

            @pytest.mark.asyncio(loop_scope="module")
            async def test_third(server):
                await asyncio.sleep(0.01)
        """)
        run(pytester).assert_outcomes(passed=3)
        assert told(pytester) == []

    def test_inside_a_worker(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("""
            import asyncio, time
            from pytest_truasync import allow

            def load():
                with allow("TRU351", reason="a device that has no other way"):
                    time.sleep(0.001)

            async def test_it():
                await asyncio.to_thread(load)
        """)
        run(pytester).assert_outcomes(passed=1)
        assert told(pytester) == []

    def test_around_a_full_pool(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("""
            import asyncio, pathlib
            from concurrent.futures import ThreadPoolExecutor
            from pytest_truasync import allow

            def work(_):
                sum(range(400_000))

            async def test_it():
                loop = asyncio.get_running_loop()
                with ThreadPoolExecutor(1) as pool:
                    with allow("TRU303", reason="one at a time is the point"):
                        calls = [loop.run_in_executor(pool, work, n) for n in range(6)]
                    await asyncio.gather(*calls)
        """)
        run(pytester).assert_outcomes(passed=1)
        assert told(pytester, "warnings") == []


class TestUseless:
    """TRU901: told only of a run in which the permission could have been of use."""

    @pytest.fixture(autouse=True)
    def project(self, pytester: pytest.Pytester) -> None:
        pytester.makeini("""
            [pytest]
            asyncio_mode = auto
            asyncio_default_fixture_loop_scope = function
            truasync_strict_allow = true
            truasync_allow =
                TRU251 in test_it.py::old  # gone
        """)
        pytester.makepyfile(
            test_it="""
            import os

            async def test_one():
                assert "FAIL" not in os.environ

            async def test_two():
                pass
        """
        )

    def test_a_full_run(self, pytester: pytest.Pytester) -> None:
        run(pytester)
        assert [code for code, _ in told(pytester)] == ["TRU901"]

    @pytest.mark.parametrize("options", [("-k", "two"), ("--setup-only",), ("--ignore=nowhere",)])
    def test_a_part(self, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
        run(pytester, *options)
        assert told(pytester) == []

    def test_a_part_in_workers(self, pytester: pytest.Pytester) -> None:
        run(pytester, "-n", "2", "-k", "two", plugins=("xdist",))
        assert told(pytester) == []
        run(pytester, "-n", "2", plugins=("xdist",))
        assert [code for code, _ in told(pytester)] == ["TRU901"]

    def test_below_the_root(self, pytester: pytest.Pytester) -> None:
        pytester.mkdir("below").joinpath("test_other.py").write_text("def test_it(): pass\n")
        result = pytester.run(
            *pytester._getpytestargs(), *lean(), "--truasync", "--rootdir=.", "below"
        )
        result.stdout.no_fnmatch_line("*TRU901*")

    def test_a_test_that_failed_by_itself(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAIL", "1")
        run(pytester).assert_outcomes(passed=1, failed=1)
        assert told(pytester) == []


def test_a_fault_before_the_first_test_is_told(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        def pytest_sessionstart(session):
            hooks = session.config.pluginmanager.get_plugin("truasync_session")
            hooks._session._detector.broken("a probe", RuntimeError("ours"))
    """)
    pytester.makepyfile("async def test_it(): pass")
    run(pytester)
    assert "TRU903" in [code for code, _ in told(pytester, "warnings")]


def test_packages_below_a_namespace(pytester: pytest.Pytester) -> None:
    for company, module in (("my_company", "lib"), ("my_company", "other")):
        folder = pytester.path / "site-packages" / company
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text("import time\n\ndef load():\n    time.sleep(0.001)\n")
    pytester.makeconftest("""
        import pathlib, sys
        sys.path.insert(0, str(pathlib.Path(__file__).parent / "site-packages"))
    """)
    pytester.makepyfile("""
        from my_company import lib, other

        async def test_theirs():
            other.load()

        async def test_own():
            lib.load()
    """)
    run(pytester, "--truasync-packages=my_company.lib")
    assert [source for _, source in told(pytester)] == ["other.load()", "time.sleep(0.001)"]


def test_callbacks_that_are_the_call(pytester: pytest.Pytester) -> None:
    """No line of the user's is on the stack, but the call is found."""
    pytester.makepyfile("""
        import asyncio, os, sqlite3

        async def test_them(tmp_path):
            connection = sqlite3.connect(tmp_path / "db")
            loop = asyncio.get_running_loop()
            loop.call_soon(connection.commit)
            loop.call_soon(open, __file__)
            loop.call_soon(os.stat, __file__)
            await asyncio.sleep(0)
    """)
    run(pytester)
    codes = [code for code, _ in told(pytester)]
    assert {"TRU230", "TRU240", "TRU281"} <= set(codes)


POOLS = """
import asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
import pytest

async def one(release):
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, release.wait, 5)

async def test_two_at_one_line():
    first, second = threading.Event(), threading.Event()
    calls = [asyncio.create_task(one(first)), asyncio.create_task(one(second))]
    await asyncio.sleep(0.02)
    first.set()
    await calls[0]
    second.set()
    await calls[1]

async def test_cancelled_in_the_queue():
    release = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        running = loop.run_in_executor(pool, release.wait, 5)
        waiting = loop.run_in_executor(pool, release.wait, 5)
        await asyncio.sleep(0.02)
        waiting.cancel()
        release.set()
        await running
        await asyncio.sleep(0.02)

async def test_refused():
    pool = ThreadPoolExecutor(1)
    await asyncio.get_running_loop().run_in_executor(pool, int)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        pool.submit(int)
"""


def test_a_pool_whose_work_is_done_is_left_at_once(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(POOLS)
    run(pytester)
    assert "TRU263" not in [code for code, _ in told(pytester)]


def test_a_full_pool_is_told_at_the_line_of_its_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        POOL = ThreadPoolExecutor(1)

        def work(_):
            sum(range(600_000))

        async def test_one_call():
            await asyncio.get_running_loop().run_in_executor(POOL, work, 0)

        async def test_many():
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(POOL, work, n) for n in range(8)))
    """)
    run(pytester)
    ((code, source),) = told(pytester, "warnings")
    assert code == "TRU303"
    assert "range(8)" in source


def test_limiters_of_trio(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_trio")
    pytester.makepyfile("""
        import math
        import pytest, trio

        @pytest.mark.trio
        async def test_own():
            await trio.to_thread.run_sync(int, limiter=trio.CapacityLimiter(7))
            await trio.to_thread.run_sync(int, limiter=trio.CapacityLimiter(math.inf))
            await trio.to_thread.run_sync(int)
    """)
    run(pytester, "-o", "asyncio_mode=strict", plugins=("trio",)).assert_outcomes(passed=1)
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    pools = {pool["name"]: pool["capacity"] for pool in report["pools"]}
    assert pools["CapacityLimiter(7)"] == 7
    assert pools["CapacityLimiter(inf)"] == 0
    assert pools["trio's default limiter"] == 40


def test_what_the_standard_library_holds_by_another_name(pytester: pytest.Pytester) -> None:
    """A class may have bound a function before it was replaced."""
    pytester.makepyfile("""
        import pathlib, selectors, socket

        HERE = pathlib.Path(__file__).parent

        async def test_search():
            list(HERE.rglob("*.txt"))
            list(HERE.glob("*/x"))
            selector = selectors.SelectSelector()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                selector.register(ours, selectors.EVENT_READ)
                selector.select(0)
                selector.select(0.001)
    """)
    run(pytester)
    sources = [source for _, source in told(pytester)]
    assert sources == [
        'list(HERE.glob("*/x"))',
        'list(HERE.rglob("*.txt"))',
        "selector.select(0.001)",
    ]


FORKED = """
import os
import pickle

import pytest
from _pytest.runner import runtestprotocol


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # As pytest-forked does: each test in a fork, and only its reports come back.
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        os.write(theirs, pickle.dumps([report._to_json() for report in reports]))
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        made = pickle.load(pipe)
    os.waitpid(child, 0)
    for report in made:
        item.ihook.pytest_runtest_logreport(report=pytest.TestReport._from_json(report))
    return True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_reports_that_come_from_a_fork(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(FORKED)
    pytester.makepyfile("""
        import time

        async def test_one():
            time.sleep(0.001)

        async def test_two():
            pass
    """)
    result = run(pytester, "-p", "no:xdist")
    result.assert_outcomes(passed=1, failed=1)
    assert told(pytester) == [("TRU251", "time.sleep(0.001)")]
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert report["run"]["tests"] == 2


def test_a_test_that_passes_when_it_is_run_again_is_whole(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile("""
        import pytest

        tries = []

        @pytest.mark.allow_blocking("TRU251", reason="for nothing")
        async def test_at_the_second_go():
            tries.append(1)
            assert len(tries) == 2
    """)
    result = run(pytester, "--reruns=1", plugins=("rerunfailures",))
    result.assert_outcomes(passed=1)
    report = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert [one["code"] for one in report["warnings"]] == ["TRU901"]
