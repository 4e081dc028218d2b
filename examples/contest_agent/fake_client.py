"""Supabase through `requests` and three threads: it looks async, and is not.

Compare with true_client.py, which has the same methods.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

import requests

Row = dict[str, Any]


class FakeSupabase:
    """One table API over HTTP; every method can be awaited, and at most three run at a time."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/rest/v1"
        self._headers = {
            "apikey": key,
            "Authorization": f"Bearer {key}",
            "Prefer": "return=representation",
        }
        self._pool = ThreadPoolExecutor(max_workers=3)

    async def select(self, table: str, columns: str = "*", /, **equal: object) -> list[Row]:
        """Return the rows of *table* whose columns have the values given."""
        return await self._send("GET", table, {"select": columns} | _filters(equal))

    async def insert(self, table: str, *rows: Row) -> list[Row]:
        """Return the new rows, with what the database filled in."""
        return await self._send("POST", table, {}, rows)

    async def update(self, table: str, values: Row, /, **equal: object) -> list[Row]:
        """Return the rows changed; without a filter nothing is sent."""
        return await self._send("PATCH", table, _filters(equal, required=True), values)

    async def delete(self, table: str, /, **equal: object) -> list[Row]:
        """Return the rows removed; without a filter nothing is sent."""
        return await self._send("DELETE", table, _filters(equal, required=True))

    async def aclose(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _send(
        self, method: str, table: str, params: dict[str, str], json: object = None
    ) -> list[Row]:
        loop = asyncio.get_running_loop()
        request = partial(self._request, method, table, params, json)
        # The loop stays free, so all looks well; the fourth request waits for a thread.
        return await loop.run_in_executor(self._pool, request)

    def _request(self, method: str, table: str, params: dict[str, str], json: object) -> list[Row]:
        url = f"{self._url}/{table}"
        # A thread does nothing but wait here, on a connection that is made anew each time.
        response = requests.request(
            method, url, params=params, json=json, headers=self._headers, timeout=30
        )
        response.raise_for_status()
        rows: list[Row] = response.json()
        return rows


def _filters(equal: dict[str, object], *, required: bool = False) -> dict[str, str]:
    if required and not equal:
        raise ValueError("without a filter this would change every row of the table")
    return {column: f"eq.{value}" for column, value in equal.items()}
