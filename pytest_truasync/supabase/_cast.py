"""Casts between types, as ``cast(value as type)`` does them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pytest_truasync.supabase import _datetimes as dt
from pytest_truasync.supabase import _numbers as num
from pytest_truasync.supabase._errors import sql_error, unsupported
from pytest_truasync.supabase._interval import Interval
from pytest_truasync.supabase._json import Json, Number, is_number
from pytest_truasync.supabase._types import (
    NUMERIC,
    SESSION_ZONE,
    TEXT_FAMILIES,
    PgType,
    builtin,
)

Convert = Callable[[Any], Any]

_NUMBERS = frozenset({"int", "numeric", "float"})
_STAMPS = frozenset({"date", "timestamp", "timestamptz"})
_CLOCKS = frozenset({("timestamp", "time"), ("timestamptz", "time"), ("timestamptz", "timetz")})


@lru_cache(maxsize=4096)
def caster(source: PgType, target: PgType) -> Convert:
    """Return the conversion of non-null values from *source* to *target*.

    Raises:
        ApiError: PostgreSQL has no such cast (42846).
    """
    if source is target or (source.name == target.name and source.family == target.family):
        return _same
    if target.family in TEXT_FAMILIES:
        return _to_text(source, target)
    if source.family in TEXT_FAMILIES:
        return _from_text(target)
    convert = _between(source, target)
    if convert is None:
        if "opaque" in (source.family, target.family):
            raise unsupported(f"the cast from {source.name} to {target.name}")
        message = f"cannot cast type {source.message_name} to {target.message_name}"
        raise sql_error("42846", message)
    return _then(convert, target.coerce)


def _same(value: Any) -> Any:
    return value


def _then(first: Convert, second: Convert | None) -> Convert:
    if second is None:
        return first
    return lambda value: second(first(value))


def _to_text(source: PgType, target: PgType) -> Convert:
    def words(value: Any) -> str:
        return "true" if value else "false"

    show = words if source.family == "bool" else source.text
    if source.family == "inet":  # unlike its output, the cast has the mask always
        show = str
    if target.family == "name":
        show = source.text
    if source.family == "bpchar" and target.family != "bpchar":
        show = str.rstrip
    size = _length(target)
    if size is None:
        return show
    if target.family == "bpchar":
        return lambda value: show(value)[:size].ljust(size)
    return lambda value: show(value)[:size]


def _length(target: PgType) -> int | None:
    _, _, digits = target.name.partition("(")
    return int(digits.rstrip(")")) if digits and target.coerce else None


def _from_text(target: PgType) -> Convert:
    bits = builtin("bit varying")
    if target.family == "bit" and bits is not None:
        return _then(bits.parse, target.coerce)
    return target.parse


def _between(source: PgType, target: PgType) -> Convert | None:
    left, right = source.family, target.family
    if left in _NUMBERS and right in _NUMBERS:
        return _number(source, target)
    if {left, right} == {"int", "bit"}:
        raise unsupported(f"the cast from {source.name} to {target.name}")
    if left in _STAMPS and (right in _STAMPS or (left, right) in _CLOCKS):
        return _stamp(left, right)
    if left == "array" and right == "array" and source.element and target.element:
        return _array(caster(source.element, target.element))
    if left == "jsonb" and right in _NUMBERS | {"bool"}:
        return _from_jsonb(target)
    return _OTHERS.get((left, right)) if _applies(source, target) else None


def _applies(source: PgType, target: PgType) -> bool:
    families = {source.family, target.family}
    if families == {"bool", "int"}:
        return "integer" in (source.message_name, target.message_name)
    if families == {"int", "money"}:
        return "smallint" not in (source.message_name, target.message_name)
    if families == {"int", "oid"}:
        return target.message_name != "smallint"
    return True


def _array(convert: Convert) -> Convert:
    def apply(items: list[Any]) -> list[Any]:
        return [
            None if i is None else apply(i) if isinstance(i, list) else convert(i) for i in items
        ]

    return apply


def _number(source: PgType, target: PgType) -> Convert:
    if target.family == "int":
        name = target.message_name

        def to_int(value: Any) -> int:
            if isinstance(value, num.NotANumber) and source.family == "numeric":
                raise sql_error("0A000", f"cannot convert NaN to {name}")
            if isinstance(value, num.NotANumber) or (
                not isinstance(value, int) and not _finite(value)
            ):
                raise sql_error("22003", f"{name} out of range")
            if isinstance(value, float):
                value = num.round_half_even(value)
            elif isinstance(value, Decimal):
                value = int(value.to_integral_value(rounding="ROUND_HALF_UP", context=num.CONTEXT))
            return num.check_int(value, name)

        return to_int
    if target.family == "float":
        single = target.message_name == "real"

        def to_float(value: Any) -> Any:
            if isinstance(value, num.NotANumber):
                return value
            number = num.to_single(float(value)) if single else float(value)
            if math.isinf(number) and _finite(value):
                raise sql_error("22003", "value out of range: overflow")
            return number

        return to_float

    digits = 6 if source.message_name == "real" else 15

    def to_numeric(value: Any) -> Any:
        if isinstance(value, (Decimal, num.NotANumber)):
            return value
        if isinstance(value, float):
            return num.plain_decimal(Decimal(f"{value:.{digits}g}"))
        return Decimal(value)

    return to_numeric


def _finite(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int) or math.isfinite(value)


def _money(value: Any) -> Any:
    if isinstance(value, num.NotANumber) or not _finite(value):
        raise unsupported(f"the cast of {value} to money")
    return num.parse_money(f"{value:f}")


def _clock_of_interval(value: Interval) -> Any:
    clock = timedelta(microseconds=value.micros % 86_400_000_000)
    return (datetime.min + clock).time()


def _stamp(left: str, right: str) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, dt.Infinity):
            if right in _STAMPS:
                return value
            raise unsupported("the time of day of infinity")
        zone = SESSION_ZONE.get()
        if left == "timestamptz":
            value = value.astimezone(zone)
        elif left == "date":
            value = datetime(value.year, value.month, value.day)
        if right == "date":
            return date(value.year, value.month, value.day)
        if right == "time":
            return value.time()
        if right == "timetz":
            return value.timetz()
        if right == "timestamp":
            return value.replace(tzinfo=None)
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)

    return convert


def _from_jsonb(target: PgType) -> Convert:
    convert = None if target.family == "bool" else caster(NUMERIC, target)

    def apply(value: Json) -> Any:
        inner = value.value
        if convert is None and isinstance(inner, bool):
            return inner
        if convert is not None and is_number(inner):
            return convert(num.parse_numeric(str(inner)))
        kind = _kind_of(inner)
        raise sql_error("22023", f"cannot cast jsonb {kind} to type {target.message_name}")

    return apply


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Number) or not isinstance(value, (str, dict, list)):
        return "numeric"
    return "string" if isinstance(value, str) else "object" if isinstance(value, dict) else "array"


def _oid(value: int) -> int:
    if not -(1 << 31) <= value < 1 << 32:
        raise sql_error("22003", "OID out of range")
    return value % (1 << 32)


def _clock_interval(value: Any) -> Interval:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return Interval(micros=seconds * 1_000_000 + value.microsecond)


_OTHERS: dict[tuple[str, str], Convert] = {
    ("bool", "int"): int,
    ("int", "bool"): bool,
    ("json", "jsonb"): lambda value: Json(None, value.value),
    ("jsonb", "json"): lambda value: Json(value.text, value.value),
    ("int", "oid"): _oid,
    ("oid", "int"): _same,
    ("int", "money"): lambda value: Decimal(value).quantize(Decimal("0.01"), context=num.CONTEXT),
    ("numeric", "money"): _money,
    ("interval", "time"): _clock_of_interval,
    ("money", "numeric"): _same,
    ("bit", "bit"): _same,
    ("bpchar", "bpchar"): _same,
    ("inet", "inet"): _same,
    ("time", "interval"): _clock_interval,
    ("time", "timetz"): lambda value: value.replace(tzinfo=UTC),
    ("timetz", "time"): lambda value: value.replace(tzinfo=None),
    ("enum", "enum"): _same,
}


def cast(value: Any, source: PgType, target: PgType) -> Any:
    """Cast one value; null stays null."""
    return None if value is None else caster(source, target)(value)
