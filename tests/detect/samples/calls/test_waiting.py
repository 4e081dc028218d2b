"""Locks, queues, threads and futures that are waited for."""

import concurrent.futures
import fcntl
import queue
import threading

import pytest

SOON = 0.06


@pytest.fixture
def later():
    timers = []

    def later(function):
        timers.append(threading.Timer(SOON, function))
        timers[-1].start()  # note: TRU302 threading.Timer.run via threading.Thread x12

    yield later
    for timer in timers:
        timer.join()


async def test_locks(later):
    lock = threading.Lock()
    lock.acquire()
    later(lock.release)
    lock.acquire()  # expect: TRU260 threading.Lock.acquire
    later(lock.release)
    with lock:  # expect: TRU260 threading.Lock.__enter__
        assert not lock.acquire(timeout=0.02)  # expect: TRU260 threading.Lock.acquire


async def test_events_and_conditions(later):
    event = threading.Event()
    later(event.set)
    event.wait()  # expect: TRU260 threading.Event.wait
    condition = threading.Condition()
    with condition:
        condition.wait(0.02)  # expect: TRU260 threading.Condition.wait
    semaphore = threading.Semaphore(0)
    later(semaphore.release)
    semaphore.acquire()  # expect: TRU260 threading.Semaphore.acquire
    barrier = threading.Barrier(2)
    later(barrier.wait)
    barrier.wait()  # expect: TRU260 threading.Barrier.wait


async def test_queues(later):
    one, simple = queue.Queue(), queue.SimpleQueue()
    later(lambda: one.put(1))
    one.get()  # expect: TRU261 queue.Queue.get
    later(lambda: simple.put(1))
    simple.get()  # expect: TRU261 queue.SimpleQueue.get
    full = queue.Queue(1)
    full.put(1)
    later(full.get)
    full.put(2)  # expect: TRU261 queue.Queue.put


async def test_threads(later):
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()  # note: TRU302 threading.Event.wait via threading.Thread
    later(event.set)
    thread.join()  # expect: TRU262 threading.Thread.join


def test_futures(later):
    import asyncio

    future, other = concurrent.futures.Future(), concurrent.futures.Future()

    async def main():
        later(lambda: future.set_result(1))
        future.result()  # expect: TRU263 concurrent.futures.Future.result
        later(lambda: other.set_result(1))
        concurrent.futures.wait([other])  # expect: TRU263 concurrent.futures.wait

    asyncio.run(main())


async def test_file_locks(tmp_path, later):
    first, second = (tmp_path / "lock").open("w"), (tmp_path / "lock").open("w")  # expect: TRU230 pathlib.Path.open x2
    with first, second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        later(lambda: fcntl.flock(first, fcntl.LOCK_UN))
        fcntl.flock(second, fcntl.LOCK_EX)  # expect: TRU232 fcntl.flock
