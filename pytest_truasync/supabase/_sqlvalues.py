"""Typed values, what an expression can see, and SQL's operators over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._datetimes import zone
from pytest_truasync.supabase._errors import no_operator, sql_error, unsupported
from pytest_truasync.supabase._interval import Interval
from pytest_truasync.supabase._json import Json
from pytest_truasync.supabase._numbers import check_int, divide
from pytest_truasync.supabase._operators import follow
from pytest_truasync.supabase._patterns import like_regex, posix_regex
from pytest_truasync.supabase._query import Step
from pytest_truasync.supabase._types import PgType

#: A value with its type.
Typed = tuple[PgType, Any]


@dataclass(slots=True)
class Scope:
    """What an expression can see: a row, the sequences, the caller, the time."""

    row: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, PgType] = field(default_factory=dict)
    nextval: Callable[[str], int] | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    role: str = "postgres"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


Expr = Callable[[Scope], Typed]


class NotModelledError(Exception):
    """The expression is SQL that this module does not know."""


def unify(left: Typed, right: Typed) -> tuple[PgType, Any, PgType, Any]:
    """Give an untyped literal the type of its partner, and mixed numbers a common one."""
    (lt, lv), (rt, rv) = left, right
    if lt is t.UNKNOWN and rt is not t.UNKNOWN:
        return rt, cast(lv, lt, rt), rt, rv
    if rt is t.UNKNOWN and lt is not t.UNKNOWN:
        return lt, lv, lt, cast(rv, rt, lt)
    families = {lt.family, rt.family}
    if len(families) == 2 and "float" in families and families <= {"int", "numeric", "float"}:
        return t.DOUBLE, cast(lv, lt, t.DOUBLE), t.DOUBLE, cast(rv, rt, t.DOUBLE)
    if families == {"int", "numeric"}:
        return t.NUMERIC, cast(lv, lt, t.NUMERIC), t.NUMERIC, cast(rv, rt, t.NUMERIC)
    if families <= {"date", "timestamp", "timestamptz"} and len(families) == 2:
        wide = t.TIMESTAMPTZ if "timestamptz" in families else t.TIMESTAMP
        return wide, cast(lv, lt, wide), wide, cast(rv, rt, wide)
    return lt, lv, rt, rv


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_PATTERNS = {"~", "~*", "!~", "!~*", "~~", "~~*"}


def apply_operator(left: Typed, operator: str, right: Typed) -> Typed:
    """Apply one operator to two values."""
    if operator in {"->", "->>"}:
        return _arrow(left, operator, right)
    interval = _with_interval(left, operator, right)
    if interval is not None:
        return interval
    lt, lv, rt, rv = unify(left, right)
    if operator in _COMPARE:
        if lv is None or rv is None:
            return t.BOOLEAN, None
        if lt.family != rt.family and not {lt.family, rt.family} <= t.TEXT_FAMILIES:
            raise no_operator(lt.message_name, operator, rt.message_name)
        if lt.key:
            lv, rv = lt.key(lv), lt.key(rv)
        return t.BOOLEAN, _COMPARE[operator](lv, rv)
    if operator in _PATTERNS:
        return t.BOOLEAN, None if lv is None or rv is None else _matches(lv, operator, rv)
    if operator == "||":
        return _concat(lt, lv, rt, rv)
    return _arithmetic(lt, lv, operator, rt, rv)


def _arrow(left: Typed, operator: str, right: Typed) -> Typed:
    (kind, value), (_, key) = left, right
    if kind.family not in {"json", "jsonb"}:
        raise no_operator(kind.message_name, operator)
    step = Step(operator == "->>", key)
    found, walk = follow((step,), kind, lambda row: row)
    return found, None if key is None else walk(value)


def _matches(text: str, operator: str, pattern: str) -> bool:
    ignore = operator.endswith("*")
    if operator.startswith("~~"):
        return like_regex(pattern, ignore).fullmatch(text) is not None
    found = posix_regex(pattern, ignore).search(text) is not None
    return found is not operator.startswith("!")


def _concat(lt: PgType, lv: Any, rt: PgType, rv: Any) -> Typed:
    if lt.family == rt.family == "jsonb":
        if lv is None or rv is None:
            return t.JSONB, None
        if isinstance(lv.value, dict) and isinstance(rv.value, dict):
            return t.JSONB, Json(None, lv.value | rv.value)
        raise unsupported("|| of jsonb arrays")
    if lt.family == "array" or rt.family == "array":
        raise unsupported("|| of arrays")
    if not {lt.family, rt.family} & t.TEXT_FAMILIES:
        raise no_operator(lt.message_name, "||", rt.message_name)
    if lv is None or rv is None:
        return t.TEXT, None
    return t.TEXT, cast(lv, lt, t.TEXT) + cast(rv, rt, t.TEXT)


def _arithmetic(lt: PgType, lv: Any, operator: str, rt: PgType, rv: Any) -> Typed:
    if lt.family != rt.family or lt.family not in {"int", "numeric", "float"}:
        if lt.family == "date" and operator == "-" and rt.family == "date":
            return t.INTEGER, None if lv is None or rv is None else (lv - rv).days
        raise unsupported(f"{lt.message_name} {operator} {rt.message_name} in SQL")
    kind = lt if lt is rt or lt.family != "int" else t.BIGINT
    if lv is None or rv is None:
        return kind, None
    if operator in {"/", "%"} and rv == 0:
        raise sql_error("22012", "division by zero")
    if operator == "/":
        if kind.family == "int":
            quotient = abs(lv) // abs(rv)
            return kind, quotient if (lv < 0) == (rv < 0) else -quotient
        return kind, divide(lv, rv) if kind.family == "numeric" else lv / rv
    if operator == "%":
        rest = abs(lv) % abs(rv)
        return kind, -rest if lv < 0 else rest
    result = lv + rv if operator == "+" else lv - rv if operator == "-" else lv * rv
    return kind, check_int(result, kind.message_name) if kind.family == "int" else result


def _with_interval(left: Typed, operator: str, right: Typed) -> Typed | None:
    (lt, lv), (rt, rv) = left, right
    if operator not in {"+", "-"} or "interval" not in {lt.family, rt.family}:
        return None
    if lt.family == "interval" and rt.family != "interval" and operator == "+":
        lt, lv, rt, rv = rt, rv, lt, lv
    if lt.family == "interval":
        if lv is None or rv is None:
            return lt, None
        return lt, lv + (rv if operator == "+" else -rv)
    if lt.family not in {"timestamp", "timestamptz", "date"}:
        return None
    kind = t.TIMESTAMP if lt.family == "date" else lt
    if lv is None or rv is None:
        return kind, None
    moved: Interval = rv if operator == "+" else -rv
    return kind, moved.after(cast(lv, lt, kind))


def at_time_zone(scope: Scope, arguments: list[Typed]) -> Typed:
    """Do ``timezone(name, moment)``."""
    (_, name), (kind, value) = arguments
    if value is None or name is None:
        return t.TIMESTAMP, None
    place = zone(name)
    if kind.family == "timestamp":
        return t.TIMESTAMPTZ, value.replace(tzinfo=place).astimezone(UTC)
    stamp = cast(value, kind, t.TIMESTAMPTZ)
    return t.TIMESTAMP, stamp.astimezone(place).replace(tzinfo=None)
