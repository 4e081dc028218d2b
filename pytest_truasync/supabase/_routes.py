"""The only file that imports respx: request in, response out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import httpcore
import httpx
import respx
from respx.mocks import HTTPCoreMocker
from respx.models import AllMockedAssertionError, PassThrough

from pytest_truasync.supabase.exceptions import RequestRefusedError

if TYPE_CHECKING:
    from pytest_truasync.supabase._engine import Reply
    from pytest_truasync.supabase._network import Network

__all__ = ["Project", "ProjectRouter"]

#: Query parameters that hold a key or a token: never in a message.
SECRETS = frozenset({"apikey", "token", "access_token", "refresh_token", "key", "code"})


class Project(Protocol):
    """What a router answers from; knows neither httpx nor respx."""

    network: Network

    async def answer(
        self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, timeouts: Any
    ) -> Reply:
        """Answer one request that holds a connection."""
        ...

    def answer_sync(
        self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, timeouts: Any
    ) -> Reply:
        """Answer one request of a sync client, in its thread."""
        ...


class ProjectRouter(respx.MockRouter):
    """A respx router that answers for one project, and refuses what nobody answers.

    Routes of your own may be added to it, as to any respx router.
    """

    def __init__(self, url: str, project: Project) -> None:
        super().__init__(assert_all_called=False, using=ProjectMocker.name)
        target = httpx.URL(url)
        self.origin = (target.raw_scheme, target.raw_host, _port(target.raw_scheme, target.port))
        self.base_path = target.raw_path.rstrip(b"/").decode("ascii")
        self.project = project
        self.passes: set[str] = set()
        self.refused: list[str] = []

    def serves(self, url: httpcore.URL) -> bool:
        """Tell whether *url* is one of the project."""
        return (url.scheme, url.host, _port(url.scheme, url.port)) == self.origin and (
            not self.base_path or url.target.decode("ascii").startswith(self.base_path + "/")
        )

    async def reply(self, pool: Any, request: httpcore.Request) -> httpcore.Response:
        """Answer a request of an async client: wait for a connection, then for the project."""
        timeouts = request.extensions.get("timeout", {})
        body = b"".join([part async for part in request.stream])  # type: ignore[union-attr]
        release = await self.project.network.acquire(
            pool, request.url.scheme == b"https", timeouts.get("pool")
        )
        try:
            reply = await self.project.answer(*self._parts(request), body, timeouts)
        except BaseException:
            release()
            raise
        return _response(request, reply, release)

    def reply_sync(self, pool: Any, request: httpcore.Request) -> httpcore.Response:
        """Answer a request of a sync client, in its thread."""
        timeouts = request.extensions.get("timeout", {})
        body = b"".join(request.stream)  # type: ignore[arg-type]
        with self.project.network.sync_slot(
            pool, request.url.scheme == b"https", timeouts.get("pool")
        ):
            reply = self.project.answer_sync(*self._parts(request), body, timeouts)
        # A sync client's connection is free again when the reply is made.
        return _response(request, reply, lambda: None)

    def _parts(self, request: httpcore.Request) -> tuple[str, str, dict[str, str]]:
        # A header that comes twice is one list, as RFC 9110 has it.
        headers: dict[str, str] = {}
        for raw_name, raw_value in request.headers:
            name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        raw_path = request.url.target.decode("ascii").removeprefix(self.base_path)
        return request.method.decode("ascii"), raw_path, headers


class ProjectMocker(HTTPCoreMocker):
    """Sees the connection pools of httpx, so that a request comes with its pool.

    httpx clients with a transport of their own (ASGI, WSGI, mock) never come here: they are
    not on the way to a network.
    """

    name: ClassVar[str] = "truasync-supabase"
    targets: ClassVar[list[str]] = [
        "httpcore._sync.connection_pool.ConnectionPool",
        "httpcore._async.connection_pool.AsyncConnectionPool",
    ]

    @classmethod
    def mock(cls, spec: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for *spec*, ``handle_request`` or its async twin."""

        # Not named like what they replace: respx leaves a method of another name alone when
        # it starts a mock of its own inside ours, and its routers are asked in _routed.
        async def answer_async(pool: Any, request: httpcore.Request) -> httpcore.Response:
            router = cls.router_for(request.url)
            if router is None or router.routes:
                response = await cls._routed(pool, request, router)
                if response is not None:
                    return response
            if router is None:
                return await spec(pool, request)  # type: ignore[no-any-return]
            return await router.reply(pool, request)

        def answer_sync(pool: Any, request: httpcore.Request) -> httpcore.Response:
            router = cls.router_for(request.url)
            if router is None or router.routes:
                response = cls._routed_sync(pool, request, router)
                if response is not None:
                    return response
            if router is None:
                return spec(pool, request)  # type: ignore[no-any-return]
            return router.reply_sync(pool, request)

        return answer_async if inspect.iscoroutinefunction(spec) else answer_sync

    @classmethod
    def router_for(cls, url: httpcore.URL) -> ProjectRouter | None:
        """Return the router whose project *url* belongs to."""
        for router in cls._project_routers():
            if router.serves(url):
                return router
        return None

    @classmethod
    def _project_routers(cls) -> list[ProjectRouter]:
        return cls.routers  # type: ignore[return-value] # only ours are registered here

    @classmethod
    async def _routed(
        cls, pool: Any, request: httpcore.Request, router: ProjectRouter | None
    ) -> httpcore.Response | None:
        """Ask the user's own routes; None to go on as if there were none."""
        if mockers := cls._with_routes():
            untyped: Any = cls
            asked, kwargs = await untyped.prepare_async_request(
                untyped.to_httpx_request(request=request), request=request
            )
            for mocker in mockers:
                try:
                    found = await mocker.async_handler(asked)
                except AllMockedAssertionError:
                    continue
                except PassThrough:
                    return None
                response: httpcore.Response = await untyped.from_async_httpx_response(
                    found, pool, **kwargs
                )
                return response
        if router is None:
            cls._refuse(request)
        return None

    @classmethod
    def _routed_sync(
        cls, pool: Any, request: httpcore.Request, router: ProjectRouter | None
    ) -> httpcore.Response | None:
        if mockers := cls._with_routes():
            untyped: Any = cls
            asked, kwargs = untyped.prepare_sync_request(
                untyped.to_httpx_request(request=request), request=request
            )
            for mocker in mockers:
                try:
                    found = mocker.handler(asked)
                except AllMockedAssertionError:
                    continue
                except PassThrough:
                    return None
                response: httpcore.Response = untyped.from_sync_httpx_response(
                    found, pool, **kwargs
                )
                return response
        if router is None:
            cls._refuse(request)
        return None

    @classmethod
    def _with_routes(cls) -> list[Any]:
        """Return the mockers that have routes: ours, then those of respx itself."""
        mockers = (cls, HTTPCoreMocker)
        return [m for m in mockers if any(router.routes for router in m.routers)]

    @classmethod
    def _refuse(cls, request: httpcore.Request) -> None:
        """Raise for a request to a host that no mock lets pass."""
        routers = cls._project_routers()
        if not routers:
            # A respx mock that outlived ours has put our method back.
            return
        host = request.url.host.decode("ascii").lower()
        named = f"{host}:{_port(request.url.scheme, request.url.port)}"
        if _is_loopback(host) or any({host, named} & router.passes for router in routers):
            return
        told = f"{request.method.decode('ascii')} {_shown(request.url)}"
        for router in routers:
            router.refused.append(told)
        raise RequestRefusedError(
            f"{told}: not the mocked project, and no respx route answers it; it was not sent. "
            f"To let it out: supabase_mock.pass_through({host!r})"
        )


class _Body:
    """A reply's bytes; closing it gives the connection back, as in a real pool."""

    __slots__ = ("_body", "_release")

    def __init__(self, body: bytes, release: Callable[[], None]) -> None:
        self._body = body
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """Give the connection back."""
        self._release()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        """Give the connection back."""
        self._release()


def _response(
    request: httpcore.Request, reply: Reply, release: Callable[[], None]
) -> httpcore.Response:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in reply.headers]
    if request.method != b"HEAD" and reply.status not in (204, 304):
        headers.append((b"content-length", str(len(reply.body)).encode("ascii")))
    return httpcore.Response(
        reply.status,
        headers=headers,
        content=_Body(b"" if request.method == b"HEAD" else reply.body, release),
        extensions={"http_version": b"HTTP/1.1"},
    )


def _is_loopback(host: str) -> bool:
    # RFC 6761 keeps the names under localhost for loopback.
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _port(scheme: bytes, port: int | None) -> int | None:
    return port if port is not None else {b"http": 80, b"https": 443}.get(scheme)


def _shown(url: httpcore.URL) -> str:
    whole = httpx.URL(
        scheme=url.scheme.decode("ascii"),
        host=url.host.decode("ascii"),
        port=url.port,
        raw_path=url.target,
    )
    hidden = [(k, "***" if k.lower() in SECRETS else v) for k, v in whole.params.multi_items()]
    return str(whole.copy_with(params=hidden)) if hidden else str(whole)
