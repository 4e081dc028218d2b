"""The app over the true client, from its environment variables to the server's rows."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from app import from_environment
from fastapi import FastAPI
from slow_supabase import SlowSupabase

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(server: SlowSupabase, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """Make the app as uvicorn would, from its environment."""
    monkeypatch.setenv("SUPABASE_URL", server.url)
    monkeypatch.setenv("SUPABASE_KEY", "a-key")
    return from_environment()


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start the app, call it in memory, shut it down."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://contests.test") as api,
    ):
        yield api


async def test_list(api: httpx.AsyncClient) -> None:
    """List all contests, or the open ones."""
    every, opened = (
        (await api.get("/contests")).json(),
        (await api.get("/contests?status=open")).json(),
    )
    assert [contest["id"] for contest in every] == [1, 2, 3]
    assert [contest["id"] for contest in opened] == [1, 2]


async def test_a_contest_from_start_to_end(api: httpx.AsyncClient) -> None:
    """Create it, close it, delete it, miss it."""
    created = await api.post("/contests", json={"title": "Relay", "prize": 5})
    assert created.status_code == 201
    path = f"/contests/{created.json()['id']}"
    closed = await api.patch(path, json={"status": "closed"})
    assert closed.json() == created.json() | {"status": "closed"}
    assert (await api.get(path)).json() == closed.json()
    assert (await api.delete(path)).status_code == 204
    assert [(await api.request(method, path)).status_code for method in ("GET", "DELETE")] == [
        404
    ] * 2


async def test_callers_at_once(api: httpx.AsyncClient, server: SlowSupabase) -> None:
    """Pass ten callers on at a time, not three."""
    replies = await asyncio.gather(*(api.get("/contests/1") for _ in range(50)))
    assert {reply.json()["title"] for reply in replies} == {"Spring sprint"}
    assert server.load.peak == 10
