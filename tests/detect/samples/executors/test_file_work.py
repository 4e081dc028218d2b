"""One call on files in a thread is a note; what only looks like one is watched."""

import asyncio
import io
import linecache
import os
import socket
import threading
import time
from functools import partial

import pytest


def slowly(path, flags):
    time.sleep(0.001)
    return os.open(path, flags)


def lines():
    time.sleep(0.001)
    yield "line\n"


async def test_files(tmp_path):
    loop = asyncio.get_running_loop()
    make = partial(open, tmp_path / "file", mode="w+")
    file = await loop.run_in_executor(None, make)  # note: TRU302 open via loop.run_in_executor
    await asyncio.to_thread(file.write, "text")  # note: TRU302 io.TextIOWrapper.write via asyncio.to_thread
    await asyncio.to_thread(os.stat, tmp_path)  # note: TRU302 os.stat via asyncio.to_thread
    await loop.run_in_executor(None, partial(os.listdir, tmp_path))  # note: TRU302 os.listdir via loop.run_in_executor
    await loop.run_in_executor(None, file.buffer.raw.write, b"x")  # note: TRU302 io.FileIO.write via loop.run_in_executor
    await asyncio.to_thread(file.close)  # note: TRU302 io.TextIOWrapper.close via asyncio.to_thread


async def test_results_and_errors_pass(tmp_path):
    stat = await asyncio.to_thread(os.stat, tmp_path)  # note: TRU302 os.stat via asyncio.to_thread
    assert stat.st_ino == tmp_path.stat().st_ino  # expect: TRU240 pathlib.Path.stat
    try:
        await asyncio.to_thread(os.stat, tmp_path / "nowhere")  # note: TRU302 os.stat via asyncio.to_thread
    except FileNotFoundError as error:
        assert error.filename == str(tmp_path / "nowhere")


async def test_code_of_the_users_inside(tmp_path):
    path = tmp_path / "file"
    path.touch()  # expect: TRU230 pathlib.Path.touch
    loop = asyncio.get_running_loop()
    make = partial(open, path, mode="r", opener=slowly)
    file = await loop.run_in_executor(None, make)  # expect: TRU351 time.sleep via loop.run_in_executor
    await asyncio.to_thread(file.close)  # note: TRU302 io.TextIOWrapper.close via asyncio.to_thread
    file = await asyncio.to_thread(open, path, "w", opener=slowly)  # expect: TRU351 time.sleep via asyncio.to_thread
    await asyncio.to_thread(file.writelines, lines())  # expect: TRU351 time.sleep via asyncio.to_thread
    await asyncio.to_thread(file.close)  # note: TRU302 io.TextIOWrapper.close via asyncio.to_thread


async def test_a_socket_is_no_file():
    left, right = socket.socketpair()
    with left, right, left.makefile("rb") as stream:
        right.sendall(b"x\n")
        assert await asyncio.to_thread(stream.readline) == b"x\n"  # expect: TRU370 socket.SocketIO.readinto via asyncio.to_thread


class Slow(io.BufferedWriter):
    def write(self, data):
        time.sleep(0.001)
        return super().write(data)


class SlowPath:
    def __fspath__(self):
        time.sleep(0.001)
        return "/"


async def test_classes_of_the_users(tmp_path):
    stream = io.TextIOWrapper(Slow(io.FileIO(tmp_path / "file", "w")), write_through=True)  # expect: TRU230 open
    await asyncio.to_thread(stream.write, "x")  # expect: TRU351 time.sleep via asyncio.to_thread
    await asyncio.to_thread(stream.close)  # note: TRU302 io.TextIOWrapper.close via asyncio.to_thread
    await asyncio.to_thread(os.stat, SlowPath())  # expect: TRU351 time.sleep via asyncio.to_thread


@pytest.fixture
def fed(tmp_path):
    """A pipe that somebody writes to after a while."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def feed():
        time.sleep(0.15)
        path.write_text("x = 1\n")

    thread = threading.Thread(target=feed)
    thread.start()
    yield os.fspath(path)
    thread.join()


async def test_a_quiet_caller_waits_for_a_file(fed):
    await asyncio.to_thread(linecache.getlines, fed)  # note: TRU302 linecache.getlines via asyncio.to_thread
