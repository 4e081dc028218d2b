"""Which calls can wait: one case for each thing that decides it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_truasync._detect import waits
from pytest_truasync._detect.waits import PREDICATES
from pytest_truasync._rules.targets import AUDITED, TARGETS

DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)


def ask(name: str, *args: Any, **kwargs: Any) -> bool | str:
    return PREDICATES[name](args, kwargs)


def test_each_predicate_speaks_of_a_target() -> None:
    known = {target.name for target in (*TARGETS, *AUDITED.values())}
    assert set(PREDICATES) <= known


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, False), (0.0, False), (1e-9, True), (1, True), (-1, False)]
)
def test_sleep(seconds: float, expected: bool) -> None:
    assert ask("time.sleep", seconds) is expected


class TestSockets:
    @pytest.fixture
    def stream(self) -> Iterator[socket.socket]:
        with socket.socket() as sock:
            yield sock

    @pytest.mark.parametrize(("timeout", "expected"), [(None, True), (5.0, True), (0, False)])
    @pytest.mark.parametrize(
        ("name", "args"),
        [
            ("connect", (("host", 1),)),
            ("connect_ex", (("host", 1),)),
            ("_accept", ()),
            ("recv", (64,)),
            ("recv_into", (bytearray(4),)),
            ("recvfrom", (64,)),
            ("recvfrom_into", (bytearray(4),)),
            ("recvmsg", (64,)),
            ("recvmsg_into", ([bytearray(4)],)),
            ("send", (b"",)),
            ("sendall", (b"",)),
            ("sendto", (b"", ("host", 1))),
            ("sendmsg", ([b""],)),
        ],
    )
    def test_the_timeout_decides(
        self,
        stream: socket.socket,
        name: str,
        args: tuple[Any, ...],
        timeout: float | None,
        expected: bool,
    ) -> None:
        stream.settimeout(timeout)
        assert ask(f"socket.socket.{name}", stream, *args) is expected

    @pytest.mark.parametrize(
        ("name", "args"),
        [
            ("recv", (64, DONTWAIT)),
            ("recv_into", (b"", 4, DONTWAIT)),
            ("recvfrom", (64, DONTWAIT)),
            ("recvfrom_into", (b"", 4, DONTWAIT)),
            ("recvmsg", (64, 0, DONTWAIT)),
            ("recvmsg_into", ([], 0, DONTWAIT)),
            ("send", (b"", DONTWAIT)),
            ("sendall", (b"", DONTWAIT)),
            ("sendto", (b"", DONTWAIT, ("host", 1))),
            ("sendmsg", ([], [], DONTWAIT)),
        ],
    )
    @pytest.mark.skipif(not DONTWAIT, reason="no MSG_DONTWAIT here")
    def test_a_flag_says_not_to_wait(
        self, stream: socket.socket, name: str, args: tuple[Any, ...]
    ) -> None:
        assert ask(f"socket.socket.{name}", stream, *args) is False

    def test_the_address_of_sendto_is_no_flag(self, stream: socket.socket) -> None:
        assert ask("socket.socket.sendto", stream, b"", ("host", 1)) is True

    def test_the_flag_by_name(self, stream: socket.socket) -> None:
        assert ask("socket.socket.recv_into", stream, b"", flags=DONTWAIT) is False

    def test_a_size_is_no_flag(self, stream: socket.socket) -> None:
        assert ask("socket.socket.recv_into", stream, b"", DONTWAIT) is True

    def test_a_datagram_socket_only_notes_the_address(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            assert ask("socket.socket.connect", sock, ("host", 1)) is False
            assert ask("socket.socket.recv", sock, 64) is True

    def test_tls_in_memory_does_not_wait(self) -> None:
        context = ssl.create_default_context()
        memory = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="host")
        assert ask("ssl.SSLSocket.read", memory._sslobj) is False  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("timeout", "expected"), [(None, True), (0, False)])
    def test_tls_waits_as_its_socket_does(self, timeout: float | None, expected: bool) -> None:
        context = ssl.create_default_context()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(timeout)
            with context.wrap_socket(
                ours, server_hostname="host", do_handshake_on_connect=False
            ) as tls:
                assert ask("ssl.SSLSocket.read", tls._sslobj) is expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("host", "numeric"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        (b"10.0.0.1", True),
        (bytearray(b"10.0.0.1"), True),
        (None, True),
        ("", True),
        ("<broadcast>", True),
        (7, True),
        ("localhost", False),
        ("example.com", False),
        (b"example.com", False),
        ("1.2.3", False),
        ("a\0b", False),
    ],
)
def test_only_names_are_looked_up(host: Any, numeric: bool) -> None:
    assert waits.is_numeric(host) is numeric
    assert ask("socket.getaddrinfo", host, 80) is not numeric
    assert ask("socket.getaddrinfo", host=host, port=80) is not numeric


def test_getnameinfo_is_told_by_its_flag() -> None:
    assert ask("socket.getnameinfo", ("10.0.0.1", 1), 0) is True
    assert ask("socket.getnameinfo", ("10.0.0.1", 1), socket.NI_NUMERICHOST) is False


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("data.json", True),
            (b"data.json", True),
            (Path("data.json"), True),
            (3, False),
            ("/proc/self/stat", False),
            ("/proc", False),
            ("/sys/class", False),
            ("/dev/null", False),
            (b"/dev/null", False),
            ("/dev/shm/x", False),
            ("/dev/fd/3", False),
            ("/dev/sda", True),
            ("/process", True),
        ],
    )
    @pytest.mark.parametrize("name", ["open", "os.stat", "os.listdir", "os.unlink"])
    def test_paths(self, name: str, path: Any, expected: bool) -> None:
        assert ask(name, path) is expected

    def test_without_a_path_it_is_the_working_directory(self) -> None:
        assert ask("os.listdir") is True
        assert ask("os.scandir", path="/proc") is False

    def test_what_is_no_path_is_left_to_the_call(self) -> None:
        assert waits.path_text(object()) == ""


class TestDescriptors:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        ends = os.pipe()
        yield ends
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)

    def test_a_regular_file(self, tmp_path: Path) -> None:
        with (tmp_path / "f").open("w+b", buffering=0) as file:
            assert ask("os.read", file.fileno(), 1) is True
            assert ask("os.write", file.fileno(), b"") is True
            assert ask("io.FileIO.read", file) is True
            assert ask("io.FileIO.write", file, b"") is True

    def test_the_mode_of_the_file_decides(self, tmp_path: Path) -> None:
        with (tmp_path / "f").open("wb", buffering=0) as file:
            assert ask("io.FileIO.read", file) is False
        assert ask("io.FileIO.write", file, b"") is False

    def test_a_pipe_by_its_mode(self, pipe: tuple[int, int]) -> None:
        read, write = pipe
        assert ask("os.read", read, 1) == "TRU222"
        assert ask("os.write", write, bytes(4096)) is True
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        assert ask("os.read", read, 1) is False
        assert ask("os.write", write, b"") is False

    def test_memory_of_the_kernel(self) -> None:
        with open("/dev/zero", "rb", buffering=0) as file:  # noqa: PTH123 - a device
            assert ask("os.read", file.fileno(), 1) is False
            assert ask("io.FileIO.read", file) is False

    def test_a_terminal_is_the_console(self) -> None:
        ours, theirs = pty.openpty()
        try:
            assert ask("os.read", theirs, 1) == "TRU250"
            assert ask("os.write", theirs, b"") is False
        finally:
            os.close(ours)
            os.close(theirs)

    def test_standard_output_and_error_are_the_console(self) -> None:
        assert ask("os.write", 1, b"") is False
        assert ask("os.write", 2, b"") is False

    def test_a_file_below_standard_output_is_the_console(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (tmp_path / "out").open("w", encoding="utf-8") as text:
            raw = text.buffer.raw  # type: ignore[attr-defined]
            assert ask("io.FileIO.write", raw, b"") is True
            monkeypatch.setattr(sys, "stdout", text)
            assert ask("io.FileIO.write", raw, b"") is False
            waits.note_consoles()
            monkeypatch.undo()
            assert ask("io.FileIO.write", raw, b"") is False

    def test_a_file_below_standard_input_is_the_console(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "in").write_text("", "utf-8")
        with (tmp_path / "in").open(encoding="utf-8") as text:
            monkeypatch.setattr(sys, "stdin", text)
            assert ask("io.FileIO.read", text.buffer.raw) == "TRU250"  # type: ignore[attr-defined]

    def test_streams_without_a_file_are_no_console(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys, "stderr", None)
        waits.note_consoles()
        with open(os.devnull, "wb", buffering=0) as raw:  # noqa: PTH123 - a device
            assert waits.is_console(raw) is False

    @pytest.mark.parametrize("wrong", [-1, 10**6, "x", None])
    def test_what_is_no_descriptor_is_left_to_the_call(self, wrong: Any) -> None:
        assert waits._kind(wrong) == (0, 0)
        assert waits.fd_writes(wrong) is False

    def test_what_has_come(self, pipe: tuple[int, int]) -> None:
        read, write = pipe
        with open(read, "rb", buffering=0, closefd=False) as raw:
            for given in (read, raw):
                assert waits.is_there((given, 1)) is False
            os.write(write, b"x")
            for given in (read, raw):
                assert waits.is_there((given, 1)) is True
        assert os.read(read, 1) == b"x"
        os.close(write)
        assert waits.is_there((read, 1)) is True, "the end is there to be read"
        for wrong in ((), (-1,), ("x",), (None,), (10**6,)):
            assert waits.is_there(wrong) is False

    def test_a_closed_descriptor_is_left_to_the_call(self, pipe: tuple[int, int]) -> None:
        os.close(pipe[0])
        assert ask("os.read", pipe[0], 1) is False
        os.close(pipe[1])
        assert ask("os.write", pipe[1], b"") is False

    def test_no_descriptor_at_all(self) -> None:
        assert ask("os.read") is False
        assert ask("os.write") is False

    def test_without_get_blocking_it_may_wait(
        self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pytest_truasync._detect.originals.get_blocking", None)
        os.set_blocking(pipe[0], False)
        assert ask("os.read", pipe[0], 1) == "TRU222"


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("fcntl.flock", (3, fcntl.LOCK_EX), {}, True),
        ("fcntl.flock", (3, fcntl.LOCK_EX | fcntl.LOCK_NB), {}, False),
        ("fcntl.flock", (3, fcntl.LOCK_UN), {}, False),
        ("fcntl.lockf", (3, fcntl.LOCK_SH), {}, True),
        ("fcntl.lockf", (3, fcntl.LOCK_SH | fcntl.LOCK_NB), {}, False),
        ("os.lockf", (3, os.F_LOCK, 1), {}, True),
        ("os.lockf", (3, os.F_TLOCK, 1), {}, False),
        ("os.lockf", (3, os.F_ULOCK, 1), {}, False),
        ("os.waitpid", (1, 0), {}, True),
        ("os.waitpid", (1, os.WNOHANG), {}, False),
        ("os.wait3", (0,), {}, True),
        ("os.wait3", (os.WNOHANG,), {}, False),
        ("os.wait3", (), {"options": os.WNOHANG}, False),
        ("os.wait4", (1, os.WNOHANG), {}, False),
        ("os.waitid", (os.P_ALL, 0, os.WEXITED), {}, True),
        ("os.waitid", (os.P_ALL, 0, os.WEXITED | os.WNOHANG), {}, False),
        ("select.select", ([], [], []), {}, True),
        ("select.select", ([], [], [], None), {}, True),
        ("select.select", ([], [], [], 1), {}, True),
        ("select.select", ([], [], [], 0), {}, False),
        ("select.select", ([], [], [], 0.0), {}, False),
        ("select.poll.poll", (select.poll(),), {}, True),
        ("select.poll.poll", (select.poll(), 0), {}, False),
        ("select.epoll.poll", (None, 0), {}, False),
        ("select.epoll.poll", (None,), {"timeout": 0}, False),
        ("select.epoll.poll", (None,), {"timeout": -1}, True),
        ("mmap.mmap", (3, 10), {}, True),
        ("mmap.mmap", (-1, 10), {}, False),
    ],
)
def test_arguments_decide(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], expected: bool
) -> None:
    assert PREDICATES[name](args, kwargs) is expected


class TestRoom:
    """A write to a pipe or local socket that takes it at once."""

    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        ends = os.pipe()
        yield ends
        for end in ends:
            os.close(end)

    @pytest.mark.parametrize(("size", "waits"), [(0, False), (1, False), (512, False), (513, True)])
    def test_an_empty_pipe(self, pipe: tuple[int, int], size: int, waits: bool) -> None:
        assert ask("os.write", pipe[1], bytes(size)) is waits

    def test_a_full_pipe(self, pipe: tuple[int, int]) -> None:
        os.set_blocking(pipe[1], False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe[1], bytes(4096))
        os.set_blocking(pipe[1], True)
        assert ask("os.write", pipe[1], b"x") is True

    def test_what_is_no_buffer(self, pipe: tuple[int, int]) -> None:
        assert ask("os.writev", pipe[1], [b"x"]) is True

    @pytest.mark.parametrize(("size", "waits"), [(1, False), (513, True)])
    def test_a_local_socket(self, size: int, waits: bool) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert ask("socket.socket.send", ours, bytes(size)) is waits
            assert ask("socket.socket.sendall", ours, bytes(size)) is waits

    def test_a_socket_of_the_network(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as sock,
        ):
            assert ask("socket.socket.send", sock, b"x") is True


@pytest.mark.parametrize("name", ["open", "os.open"])
@pytest.mark.parametrize(
    ("path", "waits"), [("notes.txt", True), ("/dev/null", False), ("/proc/self/stat", False)]
)
def test_opening(name: str, path: str, waits: bool) -> None:
    assert ask(name, path, os.O_RDONLY) is waits
