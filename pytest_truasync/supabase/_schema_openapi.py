"""A schema from the OpenAPI document that PostgREST serves at its root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_truasync.supabase._columns import Column, ForeignKey
from pytest_truasync.supabase._errors import SchemaError
from pytest_truasync.supabase._schema import Schema, Table
from pytest_truasync.supabase._schema_json import read_json

_FOREIGN_KEY = re.compile(r"<fk table='([^']+)' column='([^']+)'/>")
_IDENTITY_TYPES = frozenset({"smallint", "integer", "bigint"})


def schema_from_openapi(source: str | Path | Mapping[str, Any]) -> Schema:
    """Build a schema of the document's definitions.

    The document knows columns, types, enums, not-null, primary and foreign keys. It does not
    know unique constraints, cascades, or which ids are generated: an integer primary key that
    has no default is taken for one, as it is in nearly every project.
    """
    data, label = read_json(source)
    definitions = data.get("definitions")
    if data.get("swagger") != "2.0" or not isinstance(definitions, Mapping):
        raise SchemaError(
            f"{label}: is no OpenAPI 2.0 document with 'definitions'; save the answer to "
            "GET /rest/v1/ with the header 'Accept: application/openapi+json'"
        )
    enums: dict[str, tuple[str, ...]] = {}
    paths = data.get("paths", {})
    tables = [
        _table(name, definition, paths.get(f"/{name}", {}), enums)
        for name, definition in definitions.items()
        if definition.get("properties")
    ]
    return Schema(tables, enums=enums, lenient=True)


def _table(
    name: str,
    definition: Mapping[str, Any],
    operations: Mapping[str, Any],
    enums: dict[str, tuple[str, ...]],
) -> Table:
    required = set(definition.get("required", ()))
    columns: dict[str, Column] = {}
    primary_key = []
    foreign_keys = []
    for column, told in definition["properties"].items():
        description = told.get("description", "")
        if "<pk/>" in description:
            primary_key.append(column)
        if found := _FOREIGN_KEY.search(description):
            foreign_keys.append(ForeignKey((column,), found[1], (found[2],)))
        columns[column] = Column(
            _type(told, enums), column not in required, _default(told), None, None
        )
    if len(primary_key) == 1:
        (key,) = primary_key
        column = columns[key]
        is_reference = any(fk.columns == (key,) for fk in foreign_keys)
        if column.type in _IDENTITY_TYPES and column.default is None and not is_reference:
            columns[key] = Column(column.type, nullable=False, identity="by default")
    table = Table(name, columns, primary_key=primary_key, foreign_keys=foreign_keys)
    table.is_view = bool(operations) and "post" not in operations
    table.computed = table.is_view
    return table


def _type(told: Mapping[str, Any], enums: dict[str, tuple[str, ...]]) -> str:
    name = str(told.get("format") or told.get("type") or "text")
    if labels := told.get("enum"):
        short = name.removeprefix("public.").replace('"', "")
        enums[short] = tuple(map(str, labels))
        return f'"{short}"'
    length = told.get("maxLength")
    if length and name in {"character varying", "character"}:
        return f"{name}({length})"
    return name


def _default(told: Mapping[str, Any]) -> str | None:
    default = told.get("default")
    if default is None:
        return None
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, (int, float)):
        return str(default)
    text = str(default)
    # PostgREST shows expressions as they are, and constants without their quotes
    if re.search(r"[()]|::|^CURRENT_", text) or text in {"true", "false", "NULL"}:
        return text
    if re.fullmatch(r"-?\d+(\.\d+)?", text) and told.get("type") in {"integer", "number"}:
        return text
    if text.startswith("'"):
        return text
    return "'" + text.replace("'", "''") + "'"
