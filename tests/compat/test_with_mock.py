"""Beside mocks that stand in for what we watch: they are called, nothing is recorded."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

UNITTEST_MOCK = """
import asyncio
import builtins
import io
import socket
import threading
import time
from unittest import mock

import pytest

async def test_sleep():
    with mock.patch("time.sleep") as sleep:
        time.sleep(3600)
    sleep.assert_called_once_with(3600)
    time.sleep(0.001)  # expect: TRU251 time.sleep

async def test_autospec():
    with mock.patch("time.sleep", autospec=True) as sleep:
        time.sleep(3600)
    sleep.assert_called_once_with(3600)

async def test_open():
    with mock.patch("builtins.open", mock.mock_open(read_data="text")):
        assert open("/no/such/file").read() == "text"
    with mock.patch.object(builtins, "open", side_effect=PermissionError):
        with pytest.raises(PermissionError):
            open(__file__)
    open(__file__).close()  # expect: TRU230 open

async def test_socket():
    with mock.patch("socket.socket") as made, mock.patch("socket.getaddrinfo") as found:
        socket.socket().connect(("192.0.2.1", 80))
        socket.getaddrinfo("name.invalid", 80)
    made.return_value.connect.assert_called_once()
    found.assert_called_once()

async def test_method():
    with mock.patch.object(socket.socket, "connect") as connect, socket.socket() as client:
        client.connect(("192.0.2.1", 80))
    connect.assert_called_once_with(("192.0.2.1", 80))
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())  # expect: TRU270 socket.socket.connect

async def test_wraps():
    with mock.patch("time.sleep", wraps=time.sleep) as sleep:
        time.sleep(0.001)  # expect: TRU251 time.sleep
    sleep.assert_called_once()

async def test_offload():
    with mock.patch("asyncio.to_thread", return_value=3) as to_thread:
        assert await asyncio.to_thread(time.sleep, 3600) == 3
    to_thread.assert_awaited_once()

async def test_stays_until_the_end(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    time.sleep(3600)

async def test_is_watched_again():
    time.sleep(0.001)  # expect: TRU251 time.sleep
"""

PYTEST_MOCK = """
import time

async def test_patch(mocker):
    sleep = mocker.patch("time.sleep")
    opened = mocker.patch("builtins.open", mocker.mock_open(read_data="text"))
    time.sleep(3600)
    assert open("/no/such/file").read() == "text"
    sleep.assert_called_once_with(3600)
    opened.assert_called_once()

async def test_spy(mocker):
    spy = mocker.spy(time, "sleep")
    time.sleep(0.001)  # expect: TRU251 time.sleep
    spy.assert_called_once_with(0.001)

async def test_is_watched_again():
    time.sleep(0.001)  # expect: TRU251 time.sleep
    open(__file__).close()  # expect: TRU230 open
"""


def test_unittest_mock(pytester: pytest.Pytester) -> None:
    need("pytest_asyncio")
    run(pytester, {"test_it": UNITTEST_MOCK}).check(passed=9)


def test_pytest_mock(pytester: pytest.Pytester) -> None:
    need("pytest_mock", "pytest_asyncio")
    run(pytester, {"test_it": PYTEST_MOCK}, plugins=("asyncio", "pytest_mock")).check(passed=3)
