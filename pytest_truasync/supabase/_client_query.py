"""The client's arguments, written in PostgREST's query language."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

Filters = Mapping[str, Any] | Iterable[tuple[str, str, Any]]
"""``{column: value}``, or ``(column, operator, value)`` triples.

In a mapping a plain value means equality, None ``is.null``, a list or set ``in``, and a tuple
``(operator, value)`` any other operator: ``{"age": ("gte", 18), "id": [1, 2]}``. Text is never
read as an operator, so what a user typed can not become one.
"""


def filter_params(filters: Filters | None) -> list[tuple[str, str]]:
    """Return the filters as query parameters.

    Raises:
        TypeError: A filter of another shape.
    """
    if filters is None:
        return []
    if isinstance(filters, Mapping):
        return [(column, _condition(value)) for column, value in filters.items()]
    return [
        (column, _operator(operator, value)) for column, operator, value in map(_triple, filters)
    ]


def row_params(
    columns: str | Sequence[str] | None,
    order: str | Sequence[str] | None,
    limit: int | None,
    offset: int | None,
) -> list[tuple[str, str]]:
    """Return what shapes the rows as query parameters; what is None is left out."""
    pairs = (
        ("select", _joined(columns)),
        ("order", _joined(order)),
        ("limit", None if limit is None else str(limit)),
        ("offset", None if offset is None else str(offset)),
    )
    return [(name, value) for name, value in pairs if value is not None]


def _joined(words: str | Sequence[str] | None) -> str | None:
    return words if words is None or isinstance(words, str) else ",".join(words)


def _triple(given: Any) -> tuple[str, str, Any]:
    if not (isinstance(given, tuple) and len(given) == 3):
        raise TypeError(f"a filter is (column, operator, value) or a mapping, not {given!r}")
    column, operator, value = given
    return column, operator, value


def _condition(value: Any) -> str:
    if value is None:
        return "is.null"
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[0], str):
            raise TypeError(f"a tuple is (operator, value); write a list for in: {value!r}")
        return _operator(*value)
    if isinstance(value, list | set | frozenset):
        return _operator("in", value)
    return f"eq.{_text(value)}"


def _operator(operator: str, value: Any) -> str:
    bare = operator.removeprefix("not.")
    if isinstance(value, list | tuple | set | frozenset):
        # Text stays text: in.("1") and in.(1) are the same to PostgreSQL.
        words = ",".join(_quoted(_text(v)) for v in value)
        brackets = "({})" if bare == "in" else "{{{}}}"
        return f"{operator}.{brackets.format(words)}"
    return f"{operator}.{_text(value)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def returning_preference(wanted: bool) -> str:
    return "return=representation" if wanted else "return=minimal"


def pairs(params: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return list((params or {}).items())


def some_filters(filters: Filters) -> list[tuple[str, str]]:
    query = filter_params(filters)
    if not query:
        raise ValueError("without a filter all rows would be hit; give one that is always true")
    return query


def plain(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=_as_json).encode()


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"no JSON for a {type(value).__name__}: {value!r}")
