"""JSON as PostgreSQL keeps it: texts that stay as written, numbers that keep their digits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any

#: A text as a JSON string; like PostgreSQL it leaves non-ASCII characters as they are.
quote: Any = encode_basestring

_MISSING: Any = object()
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Number(str):
    """A JSON number that is no plain integer, as written: ``1.50`` is not ``1.5``."""

    __slots__ = ()


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # Infinity and NaN are no JSON


def _number(text: str) -> Number:
    if len(text) > 400 or _exponent(text) > 1000:
        raise ValueError(text)  # PostgreSQL takes more, but no test means it
    return Number(text)


def _exponent(text: str) -> int:
    _, _, exponent = text.lower().partition("e")
    return abs(int(exponent)) if exponent else 0


def _integer(text: str) -> Any:
    return int(text) if len(text) <= 400 and text != "-0" else _number(text)


_DECODER = json.JSONDecoder(
    parse_float=_number, parse_int=_integer, parse_constant=_no_constant, strict=True
)


def loads(text: str) -> Any:
    """Parse JSON with numbers of any precision kept as `Number`.

    Raises:
        ValueError: The text is no JSON.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> str:
    """Write *value* as ``jsonb`` would: a space after ``,`` and ``:``, keys by length."""
    out: list[str] = []
    _write(value, out.append)
    return "".join(out)


def _write(value: Any, add: Any) -> None:
    if value is None:
        add("null")
    elif value is True:
        add("true")
    elif value is False:
        add("false")
    elif isinstance(value, Number):
        add(_plain(value))
    elif isinstance(value, str):
        add(quote(value))
    elif isinstance(value, int):
        add(str(value))
    elif isinstance(value, float):
        add(_plain(repr(value)) if math.isfinite(value) else f'"{value}"')
    elif isinstance(value, Decimal):
        add(f"{value:f}")
    elif isinstance(value, dict):
        separator = "{"
        for key in sorted(value, key=_key_order):
            add(f"{separator}{quote(key)}: ")
            _write(value[key], add)
            separator = ", "
        add("}" if value else "{}")
    else:
        separator = "["
        for item in value:
            add(separator)
            _write(item, add)
            separator = ", "
        add("]" if value else "[]")


def _key_order(key: str) -> tuple[int, bytes]:
    raw = key.encode("utf-8", "surrogatepass")
    return len(raw), raw


def _plain(text: str) -> str:
    if "e" not in text and "E" not in text:
        return text
    return f"{Decimal(text):f}"


def decimal_of(value: Any) -> Decimal:
    """Return a JSON number as a Decimal."""
    try:
        return Decimal(str(value))
    except InvalidOperation:  # pragma: no cover - numbers were checked when parsed
        return Decimal(0)


def is_number(value: Any) -> bool:
    """Tell whether a parsed JSON value is a number."""
    kind = type(value)
    return kind is int or kind is Number or kind is float or kind is Decimal


class Json:
    """A value of type ``json`` or ``jsonb``: its text, and parsed when someone looks inside."""

    __slots__ = ("_key", "_text", "_value")

    def __init__(self, text: str | None = None, value: Any = _MISSING) -> None:
        self._text = text
        self._value = value
        self._key: Any = None

    @property
    def text(self) -> str:
        """The text that PostgreSQL would print."""
        if self._text is None:
            self._text = dumps(self._value)
        return self._text

    @property
    def value(self) -> Any:
        """The parsed value."""
        if self._value is _MISSING:
            self._value = loads(self._text or "null")
        return self._value

    @property
    def key(self) -> Any:
        """What ``jsonb`` compares and sorts by."""
        if self._key is None:
            self._key = order_key(self.value)
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Json({self.text!r})"


def jsonb(value: Any) -> Json:
    """Make a ``jsonb`` value of a parsed one."""
    return Json(None, value)


def order_key(value: Any, *, top: bool = True) -> tuple[Any, ...]:
    """Return what sorts parsed values as ``jsonb`` does.

    Object > array > boolean > number > string > null; sizes before contents. Keys come in the
    order of their storage, by length, but compare as strings.
    """
    if value is None:
        return (0,)
    if value is True or value is False:
        return (3, value)
    if is_number(value):
        return (2, decimal_of(value))
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, dict):
        keys = sorted(value, key=_key_order)
        return (5, len(keys), *((k, order_key(value[k], top=False)) for k in keys))
    if not value and top:
        return (-1,)  # below everything, by a quirk that PostgreSQL keeps for compatibility
    return (4, len(value), *(order_key(item, top=False) for item in value))


def contains(outer: Any, inner: Any, top: bool = True) -> bool:
    """Tell whether ``outer @> inner`` for parsed ``jsonb`` values."""
    if isinstance(inner, dict):
        return isinstance(outer, dict) and all(
            k in outer and contains(outer[k], v, top=False) for k, v in inner.items()
        )
    if isinstance(inner, list):
        return isinstance(outer, list) and all(
            any(contains(o, i, top=False) for o in outer) for i in inner
        )
    if top and isinstance(outer, list):  # a scalar may be looked for in an array
        return any(order_key(o) == order_key(inner) for o in outer)
    if isinstance(outer, (dict, list)):
        return False
    return order_key(outer) == order_key(inner)


def strip_nulls(value: Any) -> Any:
    """Drop the keys of null value, as ``json_strip_nulls``."""
    if isinstance(value, dict):
        return {k: strip_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [strip_nulls(v) for v in value]
    return value


def dumps_compact(value: Any) -> str:
    """Write *value* without spaces, keys as they come."""
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return str(quote(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(k)}:{dumps_compact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps_compact, value)) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(json.dumps(value))


_SPACE = re.compile(r"[ \t\n\r]*")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def raw_rows(text: str) -> list[dict[str, str]]:
    """Cut a valid object, or array of objects, into the texts of its members as written."""
    at = _skip(text, 0)
    if text[at : at + 1] == "{":
        return [_raw_members(text, at)[0]]
    return list(_raw_items(text, at))


def _raw_items(text: str, at: int) -> Iterator[dict[str, str]]:
    at = _skip(text, at + 1)
    while text[at : at + 1] == "{":
        members, at = _raw_members(text, at)
        yield members
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)


def _raw_members(text: str, at: int) -> tuple[dict[str, str], int]:
    members: dict[str, str] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] == '"':
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        members[key] = text[start:at]
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return members, at + 1
