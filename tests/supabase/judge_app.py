"""The engine behind an `httpx.AsyncClient`, as the conformance runner asks for it.

``python ../shared/postgrest/judge.py --path . --app tests.supabase.judge_app:app``
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from pytest_truasync.supabase._engine import Engine
from pytest_truasync.supabase._schema import Schema
from pytest_truasync.supabase._store import Snapshot, Store

_stores: dict[str, tuple[Store, Snapshot]] = {}


def _store(schema: dict[str, Any]) -> Store:
    """Return a store with exactly the rows of *schema*; it is built once, then put back."""
    config = schema.pop("config", {})
    text = json.dumps(schema)
    schema["config"] = config
    if text not in _stores:
        store = Store(Schema.from_json(schema))
        _stores[text] = store, store.snapshot()
    store, snapshot = _stores[text]
    store.restore(snapshot)
    return store


@asynccontextmanager
async def app(schema: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Answer the requests of one case."""
    engine = Engine(
        _store(schema),
        schema_name=schema["schema"],
        db_aggregates=bool(schema["config"].get("db_aggregates")),
    )

    async def answer(request: httpx.Request) -> httpx.Response:
        reply = await engine.answer(
            request.method,
            request.url.raw_path.decode("ascii"),
            [(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.raw],
            await request.aread(),
        )
        return httpx.Response(reply.status, headers=list(reply.headers), content=reply.body)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client
