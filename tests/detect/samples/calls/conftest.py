import socket
import threading
from time import sleep

import helpers
import pytest


@pytest.fixture
def imported_by_conftest():
    return sleep, helpers.nap


@pytest.fixture
def server():
    """An address that answers each connection with a line of HTTP."""
    reply = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)
