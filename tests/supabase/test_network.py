"""Concurrency, faults, and what is kept from leaving."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpcore
import httpx
import pytest
import respx

from pytest_truasync.supabase import (
    PoolTimeoutError,
    RequestRefusedError,
    RequestTimeoutError,
    SupabaseAsync,
    SupabaseMock,
    TransportError,
)
from pytest_truasync.supabase._network import Call, Fault, Network
from pytest_truasync.supabase._routes import _is_loopback

pytestmark = pytest.mark.anyio

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def items(supabase_mock: SupabaseMock) -> SupabaseMock:
    supabase_mock.create_table("items", {"id": "int primary key"}, rows=[{"id": 1}])
    return supabase_mock


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"from": "loopback"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        pass


@pytest.fixture(scope="module")
def loopback() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x"
        server.shutdown()
        thread.join()


async def _at_once(client: SupabaseAsync, requests: int) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(requests):
            tasks.start_soon(client.select, "items")


async def test_the_pool_is_the_limit(items: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    items.latency = 0.002
    await _at_once(supabase_client, 100)
    assert items.peak_in_flight == 10
    assert 1 < items.mean_in_flight <= 10
    assert items.network.peak_waiting == 90
    assert (items.network.in_flight, items.network.waiting) == (0, 0)


@pytest.mark.parametrize("limit", [1, 3, None])
async def test_limits_of_any_client(items: SupabaseMock, limit: int | None) -> None:
    items.latency = 0.002
    headers = {"apikey": items.key}
    limits = httpx.Limits(max_connections=limit)
    async with (
        httpx.AsyncClient(limits=limits, verify=NOBODY) as http,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(lambda: http.get(f"{items.url}/rest/v1/items", headers=headers))
    assert items.peak_in_flight == (limit or 20)


async def test_other_tasks_have_their_turn(
    items: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    await _at_once(supabase_client, 100)
    assert items.peak_in_flight == 10


async def test_two_pools_do_not_wait_for_each_other(items: SupabaseMock) -> None:
    items.latency = 0.002
    one, other = items.client(), items.client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_at_once, one, 12)
        tasks.start_soon(_at_once, other, 12)
    assert items.peak_in_flight == 20


async def test_http2_has_one_connection_of_a_hundred_streams(items: SupabaseMock) -> None:
    items.latency = 0.002
    headers = {"apikey": items.key}
    async with (
        httpx.AsyncClient(http2=True, verify=NOBODY) as http,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(120):
            tasks.start_soon(lambda: http.get(f"{items.url}/rest/v1/items", headers=headers))
    assert items.peak_in_flight == 100


async def test_pool_timeout(items: SupabaseMock) -> None:
    items.latency = 0.05
    client = items.client(
        limits=httpx.Limits(max_connections=1), timeout=httpx.Timeout(5, pool=0.001)
    )
    failed = []

    async def select() -> None:
        try:
            await client.select("items")
        except PoolTimeoutError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(select)
    assert len(failed) == 2
    assert len(items.calls) == 1
    assert items.peak_in_flight == 1
    items.latency = 0
    await client.select("items")


async def test_a_cancelled_request_frees_its_place(items: SupabaseMock) -> None:
    items.latency = 5
    client = items.client(limits=httpx.Limits(max_connections=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.select, "items")
        tasks.start_soon(client.select, "items")
        await anyio.wait_all_tasks_blocked()
        assert (items.network.in_flight, items.network.waiting) == (1, 1)
        tasks.cancel_scope.cancel()
    assert (items.network.in_flight, items.network.waiting) == (0, 0)
    items.latency = 0
    await client.select("items")


async def test_a_place_handed_to_a_cancelled_request_goes_on(items: SupabaseMock) -> None:
    network = Network()
    pool = httpcore.AsyncConnectionPool(max_connections=1, ssl_context=NOBODY)
    release = await network.acquire(pool, False, None)
    served = []

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            free = await network.acquire(pool, False, None)
            served.append(name)
            free()

    first = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        for name, scope in (("first", first), ("second", anyio.CancelScope())):
            tasks.start_soon(wait, name, scope)
            await anyio.wait_all_tasks_blocked()
        release()
        release()
        first.cancel()
    assert served[-1] == "second"
    assert (network.in_flight, network.waiting) == (0, 0)
    (await network.acquire(pool, False, 0.001))()


async def test_a_stream_holds_its_place_until_closed(items: SupabaseMock) -> None:
    headers = {"apikey": items.key}
    async with httpx.AsyncClient(verify=NOBODY) as http:
        async with http.stream("GET", f"{items.url}/rest/v1/items", headers=headers) as reply:
            assert items.network.in_flight == 1
            assert json.loads(await reply.aread()) == [{"id": 1}]
        assert items.network.in_flight == 0


def test_mean_in_flight_by_the_clock() -> None:
    now = [0.0]
    network = Network(clock=lambda: now[0])
    assert network.mean_in_flight == 0.0
    pool = httpcore.ConnectionPool(ssl_context=NOBODY)
    with network.sync_slot(pool, False, None):
        now[0] = 3.0
        with network.sync_slot(pool, False, None):
            now[0] = 4.0
    now[0] = 100.0
    assert network.mean_in_flight == pytest.approx((3 * 1 + 1 * 2) / 4)


async def test_latency_by_request(items: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    asked: list[Call] = []

    def latency(call: Call) -> float:
        asked.append(call)
        return 0.0

    items.latency = latency
    await supabase_client.select("items")
    assert [call.method for call in asked] == ["GET"]
    assert items.latency is latency


async def test_a_late_answer_is_a_timeout_and_the_work_is_done(items: SupabaseMock) -> None:
    items.latency = 0.01
    client = items.client(timeout=httpx.Timeout(5, read=0.001))
    with pytest.raises(RequestTimeoutError):
        await client.insert("items", {"id": 2})
    assert items.assert_row("items", id=2)
    assert items.calls[0].error == "read_timeout"


async def test_the_first_requests_fail(items: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    fault = items.fail(503, times=2, retry_after=1)
    for _ in range(2):
        with pytest.raises(Exception, match="503"):
            await supabase_client.select("items")
    assert await supabase_client.select("items") == [{"id": 1}]
    assert (fault.hits, fault.seen) == (2, 3)
    assert [call.status for call in items.calls] == [503, 503, 200]


async def test_a_lost_answer(items: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    items.fail(error="reset", method="post", commits=True)
    with pytest.raises(TransportError):
        await supabase_client.insert("items", {"id": 2})
    assert items.assert_row("items", id=2)
    items.fail(500, method="DELETE", commits=True)
    with pytest.raises(Exception, match="500: Internal Server Error"):
        await supabase_client.delete("items", filters={"id": 2})
    assert items.rows("items") == [{"id": 1}]


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(), [True, True, True]),
        (Fault(times=1), [True, False, False]),
        (Fault(after=1), [False, True, True]),
        (Fault(after=1, times=1), [False, True, False]),
        (Fault(method="GET"), [True, False, True]),
        (Fault(path="/rest/v1/it*"), [True, True, False]),
    ],
)
def test_which_requests_a_fault_hits(fault: Fault, struck: list[bool]) -> None:
    calls = [
        Call("GET", "/rest/v1/items?a=/x", {}, b"", "rest"),
        Call("POST", "/rest/v1/items", {}, b"", "rest"),
        Call("GET", "/auth/v1/user", {}, b"", "auth"),
    ]
    assert [fault.strikes(call) for call in calls] == struck


@pytest.mark.parametrize(
    "arguments", [{}, {"status": 500, "error": "reset"}, {"error": "typo"}], ids=str
)
def test_a_wrong_fault_is_refused(supabase_mock: SupabaseMock, arguments: Any) -> None:
    with pytest.raises(ValueError, match="fault"):
        supabase_mock.fail(**arguments)


def test_an_unknown_status_has_a_body_too(supabase_mock: SupabaseMock) -> None:
    supabase_mock.fail(599)
    with httpx.Client(verify=NOBODY) as http:
        assert http.get(supabase_mock.url).json() == {"message": "Fault"}


# Leaks


async def test_what_nobody_answers_is_refused(supabase_mock: SupabaseMock) -> None:
    url = "https://user:pw@api.example.com:8443/v1?token=abc&page=2"
    told = "POST https://api.example.com:8443/v1?token=%2A%2A%2A&page=2"
    async with httpx.AsyncClient(verify=NOBODY) as http:
        with pytest.raises(RequestRefusedError) as caught:
            await http.post(url)
    assert str(caught.value).startswith(f"{told}: ")
    assert "pass_through('api.example.com')" in str(caught.value)
    assert "abc" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert supabase_mock.refused == [told]
    assert supabase_mock.calls == []


async def test_a_proxy_does_not_let_it_out(supabase_mock: SupabaseMock) -> None:
    async with httpx.AsyncClient(verify=NOBODY, proxy="http://proxy.example.com:3128") as http:
        with pytest.raises(RequestRefusedError):
            await http.get("https://example.com/")
        reply = await http.get(f"{supabase_mock.url}/auth/v1/health")
        assert reply.json()["name"] == "GoTrue"


async def test_another_port_or_scheme_is_another_host(supabase_mock: SupabaseMock) -> None:
    async with httpx.AsyncClient(verify=NOBODY) as http:
        for url in (
            supabase_mock.url.replace("https", "http"),
            f"{supabase_mock.url}:8443",
            "https://evil.truasync.supabase.test",
        ):
            with pytest.raises(RequestRefusedError):
                await http.get(url)
        reply = await http.get(f"{supabase_mock.url}:443/auth/v1/health")
        assert reply.status_code == 200


async def test_loopback_passes(supabase_mock: SupabaseMock, loopback: str) -> None:
    async with httpx.AsyncClient(verify=NOBODY) as http:
        assert (await http.get(loopback)).json() == {"from": "loopback"}


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("db.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("128.0.0.1", False),
        ("127.example.com", False),
        ("notlocalhost", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_loopback(host: str, is_one: bool) -> None:
    assert _is_loopback(host) == is_one


async def test_pass_through(supabase_mock: SupabaseMock) -> None:
    supabase_mock.pass_through("Nowhere.invalid", "other.invalid:444")
    async with httpx.AsyncClient(verify=NOBODY) as http:
        # Let out, and stopped by the name: RFC 6761 has it that .invalid is never found.
        with pytest.raises(httpx.ConnectError):
            await http.get("http://nowhere.invalid/")
        with pytest.raises(httpx.ConnectError):
            await http.get("https://other.invalid:444/")
        with pytest.raises(RequestRefusedError):
            await http.get("https://other.invalid/")


async def test_a_transport_of_its_own_is_no_network(supabase_mock: SupabaseMock) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    async with httpx.AsyncClient(transport=transport) as http:
        assert (await http.get("https://app.example.com/")).status_code == 204


async def test_nothing_is_left_behind() -> None:
    before = (
        httpcore.AsyncConnectionPool.handle_async_request,
        httpcore.ConnectionPool.handle_request,
    )
    with SupabaseMock() as mock, SupabaseMock("https://second.supabase.test") as second:
        assert httpcore.AsyncConnectionPool.handle_async_request is not before[0]
        await mock.client().request("GET", "/auth/v1/health")
        await second.client().request("GET", "/auth/v1/health")
        assert (len(mock.calls), len(second.calls)) == (1, 1)
    after = (
        httpcore.AsyncConnectionPool.handle_async_request,
        httpcore.ConnectionPool.handle_request,
    )
    assert after == before


# Beside respx


async def test_routes_of_your_own(supabase_mock: SupabaseMock) -> None:
    hook = supabase_mock.router.post("https://hooks.example.com/x").respond(201)
    supabase_mock.router.get(f"{supabase_mock.url}/auth/v1/health").respond(json={"mine": True})
    async with httpx.AsyncClient(verify=NOBODY) as http:
        assert (await http.post("https://hooks.example.com/x", json=[1])).status_code == 201
        assert (await http.get(f"{supabase_mock.url}/auth/v1/health")).json() == {"mine": True}
        reply = await http.get(
            f"{supabase_mock.url}/auth/v1/settings", headers={"apikey": supabase_mock.key}
        )
        assert reply.status_code == 200
    assert hook.called


async def test_respx_inside(supabase_mock: SupabaseMock, loopback: str) -> None:
    async with respx.mock(assert_all_called=False) as routes:
        routes.get("https://api.example.com/").respond(200, json=1)
        routes.get(loopback).pass_through()
        async with httpx.AsyncClient(verify=NOBODY) as http:
            assert (await http.get("https://api.example.com/")).json() == 1
            assert (await http.get(f"{supabase_mock.url}/auth/v1/health")).status_code == 200
            assert (await http.get(loopback)).json() == {"from": "loopback"}
            with pytest.raises(RequestRefusedError):
                await http.get("https://other.example.com/")


async def test_respx_around() -> None:
    before = httpcore.AsyncConnectionPool.handle_async_request
    async with respx.mock(assert_all_called=False) as routes:
        routes.get("https://api.example.com/").respond(200, json=1)
        with SupabaseMock() as mock:
            async with httpx.AsyncClient(verify=NOBODY) as http:
                assert (await http.get("https://api.example.com/")).json() == 1
                assert (await http.get(f"{mock.url}/auth/v1/health")).status_code == 200
    assert httpcore.AsyncConnectionPool.handle_async_request is before


async def test_a_respx_mock_that_outlives_ours(loopback: str) -> None:
    before = httpcore.AsyncConnectionPool.handle_async_request
    mock = SupabaseMock()
    mock.start()
    routes = respx.mock(assert_all_called=False, assert_all_mocked=False)
    routes.start()
    mock.stop()
    routes.stop()
    async with httpx.AsyncClient(verify=NOBODY) as http:
        assert (await http.get(loopback)).json() == {"from": "loopback"}
    httpcore.AsyncConnectionPool.handle_async_request = before  # type: ignore[method-assign]


# Sync clients


def test_a_sync_client_is_answered(items: SupabaseMock) -> None:
    headers = {"apikey": items.key}
    with httpx.Client(verify=NOBODY, headers=headers) as http:
        url = f"{items.url}/rest/v1/items"
        assert http.get(url).json() == [{"id": 1}]
        items.fail(error="reset", times=1)
        with pytest.raises(httpx.ReadError):
            http.get(url)
        items.latency = 0.01
        with pytest.raises(httpx.ReadTimeout):
            http.get(url, timeout=httpx.Timeout(5, read=0.001))


def test_a_sync_client_beside_respx(supabase_mock: SupabaseMock, loopback: str) -> None:
    supabase_mock.router.post("https://hooks.example.com/x").respond(201)
    supabase_mock.router.get(f"{supabase_mock.url}/auth/v1/health").respond(json={"mine": True})
    with respx.mock(assert_all_called=False) as routes, httpx.Client(verify=NOBODY) as http:
        routes.get("https://api.example.com/").respond(200, json=1)
        routes.get(loopback).pass_through()
        assert http.post("https://hooks.example.com/x").status_code == 201
        assert http.get(f"{supabase_mock.url}/auth/v1/health").json() == {"mine": True}
        assert http.get("https://api.example.com/").json() == 1
        assert http.get(loopback).json() == {"from": "loopback"}
        headers = {"apikey": supabase_mock.key}
        reply = http.get(f"{supabase_mock.url}/auth/v1/settings", headers=headers)
        assert reply.status_code == 200
        with pytest.raises(RequestRefusedError):
            http.get("https://other.example.com/")
    with httpx.Client(verify=NOBODY) as http:
        assert http.get(loopback).json() == {"from": "loopback"}
        with pytest.raises(RequestRefusedError):
            http.post("https://other.example.com/")


def test_sync_clients_in_threads(items: SupabaseMock) -> None:
    items.latency = 0.005
    limits = httpx.Limits(max_connections=3)
    with (
        httpx.Client(verify=NOBODY, limits=limits, headers={"apikey": items.key}) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = pool.map(lambda _: http.get(f"{items.url}/rest/v1/items"), range(16))
        assert {reply.status_code for reply in replies} == {200}
        assert items.peak_in_flight == 3
        limited = httpx.Timeout(5, pool=0.001)
        items.latency = 0.1
        with items.network.sync_slot(http._transport._pool, True, None):  # type: ignore[attr-defined]
            futures = [
                pool.submit(http.get, f"{items.url}/rest/v1/items", timeout=limited)
                for _ in range(4)
            ]
            errors = [future.exception() for future in futures]
        assert sum(isinstance(error, httpx.PoolTimeout) for error in errors) == 2


@pytest.mark.parametrize("wait", [anyio.sleep, asyncio.sleep], ids=["anyio", "asyncio"])
def test_an_async_function_needs_an_async_client(items: SupabaseMock, wait: Any) -> None:
    @items.rpc("slow")
    async def slow() -> None:
        await wait(0)

    with (
        httpx.Client(verify=NOBODY, headers={"apikey": items.key}) as http,
        pytest.raises(RuntimeError) as caught,
    ):
        http.post(f"{items.url}/rest/v1/rpc/slow", json={})
    told = [str(caught.value), *getattr(caught.value, "__notes__", [])]
    assert any("sync httpx.Client" in text for text in told)
