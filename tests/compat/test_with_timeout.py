"""Beside pytest-timeout: it fires in a call that we watch, and names the line."""

from __future__ import annotations

import pytest
from neighbours import line_of, need, run

pytest_plugins = ("pytester",)

SIGNAL = """
import queue
import socket
import threading
import time

import pytest

pytestmark = pytest.mark.timeout(0.5)

async def test_sleep():
    time.sleep(600)  # expect: TRU251 time.sleep

async def test_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()  # expect: TRU260 threading.Lock.acquire

async def test_queue():
    queue.Queue().get()  # expect: TRU261 queue.Queue.get

async def test_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)  # expect: TRU270 socket.socket.recv

@pytest.mark.timeout(600)
async def test_after():
    time.sleep(0.001)  # expect: TRU251 time.sleep
"""
LINES = ("time.sleep(600)", "lock.acquire()  # expect", "queue.Queue().get()", "ours.recv(1)")

THREAD = """
import time

import pytest

@pytest.mark.timeout(0.5)
async def test_sleep():
    time.sleep(600)
"""


def test_by_signal(pytester: pytest.Pytester) -> None:
    need("pytest_timeout", "pytest_asyncio")
    ran = run(
        pytester,
        {"test_it": SIGNAL},
        "--timeout-method=signal",
        plugins=("asyncio", "timeout"),
        mode="fail",
    )
    ran.check(failed=5)
    assert ran.out.count("Failed: Timeout (>0.5s) from pytest-timeout.") >= 4
    for part in LINES:
        assert f"test_it.py:{line_of(SIGNAL, part)}" in ran.out
        assert f">       {part.partition('  #')[0]}" in ran.out or part.startswith("ours"), ran.out


def test_by_thread(pytester: pytest.Pytester) -> None:
    need("pytest_timeout", "pytest_asyncio")
    ran = run(
        pytester,
        {"test_it": THREAD},
        "--timeout-method=thread",
        plugins=("asyncio", "timeout"),
    )
    assert ran.code == 1
    assert "Timeout" in ran.out
    assert f'test_it.py", line {line_of(THREAD, "sleep(600)")}, in test_sleep' in ran.out
