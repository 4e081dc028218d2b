"""Tables, constraints, snapshot and rollback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pytest_truasync.supabase import _constraints as constraints
from pytest_truasync.supabase._convert import from_json, to_python
from pytest_truasync.supabase._errors import ApiError, SchemaError
from pytest_truasync.supabase._json import dumps_compact
from pytest_truasync.supabase._schema import Relation, Schema, Table
from pytest_truasync.supabase._sqlvalues import Scope

#: A stored row: column → typed value. Never changed in place: snapshots share it.
Row = dict[str, Any]


class TableState:
    """The rows of one table in physical order, and an index for each key that was asked for."""

    __slots__ = ("indexes", "rows", "shared")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.indexes: dict[tuple[str, ...], dict[Any, Row]] = {}
        self.shared = False

    def copy(self) -> TableState:
        """Return a copy that may be written to."""
        made = TableState(list(self.rows))
        made.indexes = {columns: dict(index) for columns, index in self.indexes.items()}
        return made


class Snapshot:
    """The rows and sequences of a store at one moment; opaque."""

    __slots__ = ("sequences", "states")

    def __init__(self, states: dict[str, TableState], sequences: dict[str, int]) -> None:
        self.states, self.sequences = states, sequences


class Store:
    """The rows of a schema, held to its constraints.

    Args:
        schema: A `Schema`, or its tables.

    Raises:
        SchemaError: A table, or one of the rows it is declared with, is wrong.
    """

    def __init__(self, schema: Schema | Iterable[Table] = ()) -> None:
        self._schema = schema if isinstance(schema, Schema) else Schema(schema)
        self._states: dict[str, TableState] = {}
        self._sequences: dict[str, int] = {}
        tables = list(self._schema.declared.values())
        for table in tables:
            self._open(table)
        self._fill(tables)

    @property
    def schema(self) -> Schema:
        """The declared tables."""
        return self._schema

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables and views."""
        return tuple(self._schema.relations)

    def add_table(self, table: Table) -> None:
        """Declare one more table, with its rows."""
        self._schema.add(table)
        self._schema.check_references()
        self._open(table)
        self._fill([table])

    def _open(self, table: Table) -> None:
        if not table.live:
            self._states[table.name] = TableState([])
        for column, start in table.sequence_starts.items():
            default = table.columns[column].default or f"'{table.name}_{column}_seq'"
            name = default.partition("'")[2].partition("'")[0]
            self._sequences[name] = start

    def _fill(self, tables: Iterable[Table]) -> None:
        added: list[tuple[Relation, list[Row]]] = []
        for table in tables:
            if table.rows and not table.live:
                relation = self._schema.relations[table.name]
                added.append((relation, self._load(relation, table)))
        for relation, rows in added:
            try:
                if not relation.computed:
                    constraints.check_references(self, relation, rows)
            except ApiError as error:
                raise _bad_rows(relation.name, error) from None

    def _load(self, relation: Relation, table: Table) -> list[Row]:
        rows = []
        state = self._states[relation.name]
        try:
            for given in table.rows:
                row = self.complete(relation, self.convert(relation, given), loading=True)
                if not relation.computed:
                    constraints.check_row(relation, row)
                    constraints.check_unique(self, relation, row)
                self.append(state, row, relation)
                rows.append(row)
        except ApiError as error:
            raise _bad_rows(relation.name, error) from None
        if not table.sequence_starts:
            self._skip_used(relation, rows)
        return rows

    def _skip_used(self, relation: Relation, rows: list[Row]) -> None:
        """Let the sequences go on after the ids that the rows were declared with."""
        for name, column in relation.columns.items():
            default = column.default or ""
            if column.identity or default.startswith("nextval("):
                sequence = self.sequence_name(relation, name)
                used = max((r[name] for r in rows if r[name] is not None), default=0)
                self._sequences[sequence] = max(self._sequences.get(sequence, 1), used + 1)

    def sequence_name(self, relation: Relation, column: str) -> str:
        """Return the name of the sequence behind an id column."""
        default = relation.columns[column].default or ""
        _, _, rest = default.partition("'")
        return rest.partition("'")[0] or f"{relation.name}_{column}_seq"

    def base(self, name: str) -> Relation:
        """Return the relation that holds the rows of *name*: itself, or what a view shows."""
        relation = self._schema.relations[name]
        return self._schema.relations[relation.view_of or name] if relation.live else relation

    def rows(self, name: str) -> list[Row]:
        """Return the stored rows of *name*; not to be changed."""
        relation = self._schema.relations[name]
        if not relation.live:
            return self._states[name].rows
        columns = tuple(relation.types)
        return [{c: row[c] for c in columns} for row in self._states[self.base(name).name].rows]

    def find(self, name: str, columns: tuple[str, ...], key: tuple[Any, ...]) -> Row | None:
        """Return the row with a unique key, by an index that is made when first asked for."""
        return self.index(self._states[name], name, columns).get(key)

    def index(self, state: TableState, name: str, columns: tuple[str, ...]) -> dict[Any, Row]:
        """Return the index of a unique key; rows with a null in it are left out."""
        found = state.indexes.get(columns)
        if found is None:
            keys = constraints.key_of(self._schema.relations[name], columns)
            found = {}
            for row in state.rows:
                if (key := keys(row)) is not None:
                    found[key] = row
            state.indexes[columns] = found
        return found

    def writable(self, name: str) -> TableState:
        """Return the state of *name* for writing: a copy where a snapshot shares it."""
        state = self._states[name]
        if state.shared:
            state = self._states[name] = state.copy()
        return state

    def append(self, state: TableState, row: Row, relation: Relation) -> None:
        """Add a row at the end."""
        state.rows.append(row)
        for columns, index in state.indexes.items():
            if (key := constraints.key_of(relation, columns)(row)) is not None:
                index[key] = row

    def replace_rows(self, name: str, rows: list[Row]) -> None:
        """Put *rows* in place of all rows of *name*; its indexes are made anew."""
        state = self._states[name] = TableState(rows)
        state.indexes = {}

    def convert(self, relation: Relation, given: Mapping[str, Any]) -> Row:
        """Turn JSON values into typed ones.

        Raises:
            SchemaError: No such column.
            ApiError: A value does not fit its column's type.
        """
        row: Row = {}
        for name, value in given.items():
            kind = relation.types.get(name)
            if kind is None:
                raise SchemaError(
                    f"table {relation.name!r} has no column {name!r}; "
                    f"its columns are {', '.join(relation.types)}"
                )
            row[name] = from_json(kind, plain(value), name, partial(dumps_compact, plain(value)))
        return row

    def complete(
        self,
        relation: Relation,
        row: Row,
        *,
        scope: Scope | None = None,
        loading: bool = False,
    ) -> Row:
        """Fill in defaults and generated columns, columns in the order of the table."""
        full: Row = {}
        for name in relation.types:
            if name in row and not (loading is False and name in relation.generated):
                full[name] = row[name]
            elif name in relation.generated or relation.computed:
                full[name] = None
            else:
                full[name] = self.default(relation, name, scope or self.scope())
        if relation.generated:
            self.regenerate(relation, full)
        return full

    def regenerate(self, relation: Relation, row: Row) -> None:
        """Compute the generated columns of *row*, which is still ours alone."""
        for name, expr in relation.generated.items():
            kind, value = expr(Scope(row=row, types=relation.types))
            row[name] = constraints.assign(value, kind, relation.types[name])

    def default(self, relation: Relation, name: str, scope: Scope) -> Any:
        """Return the default of a column; sequences go on."""
        expr = relation.defaults.get(name)
        if expr is None:
            if relation.columns[name].identity:
                return self.nextval(self.sequence_name(relation, name))
            return None
        kind, value = expr(scope)
        return constraints.assign(value, kind, relation.types[name])

    def nextval(self, name: str) -> int:
        """Return the next number of a sequence; like PostgreSQL's it is never put back."""
        name = name.removesuffix("::regclass").removeprefix("public.").strip('"')
        number = self._sequences.get(name, 1)
        self._sequences[name] = number + 1
        return number

    def scope(self, role: str = "postgres", claims: Mapping[str, Any] | None = None) -> Scope:
        """Return what the expressions of one statement can see."""
        return Scope(nextval=self.nextval, role=role, claims=claims or {}, now=datetime.now(UTC))

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return copies of the rows of *name*, as the JSON values that the API would show."""
        relation = self._relation(name)
        types = relation.types
        return [{c: to_python(types[c], v) for c, v in row.items()} for row in self.rows(name)]

    def _relation(self, name: str) -> Relation:
        relation = self._schema.relations.get(name)
        if relation is None:
            known = ", ".join(self._schema.relations) or "none"
            raise SchemaError(f"there is no table {name!r}; declared are: {known}")
        return relation

    def insert(
        self, table: str, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Add rows at test set-up, constraints checked; return them with their defaults.

        Raises:
            ApiError: The rows break a constraint; nothing was added.
            SchemaError: No such table or column.
        """
        self._relation(table)
        relation = self.base(table)
        given = [rows] if isinstance(rows, Mapping) else list(rows)
        before = self.snapshot()
        try:
            scope = self.scope()
            added = []
            state = self.writable(relation.name)
            for item in given:
                row = self.complete(relation, self.convert(relation, item), scope=scope)
                constraints.check_row(relation, row)
                constraints.check_unique(self, relation, row)
                self.append(state, row, relation)
                added.append(row)
            constraints.check_references(self, relation, added)
        except BaseException:
            self.restore(before)
            raise
        types = relation.types
        return [{c: to_python(types[c], v) for c, v in row.items()} for row in added]

    def clear(self, *tables: str) -> None:
        """Delete the rows of *tables* (of all, without a name) without looking at constraints."""
        for name in tables or tuple(self._states):
            self._relation(name)
            self.replace_rows(self.base(name).name, [])

    def snapshot(self) -> Snapshot:
        """Remember the rows and sequences; cheap, rows are shared."""
        for state in self._states.values():
            state.shared = True
        return Snapshot(dict(self._states), dict(self._sequences))

    def restore(self, snapshot: Snapshot, *, sequences: bool = True) -> None:
        """Put back what *snapshot* remembers."""
        self._states = dict(snapshot.states)
        for state in self._states.values():
            state.shared = True
        for name, relation in self._schema.relations.items():
            if name not in self._states and not relation.live:
                self._states[name] = TableState([])  # declared since then: it loses its rows
        if sequences:
            self._sequences = dict(snapshot.sequences)

    def changed_since(self, snapshot: Snapshot) -> bool:
        """Tell whether a row was written since *snapshot*."""
        return any(snapshot.states.get(name) is not state for name, state in self._states.items())


def plain(value: Any) -> Any:
    """Return a Python value of a test as the JSON value that a client would send."""
    if value is None or isinstance(value, (str, int, dict, list)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    return str(value)


def _bad_rows(table: str, error: ApiError) -> SchemaError:
    reply = error.reply
    details = f" ({reply.details})" if reply.details else ""
    return SchemaError(f"rows of table {table!r}: {reply.message}{details}; put the rows right")
