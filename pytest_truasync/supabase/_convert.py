"""JSON values to typed ones, as a body brings them, and back, as a test reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from pytest_truasync.supabase import _numbers as num
from pytest_truasync.supabase._errors import sql_error
from pytest_truasync.supabase._json import Json, Number, dumps
from pytest_truasync.supabase._scalars import check_no_nul
from pytest_truasync.supabase._types import PgType


def from_json(kind: PgType, value: Any, key: str, raw: Callable[[], str]) -> Any:
    """Convert a parsed JSON value as ``json_populate_record`` does.

    Args:
        kind: The column's type.
        value: The parsed value; None is SQL NULL, for every type.
        key: The name of the column, for error messages.
        raw: Gives the value's text as it was written.
    """
    if value is None:
        return None
    family = kind.family
    if family == "json":
        return Json(raw(), value)
    if family == "jsonb":
        if isinstance(value, (str, dict, list)):
            check_no_nul(value)
        return Json(None, value)
    if type(value) is str:
        if "\0" in value:
            details = "\\u0000 cannot be converted to text."
            raise sql_error("22P05", "unsupported Unicode escape sequence", details)
        return kind.parse(value)
    if family == "array":
        return _array_from_json(kind, value, key, raw)
    if type(value) is int:
        if family == "int":
            return num.check_json_int(value, kind.message_name)
        return kind.parse(str(value))
    if isinstance(value, Number):
        return kind.parse(str(value))
    if value is True or value is False:
        return value if family == "bool" else kind.parse("true" if value else "false")
    if family == "opaque":
        return Json(raw(), value)
    return kind.parse(raw())


def _array_from_json(kind: PgType, value: Any, key: str, raw: Callable[[], str]) -> Any:
    if not isinstance(value, list) or kind.element is None:
        hint = f'See the value of key "{key}".'
        raise sql_error("22P02", "expected JSON array", None, hint)
    element = kind.element

    def convert(item: Any) -> Any:
        nested = isinstance(item, list) and element.family not in {"json", "jsonb"}
        if nested and any(isinstance(i, list) for i in value):
            return [convert(i) for i in item]
        return from_json(element, item, key, partial(_compact, item))

    return [convert(item) for item in value]


def _compact(item: Any) -> str:
    return dumps(item)


def to_python(kind: PgType, value: Any) -> Any:
    """Return *value* as the JSON value that the API would show, as Python reads it."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) in {int, str} and kind.family not in {"oid", "opaque"}:
        return value

    return json.loads(kind.json(value))
