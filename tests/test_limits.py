"""Each limit of docs/limits.md is still there: what is said there is not seen, or not so."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

EARLY = """
import os


def look(path, how=os.stat):
    return how(path)
"""

LIMITS = """
import asyncio
import copy
import ctypes
import mmap
import multiprocessing
import queue
import socket
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

import early


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("one\\ntwo\\n")
    with path.open("r+") as opened:
        yield opened


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C library with usleep")
async def test_short_wait_in_unknown_c_code():
    ctypes.CDLL(None).usleep(2000)


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C library with usleep")
async def test_gil_that_another_gets_first():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # so long has the loop's thread the GIL after the call
    try:
        ctypes.PyDLL(None).usleep(200_000)
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.asyncio
async def test_write_that_stays_in_the_buffer(file):
    file.write("x")


@pytest.fixture
def begun(file):
    file.readline()
    return file


@pytest.mark.asyncio
async def test_read_from_the_buffer(begun):
    assert begun.readline() == "two\\n"


@pytest.fixture
def mapped(file):
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        yield memory


@pytest.mark.asyncio
async def test_mapped_memory(mapped):
    assert mapped[:3] == b"one"


async def nap():
    time.sleep(0.001)


def child():
    asyncio.run(nap())


@pytest.fixture
def process():
    made = multiprocessing.get_context("spawn").Process(target=child)
    made.start()
    made.join()
    return made


def test_child_process(process):
    assert process.exitcode == 0


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def done():
    event = threading.Event()
    yield event
    assert event.wait(10)


@pytest.mark.asyncio
async def test_thread_nobody_waits_for(pair, done):
    left, right = pair

    def work():
        left.recv(1)
        done.set()

    threading.Thread(target=work).start()
    right.send(b"x", socket.MSG_DONTWAIT)


@pytest.mark.asyncio
async def test_thread_that_has_answered(done):
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def serve():
        loop.call_soon_threadsafe(ready.set)
        time.sleep(0.001)
        done.set()

    threading.Thread(target=serve).start()
    await ready.wait()


@pytest.mark.asyncio
async def test_wait_after_a_report(filled):
    loop = asyncio.get_running_loop()

    def work():
        loop.call_soon_threadsafe(id, "half way")
        return filled.get()

    assert await asyncio.to_thread(work) == "x"


@pytest.fixture
def filled():
    made = queue.SimpleQueue()
    timer = threading.Timer(0.1, made.put, ["x"])
    timer.start()
    yield made
    timer.join()


@pytest.mark.asyncio
async def test_around_the_work():
    with ThreadPoolExecutor(1, initializer=time.sleep, initargs=(0.001,)) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, int)


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C library with usleep")
async def test_c_wait_in_slices():
    usleep = ctypes.CDLL(None).usleep

    def work():
        for _ in range(20):
            usleep(10_000)

    await asyncio.to_thread(work)


@pytest.mark.asyncio
async def test_bound_method_of_a_lock():
    with pytest.raises(TypeError, match="cannot pickle"):
        copy.deepcopy([threading.Lock().acquire])


@pytest.mark.asyncio
async def test_frame_of_ours():
    def work():
        return sys._getframe(1).f_code.co_name

    assert await asyncio.to_thread(work) == "run_offloaded"

    class Keeps(Executor):
        def submit(self, fn):
            assert fn == work
            assert fn is not work
            future = Future()
            future.set_result(None)
            return future

    await asyncio.get_running_loop().run_in_executor(Keeps(), work)


@pytest.mark.asyncio
async def test_callback_without_a_line():
    asyncio.get_running_loop().call_soon(time.sleep, 0.001)
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_alias_bound_before_the_plugin(tmp_path):
    early.look(tmp_path)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the plugin says of all limits, in one run of its own."""
    import os
    import subprocess

    folder = tmp_path_factory.mktemp("limits")
    (folder / "early.py").write_text(EARLY)
    (folder / "test_limits_here.py").write_text(LIMITS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "early", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", "--truasync", "--truasync-mode=warn"]
    done = subprocess.run(
        [*command, "--truasync-report=json:out.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return found


def _names() -> list[str]:
    page = (ROOT / "docs" / "limits.md").read_text("utf-8")
    return re.findall(r"^## ([a-z-]+)$", page, re.MULTILINE)


def _found(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    test = f"test_{name.replace('-', '_')}"
    return [
        one
        for one in report["violations"]
        if any(id_.endswith(f"::{test}") for id_ in one["tests"])
    ]


def test_every_limit_has_a_test() -> None:
    tested = re.findall(r"def test_(\w+)\(", LIMITS)
    assert sorted(tested) == sorted(name.replace("-", "_") for name in _names())


@pytest.mark.parametrize("name", [n for n in _names() if n != "callback-without-a-line"])
def test_limit_is_still_there(report: dict[str, Any], name: str) -> None:
    assert _found(report, name) == []


def test_callback_is_found_at_the_loops_line(report: dict[str, Any]) -> None:
    (one,) = _found(report, "callback-without-a-line")
    assert one["target"] == "time.sleep"
    assert one["package"] == "asyncio"
