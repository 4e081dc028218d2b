"""The errors that the client raises: one small tree; and the one that the mock raises."""

from __future__ import annotations

import json
from typing import Any

__all__ = [
    "BadRequestError",
    "ConflictError",
    "ForbiddenError",
    "InvalidReplyError",
    "NotFoundError",
    "NotSingularError",
    "PoolTimeoutError",
    "RateLimitedError",
    "RequestRefusedError",
    "RequestTimeoutError",
    "ResponseError",
    "ServerError",
    "SupabaseError",
    "TransportError",
    "UnauthorizedError",
    "error_for",
]


class RequestRefusedError(AssertionError):
    """A request that nobody answers was about to leave this process.

    Not an `httpx.HTTPError`, nor a `RuntimeError`, on purpose: code that handles a network
    that fails must not take a leak for one.
    """


class SupabaseError(Exception):
    """Anything that went wrong between this client and the project; catch this to catch all."""


class TransportError(SupabaseError):
    """No answer came back: no connection, a reset, a broken protocol.

    ``__cause__`` is the `httpx.TransportError`. A write may have been done all the same.
    """


class RequestTimeoutError(TransportError):
    """No answer came back in time."""


class PoolTimeoutError(RequestTimeoutError):
    """Every connection of the client stayed busy; the request was never sent."""


class ResponseError(SupabaseError):
    """The project answered, and the answer is a refusal.

    Attributes:
        status: The HTTP status.
        code: PostgREST's or PostgreSQL's code (``PGRST116``, ``23505``); None without one.
        message: What the server says.
        details: More of it; None without.
        hint: What the server suggests; None without.
        retry_after_s: Seconds to wait before the next try; None without a ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        details: Any = None,
        hint: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the formatted text alone: pytest-xdist and
        # process pools pickle exceptions.
        state = dict(self.__dict__)
        return (_rebuild, (type(self), self.status, self.message, state))


class BadRequestError(ResponseError):
    """400: the request is malformed or names what does not exist."""


class UnauthorizedError(ResponseError):
    """401: no key, a wrong key, or a token that is expired or not valid."""


class ForbiddenError(ResponseError):
    """403: the role may not do this."""


class NotFoundError(ResponseError):
    """404: no such table, function or file."""


class NotSingularError(ResponseError):
    """406: one row was asked for, and none or several were found."""


class ConflictError(ResponseError):
    """409: a unique or foreign key stands against it."""


class RateLimitedError(ResponseError):
    """429: too many requests; see `retry_after_s`."""


class ServerError(ResponseError):
    """5xx: the project failed."""


class InvalidReplyError(ResponseError):
    """The status says success, but the body is not what the API promises."""


_BY_STATUS: dict[int, type[ResponseError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    406: NotSingularError,
    409: ConflictError,
    429: RateLimitedError,
}


def error_for(
    status: int, body: bytes, *, reason: str = "", retry_after: str | None = None
) -> ResponseError:
    """Read a refusal, whoever sent it: PostgREST, the gateway, a proxy with an HTML page."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ResponseError)
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        text = body[:200].decode("utf-8", "replace").strip()
        return kind(status, text or reason or "no message", retry_after_s=_seconds(retry_after))
    message = next(
        (said[k] for k in ("message", "msg", "error_description", "error") if said.get(k)), reason
    )
    code = said.get("code", said.get("error_code"))
    return kind(
        status,
        str(message or "no message"),
        code=None if code is None else str(code),
        details=said.get("details"),
        hint=said.get("hint"),
        retry_after_s=_seconds(retry_after),
    )


def _seconds(retry_after: str | None) -> float | None:
    # The header may hold a date too; a caller with a wrong clock is better off with its own
    # back-off than with a date.
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None


def _rebuild(
    kind: type[ResponseError], status: int, message: str, state: dict[str, Any]
) -> ResponseError:
    error = kind(status, message, code=state.get("code"))
    error.__dict__.update(state)
    return error
