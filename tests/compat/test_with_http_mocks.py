"""Beside pytest-httpx and respx: what they answer is never sent."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

HTTPX_MOCK = """
import asyncio
import time

import httpx
import pytest

URL = "http://api.invalid/rows"

async def test_async_client(httpx_mock):
    httpx_mock.add_response(url=URL, json=[1])
    async with httpx.AsyncClient() as client:
        assert (await client.get(URL)).json() == [1]
    time.sleep(0.001)  # expect: TRU251 time.sleep

async def test_sync_client(httpx_mock):
    httpx_mock.add_response(url=URL, json=[2])
    assert httpx.get(URL).json() == [2]

async def test_in_a_thread(httpx_mock):
    httpx_mock.add_response(url=URL, json=[2])
    await asyncio.to_thread(httpx.get, URL)  # expect: TRU302 httpx.get

async def test_callback(httpx_mock):
    async def answer(request):
        time.sleep(0.001)  # expect: TRU251 time.sleep
        return httpx.Response(204)

    httpx_mock.add_callback(answer, url=URL)
    async with httpx.AsyncClient() as client:
        assert (await client.get(URL)).status_code == 204

@pytest.mark.httpx_mock(assert_all_requests_were_expected=False)
@pytest.mark.xfail(raises=httpx.TimeoutException, strict=True)
async def test_no_such_response(httpx_mock):
    async with httpx.AsyncClient() as client:
        await client.get(URL)
"""

RESPX = """
import asyncio
import time

import httpx
import pytest
import respx

URL = "http://api.invalid/rows"

async def test_fixture(respx_mock):
    respx_mock.get(URL).respond(json=[1])
    async with httpx.AsyncClient() as client:
        assert (await client.get(URL)).json() == [1]
    time.sleep(0.001)  # expect: TRU251 time.sleep

@respx.mock
async def test_decorator():
    respx.get(URL).respond(json=[2])
    assert httpx.get(URL).json() == [2]

async def test_in_a_thread(respx_mock):
    respx_mock.get(URL).respond(json=[2])
    await asyncio.to_thread(httpx.get, URL)  # expect: TRU302 httpx.get

@pytest.mark.xfail(raises=respx.models.AllMockedAssertionError, strict=True)
async def test_no_such_route(respx_mock):
    async with httpx.AsyncClient() as client:
        await client.get(URL)
"""


def test_pytest_httpx(pytester: pytest.Pytester) -> None:
    need("pytest_httpx", "pytest_asyncio")
    run(pytester, {"test_it": HTTPX_MOCK}, plugins=("asyncio", "pytest_httpx")).check(
        passed=4, xfailed=1
    )


def test_respx(pytester: pytest.Pytester) -> None:
    need("respx", "pytest_asyncio")
    run(pytester, {"test_it": RESPX}, plugins=("asyncio", "respx")).check(passed=3, xfailed=1)
