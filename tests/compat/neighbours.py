"""Runs small projects under the plugin beside one other plugin at a time.

`# expect: CODE TARGET [xCOUNT]` at the end of a line tells what is reported of it, at any level;
several are parted by `;`. Nothing else may be reported, warnings are errors, and all that was
replaced is put back at the end, in the workers of pytest-xdist too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, NoReturn, TypeAlias

import pytest

Finding: TypeAlias = tuple[str, int, str, str, int]
"""File, line, code, target, count."""

PLUGINS: Final = frozenset(
    one.name for one in importlib.metadata.entry_points(group="pytest11")
) - {"truasync"}
"""All other plugins that are installed here: those not asked for are kept out."""

_COMMENT: Final = re.compile(r"#\s*expect:\s*(.+)$")
_TOTAL: Final = re.compile(r" in [\d.]+s(?: \([\d:]+\))? ?=")
_ITEM: Final = re.compile(r"(TRU\d+) (\S+)(?: x(\d+))?$")

# Loaded before any plugin but pytest's own, gone after them.
_LEFT = """
import asyncio, builtins, concurrent.futures.thread, io, json, os, pathlib, queue, select, socket
import _socket, _thread, sqlite3, ssl, subprocess, sys, threading, time
import pytest

OWNERS = [
    asyncio, asyncio.base_events.BaseEventLoop, asyncio.events, asyncio.events.Handle,
    asyncio.tasks, builtins, concurrent.futures.thread.ThreadPoolExecutor, io, io.FileIO, os,
    pathlib.Path, queue, queue.Queue, queue.SimpleQueue, select, socket, socket.socket, _socket,
    _socket.socket, _thread, sqlite3, sqlite3.Connection, sqlite3.Cursor, ssl.SSLSocket,
    subprocess.Popen, threading, threading.Thread, type(threading.Lock()), time,
]

def look():
    return {
        (number, owner.__name__, name): value
        for number, owner in enumerate(OWNERS)
        for name, value in list(vars(owner).items())
        if (callable(value) or isinstance(value, (staticmethod, classmethod, property)))
        and name not in ("excepthook", "unraisablehook")  # pytest's own go later
    }

def is_ours(value):
    code = getattr(value, "__code__", None)
    return code is not None and "pytest_truasync" in code.co_filename

BEFORE = look()

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    now = look()
    left = [f"{key[1]}.{key[2]}" for key in BEFORE if now.get(key) is not BEFORE[key]]
    left += [f"{key[1]}.{key[2]}" for key in now if is_ours(now[key]) and key not in BEFORE]
    left += [str(one) for one in sys.meta_path if "truasync" in type(one).__module__]
    with open(f"left-{os.getpid()}.json", "w") as file:
        json.dump(left, file)
"""


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    code: int
    out: str
    """What it printed, error output below."""
    outcomes: Mapping[str, int]
    found: frozenset[Finding]
    expected: frozenset[Finding]
    """By the comments in the files."""
    tests: int
    """How many the report counts."""
    left: tuple[tuple[str, ...], ...]
    """Of each process that ended as it should: what was not put back."""
    report: Any

    def check(self, processes: int = 1, **outcomes: int) -> None:
        """Check that all is as it would be without the neighbour."""
        assert self.outcomes == outcomes, self.out
        assert self.found == self.expected, (
            f"too much: {sorted(self.found - self.expected)}, "
            f"lacking: {sorted(self.expected - self.found)}\n{self.out}"
        )
        assert self.left == ((),) * processes, (self.left, self.out)


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where all neighbours are to be there."""
    if os.environ.get("TRUASYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"TRUASYNC_REQUIRE_SERVICES=1, but {reason}")
    pytest.skip(reason)


def need(*modules: str) -> None:
    """Go on where all *modules* are installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            lacking(f"{module} is not installed")


def run(
    pytester: pytest.Pytester,
    files: Mapping[str, str],
    *options: str,
    plugins: tuple[str, ...] = ("asyncio",),
    mode: str = "warn",
    ini: str = "",
    env: Mapping[str, str] | None = None,
    truasync: bool = True,
) -> Ran:
    """Write *files* and run them with pytest in a process of its own.

    Args:
        pytester: of the test.
        files: name without suffix → source.
        options: for the command line.
        plugins: entry points of the plugins that are there; all others are kept out.
        mode: of `--truasync-mode`.
        ini: more lines for the ini file.
        env: for the process.
        truasync: whether our plugin is there.
    """
    sources = {name: dedent(source).strip("\n") + "\n" for name, source in files.items()}
    for name, source in {**sources, "left": _LEFT}.items():
        (pytester.path / f"{name}.py").write_text(source, encoding="utf-8")
    asyncio_ini = (
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        if "asyncio" in plugins and "asyncio_mode" not in ini
        else ""
    )
    (pytester.path / "pytest.ini").write_text(
        f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n{asyncio_ini}{ini}",
        encoding="utf-8",
    )
    blocked = [f"-pno:{name}" for name in sorted(PLUGINS - set(plugins))]
    ours = ["--truasync", f"--truasync-mode={mode}", "--truasync-report=json:report.json"]
    ours.append("--truasync-ignore=TRU4")  # a busy machine may hold a loop for long
    for old in (*pytester.path.glob("left-*.json"), *pytester.path.glob("report.json")):
        old.unlink()  # of the run before
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", f"{pytester.path}-home")
        for name in list(os.environ):  # of the run that this one is part of
            if name.startswith(("COV_", "PYTEST_XDIST", "PYTEST_ADDOPTS", "COVERAGE_CORE")):
                patch.delenv(name)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        result = pytester.runpytest_subprocess(
            *("-pleft", "-pno:cacheprovider", *blocked),
            *(ours if truasync else ["-pno:truasync"]),
            *options,
            timeout=120,
        )
    path = pytester.path / "report.json"
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    left = [json.loads(one.read_text("utf-8")) for one in pytester.path.glob("left-*.json")]
    out = result.stdout.str()
    return Ran(
        code=int(result.ret),
        out=out + result.stderr.str(),
        outcomes=result.parseoutcomes() if _TOTAL.search(out) else {},
        found=frozenset(_findings(report)),
        expected=frozenset(
            row for name, source in sources.items() for row in _expected(f"{name}.py", source)
        ),
        tests=report.get("run", {}).get("tests", 0),
        left=tuple(sorted(map(tuple, left))),
        report=report,
    )


def line_of(source: str, part: str) -> int:
    """Return the line of *source*, as it is written to its file, in which *part* stands."""
    lines = dedent(source).strip("\n").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if part in line)


def _findings(report: Any) -> Iterator[Finding]:
    for level in ("violations", "warnings", "notes"):
        for one in report.get(level, ()):
            name = Path(one["path"]).name
            yield name, one["line"], one["code"], one["target"], one["count"]


def _expected(name: str, source: str) -> Iterator[Finding]:
    for number, line in enumerate(source.splitlines(), 1):
        if comment := _COMMENT.search(line):
            for item in comment[1].split(";"):
                read = _ITEM.fullmatch(item.strip())
                assert read, f"{name}:{number}: {item!r}"
                yield name, number, read[1], read[2], int(read[3] or 1)
