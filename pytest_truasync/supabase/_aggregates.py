"""``count()``, ``sum()``, ``avg()``, ``min()``, ``max()`` with PostgreSQL's types."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pytest_truasync.supabase import _numbers as num
from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._errors import no_sql_function, unsupported
from pytest_truasync.supabase._interval import Interval
from pytest_truasync.supabase._types import PgType

#: Over the values that are not null, of which there is at least one.
Fold = Callable[[list[Any]], Any]

#: Families of which PostgreSQL has no min() and max().
_NO_EXTREMES = frozenset({"bool", "json", "jsonb", "uuid", "bytea", "xml", "bit", "range", "name"})


def aggregate(name: str, kind: PgType) -> tuple[PgType, Fold]:
    """Return the type of an aggregate over values of *kind*, and how it is computed.

    Raises:
        ApiError: PostgreSQL has no such aggregate (42883).
    """
    if name == "count":
        return t.BIGINT, len
    if kind.family == "opaque":
        raise unsupported(f"{name}() over the type {kind.name}")
    if name in {"min", "max"}:
        if kind.family in _NO_EXTREMES:
            raise no_sql_function(f"{name}({kind.message_name})")
        pick = min if name == "min" else max
        return kind, lambda values: pick(values, key=kind.key)
    made = _sum(kind) if name == "sum" else _average(kind)
    if made is None:
        raise no_sql_function(f"{name}({kind.message_name})")
    return made


def _sum(kind: PgType) -> tuple[PgType, Fold] | None:
    if kind.family == "int":
        if kind.message_name == "bigint":
            return t.NUMERIC, lambda values: Decimal(sum(values))
        return t.BIGINT, sum
    if kind.family == "numeric":
        return t.NUMERIC, _total
    if kind.family == "float":
        if kind.message_name == "real":
            return t.REAL, lambda values: num.to_single(_float_total(values))
        return t.DOUBLE, _float_total
    if kind.family == "interval":
        return t.INTERVAL, _interval_total
    if kind.family == "money":
        return kind, lambda values: sum(values, Decimal(0))
    return None


def _total(values: list[Any]) -> Any:
    if any(isinstance(v, num.NotANumber) for v in values):
        return num.NAN
    total = Decimal(0)
    for value in values:
        total = num.CONTEXT.add(total, value)
    scale = max(_scale(v) for v in values)
    return total.quantize(Decimal(1).scaleb(-scale), context=num.CONTEXT)


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _float_total(values: list[Any]) -> Any:
    if any(isinstance(v, num.NotANumber) for v in values):
        return num.NAN
    total = 0.0
    for value in values:
        total += value
    return num.NAN if total != total else total


def _interval_total(values: list[Interval]) -> Interval:
    total = Interval()
    for value in values:
        total += value
    return total


def _average(kind: PgType) -> tuple[PgType, Fold] | None:
    if kind.family in {"int", "numeric"}:

        def mean(values: list[Any]) -> Any:
            total = _total([cast(v, kind, t.NUMERIC) for v in values])
            if isinstance(total, num.NotANumber):
                return total
            return num.divide(total, Decimal(len(values)))

        return t.NUMERIC, mean
    if kind.family == "float":

        def float_mean(values: list[Any]) -> Any:
            total = _float_total(values)
            return total if isinstance(total, num.NotANumber) else total / len(values)

        return t.DOUBLE, float_mean
    if kind.family == "interval":
        raise unsupported("avg() over intervals")
    return None
