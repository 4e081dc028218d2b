"""Threads that wait by design: for the loop itself, or for work that comes to them."""

import asyncio
import logging.handlers
import queue
import time

import anyio.from_thread
import anyio.to_thread
from asgiref.sync import async_to_sync, sync_to_async


async def answer():
    await asyncio.sleep(0.03)
    return 1


async def test_back_into_the_loop():
    loop = asyncio.get_running_loop()

    def by_asyncio():
        return asyncio.run_coroutine_threadsafe(answer(), loop).result()

    def by_anyio():
        return anyio.from_thread.run(answer)

    def by_asgiref():
        return async_to_sync(answer)()

    assert await asyncio.to_thread(by_asyncio) == 1  # note: TRU302 test_bridges.test_back_into_the_loop.<locals>.by_asyncio via asyncio.to_thread
    assert await anyio.to_thread.run_sync(by_anyio) == 1  # note: TRU302 test_bridges.test_back_into_the_loop.<locals>.by_anyio via anyio.to_thread.run_sync
    assert await sync_to_async(by_asgiref)() == 1  # note: TRU302 test_bridges.test_back_into_the_loop.<locals>.by_asgiref via sync_to_async


async def test_a_service_thread():
    jobs = queue.Queue()
    listener = logging.handlers.QueueListener(jobs)
    listener.start()  # note: TRU302 logging.handlers.QueueListener._monitor via threading.Thread
    jobs.put(logging.makeLogRecord({}))
    await asyncio.sleep(0.03)
    listener.enqueue_sentinel()
    while listener._thread.is_alive():
        await asyncio.sleep(0.001)


async def test_a_host_for_another_loop():
    async def other():
        await asyncio.sleep(0.001)
        time.sleep(0.001)  # expect: TRU251 time.sleep

    await asyncio.to_thread(asyncio.run, other())


async def test_an_answer_by_a_queue():
    loop, answers = asyncio.get_running_loop(), queue.SimpleQueue()

    def ask():
        loop.call_soon_threadsafe(loop.call_later, 0.03, answers.put, 1)
        return answers.get()

    assert await asyncio.to_thread(ask) == 1  # note: TRU302 test_bridges.test_an_answer_by_a_queue.<locals>.ask via asyncio.to_thread
