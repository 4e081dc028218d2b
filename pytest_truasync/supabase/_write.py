"""Rows in, rows changed, rows out: inserts, upserts, updates and deletes on a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pytest_truasync.supabase import _constraints as constraints
from pytest_truasync.supabase._columns import ForeignKey
from pytest_truasync.supabase._errors import policy_refused, sql_error
from pytest_truasync.supabase._schema import Relation
from pytest_truasync.supabase._sqlvalues import Scope
from pytest_truasync.supabase._store import Row, Store

Test = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Conflict:
    """What to do with a row whose key is taken: ``on conflict (columns) do ...``."""

    columns: tuple[str, ...]
    action: Literal["merge", "ignore"]
    update: tuple[str, ...] = ()


@dataclass(slots=True)
class Rules:
    """What row-level security says of one table; None lets everything through."""

    insert_check: Test | None = None
    update_using: Test | None = None
    update_check: Test | None = None
    delete_using: Test | None = None
    select_using: Test | None = None


_OPEN = Rules()


def check_conflict(relation: Relation, columns: tuple[str, ...]) -> None:
    """Refuse ``on_conflict`` columns that are no key.

    Raises:
        ApiError: 42703 or 42P10.
    """
    for name in columns:
        if name not in relation.types:
            raise sql_error("42703", f'column "{name}" does not exist')
    if all(set(columns) != set(key) for _, key in constraints.unique_keys(relation)):
        message = (
            "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        )
        raise sql_error("42P10", message)


class Writer:
    """One statement's changes to a store, under the caller's rules."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self.store, self.scope = store, scope
        self.pending: list[tuple[Relation, ForeignKey, Relation, list[Row]]] = []

    # insert

    def insert(
        self,
        relation: Relation,
        rows: Iterable[Row],
        conflict: Conflict | None = None,
        rules: Rules = _OPEN,
    ) -> tuple[list[Row], int]:
        """Insert rows with their defaults.

        Returns:
            The rows inserted or merged, and how many of them were inserted.
        """
        check_generated(relation, rows)
        written: list[Row] = []
        inserted = 0
        merged: list[Row] = []
        seen: set[int] = set()
        for given in rows:
            row = self.store.complete(relation, given, scope=self.scope)
            if rules.insert_check and not rules.insert_check(row):
                raise policy_refused(relation.name)
            constraints.check_row(relation, row)
            taken = self.taken(relation, row, conflict) if conflict else None
            if conflict is not None and taken is not None:
                if conflict.action == "ignore":
                    continue
                new = self.merge(relation, taken, row, conflict, seen, rules)
                merged.append(new)
            else:
                constraints.check_unique(self.store, relation, row)
                new = row
                self.store.append(self.store.writable(relation.name), new, relation)
                inserted += 1
            if conflict is not None:
                seen.add(id(new))
            written.append(new)
        constraints.check_references(self.store, relation, written)
        self.finish()
        return written, inserted

    def taken(self, relation: Relation, row: Row, conflict: Conflict) -> Row | None:
        """Return the row that has the key of *row* already."""
        state = self.store.writable(relation.name)
        key = constraints.key_of(relation, conflict.columns)(row)
        if key is None:
            return None
        return self.store.index(state, relation.name, conflict.columns).get(key)

    def merge(
        self,
        relation: Relation,
        old: Row,
        given: Row,
        conflict: Conflict,
        seen: set[int],
        rules: Rules,
    ) -> Row:
        if id(old) in seen:
            message = "ON CONFLICT DO UPDATE command cannot affect row a second time"
            hint = (
                "Ensure that no rows proposed for insertion within the same command have "
                "duplicate constrained values."
            )
            raise sql_error("21000", message, None, hint)
        if rules.update_using and not rules.update_using(old):
            raise sql_error(
                "42501",
                "new row violates row-level security policy (USING expression) "
                f'for table "{relation.name}"',
            )
        changes = {name: given[name] for name in conflict.update}
        (new,) = self._update(relation, [old], changes, rules)
        return new

    # update

    def update(
        self,
        relation: Relation,
        rows: list[Row],
        changes: Row,
        rules: Rules = _OPEN,
    ) -> list[Row]:
        """Change rows; as in PostgreSQL the changed rows move to the end."""
        check_assignable(relation, changes)
        made = self._update(relation, rows, changes, rules)
        self.finish()
        return made

    def _update(
        self, relation: Relation, rows: list[Row], changes: Row, rules: Rules = _OPEN
    ) -> list[Row]:
        made = []
        for old in rows:
            new = {**old, **changes}
            if relation.generated:
                self.store.regenerate(relation, new)
            if rules.update_check and not rules.update_check(new):
                raise policy_refused(relation.name)
            constraints.check_row(relation, new)
            made.append(new)
        self.replace(relation, rows, made)
        changed = set(changes) | set(relation.generated)
        constraints.check_references(self.store, relation, made, changed)
        self.after_update(relation, rows, made, changed)
        return made

    def replace(self, relation: Relation, old_rows: list[Row], new_rows: list[Row]) -> None:
        """Take rows out and put their successors at the end."""
        if not old_rows:
            return
        state = self.store.writable(relation.name)
        gone = {id(row) for row in old_rows}
        keys = list(constraints.unique_keys(relation))
        indexes = [
            (name, columns, self.store.index(state, relation.name, columns))
            for name, columns in keys
        ]
        for old, new in zip(old_rows, new_rows, strict=True):
            for name, columns, index in indexes:
                key_of = constraints.key_of(relation, columns)
                before, after = key_of(old), key_of(new)
                if before == after:
                    if after is not None:
                        index[after] = new
                    continue
                if after is not None and after in index:
                    raise constraints.unique_violation(relation, name, columns, new)
                if before is not None:
                    del index[before]
                if after is not None:
                    index[after] = new
        state.rows = [row for row in state.rows if id(row) not in gone]
        state.rows += new_rows
        used = {columns for _, columns in keys}
        for columns in list(state.indexes):  # an index of columns that are no key of ours
            if columns not in used:
                del state.indexes[columns]

    def after_update(
        self, relation: Relation, olds: list[Row], news: list[Row], changed: set[str]
    ) -> None:
        """Do what the foreign keys say of a changed key."""
        for owner, key in constraints.incoming(self.store, relation):
            if not changed & set(key.references):
                continue
            key_of = constraints.key_of(relation, key.references)
            for old, new in zip(olds, news, strict=True):
                if key_of(old) is None or key_of(old) == key_of(new):
                    continue
                referring = self.referring(owner, key, relation, old)
                if referring and key.on_update == "cascade":
                    values = dict(zip(key.columns, (new[c] for c in key.references), strict=True))
                    self._update(owner, referring, values)
                elif referring:
                    self.detach(relation, owner, key, old, referring, key.on_update)

    # delete

    def delete(self, relation: Relation, rows: list[Row]) -> list[Row]:
        """Delete rows, and do what the foreign keys say of rows that refer to them."""
        self._delete(relation, rows)
        self.finish()
        return rows

    def _delete(self, relation: Relation, rows: list[Row]) -> None:
        if not rows:
            return
        state = self.store.writable(relation.name)
        gone = {id(row) for row in rows}
        for columns, index in state.indexes.items():
            key_of = constraints.key_of(relation, columns)
            for row in rows:
                if (key := key_of(row)) is not None:
                    index.pop(key, None)
        state.rows = [row for row in state.rows if id(row) not in gone]
        for owner, key in constraints.incoming(self.store, relation):
            for row in rows:
                referring = self.referring(owner, key, relation, row)
                if referring and key.on_delete == "cascade":
                    self._delete(owner, referring)
                elif referring:
                    self.detach(relation, owner, key, row, referring, key.on_delete)

    # foreign keys

    def referring(self, owner: Relation, key: ForeignKey, target: Relation, row: Row) -> list[Row]:
        """Return the rows of *owner* that refer to *row*."""
        wanted = constraints.key_of(target, key.references)(row)
        if wanted is None:
            return []
        return [
            r
            for r in self.store.writable(owner.name).rows
            if constraints.referring_value(key, target, r) == wanted
        ]

    def detach(
        self,
        relation: Relation,
        owner: Relation,
        key: ForeignKey,
        row: Row,
        referring: list[Row],
        action: str,
    ) -> None:
        """Set the referring columns, refuse, or remember to look again at the end."""
        if action == "restrict":
            raise constraints.still_referenced(relation, key, owner, row)
        if action == "no action":
            self.pending.append((relation, key, owner, [row]))
            return
        for old in referring:
            values: dict[str, Any] = dict.fromkeys(key.columns)
            if action == "set default":
                values = {c: self.store.default(owner, c, self.scope) for c in key.columns}
            self._update(owner, [old], values)

    def finish(self) -> None:
        """Refuse lost keys that are still referred to, ``no action``.

        Raises:
            ApiError: 23503.
        """
        pending, self.pending = self.pending, []
        for relation, key, owner, rows in pending:
            for row in rows:
                value = constraints.key_of(relation, key.references)(row)
                if self.store.find(relation.name, key.references, value) is not None:
                    continue
                if self.referring(owner, key, relation, row):
                    raise constraints.still_referenced(relation, key, owner, row)


def check_generated(relation: Relation, rows: Iterable[Row]) -> None:
    """Refuse values for columns that PostgreSQL fills in itself."""
    for row in rows:
        for name in row:
            column = relation.columns[name]
            if column.identity == "always":
                raise sql_error(
                    "428C9",
                    f'cannot insert a non-DEFAULT value into column "{name}"',
                    f'Column "{name}" is an identity column defined as GENERATED ALWAYS.',
                    "Use OVERRIDING SYSTEM VALUE to override.",
                )
            if column.generated is not None:
                raise sql_error(
                    "428C9",
                    f'cannot insert a non-DEFAULT value into column "{name}"',
                    f'Column "{name}" is a generated column.',
                )


def check_assignable(relation: Relation, changes: Row) -> None:
    """Refuse to change columns that PostgreSQL fills in itself."""
    for name in changes:
        column = relation.columns[name]
        if column.identity == "always":
            raise sql_error(
                "428C9",
                f'column "{name}" can only be updated to DEFAULT',
                f'Column "{name}" is an identity column defined as GENERATED ALWAYS.',
            )
        if column.generated is not None:
            raise sql_error(
                "428C9",
                f'column "{name}" can only be updated to DEFAULT',
                f'Column "{name}" is a generated column.',
            )
