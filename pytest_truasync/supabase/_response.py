"""Rows → status, headers, body."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._errors import ErrorReply
from pytest_truasync.supabase._json import dumps_compact
from pytest_truasync.supabase._query import Span
from pytest_truasync.supabase._readplan import ReadPlan, final_getters
from pytest_truasync.supabase._request import (
    ANY,
    ARRAY,
    CSV_TYPE,
    GEOJSON,
    JSON_TYPE,
    PLAN,
    SINGLE,
    ApiRequest,
    MediaType,
)
from pytest_truasync.supabase._types import PgType

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over the wire."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def error_reply(reply: ErrorReply, role: str) -> Reply:
    """Turn an error into what goes over the wire."""
    status = reply.status
    headers: Headers = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Proxy-Status", f"PostgREST; error={reply.code}"),
        *reply.headers,
    ]
    if reply.code == "42501" and role == "anon":
        status = 401
        headers.append(("WWW-Authenticate", "Bearer"))
    return make_reply(status, headers, error_text(reply))


def error_text(reply: ErrorReply) -> str:
    """Return the body of an error."""
    return dumps_compact(
        {
            "code": reply.code,
            "details": reply.details,
            "hint": reply.hint,
            "message": reply.message,
        }
    )


def make_reply(status: int, headers: Headers, body: str | bytes) -> Reply:
    """Put a reply together; text is sent as UTF-8."""
    raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
    if status != 204:
        headers = [*headers, ("Content-Length", str(len(raw)))]
    return Reply(status, tuple(headers), raw)


def negotiate(request: ApiRequest) -> MediaType:
    """Choose the type of the answer: the first accepted that is served.

    Raises:
        ApiError: PGRST107, or a type that is not modelled.
    """
    for accepted in request.accepts:
        if accepted.name in {SINGLE, ARRAY, CSV_TYPE, JSON_TYPE}:
            return accepted
        if accepted.name == ANY:
            return MediaType(JSON_TYPE)
        if accepted.name == GEOJSON:
            raise errors.unsupported("application/geo+json, which needs PostGIS")
    raise errors.bad_media_type(
        f'{PLAN}+text; for="application/json"' if a.name == PLAN else a.mime
        for a in request.accepts
    )


def render(plan: ReadPlan, frames: list[Any], media: MediaType, header: list[str] | None) -> str:
    """Write the rows in the type of the answer.

    Args:
        plan: What was read.
        frames: The rows.
        media: The type of the answer.
        header: The names for the first line of CSV; those of the outputs if None.
    """
    if media.name == CSV_TYPE:
        return _csv(plan, frames, header)
    show = plan.render_stripped if media.stripped else plan.render
    if media.name == SINGLE:
        return show(frames[0]) if frames else "null"
    if media.stripped:
        return "[" + ",".join(map(show, frames)) + "]"
    return "[" + ", \n ".join(map(show, frames)) + "]"


def _csv(plan: ReadPlan, frames: list[Any], header: list[str] | None) -> str:
    columns = final_getters(plan)
    names = header if header is not None else [o.name for o, _ in columns]
    shows = [(get, o.shown_kind.text) for o, get in columns]
    lines = [
        ",".join("" if (v := get(frame)) is None else record_field(show(v)) for get, show in shows)
        for frame in frames
    ]
    return (",".join(names) if frames else "") + "\n" + "\n".join(lines)


_PLAIN: Callable[[str], object] = frozenset('"\\(),').isdisjoint


def record_field(text: str) -> str:
    """Quote one field as PostgreSQL does in the text of a record."""
    if text and _PLAIN(text) and not any(c.isspace() for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'


def content_range(lower: int, upper: int, total: int | None) -> tuple[str, str]:
    """Make the Content-Range header."""
    shown = f"{lower}-{upper}" if total != 0 and lower <= upper else "*"
    return "Content-Range", f"{shown}/{'*' if total is None else total}"


def range_status(span: Span, found: int, total: int | None) -> tuple[int, tuple[str, str]]:
    """Return the status of a read, 200, 206 or 416, and its Content-Range."""
    lower = 0 if span.is_zero else span.lower
    upper = lower + found - 1
    status = 200
    if total is not None:
        if lower > total:
            status = 416
        elif 1 + upper - lower < total:
            status = 206
    return status, content_range(lower, upper, total)


def content_headers(media: MediaType, request: ApiRequest) -> Headers:
    """Make the Content-Type header, and the profile where it was negotiated."""
    return [("Content-Type", media.content_type), *profile_header(request)]


def profile_header(request: ApiRequest) -> Headers:
    """Make the Content-Profile header where the request asked for a schema."""
    return [] if request.profile is None else [("Content-Profile", request.profile)]


def applied(request: ApiRequest, *, insertable_key: bool = True) -> Headers:
    """Make the Preference-Applied header: the preferences that meant something here."""
    prefer, method = request.preferences, request.method
    rpc = request.kind == "rpc"
    write = not rpc and not request.reads
    words = []
    if prefer.resolution and method == "POST" and not rpc and insertable_key:
        words.append(f"resolution={prefer.resolution}")
    if prefer.missing and method in {"POST", "PATCH"} and not rpc:
        words.append(f"missing={prefer.missing}")
    if prefer.representation and write:
        words.append(f"return={prefer.representation}")
    if prefer.count:
        words.append(f"count={prefer.count}")
    if prefer.transaction:
        words.append(f"tx={prefer.transaction}")
    if prefer.handling:
        words.append(f"handling={prefer.handling}")
    if prefer.timezone:
        words.append(f"timezone={prefer.timezone}")
    if (
        prefer.max_affected is not None
        and prefer.handling == "strict"
        and (rpc or method in {"PATCH", "DELETE"})
    ):
        words.append(f"max-affected={prefer.max_affected}")
    return [("Preference-Applied", ", ".join(words))] if words else []


def text_of(kind: PgType, value: Any) -> str | None:
    """Return a value as ``json_each_text`` gives it, for the Location header."""
    if value is None:
        return None
    shown = kind.json(value)
    if shown.startswith('"'):
        return str(json.loads(shown))
    return shown
