"""Run CPython's own tests with and without pytest-truasync, and compare the outcome of each test.

The interpreter ships its tests as the package `test`. What we replace must look to them as the
original does: names, signatures, messages, pickles, threads, forks, signals. Each file of tests
runs in processes of its own: plain, with `--truasync`, and with `--truasync` while the thread of
the tests counts as one that runs an event loop, so that every call goes the long way through a
probe. A test whose outcome differs is run again to tell a flaky one. Exits 1 on a difference, and
on a file that does not come to its end plain either.

    python scripts/cpython_tests.py --quick
    python scripts/cpython_tests.py --python ~/venvs/v312/bin/python --modules test_os,test_socket \
        --without VSOCK
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_MODULES: Final = """
    test_asyncio test_threading test_thread test_threadedtempfile test_threading_local test_queue
    test_os test_posix test_subprocess test_sqlite3 test_socket test_socketserver test_selectors
    test_pathlib test_tempfile test_ssl test_concurrent_futures test_io test_fileio
    test_file test_bufio test_select test_poll test_epoll test_signal test_threadsignals
    test_fcntl test_mmap test_shutil test_time test_inspect test_builtin test_audit test_popen
    test_fork1 test_wait3 test_wait4 test_contextlib test_multiprocessing_fork
    test_multiprocessing_main_handling test_logging test_pickle test_faulthandler test_linecache
"""
"""What we replace, and what asks how it looks."""

_QUICK: Final = """
    test_queue test_threading test_thread test_os test_sqlite3 test_selectors test_select
    test_pathlib test_tempfile test_fileio test_fcntl test_mmap test_shutil test_threadsignals
    test_builtin test_asyncio/test_base_events.py test_asyncio/test_locks.py
    test_asyncio/test_eager_task_factory.py test_asyncio/test_queues.py
    test_asyncio/test_selector_events.py test_asyncio/test_threads.py
    test_asyncio/test_unix_events.py test_concurrent_futures/test_thread_pool.py
"""

_HIDDEN: Final = """
    cacheprovider randomly asyncio anyio trio xdist cov warnings logging faulthandler
    threadexception unraisableexception hypothesispytest respx
"""
"""Plugins that would change what a test finds."""

SLOW: Final[Sequence[str]] = (
    "test_multiprocessing_fork",
    "test_subprocess",
    "test_socket",
    "test_asyncio",
    "test_io",
    "test_concurrent_futures",
)
"""Begun first."""

PLAIN, ON, LOOP = "plain", "plugin", "on-loop"
SWITCHES: Final = {
    PLAIN: [],
    ON: ["--truasync", "--truasync-mode=warn"],
    LOOP: ["--truasync", "--truasync-mode=warn"],
}

Outcomes = dict[str, str]


@dataclass
class Unit:
    """One file of tests: what came of it, by way of running it."""

    name: str
    path: str
    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    """Way → how the process ended, where it did not end well."""
    seconds: float = 0.0


# The child: one pytest over one file.


class Recorder:
    """Plugin that notes every outcome at once, so that a crash loses none.

    Args:
        path: file of the outcomes, a line of JSON each.
        on_loop: put the thread of the tests on watch.
    """

    def __init__(self, path: Path, *, on_loop: bool) -> None:
        self._path = path
        self._on_loop = on_loop

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: D102
        context = getattr(report, "context", None)  # of a subtest
        text = "" if context is None else f" {context.msg!r} {sorted(map(str, context.kwargs))}"
        row = [report.nodeid.rpartition("/")[2] + text, report.when, report.outcome]
        if hasattr(report, "wasxfail"):
            row[2] = f"x{report.outcome}"
        self._write(row)

    def _write(self, row: list[Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:  # noqa: D102
        self._write(["collected", "", len(items)])
        for module in {item.module for item in items}:
            if hasattr(module, "load_tests"):  # sets up classes; what it returns is collected
                module.load_tests(unittest.TestLoader(), unittest.TestSuite(), None)

    def pytest_sessionstart(self, session: Any) -> None:  # noqa: D102
        support = importlib.import_module("test.support")
        support.use_resources = []  # type: ignore[attr-defined]  # no network, no gigabytes
        if self._on_loop:
            hooks = session.config.pluginmanager.get_plugin("truasync_session")
            self._detector = hooks._session._detector

    def pytest_runtest_setup(self, item: Any) -> None:  # noqa: D102
        if self._on_loop:
            from pytest_truasync._detect.recorder import ThreadWatch

            watch = self._detector._watch
            self._watched = ThreadWatch(watch.recorder, loop=self)
            watch.push(self._watched)

    def pytest_runtest_teardown(self, item: Any) -> None:  # noqa: D102
        if self._on_loop:
            self._detector._watch.pop(self._watched)


def child(out: str, way: str, path: str, without: str = "") -> int:
    """Run the tests of *path* in this process, with the plugin of the checkout that this is in.

    Args:
        out: file for the outcomes.
        way: one of `SWITCHES`.
        path: file of the tests.
        without: part of the names of tests to leave out.
    """
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    # A shell starts what is in the background deaf to it, and tests that interrupt would not end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import pytest

    args = [path, "-q", "-s", "--assert=plain", "--tb=short", "--import-mode=importlib"]
    args += [f"--rootdir={Path(path).parent}", "-c", os.devnull, "-o", "python_classes=-"]
    args += ["-o", "python_functions=-", "-o", "python_files=test*.py"]
    args += ["-k", f"not {without}"] if without else []
    args += [part for name in _HIDDEN.split() for part in ("-p", f"no:{name}")]
    plugins = [Recorder(Path(out), on_loop=way == LOOP)]
    return int(pytest.main([*args, *SWITCHES[way]], plugins=plugins))


# The parent.


def find_units(python: str, modules: Sequence[str]) -> list[Unit]:
    """Return the files of tests of *modules*, those of a package each; the longest first."""
    folder = subprocess.run(
        [python, "-c", "import test; print(test.__path__[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    units = []
    for name in modules:
        path = Path(folder, name)
        if path.is_dir():
            found = sorted(path.rglob("test_*.py"))
        else:
            alone = path if path.suffix else path.with_suffix(".py")
            found = [alone] if alone.exists() else []
        if not found:
            print(f"{name}: not among the tests of {python}", file=sys.stderr)
        for file in found:
            short = file.relative_to(folder).with_suffix("").as_posix()
            units.append(Unit(short, str(file)))
    unique = {unit.name: unit for unit in units}
    order = {name: place for place, name in enumerate(SLOW)}
    return sorted(unique.values(), key=lambda u: order.get(u.name.partition("/")[0], 99))


def run(unit: Unit, way: str, args: argparse.Namespace, keep: Path | None) -> tuple[Outcomes, str]:
    """Run one file in one way; return the outcomes, and how it ended, if not well."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "outcomes")
        work = Path(folder, "work")
        work.mkdir()
        log = (keep or Path(folder)) / f"{unit.name.replace('/', '.')}.{way}.log"
        command = [args.python, str(Path(__file__).resolve()), "--child", str(out), way, unit.path]
        command += [args.without] if args.without else []
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
        with log.open("wb") as text:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=env,
                stdout=text,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            ended = "" if has_ended(process.pid, args.timeout) else f"over {args.timeout:.0f} s"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it left behind
            code = process.wait()
            if not ended and code not in (0, 1, 5):
                ended = f"exit {code}"
        return read_outcomes(out), ended


def has_ended(pid: int, timeout: float) -> bool:
    """Wait for a child to end, and leave it a zombie: its number is not given away meanwhile."""
    deadline = time.monotonic() + timeout
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def read_outcomes(path: Path) -> Outcomes:
    """Return test → outcome; that of a test with subtests holds them all."""
    found: dict[str, set[str]] = {}
    if not path.exists():
        return {}
    for line in path.read_text("utf-8").splitlines():
        name, when, outcome = json.loads(line)
        if when == "call" or outcome != "passed":
            found.setdefault(str(name), set()).add(str(outcome))
    return {name: "+".join(sorted(outcomes)) for name, outcomes in found.items()}


def differences(unit: Unit, way: str) -> list[str]:
    """Return the tests whose outcome is not the plain one."""
    plain, other = unit.outcomes[PLAIN], unit.outcomes[way]
    return sorted(n for n in plain.keys() | other.keys() if plain.get(n) != other.get(n))


@dataclass
class Judged:
    """What is left of the differences of a unit after it was run again."""

    real: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Way, test, plain outcomes, outcomes with the plugin."""
    flaky: list[tuple[str, str, str, str]] = field(default_factory=list)


def compare(unit: Unit, ways: Sequence[str], args: argparse.Namespace) -> Judged:
    """Run a file in all ways; once more, as long as a difference may be flaky."""
    started = time.monotonic()
    for way in (PLAIN, *ways):
        for _ in range(3):
            unit.outcomes[way], unit.ended[way] = run(unit, way, args, args.logs)
            if unit.ended[way] != "exit -9":  # killed from outside, as for its memory
                break
    suspects = {(way, test) for way in ways for test in differences(unit, way)}
    seen = {
        (way, test): {unit.outcomes[way].get(test, "none")}
        for way in (PLAIN, *ways)
        for test in {name for _, name in suspects}
    }
    for _ in range(args.reruns):
        left = {(w, t) for w, t in suspects if not seen[w, t] & seen[PLAIN, t]}
        if not left:
            break
        for way in (PLAIN, *{way for way, _ in left}):
            outcomes, _ = run(unit, way, args, None)
            for (of, test), known in seen.items():
                if of == way:
                    known.add(outcomes.get(test, "none"))
    judged = Judged()
    for way, test in sorted(suspects):
        row = (way, test, "/".join(sorted(seen[PLAIN, test])), "/".join(sorted(seen[way, test])))
        (judged.flaky if seen[way, test] & seen[PLAIN, test] else judged.real).append(row)
    unit.seconds = time.monotonic() - started
    print(row_of(unit, judged), file=sys.stderr, flush=True)
    return judged


def row_of(unit: Unit, found: Judged) -> str:
    """Return the line of one file."""
    plain = unit.outcomes[PLAIN]
    tests = len([name for name in plain if name != "collected"])
    passed = sum(outcome == "passed" for outcome in plain.values())
    line = f"{unit.name:<46}{tests:>6}{passed:>7}{len(found.real):>7}{len(found.flaky):>6}"
    ends = [f"{way} {how}" for way, how in unit.ended.items() if how]
    return f"{line}{unit.seconds:>6.0f}{'  ' * bool(ends)}{', '.join(ends)}"


def table(units: Sequence[Unit], judged: Sequence[Judged], ways: Sequence[str]) -> Iterator[str]:
    """Return the lines of the report."""
    yield f"{'file':<46}{'tests':>6}{'passed':>7}{'differ':>7}{'flaky':>6}{'s':>6}"
    for unit, found in zip(units, judged, strict=True):
        yield row_of(unit, found)
    for title, rows in (
        ("flaky", [row for one in judged for row in one.flaky]),
        ("DIFFERENT", [row for one in judged for row in one.real]),
    ):
        for way, test, plain_outcome, outcome in rows:
            yield f"{title}: {test}: {plain_outcome} plain, {outcome} {way}"
    for unit in units:
        if unit.ended.get(PLAIN):
            yield f"NOT COMPARED: {unit.name}: plain {unit.ended[PLAIN]}"
    tests = sum(len(unit.outcomes[PLAIN].keys() - {"collected"}) for unit in units)
    real = sum(len(one.real) for one in judged)
    flaky = sum(len(one.flaky) for one in judged)
    yield (
        f"{tests} tests in {len(units)} files, each {len(ways) + 1} ways: "
        f"{real} differ, {flaky} flaky"
    )


def main() -> int:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter with the plugin")
    parser.add_argument("--modules", help="names below the package test, comma separated")
    parser.add_argument("--quick", action="store_true", help="what CI can afford: under 4 minutes")
    parser.add_argument("--without", help="part of the names of tests that hang on this machine")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one file")
    parser.add_argument("--reruns", type=int, default=2, help="of a file that differs")
    parser.add_argument("--ways", default=f"{ON},{LOOP}", help=f"of {ON}, {LOOP}")
    parser.add_argument("--logs", type=Path, help="folder for what the tests print")
    parser.add_argument("-j", type=int, default=2, help="files at a time")
    args = parser.parse_args()
    modules = (
        args.modules.split(",") if args.modules else (_QUICK if args.quick else _MODULES).split()
    )
    ways = args.ways.split(",")
    if args.logs:
        args.logs.mkdir(parents=True, exist_ok=True)
    units = find_units(args.python, modules)
    with ThreadPoolExecutor(args.j) as pool:
        judged = list(pool.map(lambda unit: compare(unit, ways, args), units))
    for line in table(units, judged, ways):
        print(line)
    return int(any(one.real for one in judged) or any(unit.ended[PLAIN] for unit in units))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(*sys.argv[2:]))
    sys.exit(main())
