"""Calls that cannot block, and those that nobody can change."""

import collections
import io
import logging
import os
import queue
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings

import pytest


async def test_sockets_that_do_not_wait():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(0)
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        theirs.send(b"x")
        assert ours.recv(10) == b"x"
        ours.settimeout(5)
        theirs.send(b"y")
        assert ours.recv(10, socket.MSG_DONTWAIT) == b"y"
        select.select([ours], [], [], 0)
        poll = select.poll()
        poll.register(ours)
        poll.poll(0)
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", 9))
    socket.getaddrinfo("127.0.0.1", 80)
    socket.getaddrinfo(None, 80)


async def test_pipes_that_do_not_wait():
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    os.write(write, b"x")
    assert os.read(read, 10) == b"x"
    with pytest.raises(BlockingIOError):
        os.read(read, 10)
    os.close(read)
    os.close(write)


async def test_locks_that_are_free():
    lock, rlock = threading.Lock(), threading.RLock()
    assert lock.acquire()
    assert not lock.acquire(False)
    assert not lock.acquire(blocking=False)
    lock.release()
    with lock, rlock, rlock:
        pass
    assert lock.acquire(timeout=5)
    event = threading.Event()
    event.set()
    assert event.wait()
    semaphore = threading.Semaphore(1)
    with semaphore:
        assert not semaphore.acquire(blocking=False)
    condition = threading.Condition()
    with condition:
        condition.notify_all()


async def test_queues_that_are_ready():
    one, simple = queue.Queue(), queue.SimpleQueue()
    one.put(1)
    simple.put(1)
    assert one.get() == simple.get() == 1
    for empty in (one, simple):
        with pytest.raises(queue.Empty):
            empty.get_nowait()
        with pytest.raises(queue.Empty):
            empty.get(block=False)
    collections.deque([1]).popleft()


async def test_memory():
    text = io.StringIO("a\nb\n")
    assert text.readline() == "a\n"
    assert list(text) == ["b\n"]
    data = io.BytesIO()
    data.write(b"x")
    io.TextIOWrapper(data).flush()
    with open(os.devnull, "w") as null:
        null.write("x")
    with open("/proc/self/stat") as stat:
        stat.read()
    tempfile.SpooledTemporaryFile().write(b"x")


async def test_console():
    print("out")
    print("error", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b"")
    logging.getLogger("app").warning("said")


@pytest.fixture(scope="module")
def log():
    """A log to the console, as a server sets one up when it starts."""
    log = logging.getLogger("a server")
    handler = logging.StreamHandler(sys.stdout)
    log.addHandler(handler)
    yield log
    log.removeHandler(handler)


async def test_console_while_another_stands_in_its_place(log, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    log.error("to the console")


async def test_console_captured(capfd, caplog):
    print("out")
    logging.getLogger("app").warning("said")
    assert capfd.readouterr().out == "out\n"


async def test_arithmetic():
    os.path.abspath("x")
    os.getcwd()
    os.path.join("a", "b")
    os.environ.get("HOME")
    random.SystemRandom().random()
    os.urandom(4)
    time.sleep(0)
    time.time()


async def test_what_no_user_can_change():
    try:
        raise ValueError
    except ValueError:
        traceback.format_exc()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        warnings.warn("careful")
    with pytest.raises(ZeroDivisionError):
        1 / 0
    import colorsys
    import wave

    assert colorsys
    assert wave


async def test_tools_of_pytest(tmp_path_factory, request):
    request.getfixturevalue("tmp_path")
    tmp_path_factory.mktemp("x")


async def test_children_that_are_asked_only():
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert subprocess.list2cmdline(["a"]) == "a"


async def test_threads_that_have_ended():
    thread = threading.Thread(target=int)
    thread.start()  # note: TRU302 int via threading.Thread
    while thread.is_alive():
        pass
    thread.join()
