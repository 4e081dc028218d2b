"""How full a pool was."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio


@pytest.fixture
def pool(request):
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


@pytest.mark.parametrize("pool", [2], indirect=True)
async def test_queueing(pool):
    loop = asyncio.get_running_loop()
    await asyncio.gather(
        *[loop.run_in_executor(pool, time.sleep, 0.03) for _ in range(6)]  # expect: TRU351 time.sleep via loop.run_in_executor x6; TRU303 ThreadPoolExecutor(max_workers=2) x6
    )


@pytest.mark.parametrize("pool", [4], indirect=True)
async def test_room_enough(pool):
    loop = asyncio.get_running_loop()
    await asyncio.gather(
        *[loop.run_in_executor(pool, int) for _ in range(3)]  # note: TRU302 int via loop.run_in_executor x3
    )


def test_queueing_of_trio():
    async def main():
        limiter = trio.CapacityLimiter(2)

        async def work():
            await trio.to_thread.run_sync(time.sleep, 0.03, limiter=limiter)  # expect: TRU351 time.sleep via trio.to_thread.run_sync x6; TRU303 CapacityLimiter(2) x6

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(work)

    trio.run(main)


def test_a_limiter_of_tasks_is_no_pool():
    async def main():
        limiter = trio.CapacityLimiter(1)

        async def work():
            async with limiter:
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work)

    trio.run(main)


class Unbounded(ThreadPoolExecutor):
    """A thread for each call."""

    def __init__(self):
        super().__init__()
        self._max_workers = None

    def _adjust_thread_count(self):
        threading.Thread(target=self._work_one).start()  # note: TRU302 test_pools.Unbounded._work_one via threading.Thread

    def _work_one(self):
        self._work_queue.get().run()


async def test_no_bound():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(Unbounded(), time.sleep, 0.001)  # expect: TRU351 time.sleep via loop.run_in_executor
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep via asyncio.to_thread
