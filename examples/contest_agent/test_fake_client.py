"""The tests such a client has: all pass, and none tells that it is not async.

`pytest --truasync` fails those that make a request.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import requests
from app import create_app
from fake_client import FakeSupabase
from slow_supabase import SlowSupabase

pytestmark = pytest.mark.anyio


@pytest.fixture
async def supabase(server: SlowSupabase) -> AsyncIterator[FakeSupabase]:
    """Make a client of the server, and close it."""
    async with FakeSupabase(server.url, "a-key") as client:
        yield client


async def test_rows_are_written_and_read(supabase: FakeSupabase) -> None:
    """Insert, update, select and delete."""
    [new] = await supabase.insert("contests", {"title": "Relay", "prize": 5, "status": "open"})
    await supabase.update("contests", {"prize": 7}, id=new["id"])
    assert await supabase.select("contests", id=new["id"]) == [new | {"prize": 7}]
    await supabase.delete("contests", id=new["id"])
    assert await supabase.select("contests", id=new["id"]) == []


async def test_an_error_reply_is_raised(supabase: FakeSupabase) -> None:
    """Fail as the server says."""
    with pytest.raises(requests.HTTPError, match="404"):
        await supabase.select("contest")


async def test_many_requests_at_once(supabase: FakeSupabase, server: SlowSupabase) -> None:
    """Answer all of them. That it took 10 rounds of 3, over 30 connections, nobody asks."""
    answers = await asyncio.gather(*(supabase.select("contests") for _ in range(30)))
    assert len(answers) == 30
    assert server.load.peak <= 3
    assert server.load.connections == 30


async def test_the_app_lists_contests(supabase: FakeSupabase) -> None:
    """Serve the app's callers, three at a time."""
    transport = httpx.ASGITransport(app=create_app(supabase))
    async with httpx.AsyncClient(transport=transport, base_url="http://contests.test") as api:
        replies = await asyncio.gather(*(api.get("/contests") for _ in range(12)))
    assert [reply.status_code for reply in replies] == [200] * 12
