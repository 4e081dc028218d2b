"""Every way in which a loop comes to run."""

import asyncio
import contextlib
import threading
import time
import unittest

import pytest


async def block():
    time.sleep(0.001)  # expect: TRU251 time.sleep x5


def test_asyncio_run():
    asyncio.run(block())


def test_runner_and_loops():
    with asyncio.Runner() as runner:
        runner.run(block())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(block())
    loop.close()


async def test_pytest_asyncio():
    await block()


def test_a_second_loop_in_a_thread():
    thread = threading.Thread(target=asyncio.run, args=(block(),))
    thread.start()
    thread.join()


class TestUnittest(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        time.sleep(0.001)

    async def asyncSetUp(self):
        time.sleep(0.001)  # expect: TRU251 time.sleep

    async def test_it(self):
        time.sleep(0.001)  # expect: TRU251 time.sleep

    async def asyncTearDown(self):
        time.sleep(0.001)  # expect: TRU251 time.sleep


@pytest.fixture
async def resource():
    time.sleep(0.001)  # expect: TRU251 time.sleep
    yield 1
    time.sleep(0.001)  # expect: TRU251 time.sleep


async def test_fixtures(resource):
    assert resource == 1


async def test_callbacks_and_tasks():
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def callback():
        time.sleep(0.001)  # expect: TRU251 time.sleep
        done.set_result(None)

    loop.call_soon(callback)
    await done

    async def task():
        time.sleep(0.001)  # expect: TRU251 time.sleep x2

    await asyncio.gather(task(), asyncio.create_task(task()))


async def test_generators_and_managers():
    async def numbers():
        yield 1
        time.sleep(0.001)  # expect: TRU251 time.sleep

    @contextlib.asynccontextmanager
    async def opened():
        yield
        time.sleep(0.001)  # expect: TRU251 time.sleep

    async for _ in numbers():
        pass
    async with opened():
        pass


def test_no_loop_any_more():
    time.sleep(0.001)
