"""Stalls of loops that are not asyncio's own."""

import asyncio
import ctypes
import os
import queue
import time

import trio
import uvloop

LETS_GO = ctypes.CDLL(None)
KEEPS_GIL = ctypes.PyDLL(None)


def burn(cpu_s):
    end = time.thread_time() + cpu_s
    while time.thread_time() < end: pass  # noqa: E701  # fmt: skip  # expect: TRU401 burn x4


def test_trio():
    async def main():
        burn(0.3)
        await trio.sleep(0.01)
        LETS_GO.usleep(300_000)  # expect: TRU402 LETS_GO.usleep
        await trio.sleep(0.01)
        KEEPS_GIL.usleep(300_000)  # expect: TRU402 KEEPS_GIL.usleep

    trio.run(main)


def test_trio_as_a_guest():
    async def main():
        await trio.sleep(0.06)  # the host waits meanwhile, and nobody is watched
        burn(0.3)

    todo, ended = queue.Queue(), []
    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=todo.put, done_callback=ended.append
    )
    while not ended:
        todo.get()()


def test_a_fork_between_two_loops():
    async def main():
        await asyncio.sleep(0)
        burn(0.3)

    asyncio.run(asyncio.sleep(0))
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    asyncio.run(main())


def test_uvloop():
    async def main():
        asyncio.get_running_loop().call_soon(burn, 0.3)
        await asyncio.sleep(0.01)
        LETS_GO.usleep(300_000)  # expect: TRU402 LETS_GO.usleep
        await asyncio.sleep(0.01)
        KEEPS_GIL.usleep(300_000)  # expect: TRU402 KEEPS_GIL.usleep

    uvloop.run(main())


def test_short_steps():
    async def main(sleep):
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            sum(range(2_000))
            await sleep(0)

    uvloop.run(main(asyncio.sleep))
    trio.run(main, trio.sleep)


def test_idle():
    uvloop.run(asyncio.sleep(0.3))
    trio.run(trio.sleep, 0.3)
