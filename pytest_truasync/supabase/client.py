"""A truly async client for a Supabase project: one connection pool, no threads."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpcore  # noqa: F401 httpx would import it, for 0.1 s, on the loop at the first request
import httpx

from pytest_truasync.supabase._client_query import (
    Filters,
    encode,
    filter_params,
    pairs,
    plain,
    returning_preference,
    row_params,
    some_filters,
)
from pytest_truasync.supabase._client_replies import Rows, count_of, invalid, json_of, rows_of
from pytest_truasync.supabase.exceptions import (
    PoolTimeoutError,
    RequestTimeoutError,
    TransportError,
    error_for,
)

__all__ = ["DEFAULT_LIMITS", "DEFAULT_TIMEOUT", "Count", "Filters", "Rows", "SupabaseAsync"]

Count = Literal["exact", "planned", "estimated"]

#: Connections of one client: 10 at most, 5 of them kept open when idle.
DEFAULT_LIMITS = httpx.Limits(max_connections=10, max_keepalive_connections=5)
#: Seconds for each of connect, read, write and waiting for a free connection.
DEFAULT_TIMEOUT = httpx.Timeout(30.0)

_SINGULAR = "application/vnd.pgrst.object+json"


class SupabaseAsync:
    """Talk to a Supabase project from async code, by httpx alone.

    The `httpx.AsyncClient` is made at the first request and shared by all tasks, so that a
    hundred requests at once wait for ten connections, not for a thread pool::

        async with SupabaseAsync(url, key) as supabase:
            rows = await supabase.select("contests", filters={"status": "open"}, limit=10)

    One client belongs to one event loop. All methods raise `TransportError` (no answer),
    `RequestTimeoutError` or `PoolTimeoutError` (none in time), a `ResponseError` (the answer is
    a refusal) or `InvalidReplyError`; `SupabaseError` is the root of them.

    Args:
        url: The project's URL, without ``/rest/v1``.
        key: Its key, sent with each request; the role of the requests unless *access_token*.
        access_token: A signed-in user's token.
        schema: The exposed PostgreSQL schema; the project's first one if None.
        limits: Of the connection pool.
        timeout: Seconds, or an `httpx.Timeout`.
        headers: Sent with each request.
        verify: An `ssl.SSLContext`; by default one that trusts certifi's authorities, made
            once per process.
        http_client: Use this client instead of making one; it is not closed here.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str | None = None,
        schema: str | None = None,
        limits: httpx.Limits = DEFAULT_LIMITS,
        timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"the URL of a project starts with https://, not {url!r}")
        if not key:
            raise ValueError("the key of a project is not empty")
        self.url = url.rstrip("/")
        self._key = key
        self._limits = limits
        self._timeout = timeout
        self._schema = schema
        self._headers = dict(headers or {})
        # Reading the authorities takes tens of milliseconds: here, where clients are usually
        # made before the loop runs, rather than in the first request, which all others await.
        if verify is None and http_client is None:
            tls = self.url.startswith("https://")
            verify = _trusted_authorities() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._verify: ssl.SSLContext | bool = True if verify is None else verify
        self._http = http_client
        self._owns_http = http_client is None
        self._closed = False
        self.access_token = access_token

    def __repr__(self) -> str:
        return f"<SupabaseAsync {self.url}{' closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """True after `aclose`: no request can be sent."""
        return self._closed

    @property
    def http_client(self) -> httpx.AsyncClient:
        """The one httpx client behind this one, made when first asked for.

        Raises:
            RuntimeError: This client is closed.
        """
        if self._closed:
            raise RuntimeError("this SupabaseAsync is closed; make another one")
        if self._http is None:
            # No await between the look and the assignment: tasks can not make two.
            self._http = httpx.AsyncClient(
                limits=self._limits, timeout=self._timeout, verify=self._verify
            )
        return self._http

    async def select(
        self,
        table: str,
        columns: str | Sequence[str] = "*",
        *,
        filters: Filters | None = None,
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        offset: int | None = None,
        count: Count | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Rows:
        """Read rows.

        Args:
            table: A table or view.
            columns: PostgREST's ``select``: ``"id,title,venue(name)"`` or a list of columns.
            filters: See `Filters`.
            order: ``"created_at.desc.nullslast"``, or a list of them.
            limit: At most so many rows.
            offset: Skip so many rows.
            count: Have the matching rows counted; see `Rows.total`.
            params: More query parameters, as they are: ``{"or": "(a.eq.1,b.eq.2)"}``.

        Returns:
            The rows, each column → JSON value.
        """
        query = [*row_params(columns, order, limit, offset), *filter_params(filters)]
        prefer = [f"count={count}"] if count else []
        return rows_of(
            await self._rest("GET", quote(table, safe=""), [*query, *pairs(params)], prefer=prefer)
        )

    async def select_one(
        self,
        table: str,
        columns: str | Sequence[str] = "*",
        *,
        filters: Filters | None = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Read the one row that matches.

        Raises:
            NotSingularError: No row matches, or several.
        """
        query = [*row_params(columns, None, None, None), *filter_params(filters), *pairs(params)]
        reply = await self._rest("GET", quote(table, safe=""), query, accept=_SINGULAR)
        row = json_of(reply)
        if not isinstance(row, dict):
            raise invalid(reply, "a JSON object")
        return row

    async def count(self, table: str, *, filters: Filters | None = None) -> int:
        """Count the rows that match, without reading them."""
        reply = await self._rest(
            "HEAD", quote(table, safe=""), filter_params(filters), prefer=["count=exact"]
        )
        total = count_of(reply)
        if total is None:
            raise invalid(reply, "a Content-Range with a total")
        return total

    async def insert(
        self,
        table: str,
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        returning: bool = True,
        columns: str | Sequence[str] | None = None,
    ) -> Rows:
        """Add one row or many, all or none.

        Args:
            table: A table or view.
            rows: Each column → value; a column that some rows lack gets its default there.
            returning: Read the rows back, with their defaults.
            columns: What to read back; everything by default.

        Returns:
            The rows as stored, or none without *returning*.
        """
        prefer = [returning_preference(returning)]
        return await self._write("POST", table, row_params(columns, None, None, None), rows, prefer)

    async def upsert(
        self,
        table: str,
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        on_conflict: str | Sequence[str] | None = None,
        ignore_duplicates: bool = False,
        returning: bool = True,
    ) -> Rows:
        """Add rows; a row that exists already is updated instead.

        Args:
            table: A table or view.
            rows: Each column → value.
            on_conflict: The columns of the unique key that tells "exists"; the primary key if None.
            ignore_duplicates: Leave rows that exist alone.
            returning: Read the rows back.
        """
        keys = on_conflict if on_conflict is None or isinstance(on_conflict, str) else None
        if keys is None and on_conflict is not None:
            keys = ",".join(on_conflict)
        prefer = [
            f"resolution={'ignore' if ignore_duplicates else 'merge'}-duplicates",
            returning_preference(returning),
        ]
        query = [] if keys is None else [("on_conflict", keys)]
        return await self._write("POST", table, query, rows, prefer)

    async def update(
        self,
        table: str,
        values: Mapping[str, Any],
        *,
        filters: Filters,
        returning: bool = True,
    ) -> Rows:
        """Change the rows that match.

        Args:
            table: A table or view.
            values: Column → new value.
            filters: Which rows; not empty, so that a forgotten filter does not change them all.
            returning: Read the changed rows back.

        Raises:
            ValueError: No filter. For all rows write one that is always true.
        """
        reply = await self._rest(
            "PATCH",
            quote(table, safe=""),
            some_filters(filters),
            body=values,
            prefer=[returning_preference(returning)],
        )
        return rows_of(reply)

    async def delete(self, table: str, *, filters: Filters, returning: bool = True) -> Rows:
        """Delete the rows that match; *filters* and *returning* as for `update`."""
        reply = await self._rest(
            "DELETE",
            quote(table, safe=""),
            some_filters(filters),
            prefer=[returning_preference(returning)],
        )
        return rows_of(reply)

    async def rpc(
        self,
        function: str,
        args: Mapping[str, Any] | None = None,
        *,
        get: bool = False,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """Call a PostgreSQL function.

        Args:
            function: Its name.
            args: Its arguments by name.
            get: Call it in a read-only transaction, arguments in the URL.
            params: Filters and the like on the rows that it returns.

        Returns:
            What it returns, as JSON; None for void.
        """
        path = f"rpc/{quote(function, safe='')}"
        if get:
            query = [*[(k, plain(v)) for k, v in (args or {}).items()], *pairs(params)]
            reply = await self._rest("GET", path, query)
        else:
            reply = await self._rest("POST", path, pairs(params), body=dict(args or {}))
        return json_of(reply) if reply.content else None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send any request to the project, with its key: ``request("GET", "/auth/v1/user")``.

        Args:
            method: The HTTP method.
            path: Relative to the project's URL.
            params: The query.
            json: The body, as JSON.
            content: The body, as it is.
            headers: Over those of the client.

        Returns:
            The response, its body read; its status is below 400.

        Raises:
            ValueError: *path* names a host: the key goes to the project alone.
        """
        if "://" in path.partition("?")[0]:
            raise ValueError(f"a path of the project, not a URL: {path!r}")
        if json is not None:
            content = encode(json)
            headers = {"Content-Type": "application/json", **(headers or {})}
        sent = {
            "apikey": self._key,
            "Authorization": f"Bearer {self.access_token or self._key}",
            **self._headers,
            **(headers or {}),
        }
        url = f"{self.url}/{path.lstrip('/')}"
        try:
            reply = await self.http_client.request(
                method, url, params=_query(params), content=content, headers=sent
            )
        except httpx.PoolTimeout as error:
            raise PoolTimeoutError(_told(method, url, error)) from error
        except httpx.TimeoutException as error:
            raise RequestTimeoutError(_told(method, url, error)) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise TransportError(_told(method, url, error)) from error
        if reply.status_code >= 400:
            raise error_for(
                reply.status_code,
                reply.content,
                reason=reply.reason_phrase,
                retry_after=reply.headers.get("retry-after"),
            )
        return reply

    async def aclose(self) -> None:
        """Close the connections; safe to call twice."""
        http = self._forget()
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _forget(self) -> httpx.AsyncClient | None:
        """Close without a loop; the client returned is the caller's to close."""
        self._closed = True
        http, self._http = self._http, None
        return http if self._owns_http else None

    async def _write(
        self,
        method: str,
        table: str,
        query: list[tuple[str, str]],
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        prefer: list[str],
    ) -> Rows:
        body: Any = rows if isinstance(rows, Mapping) else list(rows)
        if isinstance(body, list) and len({frozenset(row) for row in body}) > 1:
            # PostgREST takes rows of different columns only when all columns are named.
            names = dict.fromkeys(name for row in body for name in row)
            quoted = ",".join('"' + name.replace('"', '\\"') + '"' for name in names)
            query = [*query, ("columns", quoted)]
            prefer = [*prefer, "missing=default"]
        return rows_of(
            await self._rest(method, quote(table, safe=""), query, body=body, prefer=prefer)
        )

    async def _rest(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        *,
        body: Any = None,
        accept: str = "application/json",
        prefer: Sequence[str] = (),
    ) -> httpx.Response:
        headers = {"Accept": accept}
        if prefer:
            headers["Prefer"] = ",".join(prefer)
        if self._schema is not None:
            reads = method in ("GET", "HEAD")
            headers["Accept-Profile" if reads else "Content-Profile"] = self._schema
        return await self.request(
            method, f"/rest/v1/{path}", params=query, json=body, headers=headers
        )


@lru_cache(maxsize=1)
def _trusted_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _query(
    params: Mapping[str, str] | Sequence[tuple[str, str]] | None,
) -> httpx.QueryParams | None:
    # An empty query would take away the one that the path holds.
    if not params:
        return None
    return httpx.QueryParams(params if isinstance(params, Mapping) else list(params))


def _told(method: str, url: str, error: Exception) -> str:
    return f"{method} {url}: {str(error) or type(error).__name__}"
