"""Edge functions: Python functions in place of Deno's."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._jwt import Keyring, TokenError
from pytest_truasync.supabase._wire import ServiceRequest, json_reply

__all__ = ["EdgeFunctions", "EdgeRequest", "EdgeResponse"]


@dataclass(frozen=True, slots=True)
class EdgeRequest:
    """What a function is called with.

    Attributes:
        method: Upper case.
        path: What follows the function's name: ``/`` or ``/rest/of/it``.
        query: Decoded; the last value of a name.
        headers: Lower-case name → value.
        body: The request's bytes.
        claims: What the caller's token says.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    claims: Mapping[str, Any]

    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body, read as UTF-8."""
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class EdgeResponse:
    """What a function may return to say more than a value does."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Registered:
    function: Callable[..., Any]
    verify_jwt: bool


class EdgeFunctions:
    """The functions of one project."""

    def __init__(self) -> None:
        self._functions: dict[str, _Registered] = {}

    def add(self, name: str, function: Callable[..., Any], *, verify_jwt: bool) -> None:
        """Register *function* as *name*."""
        self._functions[name] = _Registered(function, verify_jwt)

    async def answer(self, request: ServiceRequest, keyring: Keyring) -> Reply:
        """Call the function that the path names."""
        name, _, rest = request.path.lstrip("/").partition("/")
        found = self._functions.get(name)
        if found is None:
            return json_reply(
                404, {"code": "NOT_FOUND", "message": "Requested function was not found"}
            )
        if found.verify_jwt and request.method != "OPTIONS":
            if not request.headers.get("authorization"):
                message = "Missing authorization header"
                return json_reply(401, {"code": "UNAUTHORIZED_NO_AUTH_HEADER", "message": message})
            try:
                keyring.identify(request.token)
            except TokenError:
                return json_reply(
                    401, {"code": "UNAUTHORIZED_INVALID_JWT_FORMAT", "message": "Invalid JWT"}
                )
        asked = EdgeRequest(
            method=request.method,
            path=f"/{rest}",
            query=request.query,
            headers=request.headers,
            body=request.body,
            claims=request.claims,
        )
        try:
            value = found.function(asked)
            if inspect.isawaitable(value):
                value = await value
        except AssertionError:
            # The test's own check: not for the app to handle.
            raise
        except Exception as error:  # noqa: BLE001 the platform answers for whatever user code raises
            return _failed(name, error)
        return _reply_of(value)


def _failed(name: str, error: Exception) -> Reply:
    # The true platform says no more than the first half; a test wants to know why.
    message = "Function exited due to an error (please check logs)"
    return json_reply(
        500,
        {
            "code": "WORKER_ERROR",
            "message": message,
            "details": f"{name}: {type(error).__name__}: {error}",
        },
    )


def _reply_of(value: Any) -> Reply:
    if not isinstance(value, EdgeResponse):
        value = EdgeResponse(value)
    headers = {name.lower(): text for name, text in value.headers.items()}
    if value.body is None:
        return Reply(value.status, tuple(headers.items()), b"")
    if isinstance(value.body, bytes):
        kind, body = "application/octet-stream", value.body
    elif isinstance(value.body, str):
        kind, body = "text/plain;charset=UTF-8", value.body.encode()
    else:
        kind, body = "application/json", json.dumps(value.body, separators=(",", ":")).encode()
    return Reply(value.status, tuple({"content-type": kind, **headers}.items()), body)
