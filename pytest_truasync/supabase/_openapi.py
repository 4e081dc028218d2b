"""The OpenAPI 2.0 document at the API's root: tables, columns, keys."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pytest_truasync.supabase._schema import Relation, Schema
from pytest_truasync.supabase._types import PgType

_JSON_TYPES = {
    "int": "integer",
    "oid": "integer",
    "numeric": "number",
    "float": "number",
    "bool": "boolean",
    "array": "array",
}


def openapi_document(schema: Schema, name: str, functions: Iterable[str]) -> str:
    """Describe a schema as PostgREST does; `Schema.from_openapi` reads it back."""
    paths: dict[str, Any] = {"/": {"get": {"tags": ["Introspection"]}}}
    for relation in schema.relations.values():
        operations = ["get", "post", "delete", "patch"] if not relation.computed else ["get"]
        paths[f"/{relation.name}"] = {o: {"tags": [relation.name]} for o in operations}
    for function in functions:
        paths[f"/rpc/{function}"] = {"post": {"tags": [f"(rpc) {function}"]}}
    document = {
        "swagger": "2.0",
        "info": {"title": f"{name} schema", "description": "", "version": "truasync"},
        "host": "localhost",
        "basePath": "/",
        "schemes": ["http"],
        "consumes": ["application/json", "text/csv"],
        "produces": ["application/json", "text/csv"],
        "paths": paths,
        "definitions": {r.name: _definition(r) for r in schema.relations.values()},
    }
    return json.dumps(document, ensure_ascii=False)


def _definition(relation: Relation) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [n for n in relation.types if n in relation.not_null],
        "properties": {n: _property(relation, n) for n in relation.types},
    }


def _property(relation: Relation, name: str) -> dict[str, Any]:
    kind = relation.types[name]
    made: dict[str, Any] = {"format": kind.name, "type": _json_type(kind)}
    if kind.family in {"json", "jsonb"}:
        del made["type"]
    if kind.element is not None and kind.family == "array":
        made["items"] = {"type": _json_type(kind.element)}
    if kind.labels:
        made["enum"] = list(kind.labels)
    default = relation.columns[name].default
    if default is not None and not default.startswith("nextval("):
        made["default"] = default
    notes = []
    if name in relation.primary_key:
        notes.append("This is a Primary Key.<pk/>")
    for key in relation.foreign_keys:
        if key.columns == (name,) and len(key.references) == 1:
            target = f"{key.table}.{key.references[0]}"
            notes.append(
                f"This is a Foreign Key to `{target}`."
                f"<fk table='{key.table}' column='{key.references[0]}'/>"
            )
    if notes:
        made["description"] = "Note:\n" + "\n".join(notes)
    return made


def _json_type(kind: PgType) -> str:
    return _JSON_TYPES.get(kind.family, "string")
