"""Beside pytest-socket, which replaces `socket.socket` and its methods and puts them back."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import asyncio
import socket
import time

import pytest
import pytest_socket

REAL = socket.socket

@pytest.fixture
def address():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()

async def test_no_socket():
    time.sleep(0.001)  # expect: TRU251 time.sleep
    with pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket()

@pytest.mark.enable_socket
async def test_enabled(address):
    assert socket.socket is REAL
    with socket.socket() as client:
        client.connect(address)  # expect: TRU270 socket.socket.connect

@pytest.mark.allow_hosts(["10.0.0.1"])
async def test_other_host():
    with socket.socket() as client, pytest.raises(pytest_socket.SocketConnectBlockedError):
        client.connect(("127.0.0.1", 9))

@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_this_host(address):
    with socket.socket() as client:
        client.connect(address)  # expect: TRU270 socket.socket.connect

@pytest.mark.enable_socket
async def test_is_put_back(address):
    assert socket.socket is REAL
    with socket.socket() as client:
        client.connect(address)  # expect: TRU270 socket.socket.connect

@pytest.mark.enable_socket
async def test_silent(address):
    _, writer = await asyncio.open_connection(*address)
    writer.close()
    await writer.wait_closed()
"""


PLAIN = """
import socket

import pytest

@pytest.mark.parametrize("n", range(3))
async def test_connect(n):
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())  # expect: TRU270 socket.socket.connect x3
"""


def test_its_teardown_alone(pytester: pytest.Pytester) -> None:
    """It puts `socket.socket.connect` back after each test, also where nothing was disabled."""
    need("pytest_socket", "pytest_asyncio")
    run(pytester, {"test_it": PLAIN}, plugins=("asyncio", "socket")).check(passed=3)


def test_disabled(pytester: pytest.Pytester) -> None:
    need("pytest_socket", "pytest_asyncio")
    ran = run(
        pytester,
        {"test_it": SOURCE},
        *("--disable-socket", "--allow-unix-socket"),
        "-Wignore:A test tried to use socket:UserWarning",
        plugins=("asyncio", "socket"),
    )
    ran.check(passed=6)
