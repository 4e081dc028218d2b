"""PGRST and SQLSTATE replies: what went wrong, as a value with PostgREST's own keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: Code of a request that the engine understands but does not model.
UNSUPPORTED = "TRUASYNC_UNSUPPORTED"

#: SQLSTATE → HTTP status; the longest prefix wins, and 400 is for what is not here.
#: 42501 depends on the role: 401 for anon, 403 for the others.
STATUS_BY_SQLSTATE = {
    "21000": 500,
    "22023": 400,
    "23503": 409,
    "23505": 409,
    "25": 500,
    "25006": 405,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "42501": 403,
    "54": 500,
    "P0001": 400,
    "P0": 500,
    "XX": 500,
}

NO_OPERATOR_HINT = (
    "No operator matches the given name and argument types. "
    "You might need to add explicit type casts."
)
NO_FUNCTION_HINT = (
    "No function matches the given name and argument types. "
    "You might need to add explicit type casts."
)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """One refused request: the HTTP status and the four keys of PostgREST's error body."""

    status: int
    code: str
    message: str
    details: Any = None
    hint: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class ApiError(Exception):
    """Stop a request; the engine turns it into the reply that it carries."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(f"{reply.status} {reply.code}: {reply.message}")
        self.reply = reply


class UserCodeError(Exception):
    """Carry an exception of the test's own code, a policy or function, out of the engine."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class SchemaError(ValueError):
    """A table was declared wrongly; the message names the culprit and the remedy."""


def sql_error(
    code: str, message: str, details: str | None = None, hint: str | None = None
) -> ApiError:
    """Make the error that PostgreSQL raises with SQLSTATE *code*, with PostgREST's status."""
    status = 400
    for size in (5, 2):
        if (found := STATUS_BY_SQLSTATE.get(code[:size])) is not None:
            status = found
            break
    return ApiError(ErrorReply(status, code, message, details, hint))


def unsupported(what: str, instead: str | None = None) -> ApiError:
    """Refuse by name what is not modelled; PostgREST itself might well answer it."""
    return ApiError(
        ErrorReply(
            501,
            UNSUPPORTED,
            f"pytest-truasync does not model {what}",
            "Refused, so that a test never passes on a made-up answer.",
            instead,
        )
    )


def _pgrst(
    status: int, number: int, message: str, details: Any = None, hint: str | None = None
) -> ApiError:
    return ApiError(ErrorReply(status, f"PGRST{number}", message, details, hint))


# PGRST1xx: the request


def bad_query(message: str, details: str) -> ApiError:
    """Make the reply to a query parameter that does not parse."""
    return _pgrst(400, 100, message, details)


def bad_rpc_method(method: str) -> ApiError:
    """Make the reply to a method that rpc/ does not take."""
    return _pgrst(405, 101, f"Cannot use the {method} method on RPC")


def bad_body(message: str) -> ApiError:
    """Make the reply to a body that cannot be read."""
    return _pgrst(400, 102, message)


def bad_range(details: str) -> ApiError:
    """Make the reply to a range that holds no row."""
    return _pgrst(416, 103, "Requested range not satisfiable", details)


def bad_put_filters() -> ApiError:
    """Make the reply to a PUT whose filters are not exactly the primary key."""
    message = "Filters must include all and only primary key columns with 'eq' operators"
    return _pgrst(405, 105, message)


def bad_schema(name: str, exposed: str) -> ApiError:
    """Make the reply to a profile header that asks for another schema."""
    hint = f"Only the following schemas are exposed: {exposed}"
    return _pgrst(406, 106, f"Invalid schema: {name}", None, hint)


def bad_media_type(asked: Iterable[str]) -> ApiError:
    """Make the reply to an Accept header without any type that is served."""
    return _pgrst(406, 107, f"None of these media types are available: {', '.join(asked)}")


def not_embedded(resource: str) -> ApiError:
    """Make the reply to a filter, order or limit on what select= does not embed."""
    return _pgrst(
        400,
        108,
        f"'{resource}' is not an embedded resource in this request",
        None,
        f"Verify that '{resource}' is included in the 'select' query parameter.",
    )


def put_with_limit() -> ApiError:
    """Make the reply to a PUT with limit or offset."""
    return _pgrst(400, 114, "limit/offset querystring parameters are not allowed for PUT")


def put_key_mismatch() -> ApiError:
    """Make the reply to a PUT whose body has another key than its URL."""
    return _pgrst(400, 115, "Payload values do not match URL in primary key column(s)")


def not_one_row(found: int) -> ApiError:
    """Make the reply to a single-object request that matched *found* rows, not one."""
    message = "Cannot coerce the result to a single JSON object"
    return _pgrst(406, 116, message, f"The result contains {found} rows")


def bad_method(method: str) -> ApiError:
    """Make the reply to a method that no resource takes."""
    return _pgrst(405, 117, f"Unsupported HTTP method: {method}")


def bad_related_order(origin: str, target: str) -> ApiError:
    """Make the reply to an order by a resource of which there can be many."""
    details = f"'{origin}' and '{target}' do not form a many-to-one or one-to-one relationship"
    return _pgrst(400, 118, f"A related order on '{target}' is not possible", details)


def bad_preferences(unknown: Iterable[str]) -> ApiError:
    """Make the reply to unknown preferences under handling=strict."""
    details = f"Invalid preferences: {', '.join(unknown)}"
    return _pgrst(400, 122, "Invalid preferences given with handling=strict", details)


def no_aggregates() -> ApiError:
    """Make the reply to an aggregate where they are switched off."""
    return _pgrst(400, 123, "Use of aggregate functions is not allowed")


def too_many_affected(found: int) -> ApiError:
    """Make the reply to a write of more rows than max-affected."""
    message = "Query result exceeds max-affected preference constraint"
    return _pgrst(400, 124, message, f"The query affects {found} rows")


def bad_path() -> ApiError:
    """Make the reply to a path of more parts than a resource has."""
    return _pgrst(404, 125, "Invalid path specified in request URL")


def no_spread_aggregates() -> ApiError:
    """Make the reply to an aggregate inside a to-many spread."""
    details = "Aggregates are not implemented for one-to-many or many-to-many spreads."
    return _pgrst(400, 127, "Feature not implemented", details)


def max_affected_on_scalar() -> ApiError:
    """Make the reply to max-affected on a function that returns one value."""
    message = (
        "Function must return SETOF or TABLE when max-affected preference is used "
        "with handling=strict"
    )
    return _pgrst(400, 128, message)


# PGRST2xx: the schema


def no_relationship(
    origin: str, target: str, hint: str | None, schema: str, suggestion: str | None
) -> ApiError:
    """Make the reply to an embed that no foreign key allows."""
    using = f"' using the hint '{hint}" if hint is not None else ""
    details = (
        f"Searched for a foreign key relationship between '{origin}' and '{target}{using}' "
        f"in the schema '{schema}', but no matches were found."
    )
    message = f"Could not find a relationship between '{origin}' and '{target}' in the schema cache"
    return _pgrst(400, 200, message, details, suggestion)


def ambiguous_relationship(
    origin: str, target: str, details: list[dict[str, str]], choices: str
) -> ApiError:
    """Make the reply to an embed that several foreign keys allow."""
    message = (
        f"Could not embed because more than one relationship was found for '{origin}' "
        f"and '{target}'"
    )
    hint = (
        f"Try changing '{target}' to one of the following: {choices}. "
        "Find the desired relationship in the 'details' key."
    )
    return _pgrst(300, 201, message, details, hint)


def no_function(
    schema: str,
    name: str,
    arguments: Iterable[str],
    *,
    raw_type: str | None,
    json_post: bool,
    suggestion: str | None,
) -> ApiError:
    """Make the reply to a call of a function that is not registered with such parameters."""
    names = list(arguments)
    listed = ", ".join(names)
    label = f"{schema}.{name}"
    if raw_type is not None:
        return _pgrst(
            404,
            202,
            f"Could not find the function {label} in the schema cache",
            f"Searched for the function {label} with a single unnamed {raw_type} parameter, "
            "but no matches were found in the schema cache.",
        )
    without = " without parameters"
    short = f"({listed})" if names else without
    plural = "s" if len(names) > 1 else ""
    long = f" with parameter{plural} {listed}" if names else without
    if json_post:
        long += " or with a single unnamed json/jsonb parameter"
    return _pgrst(
        404,
        202,
        f"Could not find the function {label}{short} in the schema cache",
        f"Searched for the function {label}{long}, but no matches were found in the schema cache.",
        suggestion,
    )


def no_column(table: str, column: str) -> ApiError:
    """Make the reply to a written column that the table does not have."""
    message = f"Could not find the '{column}' column of '{table}' in the schema cache"
    return _pgrst(400, 204, message)


def no_table(schema: str, name: str, suggestion: str | None) -> ApiError:
    """Make the reply to an unknown table or view."""
    message = f"Could not find the table '{schema}.{name}' in the schema cache"
    return _pgrst(404, 205, message, None, suggestion)


# SQLSTATE


def no_operator(left: str, operator: str, right: str = "unknown") -> ApiError:
    """Make the error to an operator that the type does not have."""
    message = f"operator does not exist: {left} {operator} {right}"
    return sql_error("42883", message, None, NO_OPERATOR_HINT)


def no_sql_function(call: str) -> ApiError:
    """Make the error to a function that does not take such arguments."""
    return sql_error("42883", f"function {call} does not exist", None, NO_FUNCTION_HINT)


def bad_text(type_name: str, text: str) -> ApiError:
    """Make the error to a text that the type cannot read."""
    return sql_error("22P02", f'invalid input syntax for type {type_name}: "{text}"')


def undefined_column(relation: str, column: str, suggestion: str | None = None) -> ApiError:
    """Make the error to an unknown column of *relation*."""
    hint = suggestion and f'Perhaps you meant to reference the column "{suggestion}".'
    return sql_error("42703", f"column {relation}.{column} does not exist", None, hint)


def permission_denied(table: str) -> ApiError:
    """Make the error to a command without grant."""
    return sql_error("42501", f"permission denied for table {table}")


def policy_refused(table: str) -> ApiError:
    """Make the error to a written row that no policy lets through."""
    message = f'new row violates row-level security policy for table "{table}"'
    return sql_error("42501", message)


def close_match(name: str, known: Iterable[str], similarity: float = 0.75) -> str | None:
    """Return the known name that a misspelt one is most like, where one is near enough.

    Args:
        name: What was asked for.
        known: What there is.
        similarity: 1 less the edit distance over the longer name's length, at the least.
    """
    best, found = similarity, None
    for candidate in known:
        longest = max(len(name), len(candidate), 1)
        if abs(len(name) - len(candidate)) > (1 - best) * longest or longest > 100:
            continue
        likeness = 1 - distance(name.lower(), candidate.lower()) / longest
        if likeness > best or (likeness == best and found is None):
            best, found = likeness, candidate
    return found


def distance(left: str, right: str) -> int:
    """Return how many letters must be put in, taken out or changed (Levenshtein)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
