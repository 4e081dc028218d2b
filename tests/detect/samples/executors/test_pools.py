"""How full a pool was."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


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
