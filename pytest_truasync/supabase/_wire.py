"""Requests and replies of the services beside PostgREST: plain values, no HTTP library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._errors import UNSUPPORTED

__all__ = ["MALFORMED", "ServiceRequest", "json_reply", "not_modelled", "split_query"]


#: What reading a body of the wrong shape raises; the services check it by a schema, at the door.
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """One request to a service.

    Attributes:
        method: Upper case.
        path: Relative to the service's root, percent-encoded, no query: ``/token``.
        query: Decoded; the last value of a name.
        headers: Lower-case name → value.
        body: The request's bytes.
        role: The database role that the caller's token stands for.
        claims: What the caller's token says; None for a key that is no token.
        token: The caller's bearer token; empty without.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    role: str = "anon"
    claims: Mapping[str, Any] = field(default_factory=dict)
    token: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path, decoded."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty one.

        Raises:
            ValueError: It is something else.
        """
        if not self.body:
            return {}
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError(f"expected a JSON object, found {type(value).__name__}")
        return value


def split_query(raw_path: str) -> tuple[str, dict[str, str]]:
    """Part ``/a?b=c`` into the path and the decoded query."""
    path, _, query = raw_path.partition("?")
    return path, dict(parse_qsl(query, keep_blank_values=True))


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Return *value* as a JSON reply."""
    return Reply(
        status,
        (("content-type", "application/json; charset=utf-8"), *(headers or {}).items()),
        json.dumps(value, separators=(",", ":")).encode(),
    )


def not_modelled(what: str) -> Reply:
    """Refuse by name what the real service would answer and this one does not."""
    message = f"pytest-truasync does not model {what}"
    return json_reply(
        501,
        {
            "code": UNSUPPORTED,
            "error": UNSUPPORTED,
            "statusCode": "501",
            "message": message,
            "details": None,
            "hint": "Answer it by a respx route of your own, or test it against a real project.",
        },
    )
