"""Not null, check, unique and foreign key: PostgreSQL's refusals in its own words."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._errors import ApiError, sql_error
from pytest_truasync.supabase._sqlvalues import Scope
from pytest_truasync.supabase._types import PgType

if TYPE_CHECKING:
    from pytest_truasync.supabase._columns import ForeignKey
    from pytest_truasync.supabase._schema import Relation
    from pytest_truasync.supabase._store import Row, Store

Key = Callable[["Row"], Any]


def assign(value: Any, source: PgType, target: PgType) -> Any:
    """Convert the value of an expression to the type of the column it goes to."""
    value = cast(value, source, target)
    if value is not None and target.coerce is not None:
        return target.coerce(value)
    return value


def key_of(relation: Relation, columns: tuple[str, ...]) -> Key:
    """Return what takes the key out of a row: a tuple, or None where a column is null."""
    found = relation.keys.get(columns)
    if found is None:
        found = relation.keys[columns] = _make_key(relation, columns)
    return found


def _make_key(relation: Relation, columns: tuple[str, ...]) -> Key:
    parts = [(c, relation.types[c].key) for c in columns]
    if len(columns) == 1 and parts[0][1] is None:
        (only,) = columns

        def single(row: Row) -> Any:
            value = row[only]
            return None if value is None else (_frozen(value),)

        return single

    def several(row: Row) -> Any:
        key = []
        for column, convert in parts:
            value = row[column]
            if value is None:
                return None
            key.append(_frozen(convert(value) if convert else value))
        return tuple(key)

    return several


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def values_text(relation: Relation, columns: Iterable[str], row: Row) -> str:
    """Return the values of *columns* as PostgreSQL lists them in error details."""
    shown = []
    for column in columns:
        value = row[column]
        shown.append("null" if value is None else relation.types[column].text(value))
    return ", ".join(shown)


def failing_row(relation: Relation, row: Row) -> str:
    """Return the details of an error about a whole row; long values are cut."""
    shown = []
    for column in relation.types:
        value = row[column]
        text = "null" if value is None else relation.types[column].text(value)
        shown.append(text if len(text.encode()) <= 64 else f"{text[:64]}...")
    return f"Failing row contains ({', '.join(shown)})."


def check_row(relation: Relation, row: Row) -> None:
    """Refuse a row that breaks a not-null or check constraint."""
    for name in relation.not_null:
        if row[name] is None:
            kind = relation.types[name]
            if relation.columns[name].nullable and kind.not_null:
                raise sql_error("23502", f"domain {kind.name} does not allow null values")
            message = (
                f'null value in column "{name}" of relation "{relation.name}" '
                "violates not-null constraint"
            )
            raise sql_error("23502", message, failing_row(relation, row))
    for name, expr in relation.checks:
        if expr(Scope(row=row, types=relation.types))[1] is False:
            message = f'new row for relation "{relation.name}" violates check constraint "{name}"'
            raise sql_error("23514", message, failing_row(relation, row))


def unique_keys(relation: Relation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and columns of each unique constraint, the primary key first."""
    if relation.primary_key:
        yield relation.primary_key_name, relation.primary_key
    for unique in relation.uniques:
        yield unique.name, unique.columns


def check_unique(store: Store, relation: Relation, row: Row) -> None:
    """Refuse a row whose key is taken."""
    state = store.writable(relation.name)
    for name, columns in unique_keys(relation):
        key = key_of(relation, columns)(row)
        if key is not None and key in store.index(state, relation.name, columns):
            raise unique_violation(relation, name, columns, row)


def unique_violation(relation: Relation, name: str, columns: tuple[str, ...], row: Row) -> ApiError:
    """Make the error to a key that is taken."""
    shown = values_text(relation, columns, row)
    return sql_error(
        "23505",
        f'duplicate key value violates unique constraint "{name}"',
        f"Key ({', '.join(columns)})=({shown}) already exists.",
    )


def check_references(
    store: Store, relation: Relation, rows: Iterable[Row], changed: Container[str] | None = None
) -> None:
    """Refuse rows that refer to a row that is not there.

    Args:
        store: Where it should be.
        relation: The table of the rows.
        rows: The rows that were written.
        changed: The columns that were changed; every one if None.
    """
    for key in relation.foreign_keys:
        if changed is not None and not any(column in changed for column in key.columns):
            continue
        target = store.schema.relations.get(key.table)
        if target is None or not key.references:
            continue
        target = store.base(target.name)
        for row in rows:
            value = referring_value(key, target, row)
            if value is None or store.find(target.name, key.references, value) is not None:
                continue
            shown = values_text(relation, key.columns, row)
            raise sql_error(
                "23503",
                f'insert or update on table "{relation.name}" violates foreign key constraint '
                f'"{key.name}"',
                f'Key ({", ".join(key.columns)})=({shown}) is not present in table "{key.table}".',
            )


def referring_value(key: ForeignKey, target: Relation, row: Row) -> Any:
    """Return the key that *row* refers to, or None."""
    referred = dict(zip(key.references, (row[c] for c in key.columns), strict=True))
    return key_of(target, key.references)(referred)


def still_referenced(relation: Relation, key: ForeignKey, owner: Relation, row: Row) -> ApiError:
    """Make the error to the loss of a key that another row refers to."""
    shown = values_text(relation, key.references, row)
    return sql_error(
        "23503",
        f'update or delete on table "{relation.name}" violates foreign key constraint '
        f'"{key.name}" on table "{owner.name}"',
        f"Key ({', '.join(key.references)})=({shown}) is still referenced from table "
        f'"{owner.name}".',
    )


def incoming(store: Store, relation: Relation) -> list[tuple[Relation, ForeignKey]]:
    """Return the foreign keys that refer to *relation*, with their owners."""
    return [
        (owner, key)
        for owner in store.schema.relations.values()
        if not owner.is_view
        for key in owner.foreign_keys
        if key.references and key.table == relation.name
    ]
