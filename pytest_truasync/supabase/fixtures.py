"""The fixtures of the wing; thin, and loaded at every start of pytest.

So nothing is imported here but pytest: httpx, respx and the rest of the wing come with the
first test that asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_truasync.supabase._backend import Backend, SchemaSource
    from pytest_truasync.supabase._mock import SupabaseMock
    from pytest_truasync.supabase.client import SupabaseAsync

__all__ = [
    "supabase_client",
    "supabase_env",
    "supabase_key",
    "supabase_mock",
    "supabase_schema",
    "supabase_service_key",
    "supabase_url",
]


@pytest.fixture(scope="session")
def supabase_url() -> str:
    """Where the mocked project seems to be; override it if the app has a URL of its own."""
    from pytest_truasync.supabase._mock import DEFAULT_URL

    return DEFAULT_URL


@pytest.fixture(scope="session")
def supabase_key() -> str:
    """The public key of the mocked project; requests with it run as ``anon``."""
    from pytest_truasync.supabase._jwt import ANON_KEY

    return ANON_KEY


@pytest.fixture(scope="session")
def supabase_service_key() -> str:
    """The secret key of the mocked project; requests with it run as ``service_role``."""
    from pytest_truasync.supabase._jwt import SERVICE_KEY

    return SERVICE_KEY


@pytest.fixture(scope="session")
def supabase_schema() -> SchemaSource | None:
    """The tables of every mocked project: override it in conftest.py.

    Return a `Schema`, tables, or the path of a JSON, OpenAPI or SQL file or of a migrations
    folder. The tables are built once, and their rows put back before each test.
    """
    return None


@pytest.fixture(scope="session")
def _supabase_backends() -> _Backends:
    return _Backends()


@pytest.fixture
def supabase_mock(
    supabase_url: str,
    supabase_key: str,
    supabase_schema: SchemaSource | None,
    _supabase_backends: _Backends,
) -> Iterator[SupabaseMock]:
    """A Supabase project in memory, fresh for this test, answering every httpx client."""
    from pytest_truasync.supabase._mock import SupabaseMock

    # Asked for here, not by the session's fixture: so a package or module may have its own.
    backend = _supabase_backends.fresh(supabase_schema)
    with SupabaseMock(supabase_url, key=supabase_key, backend=backend) as mock:
        yield mock


@pytest.fixture
def supabase_client(supabase_mock: SupabaseMock) -> SupabaseAsync:
    """An open client of the mocked project; closed after the test."""
    return supabase_mock.client()


@pytest.fixture
def supabase_env(supabase_mock: SupabaseMock, monkeypatch: pytest.MonkeyPatch) -> SupabaseMock:
    """The mocked project, named in the environment; real keys there are hidden for the test."""
    for name, value in {
        "SUPABASE_URL": supabase_mock.url,
        "SUPABASE_KEY": supabase_mock.key,
        "SUPABASE_ANON_KEY": supabase_mock.key,
        "SUPABASE_PUBLISHABLE_KEY": supabase_mock.key,
        "SUPABASE_SERVICE_KEY": supabase_mock.service_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_mock.service_key,
        "SUPABASE_SECRET_KEY": supabase_mock.service_key,
    }.items():
        monkeypatch.setenv(name, value)
    return supabase_mock


class _Backends:
    """The databases of the session, one for each schema, rows put back when handed out."""

    def __init__(self) -> None:
        self._made: list[tuple[SchemaSource | None, Backend]] = []

    def fresh(self, schema: SchemaSource | None) -> Backend:
        from pytest_truasync.supabase._backend import Backend

        backend = next((made for known, made in self._made if known is schema), None)
        others = [(known, made) for known, made in self._made if known is not schema]
        if backend is None or backend.altered:
            backend = Backend(schema)
        else:
            backend.reset()
        # The last ones used are kept: a suite may make a schema for each test.
        self._made = [(schema, backend), *others[:7]]
        return backend
