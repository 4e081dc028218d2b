"""The functions that defaults, checks and generated columns may call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._errors import sql_error, unsupported
from pytest_truasync.supabase._fts import document_of
from pytest_truasync.supabase._json import Json
from pytest_truasync.supabase._sqlvalues import Expr, Scope, Typed, at_time_zone
from pytest_truasync.supabase._types import PgType

Function = Callable[[Scope, list[Typed]], Typed]


def _text_function(apply: Callable[[str], Any], result: PgType = t.TEXT) -> Function:
    def call(scope: Scope, arguments: list[Typed]) -> Typed:
        kind, value = arguments[0]
        return result, None if value is None else apply(cast(value, kind, t.TEXT))

    return call


def _now(scope: Scope, arguments: list[Typed]) -> Typed:
    return t.TIMESTAMPTZ, scope.now


def _nextval(scope: Scope, arguments: list[Typed]) -> Typed:
    if scope.nextval is None:
        raise unsupported("nextval() here")
    return t.BIGINT, scope.nextval(str(arguments[0][1]))


def _coalesce(scope: Scope, arguments: list[Typed]) -> Typed:
    kind = next((k for k, _ in arguments if k is not t.UNKNOWN), t.TEXT)
    source, value = next(((k, v) for k, v in arguments if v is not None), (kind, None))
    return kind, cast(value, source, kind)


def _concat_all(scope: Scope, arguments: list[Typed]) -> Typed:
    return t.TEXT, "".join(cast(v, k, t.TEXT) for k, v in arguments if v is not None)


def _claim(name: str, kind: PgType) -> Function:
    def call(scope: Scope, arguments: list[Typed]) -> Typed:
        value = scope.claims.get(name)
        return kind, None if value is None else kind.parse(str(value))

    return call


def _length(scope: Scope, arguments: list[Typed]) -> Typed:
    kind, value = arguments[0]
    if value is None:
        return t.INTEGER, None
    return t.INTEGER, len(cast(value, kind, t.TEXT))


def _array_length(scope: Scope, arguments: list[Typed]) -> Typed:
    value = arguments[0][1]
    if value is None:
        return t.INTEGER, None
    return t.INTEGER, len(value) or (None if len(arguments) > 1 else 0)


def _extreme(pick: Callable[..., Any]) -> Function:
    def call(scope: Scope, arguments: list[Typed]) -> Typed:
        kind = next((k for k, _ in arguments if k is not t.UNKNOWN), t.TEXT)
        values = [cast(v, k, kind) for k, v in arguments if v is not None]
        return kind, pick(values, key=kind.key) if values else None

    return call


def _jsonb_object(scope: Scope, arguments: list[Typed]) -> Typed:
    texts = [None if v is None else (k, v) for k, v in arguments]
    built = {}
    for name, value in zip(texts[::2], texts[1::2], strict=True):
        if name is None:
            raise sql_error("22023", "argument 1: key must not be null")
        built[cast(name[1], name[0], t.TEXT)] = (
            None if value is None else t.JSONB.parse(value[0].json(value[1])).value
        )
    return t.JSONB, Json(None, built)


def _to_tsvector(scope: Scope, arguments: list[Typed]) -> Typed:
    if len(arguments) == 1:
        raise unsupported("to_tsvector() without a configuration", "Write 'simple' in it.")
    (_, config), (kind, value) = arguments
    made = document_of(t.TEXT if kind is t.UNKNOWN else kind, str(config))
    return t.TSVECTOR, None if value is None else made(value)


_LOWER = _text_function(str.lower)
FUNCTIONS: dict[str, Function] = {
    "now": _now,
    "transaction_timestamp": _now,
    "statement_timestamp": _now,
    "clock_timestamp": lambda scope, arguments: (t.TIMESTAMPTZ, datetime.now(UTC)),
    "gen_random_uuid": lambda scope, arguments: (t.UUID, str(uuid.uuid4())),
    "uuid_generate_v4": lambda scope, arguments: (t.UUID, str(uuid.uuid4())),
    "nextval": _nextval,
    "timezone": at_time_zone,
    "lower": _LOWER,
    "upper": _text_function(str.upper),
    "btrim": _text_function(lambda text: text.strip(" ")),
    "trim": _text_function(lambda text: text.strip(" ")),
    "length": _length,
    "char_length": _length,
    "character_length": _length,
    "octet_length": _text_function(lambda text: len(text.encode()), t.INTEGER),
    "array_length": _array_length,
    "cardinality": _array_length,
    "coalesce": _coalesce,
    "concat": _concat_all,
    "greatest": _extreme(max),
    "least": _extreme(min),
    "jsonb_build_object": _jsonb_object,
    "to_tsvector": _to_tsvector,
    "auth.uid": _claim("sub", t.UUID),
    "auth.role": _claim("role", t.TEXT),
    "auth.email": _claim("email", t.TEXT),
}
KEYWORD_CALLS: dict[str, Expr] = {
    "current_timestamp": lambda scope: (t.TIMESTAMPTZ, scope.now),
    "localtimestamp": lambda scope: (t.TIMESTAMP, cast(scope.now, t.TIMESTAMPTZ, t.TIMESTAMP)),
    "current_date": lambda scope: (t.DATE, cast(scope.now, t.TIMESTAMPTZ, t.DATE)),
    "current_time": lambda scope: (t.TIMETZ, cast(scope.now, t.TIMESTAMPTZ, t.TIMETZ)),
    "current_user": lambda scope: (t.TEXT, scope.role),
    "current_role": lambda scope: (t.TEXT, scope.role),
    "session_user": lambda scope: (t.TEXT, "authenticator"),
}
