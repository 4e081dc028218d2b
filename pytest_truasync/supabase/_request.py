"""Method, path, headers and body as one value: what the client asks for."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._json import dumps_compact, loads, raw_rows
from pytest_truasync.supabase._json_error import json_error
from pytest_truasync.supabase._query import ALL_ROWS, QueryParams, Span
from pytest_truasync.supabase._query_parser import parse_query

Kind = Literal["root", "relation", "rpc"]

READS = frozenset({"GET", "HEAD"})
WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Preferences:
    """The Prefer headers."""

    resolution: str | None = None
    representation: str | None = None
    count: str | None = None
    transaction: str | None = None
    missing: str | None = None
    handling: str | None = None
    timezone: str | None = None
    max_affected: int | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type that the engine knows, or any other by its text."""

    name: str
    stripped: bool = False

    @property
    def mime(self) -> str:
        """The type without charset."""
        return f"{self.name};nulls=stripped" if self.stripped else self.name

    @property
    def content_type(self) -> str:
        """The Content-Type header of an answer in it."""
        plain = self.name == OCTETS or self.name not in KNOWN
        return self.mime if plain else f"{self.mime}; charset=utf-8"


JSON_TYPE = "application/json"
CSV_TYPE = "text/csv"
FORM_TYPE = "application/x-www-form-urlencoded"
SINGLE = "application/vnd.pgrst.object+json"
ARRAY = "application/vnd.pgrst.array+json"
PLAN = "application/vnd.pgrst.plan"
GEOJSON = "application/geo+json"
OPENAPI = "application/openapi+json"
OCTETS = "application/octet-stream"
ANY = "*/*"
KNOWN = frozenset(
    {
        JSON_TYPE,
        CSV_TYPE,
        FORM_TYPE,
        SINGLE,
        ARRAY,
        PLAN,
        GEOJSON,
        OPENAPI,
        OCTETS,
        ANY,
        "text/plain",
        "text/xml",
    }
)


@dataclass(slots=True)
class Payload:
    """The rows of a body.

    Attributes:
        rows: Column → JSON value.
        keys: The columns that are written.
        raw: For each row the texts of its values as written, made when one is asked for.
        is_object: Whether the body was one object, no array.
        text: The body itself.
    """

    rows: list[Any]
    keys: tuple[str, ...]
    is_object: bool = True
    text: str = ""
    data: bytes = b""
    scalar: bool = False
    _raw: list[dict[str, str]] | None = None

    def raw(self, row: int, key: str) -> str:
        """Return the text of one value as it was written."""
        if self._raw is None:
            self._raw = raw_rows(self.text) if self.text else []
        if row < len(self._raw) and key in self._raw[row]:
            return self._raw[row][key]
        return dumps_compact(self.rows[row].get(key))


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, read but not yet judged by the schema."""

    method: str
    kind: Kind
    target: str
    query: QueryParams
    raw_query: str
    preferences: Preferences
    accepts: tuple[MediaType, ...]
    content_type: MediaType
    span: Span
    payload: Payload | None
    profile: str | None
    headers: Mapping[str, str]

    @property
    def reads(self) -> bool:
        """Whether it is a GET or HEAD."""
        return self.method in READS


_CHOICES: dict[str, tuple[str, ...]] = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "representation": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "transaction": ("commit", "rollback"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
}
_PREFIXES = {"representation": "return", "transaction": "tx"}
_PREFERENCES = {
    f"{_PREFIXES.get(name, name)}={choice}": (name, choice)
    for name, choices in _CHOICES.items()
    for choice in choices
}


@lru_cache(maxsize=1024)
def parse_preferences(header: str) -> Preferences:
    """Read the Prefer headers, joined by commas; of each kind the first counts."""
    found: dict[str, Any] = {}
    unknown = []
    for part in header.split(","):
        word = part.strip()
        if word in _PREFERENCES:
            name, choice = _PREFERENCES[word]
            found.setdefault(name, choice)
        elif word.startswith("timezone="):
            found.setdefault("timezone", word.removeprefix("timezone="))
        elif word.startswith("max-affected="):
            if re.fullmatch(r"-?\d{1,18}", word.removeprefix("max-affected=")):
                found.setdefault("max_affected", int(word.removeprefix("max-affected=")))
        elif header:
            unknown.append(word)
    return Preferences(**found, unknown=tuple(unknown))


_PARAMETER = re.compile(r'\s*;\s*([\w-]+)\s*=\s*("[^"]*"|[\w|.-]+)')
_MEDIA = re.compile(r"[A-Za-z0-9.*]+/[A-Za-z0-9.*+-]+")


def parse_media_type(text: str) -> MediaType:
    """Read one media type."""
    found = _MEDIA.match(text)
    if found is None:
        return MediaType(text)
    name = found[0].lower()
    parameters = {k.lower(): v.strip('"') for k, v in _PARAMETER.findall(text[found.end() :])}
    stripped = parameters.get("nulls") == "stripped"
    if name in {SINGLE, SINGLE.removesuffix("+json")}:
        return MediaType(SINGLE, stripped)
    if name in {ARRAY, ARRAY.removesuffix("+json")}:
        return MediaType(ARRAY, stripped=True) if stripped else MediaType(JSON_TYPE)
    if name.split("+")[0] == PLAN:
        return MediaType(PLAN)
    return MediaType(name if name in KNOWN else text)


@lru_cache(maxsize=256)
def parse_accept(header: str | None) -> tuple[MediaType, ...]:
    """Read the Accept header, the best first."""
    if header is None:
        return (MediaType(ANY),)
    weighed = []
    for part in header.split(","):
        text, _, weight = part.strip().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 1.0
        weighed.append((quality, text.count(";") - text.count("*"), text.strip()))
    weighed.sort(key=lambda item: item[:2], reverse=True)
    return tuple(parse_media_type(text) for _, _, text in weighed)


def split_path(raw_path: str) -> tuple[Kind, str, str]:
    """Return what a path names, and its raw query string.

    Raises:
        ApiError: The path has too many parts (PGRST125).
    """
    path, _, query = raw_path.partition("?")
    query = query.partition("#")[0]
    parts = [unquote(p) for p in path.strip("/").split("/")] if path.strip("/") else []
    if not parts:
        return "root", "", query
    if len(parts) == 1:
        return "relation", parts[0], query
    if len(parts) == 2 and parts[0] == "rpc":
        return "rpc", parts[1], query
    raise errors.bad_path()


_ALLOWED: dict[Kind, frozenset[str]] = {
    "root": frozenset({"GET", "HEAD", "OPTIONS"}),
    "relation": frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}),
    "rpc": frozenset({"GET", "HEAD", "POST", "OPTIONS"}),
}


def read_request(
    method: str,
    raw_path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    schema_name: str,
) -> ApiRequest:
    """Read a request.

    Raises:
        ApiError: It is none that PostgREST takes (PGRST1xx).
    """
    folded: dict[str, str] = {}
    prefer: list[str] = []
    for name, value in headers:
        key = name.lower()
        if key == "prefer":
            prefer.append(value)
        folded.setdefault(key, value)
    kind, target, raw_query = split_path(raw_path)
    profile = folded.get("content-profile" if method in WRITES else "accept-profile")
    if profile is not None and profile != schema_name:
        raise errors.bad_schema(profile, schema_name)
    if method not in _ALLOWED[kind]:
        raise errors.bad_rpc_method(method) if kind == "rpc" else errors.bad_method(method)
    query = parse_query(raw_query, rpc_read=kind == "rpc" and method in READS)
    span = _span(method, query, folded.get("range"))
    content_type = parse_media_type(folded.get("content-type", JSON_TYPE))
    payload = None
    if method in {"POST", "PATCH", "PUT"}:
        payload = _payload(kind, method, query, content_type, body)
    return ApiRequest(
        method,
        kind,
        target,
        query,
        raw_query,
        parse_preferences(",".join(prefer)) if prefer else _NO_PREFERENCES,
        parse_accept(folded.get("accept")),
        content_type,
        span,
        payload,
        profile,
        folded,
    )


_NO_PREFERENCES = Preferences()
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{0,18})")


def _span(method: str, query: QueryParams, header: str | None) -> Span:
    asked = ALL_ROWS
    if method == "GET" and header is not None and (found := _RANGE.fullmatch(header)):
        asked = Span(int(found[1]), int(found[2]) if found[2] else None)
    limited = query.span
    span = limited if limited.is_zero else asked.within(limited)
    if span.is_empty and not limited.is_zero:
        if asked.is_empty:
            raise errors.bad_range(
                "The lower boundary must be lower than or equal to the upper boundary "
                "in the Range header."
            )
        raise errors.bad_range("Limit should be greater than or equal to zero.")
    if method == "PUT" and span != ALL_ROWS:
        raise errors.put_with_limit()
    return span


def _payload(
    kind: Kind, method: str, query: QueryParams, content_type: MediaType, body: bytes
) -> Payload:
    name = content_type.name
    rpc = kind == "rpc"
    if name == JSON_TYPE:
        return _json_payload(body, query.columns if method != "PUT" else None, rpc=rpc)
    if name == CSV_TYPE:
        return _csv_payload(body)
    if name == FORM_TYPE:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        fields = dict(reversed(pairs)) if not rpc else dict(pairs)
        return Payload([fields], tuple(fields), data=body)
    if rpc and name in {"text/plain", "text/xml", OCTETS}:
        return Payload([], (), data=body, text=body.decode("utf-8", "replace"), scalar=True)
    raise errors.bad_body(f"Content-Type not acceptable: {content_type.mime}")


def _json_payload(body: bytes, columns: tuple[str, ...] | None, *, rpc: bool) -> Payload:
    if rpc and not body and columns is None:
        return Payload([{}], (), data=body, text="{}")
    try:
        text = body.decode("utf-8")
        value = loads(text)
    except ValueError:
        if columns is not None:
            raise json_error(body.decode("utf-8", "replace")) from None
        raise errors.bad_body("Empty or invalid json") from None
    if columns is not None:
        return _chosen_columns(value, columns, text, body)
    if isinstance(value, dict):
        return Payload([value], tuple(value), text=text, data=body)
    if not isinstance(value, list) or not value:
        return Payload([], (), is_object=False, text=text, data=body, scalar=True)
    first = value[0]
    if not isinstance(first, dict):
        raise errors.bad_body("All object keys must match")
    keys = first.keys()
    for item in value:
        if not isinstance(item, dict) or item.keys() != keys:
            raise errors.bad_body("All object keys must match")
    return Payload(value, tuple(keys), is_object=False, text=text, data=body)


def _chosen_columns(value: Any, columns: tuple[str, ...], text: str, body: bytes) -> Payload:
    if isinstance(value, dict):
        return Payload([value], columns, text=text, data=body)
    if not isinstance(value, list):
        raise errors.sql_error("22023", "cannot call json_to_recordset on a scalar")
    if not all(isinstance(item, dict) for item in value):
        message = "argument of json_to_recordset must be an array of objects"
        raise errors.sql_error("22023", message)
    return Payload(value, columns, is_object=False, text=text, data=body)


def _csv_payload(body: bytes) -> Payload:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise errors.bad_body(f"parse error ({error})") from None
    lines = [line for line in lines if line]
    if not lines:
        raise errors.bad_body("parse error (not enough input)")
    names = lines[0]
    rows = []
    for line in lines[1:]:
        if len(line) != len(names):
            raise errors.bad_body("All lines must have same number of fields")
        rows.append({n: None if v == "NULL" else v for n, v in zip(names, line, strict=True)})
    return Payload(rows, tuple(dict.fromkeys(names)) if rows else (), is_object=False, data=body)
