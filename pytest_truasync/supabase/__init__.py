"""A Supabase project in memory, and a truly async client for a real one.

Nothing is imported before it is used: pytest loads this package at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_truasync.supabase._auth import AuthServer
    from pytest_truasync.supabase._auth_users import Message, User
    from pytest_truasync.supabase._columns import Column, ForeignKey
    from pytest_truasync.supabase._errors import SchemaError
    from pytest_truasync.supabase._functions import EdgeRequest, EdgeResponse
    from pytest_truasync.supabase._mock import SupabaseMock
    from pytest_truasync.supabase._network import Call, Fault
    from pytest_truasync.supabase._policy import RowPolicy
    from pytest_truasync.supabase._schema import Schema, Table, Unique, View
    from pytest_truasync.supabase._storage import StorageServer
    from pytest_truasync.supabase._store import Store
    from pytest_truasync.supabase.client import Filters, Rows, SupabaseAsync
    from pytest_truasync.supabase.exceptions import (
        BadRequestError,
        ConflictError,
        ForbiddenError,
        InvalidReplyError,
        NotFoundError,
        NotSingularError,
        PoolTimeoutError,
        RateLimitedError,
        RequestRefusedError,
        RequestTimeoutError,
        ResponseError,
        ServerError,
        SupabaseError,
        TransportError,
        UnauthorizedError,
    )

__all__ = [
    "AuthServer",
    "BadRequestError",
    "Call",
    "Column",
    "ConflictError",
    "EdgeRequest",
    "EdgeResponse",
    "Fault",
    "Filters",
    "ForbiddenError",
    "ForeignKey",
    "InvalidReplyError",
    "Message",
    "NotFoundError",
    "NotSingularError",
    "PoolTimeoutError",
    "RateLimitedError",
    "RequestRefusedError",
    "RequestTimeoutError",
    "ResponseError",
    "RowPolicy",
    "Rows",
    "Schema",
    "SchemaError",
    "ServerError",
    "StorageServer",
    "Store",
    "SupabaseAsync",
    "SupabaseError",
    "SupabaseMock",
    "Table",
    "TransportError",
    "UnauthorizedError",
    "Unique",
    "User",
    "View",
]

_HOMES = {
    "_auth": ("AuthServer",),
    "_auth_users": ("Message", "User"),
    "_columns": ("Column", "ForeignKey"),
    "_errors": ("SchemaError",),
    "_functions": ("EdgeRequest", "EdgeResponse"),
    "_mock": ("SupabaseMock",),
    "_network": ("Call", "Fault"),
    "_policy": ("RowPolicy",),
    "_schema": ("Schema", "Table", "Unique", "View"),
    "_storage": ("StorageServer",),
    "_store": ("Store",),
    "client": ("Filters", "Rows", "SupabaseAsync"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
