"""Loops that asyncio does not run itself, and frameworks that run one elsewhere."""

import time

import anyio
import pytest
import trio
import uvloop
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient


async def block():
    time.sleep(0.001)  # expect: TRU251 time.sleep x4


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio(anyio_backend):
    await block()


def test_trio():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
        await trio.sleep(0)

    trio.run(main)


def test_uvloop():
    uvloop.run(block())


def test_test_client():
    async def page(request):
        time.sleep(0.001)  # expect: TRU251 time.sleep
        return PlainTextResponse("ok")

    with TestClient(Starlette(routes=[Route("/", page)])) as client:
        assert client.get("/").text == "ok"


def test_anyio_run():
    async def main():
        with anyio.CancelScope():
            time.sleep(0.001)  # expect: TRU251 time.sleep

    anyio.run(main)


def test_no_loop_any_more():
    time.sleep(0.001)
