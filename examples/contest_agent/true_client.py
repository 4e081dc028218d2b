"""Supabase through one `httpx.AsyncClient`: ten connections, kept and shared, and no thread.

Compare with fake_client.py, which has the same methods.
"""

import ssl
from types import TracebackType
from typing import Any, Self

import httpcore  # noqa: F401 - httpx would import it, for 0.1 s, on the loop at the first request
import httpx

Row = dict[str, Any]

# Five kept of ten: httpcore 1.0.9 counts busy connections as kept ones (encode/httpcore#1000), so
# that with all ten busy none is kept, and each next request opens its own.
LIMITS = httpx.Limits(max_connections=10, max_keepalive_connections=5)
TIMEOUT_S = 30.0


class TrueSupabase:
    """One table API over HTTP. Make it anywhere; close it on the loop that used it."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/rest/v1"
        self._headers = {
            "apikey": key,
            "Authorization": f"Bearer {key}",
            "Prefer": "return=representation",
        }
        self._tls = _tls_context(url)
        self._http: httpx.AsyncClient | None = None

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
        """Close the connections; the next request would open new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

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
        url = f"{self._url}/{table}"
        response = await self._client().request(method, url, params=params, json=json)
        response.raise_for_status()
        rows: list[Row] = response.json()
        return rows

    def _client(self) -> httpx.AsyncClient:
        # No await between the question and the answer, hence no lock: of a hundred tasks that
        # make the first request at once, one makes the client and all use it.
        if self._http is None:
            self._http = httpx.AsyncClient(
                headers=self._headers, limits=LIMITS, timeout=TIMEOUT_S, verify=self._tls
            )
        return self._http


def _tls_context(url: str) -> ssl.SSLContext:
    """Return what `verify` needs, so that `httpx.AsyncClient` reads no CA files on the loop.

    Loading them takes some 20 to 50 ms. An https:// client pays when it is made, which an app does
    before its loop has anything to do; an http:// one has no use for them. Its context trusts
    nobody: should it meet TLS after all, the handshake fails.
    """
    if url.startswith("https://"):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _filters(equal: dict[str, object], *, required: bool = False) -> dict[str, str]:
    if required and not equal:
        raise ValueError("without a filter this would change every row of the table")
    return {column: f"eq.{value}" for column, value in equal.items()}
