"""Processes, the network, the console and sqlite3."""

import http.client
import asyncio
import os
import select
import socket
import sqlite3
import subprocess
import sys
import urllib.request

import pytest


async def test_processes():
    subprocess.run(["true"], check=True)  # expect: TRU221 subprocess.run
    subprocess.check_output(["true"])  # expect: TRU221 subprocess.check_output
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # expect: TRU220 subprocess.Popen
    child.communicate(b"")  # expect: TRU222 subprocess.Popen.communicate
    child.poll()
    os.system("true")  # expect: TRU221 os.system
    with os.popen("true") as shell:  # expect: TRU221 os.popen; TRU222 os._wrap_close
        shell.read()  # expect: TRU222 io.FileIO.readall
    subprocess.Popen(["/bin/true"]).wait()  # expect: TRU220 subprocess.Popen; TRU222 subprocess.Popen.wait


async def test_sockets(server):
    with socket.create_connection(server) as sock:  # expect: TRU270 socket.create_connection
        sock.sendall(b"hello")  # expect: TRU270 socket.socket.sendall
        sock.recv(100)  # expect: TRU270 socket.socket.recv
        select.select([], [], [], 0.001)  # expect: TRU272 select.select


async def test_the_selector_of_the_loop_itself():
    await asyncio.sleep(0.001)
    asyncio.get_running_loop()._selector.select(0.001)  # expect: TRU272 selectors.EpollSelector.select


async def test_names():
    socket.getaddrinfo("localhost", 80)  # expect: TRU271 socket.getaddrinfo
    socket.gethostbyname("localhost")  # expect: TRU271 socket.gethostbyname


async def test_http(server):
    urllib.request.urlopen("http://%s:%s" % server).read()  # expect: TRU210 urllib.request.urlopen
    connection = http.client.HTTPConnection(*server)
    connection.request("GET", "/")  # expect: TRU210 http.client.HTTPConnection.request
    connection.getresponse().read()  # expect: TRU210 http.client.HTTPConnection.getresponse
    connection.close()


async def test_sqlite():
    database = sqlite3.connect(":memory:")  # expect: TRU281 sqlite3.connect
    cursor = database.execute("values (1), (2)")  # expect: TRU281 sqlite3.Connection.execute
    assert cursor.fetchone() == (1,)  # expect: TRU281 sqlite3.Cursor.fetchone
    for _ in cursor:  # expect: TRU281 sqlite3.Cursor.__next__ x2
        pass
    with pytest.raises(sqlite3.OperationalError):
        database.execute("select")  # expect: TRU281 sqlite3.Connection.execute
    database.close()  # expect: TRU281 sqlite3.Connection.close


async def test_input(monkeypatch, tmp_path):
    read, write = os.pipe()
    os.write(write, b"line\n")
    monkeypatch.setattr(sys, "stdin", os.fdopen(read))
    assert input() == "line"  # expect: TRU250 builtins.input
    os.close(write)
