"""What one caller may see and write: the store behind grants and row-level security."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_truasync.supabase._convert import to_python
from pytest_truasync.supabase._errors import UserCodeError, permission_denied
from pytest_truasync.supabase._policy import Command, Predicate, RowPolicy
from pytest_truasync.supabase._schema import Relation
from pytest_truasync.supabase._store import Row, Snapshot, Store
from pytest_truasync.supabase._write import Rules


class Access:
    """The store as one role sees it, at the moment of a snapshot or now."""

    def __init__(
        self,
        store: Store,
        policy: RowPolicy | None,
        role: str,
        claims: Mapping[str, Any],
    ) -> None:
        self.store, self.policy, self.role, self.claims = store, policy, role, claims
        self.before: Snapshot | None = None

    def require(self, table: str, command: Command) -> None:
        """Refuse a command without grant.

        Raises:
            ApiError: 42501.
        """
        if self.policy is not None and not self.policy.permits(table, command, self.role):
            raise permission_denied(table)

    def rows(self, table: str) -> list[Row]:
        """Return the rows that may be read."""
        self.require(table, "select")
        relation = self.store.schema.relations[table]
        if self.before is not None:
            rows = self.before.states[self.store.base(table).name].rows
            if relation.live:
                rows = [{c: row[c] for c in relation.types} for row in rows]
        else:
            rows = self.store.rows(table)
        test = self.using(relation, "select")
        return rows if test is None else [row for row in rows if test(row)]

    def find(self, table: str, columns: tuple[str, ...], key: tuple[Any, ...]) -> list[Row]:
        """Return the row of a unique key, where there is one and it may be read."""
        self.require(table, "select")
        row = self.store.find(table, columns, key)
        if row is None:
            return []
        test = self.using(self.store.schema.relations[table], "select")
        return [row] if test is None or test(row) else []

    def using(
        self, relation: Relation, command: Command, *, check: bool = False
    ) -> Callable[[Row], bool] | None:
        """Return the test of row-level security, or None where the table is open."""
        if self.policy is None or not self.policy.guards(relation.name, self.role):
            return None
        return self._test(
            relation, self.policy.test(relation.name, command, self.role, check=check)
        )

    def _test(self, relation: Relation, predicate: Predicate) -> Callable[[Row], bool]:
        types, claims = relation.types, self.claims

        def apply(row: Row) -> bool:
            shown = {c: to_python(types[c], v) for c, v in row.items() if c in types}
            try:
                return bool(predicate(shown, claims))
            except Exception as error:
                raise UserCodeError(error) from error

        return apply

    def rules(self, relation: Relation, *, returning: bool) -> Rules:
        """Return what row-level security says of writes to one table.

        Args:
            relation: The table.
            returning: Whether the answer shows the rows, which must then be readable too.
        """
        select = self.using(relation, "select") if returning else None
        return Rules(
            insert_check=_both(self.using(relation, "insert", check=True), select),
            update_using=_both(self.using(relation, "update"), self.using(relation, "select")),
            update_check=_both(self.using(relation, "update", check=True), select),
            delete_using=_both(self.using(relation, "delete"), self.using(relation, "select")),
            select_using=self.using(relation, "select"),
        )


def _both(
    first: Callable[[Row], bool] | None, second: Callable[[Row], bool] | None
) -> Callable[[Row], bool] | None:
    if first is None or second is None:
        return first or second
    return lambda row: first(row) and second(row)
