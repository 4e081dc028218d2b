"""What a reply holds: rows, a count, a JSON value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_truasync.supabase.exceptions import InvalidReplyError

if TYPE_CHECKING:
    import httpx


class Rows(list[dict[str, Any]]):
    """The rows of one reply; a list, and what the reply says beside them.

    Attributes:
        total: How many rows match in all, whatever *limit* says; None unless counted.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = (), *, total: int | None = None) -> None:
        super().__init__(rows)
        self.total = total


def json_of(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise invalid(reply, "JSON") from error


def rows_of(reply: httpx.Response) -> Rows:
    if not reply.content:
        return Rows(total=count_of(reply))
    rows = json_of(reply)
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise invalid(reply, "a list of JSON objects")
    return Rows(rows, total=count_of(reply))


def count_of(reply: httpx.Response) -> int | None:
    total = reply.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def invalid(reply: httpx.Response, wanted: str) -> InvalidReplyError:
    return InvalidReplyError(
        reply.status_code,
        f"{reply.request.method} {reply.request.url.path}: expected {wanted}",
        details=reply.text[:200],
    )
