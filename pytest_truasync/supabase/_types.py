"""PostgreSQL's types: how each reads a text, prints a value, shows it in JSON and compares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import lru_cache, partial
from typing import Any

from pytest_truasync.supabase import _datetimes as dt
from pytest_truasync.supabase import _numbers as num
from pytest_truasync.supabase._errors import sql_error, unsupported
from pytest_truasync.supabase._interval import parse_interval
from pytest_truasync.supabase._json import Json, quote
from pytest_truasync.supabase._literals import (
    Range,
    array_text,
    parse_array,
    parse_range,
    parse_tsvector,
    range_text,
)
from pytest_truasync.supabase._scalars import (
    hex_bits,
    inet_key,
    inet_text,
    parse_bool,
    parse_bytea,
    parse_cidr,
    parse_inet,
    parse_json,
    parse_jsonb,
    parse_mac,
    parse_uuid,
)

#: The time zone of the request under way (``Prefer: timezone=``).
SESSION_ZONE: ContextVar[tzinfo] = ContextVar("truasync_supabase_zone", default=UTC)

TEXT_FAMILIES = frozenset({"text", "bpchar", "citext", "name"})
INT_NAMES = frozenset({"smallint", "integer", "bigint"})


@dataclass(frozen=True, slots=True, eq=False)
class PgType:
    """One type.

    Attributes:
        name: As ``format_type`` prints it: ``character varying(64)``.
        family: What its operators depend on.
        parse: Text → value, or `ApiError`.
        text: Value → text, as in a cast to text or in CSV.
        json: Value → JSON fragment.
        key: Value → what it compares by; None where the value itself will do.
        element: The type of an array's elements or of a range's bounds.
        coerce: Assignment from a value of the same family: rounds, pads, refuses what is too long.
        labels: Of an enum, in their order.
        plain: The name without modifiers, as error messages have it.
    """

    name: str
    family: str
    parse: Callable[[str], Any]
    text: Callable[[Any], str]
    json: Callable[[Any], str]
    key: Callable[[Any], Any] | None = None
    element: PgType | None = None
    coerce: Callable[[Any], Any] | None = None
    labels: tuple[str, ...] = ()
    plain: str = ""
    not_null: bool = False

    def __repr__(self) -> str:
        return f"PgType({self.name!r})"

    @property
    def message_name(self) -> str:
        """The name that error messages show."""
        return self.plain or self.name


def _quoted(text: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: quote(text(value))


def _same(text: str) -> str:
    return text


def _bytea_text(value: bytes) -> str:
    return "\\x" + value.hex()


def _json_text(value: Json) -> str:
    return value.text


def _bits(length: int | None, varying: bool) -> PgType:
    base = "bit varying" if varying else "bit"
    name = base if length is None else f"{base}({length})"

    def parse(text: str) -> str:
        digits = text[1:] if text[:1] in {"b", "B"} else text
        if text[:1] in {"x", "X"}:
            digits = hex_bits(text[1:])
        if length is not None and varying and len(digits) > length:
            raise sql_error("22001", f"bit string too long for type bit varying({length})")
        if length is not None and not varying and len(digits) != length:
            message = f"bit string length {len(digits)} does not match type bit({length})"
            raise sql_error("22026", message)
        if bad := re.search(r"[^01]", digits):
            raise sql_error("22P02", f'"{bad[0]}" is not a valid binary digit')
        return digits

    def fit(value: str) -> str:
        if length is None:
            return value
        return value[:length] if varying else value[:length].ljust(length, "0")

    return PgType(name, "bit", parse, _same, quote, plain=base, coerce=fit)


def _varchar(length: int) -> PgType:
    name = f"character varying({length})"

    def fit(text: str) -> str:
        if len(text) > length:
            if text[length:].strip(" "):
                raise sql_error("22001", f"value too long for type {name}")
            text = text[:length]
        return text

    return PgType(name, "text", fit, _same, quote, plain="character varying", coerce=fit)


def _bpchar(length: int | None) -> PgType:
    name = "bpchar" if length is None else f"character({length})"

    def fit(text: str) -> str:
        if length is None:
            return text
        if len(text) > length:
            if text[length:].strip(" "):
                raise sql_error("22001", f"value too long for type {name}")
            text = text[:length]
        return text.ljust(length)

    def key(text: str) -> str:
        return text.rstrip(" ")

    return PgType(name, "bpchar", fit, _same, quote, key=key, plain="character", coerce=fit)


def _numeric(precision: int | None, scale: int) -> PgType:
    if precision is None:
        return NUMERIC
    fit = num.numeric_with(precision, scale)
    return replace(
        NUMERIC,
        name=f"numeric({precision},{scale})",
        parse=lambda text: fit(num.parse_numeric(text)),
        coerce=fit,
        plain="numeric",
    )


def _special_number(text: Callable[[Any], str]) -> Callable[[Any], str]:
    def show(value: Any) -> str:
        shown = text(value)
        return shown if shown[-1:].isdigit() else f'"{shown}"'

    return show


def _zoned_text(value: Any) -> str:
    return dt.timestamptz_text(value, SESSION_ZONE.get())


def _zoned_json(value: Any) -> str:
    return f'"{dt.timestamptz_text(value, SESSION_ZONE.get(), as_json=True)}"'


def _in_session(parse: Callable[[str, tzinfo], Any]) -> Callable[[str], Any]:
    return lambda text: parse(text, SESSION_ZONE.get())


def _int(name: str) -> PgType:
    return PgType(name, "int", num.int_parser(name), str, str)


def _bool_text(value: bool) -> str:
    return "t" if value else "f"


def _bool_json(value: bool) -> str:
    return "true" if value else "false"


def _timetz_key(value: Any) -> Any:
    offset = value.utcoffset().total_seconds()
    seconds = (value.hour * 60 + value.minute) * 60 + value.second + value.microsecond / 1e6
    return seconds - offset, -offset


NUMERIC = PgType(
    "numeric", "numeric", num.parse_numeric, num.numeric_text, _special_number(num.numeric_text)
)
TEXT = PgType("text", "text", _same, _same, quote)
UNKNOWN = PgType("unknown", "text", _same, _same, quote)
BOOLEAN = PgType("boolean", "bool", parse_bool, _bool_text, _bool_json)
INTEGER, BIGINT, SMALLINT = _int("integer"), _int("bigint"), _int("smallint")
DOUBLE = PgType(
    "double precision",
    "float",
    num.float_parser("double precision"),
    num.float_text,
    _special_number(num.float_text),
)
REAL = PgType(
    "real", "float", num.float_parser("real"), num.real_text, _special_number(num.real_text)
)
JSON = PgType("json", "json", parse_json, _json_text, _json_text)
JSONB = PgType("jsonb", "jsonb", parse_jsonb, _json_text, _json_text, key=lambda value: value.key)
DATE = PgType(
    "date",
    "date",
    _in_session(dt.parse_date),
    str,
    lambda value: f'"{value}"',
)
TIMESTAMP = PgType(
    "timestamp without time zone",
    "timestamp",
    _in_session(dt.parse_timestamp),
    dt.timestamp_text,
    lambda value: f'"{dt.timestamp_text(value, "T")}"',
)
TIMESTAMPTZ = PgType(
    "timestamp with time zone",
    "timestamptz",
    _in_session(dt.parse_timestamptz),
    _zoned_text,
    _zoned_json,
)
TIME = PgType(
    "time without time zone",
    "time",
    _in_session(dt.parse_time),
    dt.clock_text,
    _quoted(dt.clock_text),
)
TIMETZ = PgType(
    "time with time zone",
    "timetz",
    _in_session(dt.parse_timetz),
    dt.timetz_text,
    _quoted(dt.timetz_text),
    key=_timetz_key,
)
INTERVAL = PgType("interval", "interval", parse_interval, str, _quoted(str))
UUID = PgType("uuid", "uuid", parse_uuid, _same, lambda value: f'"{value}"')
TSVECTOR = PgType(
    "tsvector", "tsvector", parse_tsvector, str, _quoted(str), key=lambda value: value.key
)

SIMPLE_TYPES: dict[str, PgType] = {
    t.name: t
    for t in (
        TEXT,
        BOOLEAN,
        SMALLINT,
        INTEGER,
        BIGINT,
        NUMERIC,
        REAL,
        DOUBLE,
        JSON,
        JSONB,
        DATE,
        TIMESTAMP,
        TIMESTAMPTZ,
        TIME,
        TIMETZ,
        INTERVAL,
        UUID,
        TSVECTOR,
        PgType("oid", "oid", num.parse_oid, str, _quoted(str)),
        PgType("money", "money", num.parse_money, num.money_text, _quoted(num.money_text)),
        PgType("bytea", "bytea", parse_bytea, _bytea_text, _quoted(_bytea_text)),
        PgType("inet", "inet", parse_inet, inet_text, _quoted(inet_text), key=inet_key),
        PgType("cidr", "inet", parse_cidr, str, _quoted(str), key=inet_key),
        PgType("macaddr", "macaddr", parse_mac, _same, quote),
        PgType("name", "name", lambda text: text[:63], _same, quote),
        PgType("citext", "citext", _same, _same, quote, key=str.lower),
        PgType("character varying", "text", _same, _same, quote),
        PgType("xml", "xml", _same, _same, quote),
        PgType("ltree", "ltree", _same, _same, quote, key=lambda value: value.split(".")),
    )
}

ALIASES = {
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int8": "bigint",
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
    "smallserial": "smallint",
    "serial2": "smallint",
    "decimal": "numeric",
    "dec": "numeric",
    "float4": "real",
    "float8": "double precision",
    "float": "double precision",
    "bool": "boolean",
    "varchar": "character varying",
    "char": "character",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "string": "text",
}
SERIALS = frozenset({"serial", "serial4", "bigserial", "serial8", "smallserial", "serial2"})

RANGES = {
    "int4range": ("integer", True),
    "int8range": ("bigint", True),
    "numrange": ("numeric", False),
    "tsrange": ("timestamp without time zone", False),
    "tstzrange": ("timestamp with time zone", False),
    "daterange": ("date", True),
}

_TYPE = re.compile(
    r'\s*(?P<name>"[^"]+"(?:\."[^"]+")?|[\w$]+(?:\.[\w$"]+)*(?:\s+(?:varying|precision))?)'
    r"\s*(?:\((?P<mods>[^)]*)\))?\s*(?P<zone>with(?:out)?\s+time\s+zone)?\s*"
    r"(?P<array>(?:\[\d*\])*|\s+array)\s*",
    re.IGNORECASE,
)


class UnknownTypeError(LookupError):
    """There is no type of that name."""


class TypeBook:
    """The types of one schema: PostgreSQL's own, and its enums and domains."""

    def __init__(
        self,
        enums: Mapping[str, Iterable[str]] | None = None,
        domains: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.enums = {name: tuple(labels) for name, labels in (enums or {}).items()}
        self.domains = dict(domains or {})
        self.find = lru_cache(maxsize=None)(self._find)

    def _find(self, text: str, *, opaque: bool = True) -> PgType:
        """Return the type *text*; an unknown one is opaque, or `UnknownTypeError`."""
        found = _TYPE.fullmatch(text)
        if found is None:
            return self._otherwise(text, opaque)
        name: str = " ".join(found["name"].replace('"', "").lower().split())
        if found["array"]:
            inner = text[: found.start("array")]
            return array_of(self.find(inner, opaque=opaque))
        if name.startswith("_") and (element := builtin(name[1:])) is not None:
            return array_of(element)  # PostgreSQL's own names of array types: _int4
        if found["zone"]:
            name = f"{name} {' '.join(found['zone'].lower().split())}"
        mods = [int(m) for m in re.findall(r"-?\d+", found["mods"] or "")]
        exact = found["name"].replace('"', "")
        short = exact.rpartition(".")[2]
        return (
            self._declared(exact)
            or self._declared(short)
            or builtin(name, mods)
            or builtin(name.rpartition(".")[2], mods)
            or self._otherwise(short, opaque)
        )

    def _declared(self, name: str) -> PgType | None:
        if (labels := self.enums.get(name)) is not None:
            return enum_type(name, labels)
        if (domain := self.domains.get(name)) is not None:
            base = self.find(domain["base"])
            not_null = bool(domain.get("not_null")) or base.not_null
            return replace(base, name=name, plain=base.message_name, not_null=not_null)
        return None

    def _otherwise(self, name: str, opaque: bool) -> PgType:
        if not opaque:
            raise UnknownTypeError(name)
        return opaque_type(name)


@lru_cache(maxsize=1024)
def _builtin(name: str, mods: tuple[int, ...]) -> PgType | None:
    name = ALIASES.get(name, name)
    first = mods[0] if mods else None
    if name == "character varying" and first is not None:
        return _varchar(first)
    if name == "character":
        return _bpchar(1 if first is None else first)
    if name == "bpchar":
        return _bpchar(first)
    if name == "numeric" and first is not None:
        return _numeric(first, mods[1] if len(mods) > 1 else 0)
    if name in {"bit", "bit varying", "varbit"}:
        varying = name != "bit"
        return _bits(first if varying or first is not None else 1, varying)
    if name == "float" or (name == "double precision" and first is not None):
        return REAL if first is not None and first <= 24 else DOUBLE
    if name in RANGES:
        return range_type(name)
    if name.startswith("timestamp") and " with" not in name:
        return TIMESTAMP
    return SIMPLE_TYPES.get(name)


def builtin(name: str, mods: Iterable[int] = ()) -> PgType | None:
    """Return PostgreSQL's own type *name*, or None."""
    return _builtin(name, tuple(mods))


@lru_cache(maxsize=1024)
def array_of(element: PgType) -> PgType:
    """Return the type of arrays of *element*."""

    def show_json(items: list[Any]) -> str:
        return "[" + ",".join(map(item_json, items)) + "]"

    def item_json(item: Any) -> str:
        if item is None:
            return "null"
        return show_json(item) if isinstance(item, list) else element.json(item)

    def key(items: list[Any]) -> Any:
        flat: list[Any] = []
        sizes: list[int] = []
        collect(items, flat, sizes, 0)
        return flat, len(sizes), sizes  # elements first, then the shape

    def collect(items: list[Any], flat: list[Any], sizes: list[int], depth: int) -> None:
        if len(sizes) <= depth:
            sizes.append(len(items))
        for item in items:
            if isinstance(item, list):
                collect(item, flat, sizes, depth + 1)
            elif item is None:
                flat.append((1,))  # a null sorts above every value
            else:
                flat.append((0, element.key(item) if element.key else item))

    return PgType(
        f"{element.name}[]",
        "array",
        partial(_parse_array_of, element),
        partial(_array_text_of, element),
        show_json,
        key=key,
        element=element,
        plain=f"{element.message_name}[]",
    )


def _parse_array_of(element: PgType, text: str) -> list[Any]:
    return parse_array(text, element.parse)


def _array_text_of(element: PgType, items: list[Any]) -> str:
    return array_text(items, element.text)


def range_type(name: str) -> PgType:
    """Return the range type *name*."""
    bound_name, discrete = RANGES[name]
    bound = SIMPLE_TYPES[bound_name]

    def parse(text: str) -> Range:
        return parse_range(text, bound.parse, discrete=discrete)

    def text(value: Range) -> str:
        return range_text(value, bound.text)

    return PgType(
        name, "range", parse, text, _quoted(text), key=lambda value: value.key, element=bound
    )


def enum_type(name: str, labels: tuple[str, ...]) -> PgType:
    """Return an enum type; its values sort as declared."""
    order = {label: number for number, label in enumerate(labels)}

    def parse(text: str) -> str:
        if text not in order:
            raise sql_error("22P02", f'invalid input value for enum {name}: "{text}"')
        return text

    return PgType(name, "enum", parse, _same, quote, key=order.__getitem__, labels=labels)


def opaque_type(name: str) -> PgType:
    """Return a type that is only stored and handed back; its operators are refused."""

    def text(value: Any) -> str:
        return value.text if isinstance(value, Json) else str(value)

    def show(value: Any) -> str:
        return value.text if isinstance(value, Json) else str(quote(value))

    return PgType(name, "opaque", _same, text, show)


def refuse_opaque(kind: PgType, operator: str) -> Exception:
    """Refuse an operator on a type that is only stored."""
    return unsupported(f"the operator {operator} on the type {kind.name}")
