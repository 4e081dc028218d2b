"""Count stalls that are none, on a machine that has twice as much to do as it can.

    python scripts/false_stalls.py --runs 20 --corpus ../shared/corpus

Busy processes, twice as many as there are processors, run beside two suites in which nothing holds
a loop: the part of the corpus in which nothing is to be reported, and short tests that keep a loop
busy, made here. Each report of TRU401 or TRU402 is a false one. Exit status 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

SHORT_TESTS = """
import asyncio
import gc
import hashlib
import threading
import time

import pytest


def work(n):
    return sum(i * i for i in range(n))


async def go_round(sleep):
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        work(100)
        await sleep(0)


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("loop", ["asyncio", "trio", "uvloop"])
def test_goes_round(loop, n):
    module = pytest.importorskip(loop)
    if loop == "trio":
        module.run(go_round, module.sleep)
    else:
        module.run(go_round(asyncio.sleep))


@pytest.mark.parametrize("n", range(20))
async def test_short_steps(n):
    for _ in range(100):
        work(1000)
        await asyncio.sleep(0)


@pytest.mark.parametrize("n", range(20))
async def test_many_tasks(n):
    async def task():
        for _ in range(10):
            work(300)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(task() for _ in range(20)))


@pytest.mark.parametrize("n", range(10))
async def test_callbacks(n):
    loop = asyncio.get_running_loop()
    for _ in range(2000):
        loop.call_soon(work, 100)
    await asyncio.sleep(0)


@pytest.mark.parametrize("n", range(5))
async def test_others_compute(n):
    threads = [threading.Thread(target=work, args=(200_000,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        work(100)
        await asyncio.sleep(0)


@pytest.mark.parametrize("n", range(5))
async def test_offloaded(n):
    await asyncio.to_thread(hashlib.pbkdf2_hmac, "sha256", b"a", b"b", 20_000)
    work(1000)


@pytest.mark.parametrize("n", range(5))
async def test_collections(n):
    kept = []
    for _ in range(50):
        kept.append([[i] for i in range(500)])
        await asyncio.sleep(0)
    gc.collect()


@pytest.mark.parametrize("n", range(20))
def test_loops_come_and_go(n):
    async def main():
        await asyncio.sleep(0.001)

    for _ in range(5):
        asyncio.run(main())
"""


def main() -> int:
    """Run the experiment."""
    options = _options()
    corpus = Path(options.corpus)
    if not (corpus / "run_corpus.py").exists():
        print(f"skipped: there is no corpus in {corpus}")
        return 0
    hogs = options.hogs or 2 * (os.cpu_count() or 1)
    false: list[str] = []
    tests = 0
    with _busy(hogs), tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.runs + 1):
            found, ran = _short_tests(Path(folder))
            more, also = _corpus(corpus.resolve(), Path(folder), options.python)
            tests += ran + also
            false += found + more
            print(
                f"run {number}: {len(found) + len(more)} false stalls in {ran + also} tests",
                flush=True,
            )
    print(
        f"{len(false)} false stalls in {options.runs} runs, {tests} tests, beside {hogs} busy "
        f"processes on {os.cpu_count()} processors, Python {sys.version.split()[0]}"
    )
    for line in sorted(set(false)):
        print(f"  {false.count(line)} x {line}")
    return 1 if false else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--corpus", default=str(ROOT.parent / "shared" / "corpus"))
    parser.add_argument(
        "--hogs", type=int, default=0, help="busy processes; default: 2 a processor"
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter for the tests")
    return parser.parse_args()


def _hog() -> None:
    while True:
        pass


@contextmanager
def _busy(count: int) -> Iterator[None]:
    hogs = [multiprocessing.Process(target=_hog, daemon=True) for _ in range(count)]
    for hog in hogs:
        hog.start()
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()


def _short_tests(folder: Path) -> tuple[list[str], int]:
    (folder / "test_short.py").write_text(SHORT_TESTS, "utf-8")
    report = folder / "report.json"
    subprocess.run(
        [
            *(_options().python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--rootdir", str(folder), "-o", "asyncio_mode=auto"),
            *("-o", "asyncio_default_fixture_loop_scope=function"),
            *("--truasync", "--truasync-mode=warn"),
            f"--truasync-report=json:{report}",
            str(folder / "test_short.py"),
        ],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    told = json.loads(report.read_text("utf-8"))
    return [_line(one) for one in told["violations"] if _is_stall(one["code"])], told["run"][
        "tests"
    ]


def _corpus(corpus: Path, folder: Path, python: str) -> tuple[list[str], int]:
    """Run the part of the corpus in which nothing is to be found."""
    kept, table = folder / "kept", folder / "corpus.json"
    subprocess.run(
        [
            *(python, "run_corpus.py", "--tool", "truasync", "--select", "ok*"),
            *("--python", python, "--json", str(table), "--keep", str(kept)),
        ],
        cwd=corpus,
        env={**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    cases: dict[str, Any] = json.loads(table.read_text("utf-8"))["cases"]
    lines = [
        line
        for path in kept.glob("output-*")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("FAILED") and _is_stall(line)
    ]
    return lines, len(cases)


def _is_stall(text: str) -> bool:
    return "TRU401" in text or "TRU402" in text


def _line(one: dict[str, Any]) -> str:
    return f"{one['code']} {one['target']} at {one['path']}:{one['line']}"


if __name__ == "__main__":
    raise SystemExit(main())
