"""The REST API of PostgREST, answered from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._access import Access
from pytest_truasync.supabase._call import Call, Function, function_of
from pytest_truasync.supabase._datetimes import zone
from pytest_truasync.supabase._errors import ApiError, UserCodeError
from pytest_truasync.supabase._execute import filtered, read
from pytest_truasync.supabase._mutate import MutatePlan, change, plan_mutation
from pytest_truasync.supabase._openapi import openapi_document
from pytest_truasync.supabase._plan import compile_tree
from pytest_truasync.supabase._policy import RowPolicy
from pytest_truasync.supabase._readplan import ReadPlan
from pytest_truasync.supabase._request import (
    ANY,
    CSV_TYPE,
    JSON_TYPE,
    OPENAPI,
    SINGLE,
    ApiRequest,
    MediaType,
    read_request,
)
from pytest_truasync.supabase._response import (
    Headers,
    Reply,
    applied,
    content_headers,
    content_range,
    error_reply,
    error_text,
    make_reply,
    negotiate,
    profile_header,
    range_status,
    render,
    text_of,
)
from pytest_truasync.supabase._schema import Relation
from pytest_truasync.supabase._store import Store
from pytest_truasync.supabase._tree import Node, build_tree
from pytest_truasync.supabase._types import SESSION_ZONE

__all__ = ["Engine", "Function", "Reply"]

#: Plans kept; a test suite asks the same few questions over and over.
_PLANS = 512
#: Words in a filter that mean another moment each time, so that its plan cannot be kept.
_MOMENTS = ("now", "today", "tomorrow", "yesterday")
_ALLOW_ROOT = "OPTIONS,GET,HEAD"


class Engine:
    """PostgREST's stages over a store: request, plan, execute, response.

    Args:
        store: The rows.
        schema_name: The exposed schema; error texts quote it.
        db_aggregates: Whether ``count()``, ``sum()`` and the like are allowed in ``select=``;
            Supabase has them switched off, unless the project's settings say otherwise.
        functions: What ``rpc/`` calls: name → a Python function, sync or async.
        visible: Grants and row-level security; None lets every role see and do everything.
        text_search: The default configuration of the full-text operators. Only ``simple`` is
            modelled; with another one the request must name it: ``fts(simple)``.
    """

    def __init__(
        self,
        store: Store,
        *,
        schema_name: str = "public",
        db_aggregates: bool = False,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        visible: RowPolicy | None = None,
        text_search: str = "english",
    ) -> None:
        self.store = store
        self.schema_name = schema_name
        self.db_aggregates = db_aggregates
        self.functions: Mapping[str, Callable[..., Any]] = {} if functions is None else functions
        self.visible = visible
        self.text_search = text_search
        self._plans: dict[Any, ReadPlan] = {}

    async def answer(
        self,
        method: str,
        raw_path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        role: str = "anon",
        claims: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Answer one request.

        Args:
            method: The HTTP method, upper case.
            raw_path: Percent-encoded, relative to the API's root: ``/items?select=id``.
            headers: Name and value pairs; names in any case.
            body: The request's bytes.
            role: The database role: ``anon``, ``authenticated``, ``service_role`` or your own.
            claims: The claims of the caller's token, given to policies and functions.

        Returns:
            The reply; never raises on user input. An exception of a function that ``rpc/``
            calls passes through, unless it is an `ApiError`.
        """
        try:
            request = read_request(method, raw_path, headers, body, self.schema_name)
            access = Access(self.store, self.visible, role, claims or {})
            if request.method == "OPTIONS":
                return self._options(request)
            if request.kind == "root":
                return self._root(request)
            with _session(request):
                if request.kind == "rpc":
                    return await self._call(request, access)
                relation = self._relation(request.target)
                if request.reads:
                    return self._read(request, relation, access)
                return self._write(request, relation, access)
        except ApiError as error:
            return error_reply(error.reply, role)
        except UserCodeError as failed:
            raise failed.error  # noqa: B904 - the test's own mistake, with its own traceback
        except RecursionError:
            return error_reply(errors.unsupported("a request nested so deeply").reply, role)
        except Exception as error:  # noqa: BLE001 - the app under test must never see a bug of ours
            what = f"this request; it stumbled over {type(error).__name__}: {error}"
            hint = "This is a bug of pytest-truasync: please report it."
            return error_reply(errors.unsupported(what, hint).reply, role)

    # the schema

    def _relation(self, name: str) -> Relation:
        relation = self.store.schema.relations.get(name)
        if relation is None:
            raise self._no_table(name)
        return relation

    def _no_table(self, name: str) -> ApiError:
        if (what := self.store.schema.unmodelled.get(name)) is not None:
            return errors.unsupported(what)
        close = errors.close_match(name, self.store.schema.relations)
        hint = f"Perhaps you meant the table '{self.schema_name}.{close}'" if close else None
        return errors.no_table(self.schema_name, name, hint)

    def _options(self, request: ApiRequest) -> Reply:
        allow = _ALLOW_ROOT
        if request.kind == "relation":
            relation = self._relation(request.target)
            put = ",PUT" if relation.primary_key else ""
            allow += "" if relation.computed else f",POST{put},PATCH,DELETE"
        elif request.kind == "rpc":
            function = self._function(request, set())
            allow = "OPTIONS,GET,HEAD,POST" if function.read_only else "OPTIONS,POST"
        headers = [("Access-Control-Allow-Origin", "*"), ("Allow", allow)]
        return make_reply(200, headers, b"")

    def _root(self, request: ApiRequest) -> Reply:
        served = {OPENAPI, JSON_TYPE, ANY}
        if not any(a.name in served for a in request.accepts):
            raise errors.bad_media_type(a.mime for a in request.accepts)
        text = openapi_document(self.store.schema, self.schema_name, sorted(self.functions))
        headers = [("Content-Type", f"{OPENAPI}; charset=utf-8"), *profile_header(request)]
        return make_reply(200, headers, "" if request.method == "HEAD" else text)

    # plans

    def _tree(self, request: ApiRequest, table: str, *, mutation: bool) -> Node:
        return build_tree(
            self.store.schema,
            table,
            request.query,
            request.span,
            mutation=mutation,
            aggregates=self.db_aggregates,
            schema_name=self.schema_name,
        )

    def _read_plan(self, request: ApiRequest, relation: Relation) -> ReadPlan:
        key = (
            relation.name,
            request.raw_query,
            request.span,
            self.store.schema.version,
            self.db_aggregates,
            request.preferences.timezone,
        )
        plan = self._plans.get(key)
        if plan is None:
            root = self._tree(request, relation.name, mutation=False)
            self._check(request)
            plan = compile_tree(self.store.schema, root, relation, self.text_search)
            if not any(word in request.raw_query.lower() for word in _MOMENTS):
                if len(self._plans) >= _PLANS:
                    self._plans.clear()
                self._plans[key] = plan
        else:
            self._check(request)
        return plan

    def _check(self, request: ApiRequest) -> MediaType:
        """Refuse unknown preferences and media types; return the type of the answer."""
        prefer = request.preferences
        if prefer.unknown and prefer.handling == "strict":
            raise errors.bad_preferences(prefer.unknown)
        return negotiate(request)

    # reading

    def _read(self, request: ApiRequest, relation: Relation, access: Access) -> Reply:
        plan = self._read_plan(request, relation)
        media = negotiate(request)
        _use_zone(request)
        if plan.lookup is not None:
            rows = access.find(relation.name, *plan.lookup)
        else:
            rows = access.rows(relation.name)
        return self._rows_reply(request, plan, rows, media, access)

    def _rows_reply(
        self,
        request: ApiRequest,
        plan: ReadPlan,
        rows: list[Any],
        media: MediaType,
        access: Access,
    ) -> Reply:
        counted = request.preferences.count is not None
        frames, total = read(plan, rows, access.rows, self.store.schema, count=counted)
        if media.name == SINGLE and len(frames) != 1:
            raise errors.not_one_row(len(frames))
        status, span_header = range_status(request.span, len(frames), total)
        headers: Headers = [span_header]
        if request.kind == "relation":
            canonical = request.query.canonical
            location = f"/{request.target}" + (f"?{canonical}" if canonical else "")
            headers.append(("Content-Location", location))
        headers += content_headers(media, request)
        headers += applied(request)
        if status == 416:
            details = (
                f"An offset of {request.span.lower} was requested, "
                f"but there are only {total or 0} rows."
            )
            return make_reply(416, headers, error_text(errors.bad_range(details).reply))
        if request.method == "HEAD":
            return Reply(status, tuple(headers), b"")
        return make_reply(status, headers, render(plan, frames, media, None))

    # writing

    def _write(self, request: ApiRequest, relation: Relation, access: Access) -> Reply:
        root = self._tree(request, relation.name, mutation=True)
        mutation = plan_mutation(request, relation)
        media = self._check(request)
        _use_zone(request)
        shows = request.preferences.representation == "representation"
        plan = compile_tree(self.store.schema, root, relation, self.text_search) if shows else None
        before = self.store.snapshot()
        access.before = before
        try:
            written, inserted = change(mutation, request, access, self.text_search)
            reply = self._written_reply(
                request, relation, access, mutation, plan, media, written, inserted
            )
        except BaseException:
            self.store.restore(before, sequences=False)
            raise
        if request.preferences.transaction == "rollback":
            self.store.restore(before, sequences=False)
        return reply

    def _written_reply(
        self,
        request: ApiRequest,
        relation: Relation,
        access: Access,
        mutation: MutatePlan,
        plan: ReadPlan | None,
        media: MediaType,
        written: list[Any],
        inserted: int,
    ) -> Reply:
        prefer, method = request.preferences, request.method
        frames = written
        if plan is not None:
            frames, _ = read(plan, written, access.rows, self.store.schema)
        found = len(frames)
        if method == "PUT":
            if found != 1:
                raise errors.put_key_mismatch()
        elif media.name == SINGLE and found != 1:
            raise errors.not_one_row(found)
        if (
            method in {"PATCH", "DELETE"}
            and prefer.handling == "strict"
            and prefer.max_affected is not None
            and found > prefer.max_affected
        ):
            raise errors.too_many_affected(found)
        total = found if prefer.count in {"exact", "estimated"} else None
        keyed = bool(relation.primary_key) or request.query.on_conflict is not None
        prefers = applied(request, insertable_key=keyed)
        headers: Headers = []
        if method == "POST":
            headers += _location(request, relation, mutation, written)
            headers.append(content_range(1, 0, total))
        elif method == "PATCH":
            headers.append(content_range(0, found - 1, total))
        elif method == "DELETE":
            headers.append(content_range(1, 0, total))
        headers += prefers
        status = _write_status(request, written, inserted)
        if plan is None:
            return make_reply(status, headers, b"")
        header = _csv_header(request, plan, mutation) if media.name == CSV_TYPE else None
        headers += content_headers(media, request)
        return make_reply(status, headers, render(plan, frames, media, header))

    # functions

    def _function(self, request: ApiRequest, names: set[str]) -> Function:
        found = self.functions.get(request.target)
        if found is None:
            close = errors.close_match(request.target, self.functions)
            hint = (
                f"Perhaps you meant to call the function {self.schema_name}.{close}"
                if close
                else None
            )
            raise self._no_function(request, names, hint)
        return function_of(found)

    def _no_function(self, request: ApiRequest, names: set[str], hint: str | None) -> ApiError:
        raw = {"text/plain": "text", "text/xml": "xml", "application/octet-stream": "bytea"}
        post = request.method == "POST"
        return errors.no_function(
            self.schema_name,
            request.target,
            sorted(names),
            raw_type=raw.get(request.content_type.name) if post else None,
            json_post=post and request.content_type.name == JSON_TYPE,
            suggestion=hint,
        )

    async def _call(self, request: ApiRequest, access: Access) -> Reply:
        call = Call.of(request)
        function = self._function(request, set(call.names))
        if not function.accepts(call):
            hint = f"{self.schema_name}.{request.target}({', '.join(sorted(function.names))})"
            raise self._no_function(
                request, set(call.names), f"Perhaps you meant to call the function {hint}"
            )
        media = self._check(request)
        _use_zone(request)
        before = self.store.snapshot()
        try:
            try:
                result = await function.run(call)
            except ApiError:
                raise
            except Exception as error:
                raise UserCodeError(error) from error
            if request.reads and self.store.changed_since(before):
                message = "cannot execute a write in a read-only transaction"
                raise errors.sql_error("25006", message)
            reply = self._called_reply(request, function, result, media, access)
        except BaseException:
            self.store.restore(before, sequences=False)
            raise
        if request.preferences.transaction == "rollback":
            self.store.restore(before, sequences=False)
        return reply

    def _called_reply(
        self,
        request: ApiRequest,
        function: Function,
        result: Any,
        media: MediaType,
        access: Access,
    ) -> Reply:
        answer = function.shape(result, self.store)
        prefer = request.preferences
        strict = prefer.handling == "strict" and prefer.max_affected is not None
        if strict and not answer.many:
            raise errors.max_affected_on_scalar()
        if answer.void:
            return make_reply(204, [content_range(0, 0, None), *applied(request)], b"")
        if answer.relation is None:
            text = answer.text(media)
            headers = [content_range(0, answer.count - 1, None)]
            headers += [*applied(request), *content_headers(media, request)]
            return make_reply(200, headers, "" if request.method == "HEAD" else text)
        root = self._tree(request, answer.relation.name, mutation=False)
        plan = compile_tree(self.store.schema, root, answer.relation, self.text_search)
        if strict and len(filtered(answer.rows, plan)) > (prefer.max_affected or 0):
            raise errors.too_many_affected(len(filtered(answer.rows, plan)))
        if not answer.many and media.name == JSON_TYPE and not media.stripped:
            media_single = MediaType(SINGLE)
            frames, _ = read(plan, answer.rows, access.rows, self.store.schema)
            headers = [content_range(0, 0, None), *applied(request)]
            headers += content_headers(media, request)
            return make_reply(200, headers, render(plan, frames, media_single, None))
        return self._rows_reply(request, plan, answer.rows, media, access)


@contextmanager
def _session(request: ApiRequest) -> Iterator[None]:
    token = SESSION_ZONE.set(SESSION_ZONE.get())
    try:
        if request.preferences.timezone is not None:
            with suppress(ApiError):  # raised when there is a plan: the schema's errors come first
                SESSION_ZONE.set(zone(request.preferences.timezone))
        yield
    finally:
        SESSION_ZONE.reset(token)


def _use_zone(request: ApiRequest) -> None:
    """Refuse an unknown time zone.

    Raises:
        ApiError: 22023.
    """
    if request.preferences.timezone is not None:
        zone(request.preferences.timezone)


def _write_status(request: ApiRequest, written: list[Any], inserted: int) -> int:
    prefer, method = request.preferences, request.method
    if method == "POST":
        return 200 if prefer.resolution == "merge-duplicates" and inserted == 0 else 201
    if prefer.representation != "representation":
        return 204
    return 201 if method == "PUT" and inserted else 200


def _location(
    request: ApiRequest, relation: Relation, mutation: MutatePlan, written: list[Any]
) -> Headers:
    if request.preferences.representation != "headers-only" or len(written) != 1:
        return []
    parts = []
    for name in relation.primary_key:
        value = text_of(relation.types[name], written[0][name])
        shown = "is.null" if value is None else f"eq.{value}"
        parts.append(f"{quote(name, safe='-_.~')}={quote(shown, safe='-_.~')}")
    return [("Location", f"/{request.target}?{'&'.join(parts)}")] if parts else []


def _csv_header(request: ApiRequest, plan: ReadPlan, mutation: MutatePlan) -> list[str] | None:
    """Return the first line of CSV after a write: what RETURNING gave, sorted by name.

    PostgREST takes it from there and not from ``select=``; with ``*`` both are the same.
    """
    names = {item.field.name for item in request.query.select if not hasattr(item, "items")}
    if "*" in names or not request.query.select:
        return None
    return sorted(names | set(mutation.relation.primary_key))
