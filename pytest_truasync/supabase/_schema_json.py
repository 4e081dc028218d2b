"""A schema from JSON: columns, keys and rows, as a database can be asked for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_truasync.supabase._columns import Column, ForeignKey
from pytest_truasync.supabase._errors import SchemaError
from pytest_truasync.supabase._schema import Schema, Table, Unique


def read_json(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the JSON object in *source*, a mapping or a path, and how to name it in errors."""
    if isinstance(source, Mapping):
        return dict(source), "the given mapping"
    path = Path(source)
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SchemaError(f"{path}: is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SchemaError(f"{path}: expected a JSON object")
    return found, str(path)


def schema_from_json(source: str | Path | Mapping[str, Any]) -> Schema:
    """Build a schema of the JSON that the documentation of `Schema.from_json` describes."""
    data, label = read_json(source)
    tables = data.get("tables")
    if not isinstance(tables, Mapping):
        raise SchemaError(f"{label}: the key 'tables' is missing; it maps names to tables")
    return Schema(
        [_table(name, table, tables, label) for name, table in tables.items()],
        name=str(data.get("schema", "public")),
        enums=data.get("enums"),
        domains=data.get("domains"),
        lenient=True,
    )


def _table(name: str, data: Any, tables: Mapping[str, Any], label: str) -> Table:
    if not isinstance(data, Mapping) or not isinstance(data.get("columns"), Mapping):
        raise SchemaError(f"{label}: table {name!r} has no 'columns'; they map names to types")
    nullable, defaults = data.get("nullable", {}), data.get("defaults", {})
    identity, generated = data.get("identity", {}), data.get("generated", {})
    table = Table(
        name,
        {
            c: Column(
                kind,
                bool(nullable.get(c, True)),
                defaults.get(c) or _identity_default(name, c, identity),
                identity.get(c),
                generated.get(c),
            )
            for c, kind in data["columns"].items()
        },
        primary_key=tuple(data.get("primary_key", ())),
        foreign_keys=[_foreign_key(key) for key in data.get("foreign_keys", ())],
        rows=data.get("rows", ()),
    )
    table.primary_key_name = data.get("primary_key_name") or table.primary_key_name
    unique_names = data.get("unique_names", ())
    for number, columns in enumerate(data.get("unique", ())):
        named = unique_names[number] if number < len(unique_names) else None
        made = named or f"{name}_{'_'.join(columns)}_key"
        table.uniques.append(Unique(made, tuple(columns)))
    table.is_view = data.get("kind") == "view"
    table.view_of = data.get("view_of")
    table.live = table.view_of is not None and _is_live(data, tables.get(table.view_of))
    # a null says that the view stands for a table that is not exposed: it behaves like that table
    table.computed = table.is_view and not table.live and data.get("view_of", "") is not None
    table.sequence_starts = dict(data.get("next_value", {}))
    return table


def _identity_default(table: str, column: str, identity: Mapping[str, str]) -> str | None:
    return f"nextval('{table}_{column}_seq')" if column in identity else None


def _foreign_key(data: Mapping[str, Any]) -> ForeignKey:
    return ForeignKey(
        columns=tuple(data["columns"]),
        table=data["references_table"],
        references=tuple(data.get("references_columns", ())),
        name=data.get("name", ""),
        on_delete=data.get("on_delete", "no action"),
        on_update=data.get("on_update", "no action"),
    )


def _is_live(view: Mapping[str, Any], base: Any) -> bool:
    """Tell whether *view* shows exactly the rows of *base*, so that it may follow its changes."""
    if not isinstance(base, Mapping) or not set(view["columns"]) <= set(base["columns"]):
        return False
    shown = [{c: row.get(c) for c in view["columns"]} for row in base.get("rows", ())]
    return shown == [dict(row) for row in view.get("rows", ())]
