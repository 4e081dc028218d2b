"""The database of a mocked project: built once, put back before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_truasync.supabase._engine import Engine
from pytest_truasync.supabase._errors import SchemaError
from pytest_truasync.supabase._policy import RowPolicy
from pytest_truasync.supabase._schema import Schema, Table
from pytest_truasync.supabase._schema_json import read_json
from pytest_truasync.supabase._store import Store

__all__ = ["Backend", "SchemaSource", "read_schema"]

SchemaSource = Schema | Table | Iterable[Table] | Mapping[str, Any] | str | Path


class Backend:
    """Store and engine for one schema.

    Attributes:
        store: The tables and their rows.
        engine: What answers from them.
        functions: Name → Python function, for ``rpc/``.
        policies: Row-level security.
        altered: The tables are no longer those it was built with: build another one.
    """

    def __init__(self, schema: SchemaSource | None = None) -> None:
        self.policies = RowPolicy()
        self.functions: dict[str, Callable[..., Any]] = {}
        self.altered = False
        self._build(Schema() if schema is None else read_schema(schema))

    def _build(self, schema: Schema) -> None:
        self.store = Store(schema)
        self.engine = Engine(
            self.store,
            schema_name=schema.name,
            functions=self.functions,
            visible=self.policies,
        )
        self._snapshot = self.store.snapshot()

    def add_table(self, table: Table) -> None:
        """Declare one more table."""
        self.altered = True
        self.store.add_table(table)

    def load(self, schema: SchemaSource) -> None:
        """Declare the tables of *schema*, beside those there are."""
        self.altered = True
        if not self.store.tables:
            before = self.engine
            self._build(read_schema(schema))
            self.engine.db_aggregates = before.db_aggregates
            self.engine.text_search = before.text_search
            return
        # Bare tables may refer to those there are: no schema of their own to be checked alone.
        given = (schema,) if isinstance(schema, Table) else schema
        if isinstance(given, Schema | Mapping | str | Path):
            given = read_schema(given).declared.values()
        for table in given:
            self.store.add_table(table)

    def reset(self) -> None:
        """Put the rows and settings back, and forget functions and policies."""
        self.engine.db_aggregates = False
        self.engine.text_search = "english"
        self.store.restore(self._snapshot)
        self.policies.clear()
        self.functions.clear()


def read_schema(source: SchemaSource) -> Schema:
    """Return the tables of *source*, whatever it is.

    Raises:
        SchemaError: It declares something that is wrong, or is the path of nothing.
    """
    if isinstance(source, Schema):
        return source
    if isinstance(source, Table):
        return Schema((source,))
    if isinstance(source, str | Path) and Path(source).suffix != ".json":
        if not Path(source).exists():
            raise SchemaError(f"{source}: there is no such file or folder")
        return Schema.from_sql(Path(source))
    if isinstance(source, str | Path | Mapping):
        document, _ = read_json(source)
        by_openapi = "swagger" in document or "openapi" in document
        return Schema.from_openapi(source) if by_openapi else Schema.from_json(source)
    return Schema(source)
