"""The gateway: which service a path belongs to, and who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pytest_truasync.supabase._auth import AuthServer
from pytest_truasync.supabase._backend import Backend
from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._functions import EdgeFunctions
from pytest_truasync.supabase._jwt import Identity, Keyring, TokenError
from pytest_truasync.supabase._network import Call
from pytest_truasync.supabase._storage import StorageServer
from pytest_truasync.supabase._wire import ServiceRequest, json_reply, not_modelled, split_query

__all__ = ["Gateway"]

SERVICES = ("rest", "auth", "storage", "functions")
#: What the platform serves too, and this mock does not.
NOT_MODELLED = {
    "realtime": "realtime, which needs a websocket",
    "graphql": "GraphQL",
    "pg": "the meta API of PostgreSQL",
    "analytics": "analytics",
}
#: Paths of the auth service that are open without a key, as a browser follows links to them.
OPEN_AUTH_PATHS = ("/verify", "/callback", "/authorize", "/.well-known/", "/health")

_NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
_WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}
_ANONYMOUS = Identity("anon", {"role": "anon"})


class Gateway:
    """Sends each request to its service.

    Attributes:
        require_key: Answer 401 to requests without one of the project's keys.
    """

    def __init__(
        self,
        keyring: Keyring,
        backend: Backend,
        auth: AuthServer,
        storage: StorageServer,
        functions: EdgeFunctions,
    ) -> None:
        self.require_key = True
        self._keyring = keyring
        self._backend = backend
        self._auth = auth
        self._storage = storage
        self._functions = functions

    @staticmethod
    def service_of(raw_path: str) -> str:
        """Return the service that *raw_path* belongs to: ``rest``, ``auth``, ... or ``other``."""
        service, found, rest = raw_path.removeprefix("/").partition("/v1")
        whole = found and (not rest or rest[0] in "/?")
        return service if whole and service in SERVICES else "other"

    async def answer(self, call: Call) -> Reply:
        """Answer *call* by its service."""
        if call.service == "other":
            return _unknown(call.path)
        raw_path = call.path[len(call.service) + 4 :] or "/"
        if call.service == "rest":
            return await self._rest(call, raw_path)
        path, query = split_query(raw_path)
        if call.service == "auth" and not path.startswith(OPEN_AUTH_PATHS):
            refused = self._without_key(call.headers, query.get("apikey"))
            if refused is not None:
                return refused
        token = _bearer(call.headers)
        try:
            identity = self._keyring.identify(token) if token else self._by_key(call.headers)
        except TokenError:
            # Each of these services has its own words for a bad token.
            identity = _ANONYMOUS
        request = ServiceRequest(
            call.method,
            path,
            query,
            call.headers,
            call.body,
            identity.role,
            identity.claims,
            token or "",
        )
        if call.service == "auth":
            return self._auth.answer(request)
        if call.service == "storage":
            return self._storage.answer(request)
        return await self._functions.answer(request, self._keyring)

    async def _rest(self, call: Call, raw_path: str) -> Reply:
        key = None
        if "apikey=" in raw_path:
            raw_path, key = _taken_out(raw_path)
        refused = self._without_key(call.headers, key)
        if refused is not None:
            return refused
        token = _bearer(call.headers)
        try:
            if token is not None:
                identity = self._keyring.identify(token)
            else:
                identity = self._by_key(call.headers, key)
        except TokenError as error:
            return _bad_token(error)
        return await self._backend.engine.answer(
            call.method,
            raw_path,
            tuple(call.headers.items()),
            call.body,
            role=identity.role,
            claims=identity.claims,
        )

    def _without_key(self, headers: Mapping[str, str], in_query: str | None) -> Reply | None:
        if not self.require_key:
            return None
        key = headers.get("apikey", in_query)
        if key is None:
            return json_reply(401, _NO_KEY)
        return None if self._keyring.is_key(key) else json_reply(401, _WRONG_KEY)

    def _by_key(self, headers: Mapping[str, str], in_query: str | None = None) -> Identity:
        key = headers.get("apikey", in_query)
        return self._keyring.identify(key) if key and self._keyring.is_key(key) else _ANONYMOUS


def _bearer(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token; None without one, or with another scheme."""
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _taken_out(raw_path: str) -> tuple[str, str | None]:
    """Part the key from a path: it is for the gateway, not for PostgREST."""
    path, _, query = raw_path.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in pairs if name != "apikey"])
    key = next((value for name, value in pairs if name == "apikey"), None)
    return (f"{path}?{rest}" if rest else path), key


def _bad_token(error: TokenError) -> Reply:
    body: dict[str, Any] = {
        "code": error.code,
        "details": error.details,
        "hint": None,
        "message": error.message,
    }
    told = f'Bearer error="invalid_token", error_description="{error.message}"'
    return json_reply(401, body, {"www-authenticate": told})


def _unknown(raw_path: str) -> Reply:
    service = raw_path.removeprefix("/").partition("/")[0].partition("?")[0]
    if service in NOT_MODELLED:
        return not_modelled(NOT_MODELLED[service])
    # What the platform's gateway says to a path that it has no route for.
    return json_reply(404, {"message": "no Route matched with those values"})
