"""The client over real connections: a server on loopback, no mock."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpx
import pytest

from pytest_truasync.supabase import (
    RequestTimeoutError,
    ServerError,
    SupabaseAsync,
    TransportError,
)

pytestmark = pytest.mark.anyio


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        if "crowd" in self.path:
            # Ten have to be here at once before one is answered.
            self.server.crowd.wait(10)
        if "late" in self.path:
            self.server.released.wait(10)
        if "broken" in self.path:
            self._answer(502, b"<h1>Bad Gateway</h1>", "text/html")
        else:
            self._answer(200, json.dumps([{"id": 1}]).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.crowd = threading.Barrier(10)
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


async def test_a_request(server: _Server) -> None:
    async with SupabaseAsync(server.url, "a-key", access_token="a-token") as client:
        assert await client.select("items", filters={"id": 1}) == [{"id": 1}]
    [(path, headers)] = server.seen
    assert path == "/rest/v1/items?select=%2A&id=eq.1"
    assert (headers["apikey"], headers["Authorization"]) == ("a-key", "Bearer a-token")


async def test_ten_are_under_way_at_once(server: _Server) -> None:
    async with SupabaseAsync(server.url, "key") as client, anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(client.select, "crowd")
    assert len(server.seen) == 30
    assert not server.crowd.broken


async def test_failures(server: _Server) -> None:
    timeout = httpx.Timeout(5, read=0.05)
    async with SupabaseAsync(server.url, "key", timeout=timeout) as client:
        with pytest.raises(ServerError) as broken:
            await client.select("broken")
        assert (broken.value.status, broken.value.message) == (502, "<h1>Bad Gateway</h1>")
        with pytest.raises(RequestTimeoutError):
            await client.select("late")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with SupabaseAsync(url, "key") as client:
        with pytest.raises(TransportError) as refused:
            await client.select("items")
    assert type(refused.value) is TransportError
    assert str(refused.value).startswith(f"GET {url}/rest/v1/items")


async def test_plain_http_reads_no_authorities(server: _Server) -> None:
    async with SupabaseAsync(server.url, "key") as client:
        pool = client.http_client._transport._pool  # type: ignore[attr-defined]
        assert pool._ssl_context.cert_store_stats()["x509_ca"] == 0
