"""Everything is put back, whatever happened meanwhile, and nothing is carried into children."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent, indent

import lean
import pytest

pytest_plugins = ("pytester",)

SNAPSHOT = """
import sys, types

MOVING = ("_pytest", "pytest", "pluggy", "pytest_truasync", "test_", "conftest", "snapshot",
          "linecache", "warnings", "logging", "encodings", "importlib._bootstrap_external",
          "__main__", "sys", "re", "functools", "atexit", "weakref", "tempfile", "site",
          "unittest.mock", "importlib.metadata", "typing", "hypothesis", "random", "anyio",
          "pytest_asyncio", "xdist", "coverage", "pytest_cov", "abc", "_abc", "contextvars")

def snapshot():
    \"\"\"Return owner and name -> value of every attribute of all modules and their types.\"\"\"
    found = {}
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module.__name__.startswith(MOVING):
            continue
        owners = [module, *(v for v in list(vars(module).values()) if isinstance(v, type))]
        for owner in owners:
            if owner is not module and str(getattr(owner, "__module__", "")).startswith(MOVING):
                continue
            shown = f"{module.__name__}.{getattr(owner, '__name__', '')}"
            for name, value in list(vars(owner).items()):
                if callable(value) or isinstance(value, (staticmethod, classmethod, set)):
                    supports = isinstance(value, set) and module.__name__ == "os"
                    found[shown, name] = value, set(value) if supports else None
    return found

def changes(before):
    now = snapshot()
    return sorted(
        f"{owner}.{name}"
        for (owner, name), (value, members) in before.items()
        if (owner, name) not in now or now[owner, name][0] is not value
        or now[owner, name][1] != members
    )
"""

DRIVER = """
import asyncio, concurrent.futures, multiprocessing.pool, queue, select, signal, socket, sqlite3
import ssl, subprocess, tempfile, threading, mmap, fcntl, trio, uvloop, anyio._backends._asyncio
import time
import sys
from pytest_truasync._detect.imports import ImportHooks
import pytest
from lean import lean
from snapshot import changes, snapshot

ALONE = [*lean(), "-q"]

def run(*args, **expected):
    finders = list(sys.meta_path)
    before = snapshot()
    code = pytest.main([*ALONE, *args])
    assert code == expected.get("code", 0), (args, code)
    left = changes(before)
    assert left == expected.get("left", []), (args, left)
    assert not any(isinstance(one, ImportHooks) for one in sys.meta_path)
    assert [one for one in finders if one not in sys.meta_path] == []
"""


def drive(pytester: pytest.Pytester, steps: str) -> str:
    """Run *steps*, which call `run`, in a process of their own; return what it printed."""
    pytester.makepyfile(snapshot=SNAPSHOT, lean=Path(lean.__file__).read_text("utf-8"))
    body = indent(f"pytest.main([*ALONE, '--version'])\n{dedent(steps)}\nprint('all well')", "    ")
    script = pytester.makepyfile(driver=f"{DRIVER}\n\nif __name__ == '__main__':\n{body}\n")
    result = pytester.run(sys.executable, script, timeout=120)
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    return result.stdout.str()


def test_after_a_run_everything_is_the_original(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_plain="""
        import asyncio, time, threading

        async def test_blocks():
            time.sleep(0.001)
            await asyncio.to_thread(time.sleep, 0.001)

        def test_replaced():
            assert "pytest_truasync" in time.sleep.__self__.__call__.__module__
            assert threading.Lock().acquire.__func__.__wrapped__
        """,
        test_mocks="""
        import socket, time
        from unittest import mock

        async def test_monkeypatch(monkeypatch):
            monkeypatch.setattr(time, "sleep", lambda _: None)
            time.sleep(100)

        def test_mock():
            with mock.patch("time.sleep"), mock.patch("socket.getaddrinfo"):
                time.sleep(100)
        """,
        test_sockets="""
        # As pytest-socket does: a method of the C type is put on the class in Python, and back.
        import socket

        real = socket.socket.connect

        def test_guarded():
            socket.socket.connect = lambda *args: None
            del socket.socket.connect
        """,
        test_nested="""
        pytest_plugins = ("pytester",)

        def test_nested(pytester):
            from lean import lean
            from snapshot import changes, snapshot
            pytester.makepyfile(
                test_in_nested="import time\\nasync def test_it():\\n    time.sleep(0.001)"
            )
            before = snapshot()
            for _ in range(2):
                result = pytester.runpytest_inprocess("--truasync", *lean())
                result.assert_outcomes(failed=1)
                assert changes(before) == []
        """,
    )
    out = drive(
        pytester,
        """
        for _ in range(2):
            run("--truasync", "--truasync-mode=warn", "test_plain.py", "test_mocks.py",
                "test_sockets.py", "test_nested.py", "-p", "pytester")
        run("--truasync", "--truasync-mode=warn", "test_absent.py", code=4)
        run("--truasync", "--truasync-mode=fail", "test_plain.py", code=1)
        run("--truasync", "--truasync-mode=nonsense", code=4)
        run("--truasync", "--collect-only", "test_plain.py")
        """,
    )
    assert "all well" in out


def test_what_a_test_put_in_place_of_a_target_stays(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_theirs="""
        import time

        def test_for_good():
            time.sleep = print
        """
    )
    drive(
        pytester,
        """
        run("--truasync", "--truasync-mode=warn", "test_theirs.py", left=["time.time.sleep"])
        assert time.sleep is print
        """,
    )


def test_a_probe_that_cannot_be_installed(pytester: pytest.Pytester) -> None:
    """The run stops with the error, and what was replaced before it is put back."""
    pytester.makepyfile(test_it="def test_it(): pass")
    drive(
        pytester,
        """
        from pytest_truasync._detect import executors

        def install(*args):
            raise LookupError("injected")

        before = snapshot()
        executors.OffloadProbe.install = install
        try:
            pytest.main([*ALONE, "--truasync", "test_it.py"])
        except LookupError:
            pass
        assert changes(before) == [], changes(before)
        assert not any(isinstance(one, ImportHooks) for one in sys.meta_path)
        """,
    )


def test_a_name_that_lives_on_records_no_more(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        kept="from time import sleep\nfrom asyncio import _set_running_loop",
        test_keeps="import kept\nasync def test_it(): kept.sleep(0.001)",
    )
    drive(
        pytester,
        """
        import weakref
        from pytest_truasync._detect import Detector
        run("--truasync", "--truasync-mode=warn", "test_keeps.py")
        import kept, pickle
        assert kept.sleep is not time.sleep

        async def main():
            kept._set_running_loop(asyncio.get_running_loop())
            kept.sleep(0.001)
            open(__file__).close()

        asyncio.run(main())
        """,
    )


def test_children(pytester: pytest.Pytester) -> None:
    """A fork from the thread of a loop watches nothing that the parent did, and ends as ever."""
    pytester.makepyfile(
        test_children="""
        import asyncio, multiprocessing, os, subprocess, sys, time
        from concurrent.futures import ProcessPoolExecutor

        import pytest

        def work(n):
            time.sleep(0.001)
            open(os.devnull).close()
            return n + 1

        def loop_in_child():
            asyncio.run(asyncio.sleep(0))

        @pytest.mark.filterwarnings("ignore::DeprecationWarning")
        async def test_fork():
            child = os.fork()
            if not child:
                code = 1
                try:
                    time.sleep(0.001)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0

        @pytest.mark.filterwarnings("ignore::DeprecationWarning")
        @pytest.mark.parametrize("method", ["fork", "spawn"])
        async def test_processes(method):
            context = multiprocessing.get_context(method)
            process = context.Process(target=loop_in_child)
            process.start()
            process.join()
            assert process.exitcode == 0

        @pytest.mark.filterwarnings("ignore::DeprecationWarning")
        async def test_pool():
            loop = asyncio.get_running_loop()
            with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
                assert await loop.run_in_executor(pool, work, 1) == 2
                assert list(pool.map(work, [1, 2])) == [2, 3]

        async def test_subprocess():
            code = "import sys; sys.exit(any('truasync' in name for name in sys.modules))"
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
            assert await process.wait() == 0
        """
    )
    drive(pytester, 'run("--truasync", "--truasync-mode=warn", "test_children.py")')


def test_faults_of_a_probe_are_reported_and_the_test_goes_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        faults="""
        import pytest_truasync._detect.callread as callread
        import pytest_truasync._detect.executors as executors
        from pytest_truasync._detect.recorder import ThreadWatch

        read = callread.CallReader.read

        def fail(self, watch, target, *args):
            if target.name == "time.sleep":
                raise LookupError("injected 1")
            return read(self, watch, target, *args)

        def broken(self, *args, **kwargs):
            raise LookupError("injected 2")

        callread.CallReader.read = fail
        executors.OffloadProbe._handover = broken
        """,
        test_goes_on="""
        import asyncio, os, time

        async def test_sleep():
            for _ in range(3):
                time.sleep(0.001)
            os.stat(".")

        async def test_offload():
            assert await asyncio.to_thread(int, "3") == 3
            assert await asyncio.to_thread(int, "4") == 4

        def test_plain():
            time.sleep(0.001)
        """,
    )
    options = ("-p", "faults", *lean.lean(), "-rA")
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess("--truasync", "-v", *options)
    result.assert_outcomes(passed=2, failed=1)
    out = result.stdout.str()
    assert out.count("LookupError: injected 1") == 1
    assert out.count("LookupError: injected 2") == 1
    assert out.count("TRU903") >= 2
    assert "os.stat" in out


def test_another_interpreter_in_the_process(pytester: pytest.Pytester) -> None:
    """Its frames are not ours to make: `sys._current_frames` would, and crash the process."""
    pytester.makepyfile(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters

        async def test_it():
            for _ in range(3):
                other = interpreters.create()
                run = interpreters.run_string
                run(other, "import os, threading, time; time.sleep(0.1)")
                interpreters.destroy(other)
        """
    )
    result = pytester.runpytest_subprocess("--truasync", "--truasync-mode=warn", *lean.lean())
    result.assert_outcomes(passed=1)
