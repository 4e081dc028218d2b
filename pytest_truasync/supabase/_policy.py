"""Grants and row-level security: who may touch which rows, as Python predicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Command = Literal["select", "insert", "update", "delete"]
#: ``predicate(row, claims)``: the row as JSON values, the claims of the caller's token.
Predicate = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]

COMMANDS: tuple[Command, ...] = ("select", "insert", "update", "delete")
#: Roles for which PostgreSQL asks no policy.
BYPASS = frozenset({"service_role", "postgres", "supabase_admin"})


@dataclass(frozen=True, slots=True)
class Policy:
    """One ``create policy``."""

    using: Predicate
    check: Predicate
    roles: frozenset[str]
    commands: frozenset[Command]


def _predicate(given: Predicate | bool) -> Predicate:
    if callable(given):
        return given
    return lambda row, claims: bool(given)


class RowPolicy:
    """Row-level security of one store. A table without a word here is open to every role."""

    def __init__(self) -> None:
        self._policies: dict[str, list[Policy]] = {}
        self._protected: set[str] = set()
        self._revoked: set[tuple[str, str, str]] = set()

    def allow(
        self,
        table: str,
        predicate: Predicate | bool = True,
        *,
        roles: Iterable[str] = ("anon", "authenticated"),
        commands: Iterable[Command] = COMMANDS,
        check: Predicate | bool | None = None,
    ) -> None:
        """Add a policy, as ``create policy``; the table's rows are protected from now on.

        Args:
            table: The table whose rows it lets through.
            predicate: True for the rows seen (``using``), or True for all of them.
            roles: The roles that it speaks of.
            commands: What it allows with these rows.
            check: True for the rows that may be written (``with check``); *predicate* if None.
        """
        chosen = frozenset(commands)
        if unknown := sorted(chosen - set(COMMANDS)):
            raise ValueError(
                f"policy on {table!r}: no command {unknown[0]!r}; there are {', '.join(COMMANDS)}"
            )
        names = frozenset((roles,) if isinstance(roles, str) else roles)
        using = _predicate(predicate)
        checking = using if check is None else _predicate(check)
        self._policies.setdefault(table, []).append(Policy(using, checking, names, chosen))
        self._protected.add(table)

    def protect(self, *tables: str) -> None:
        """Switch row-level security on: no row is seen or written but by a policy."""
        self._protected.update(tables)

    def revoke(self, table: str, *roles: str, commands: Iterable[Command] = COMMANDS) -> None:
        """Take the grant on *table* from *roles*: their requests are refused with 42501."""
        for role in roles:
            self._revoked.update((table, role, command) for command in commands)

    def clear(self) -> None:
        """Forget all policies and revoked grants."""
        self._policies.clear()
        self._protected.clear()
        self._revoked.clear()

    def permits(self, table: str, command: Command, role: str) -> bool:
        """Tell whether *role* has the grant for *command* on *table*."""
        return (table, role, command) not in self._revoked

    def guards(self, table: str, role: str) -> bool:
        """Tell whether the rows of *table* are protected from *role*."""
        return table in self._protected and role not in BYPASS

    def test(self, table: str, command: Command, role: str, *, check: bool = False) -> Predicate:
        """Return what lets a row through: any of the policies for *role* and *command*."""
        found = [
            policy.check if check else policy.using
            for policy in self._policies.get(table, ())
            if command in policy.commands and (role in policy.roles or "public" in policy.roles)
        ]
        return lambda row, claims: any(p(row, claims) for p in found)
