"""Tells which calls of a target can wait: one predicate for a kind of call.

A predicate gets the arguments of the call. It answers False for a call that cannot block, True
for one that can, or the code of a rule that speaks of this call instead of the target's own.
"""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from pytest_truasync._detect import originals, ready

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Args, Kwargs], bool | str]

_DONTWAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
_NOHANG: Final = getattr(os, "WNOHANG", 0)
_LOCK_NB: Final = 4
_LOCK_UN: Final = 8
_MEMORY: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm/")
_KERNEL: Final = ("/proc/", "/sys/", "/dev/fd/")
_PATHS: Final = frozenset({type(pathlib.Path()), type(pathlib.PurePath())})
_OTHER_ENDS: Final = {stat.S_IFIFO: "TRU222", stat.S_IFSOCK: "TRU270"}
"""Kind of a descriptor that waits for its other end → rule for that."""
_UNIX: Final = getattr(socket, "AF_UNIX", None)
gettimeout: Final = socket.socket.gettimeout


def connect_waits(args: Args, kwargs: Kwargs) -> bool:
    """A datagram socket only notes the address."""
    sock = args[0]
    return gettimeout(sock) != 0 and sock.type & 0xF == socket.SOCK_STREAM


def socket_waits(place: int, at_once: Callable[[Args], bool] = lambda _: False) -> Predicate:
    """Not at timeout 0, and not with MSG_DONTWAIT among the flags, which stand at *place*.

    Args:
        place: of the flags among the arguments.
        at_once: tells of a call on a blocking socket that it need not wait.
    """

    def waits(args: Args, kwargs: Kwargs) -> bool:
        if gettimeout(args[0]) == 0:
            return False
        flags = args[place] if len(args) > place else kwargs.get("flags", 0)
        if isinstance(flags, int) and flags & _DONTWAIT:  # or it is the address of sendto
            return False
        return not at_once(args)

    return waits


def _received_at_once(args: Args) -> bool:
    return ready.reads_in_callback(args[0].fileno())


def _sent_at_once(args: Args) -> bool:
    sock = args[0]
    return sock.family == _UNIX and len(args) > 1 and ready.takes(sock.fileno(), args[1])


def tls_waits(args: Args, kwargs: Kwargs) -> bool:
    """A TLS session in memory has no socket; one on a socket waits as the socket does."""
    owner = args[0].owner
    return isinstance(owner, socket.socket) and gettimeout(owner) != 0


def name_waits(args: Args, kwargs: Kwargs) -> bool:
    """A numeric address needs no name server."""
    host = args[0] if args else kwargs.get("host")
    if isinstance(host, tuple):  # getnameinfo
        return not (len(args) > 1 and args[1] & socket.NI_NUMERICHOST)
    return not is_numeric(host)


def is_numeric(host: Any) -> bool:
    """Tell whether *host* is an address, not a name; None and empty stand for the local one."""
    if host is None:
        return True
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "<broadcast>"):
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def sleep_waits(args: Args, kwargs: Kwargs) -> bool:
    """`sleep(0)` only lets other threads run."""
    return bool(args) and args[0] > 0


def path_waits(args: Args, kwargs: Kwargs) -> bool:
    """Not a file descriptor, and not a file that the kernel makes up in memory."""
    path = args[0] if args else kwargs.get("path", ".")
    return not (issubclass(type(path), int) or is_memory(path))


def is_memory(path: Any) -> bool:
    """Tell whether *path* is kept by the kernel and on no disk."""
    text = path_text(path)
    return text.startswith(_MEMORY) or f"{text}/".startswith(_KERNEL)


def path_text(path: Any) -> str:
    """Return *path* as text, or an empty text where it is no path.

    Nor is one of a class of the user's, whose `__fspath__` is for the call itself to ask.
    """
    kind = type(path)  # to ask an object for its class may run code of the user's
    if kind is str or kind in _PATHS:
        return str(path)
    return os.fsdecode(path) if kind is bytes else ""


def raw_reads(args: Args, kwargs: Kwargs) -> bool | str:
    """A file on a disk, or a pipe or terminal that waits for its other end."""
    raw = args[0]
    if raw.closed or not raw.readable():
        return False
    if is_memory(raw.name):
        return False
    if is_raw_of(raw, (sys.stdin, sys.__stdin__)):
        return "TRU250" if fd_reads(raw.fileno()) else False
    return fd_reads(raw.fileno())


def raw_writes(args: Args, kwargs: Kwargs) -> bool:
    """Not the console, and not what pytest has put in its place."""
    raw = args[0]
    if raw.closed or not raw.writable() or is_memory(raw.name) or is_console(raw):
        return False
    return fd_writes(raw.fileno(), args[1] if len(args) > 1 else None)


_consoles: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_last_noted: Final[list[Callable[[], Any]]] = [object, object]
"""What gives back the two streams that were noted last, if they are still there."""


def note_consoles() -> None:
    """Remember what is below standard output and error now.

    A log handler keeps the stream that it was made with, when a test has long put another one in
    its place.
    """
    if _last_noted[0]() is sys.stdout and _last_noted[1]() is sys.stderr:
        return  # pytest puts the same ones in place for each test
    for place, stream in enumerate((sys.stdout, sys.stderr)):
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        try:
            if raw is not None:
                _consoles.add(raw)
            _last_noted[place] = weakref.ref(stream)
        except TypeError:
            continue


def is_console(raw: Any) -> bool:
    """Tell whether a raw file is or was below standard output or error, captured or not."""
    return (
        raw.fileno() in (1, 2)
        or raw in _consoles
        or is_raw_of(raw, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    )


def is_raw_of(raw: Any, streams: tuple[Any, ...]) -> bool:
    """Tell whether *raw* is the raw file of one of the text streams."""
    for stream in streams:
        buffer = getattr(stream, "buffer", None)
        if buffer is raw or getattr(buffer, "raw", None) is raw:
            return True
    return False


def is_there(args: Args) -> bool:
    """Tell whether what is to be read from a descriptor or raw file has come already."""
    given: Any = args[0] if args else -1
    try:
        fd = given if issubclass(type(given), int) else given.fileno()
    except (AttributeError, OSError, ValueError):
        return False  # the call itself will say what is wrong
    return ready.is_ready(fd, ready.READ)


def fd_reads(fd: int) -> bool | str:
    """A regular file; or what waits for another end, where it is in blocking mode.

    What the other end takes long for is no work on files, for which there are threads.
    """
    kind, device = _kind(fd)
    if kind == stat.S_IFCHR:
        if os.major(device) == 1:  # null, zero, random: memory
            return False
        return "TRU250" if _blocks(fd) else False
    if kind == stat.S_IFREG:
        return True
    return _OTHER_ENDS.get(kind, True) if _blocks(fd) and not ready.reads_in_callback(fd) else False


def fd_writes(fd: int, data: Any = None) -> bool:
    """A regular file; or a pipe or socket in blocking mode that *data* may be too much for."""
    kind, _ = _kind(fd)
    if kind == stat.S_IFCHR or fd in (1, 2):
        return False
    if kind == stat.S_IFREG:
        return True
    return kind != 0 and _blocks(fd) and not (kind == stat.S_IFIFO and ready.takes(fd, data))


def _kind(fd: int) -> tuple[int, int]:
    try:
        found = originals.fstat(fd)
    except (OSError, TypeError, OverflowError):
        return 0, 0  # the call itself will say what is wrong
    return originals.S_IFMT(found.st_mode), found.st_rdev


def _blocks(fd: int) -> bool:
    if originals.get_blocking is None:
        return True
    try:
        return originals.get_blocking(fd)
    except OSError:
        return False


def os_reads(args: Args, kwargs: Kwargs) -> bool | str:
    """As for the descriptor, the first argument."""
    return bool(args) and fd_reads(args[0])


def os_writes(args: Args, kwargs: Kwargs) -> bool:
    """As for the descriptor, the first argument."""
    return bool(args) and fd_writes(args[0], args[1] if len(args) > 1 else None)


def flock_waits(args: Args, kwargs: Kwargs) -> bool:
    """Not when asked for at once, and not an unlocking."""
    command = args[1] if len(args) > 1 else 0
    return not command & (_LOCK_NB | _LOCK_UN)


def lockf_waits(args: Args, kwargs: Kwargs) -> bool:
    """`os.lockf`: neither F_TLOCK, F_ULOCK nor F_TEST."""
    return len(args) > 1 and args[1] == getattr(os, "F_LOCK", 1)


def wait_waits(place: int) -> Predicate:
    """Not with WNOHANG, which stands at *place* of the arguments."""

    def waits(args: Args, kwargs: Kwargs) -> bool:
        options = args[place] if len(args) > place else kwargs.get("options", 0)
        return not options & _NOHANG

    return waits


def timeout_waits(place: int) -> Predicate:
    """Not with a timeout of zero, which stands at *place* of the arguments."""

    def waits(args: Args, kwargs: Kwargs) -> bool:
        timeout = args[place] if len(args) > place else kwargs.get("timeout")
        return timeout != 0

    return waits


def open_waits(args: Args, kwargs: Kwargs) -> bool:
    """As for any path; the descriptor of an open file needs no opening."""
    return path_waits(args, kwargs)


def mmap_waits(args: Args, kwargs: Kwargs) -> bool:
    """Not memory that no file stands behind."""
    return bool(args) and args[0] != -1


_ON_SOCKETS: Final = (
    "connect connect_ex _accept recv recvfrom recv_into recvfrom_into recvmsg recvmsg_into",
    "send sendall sendto sendmsg sendmsg_afalg",
)
ON_SOCKETS: Final = frozenset(f"socket.socket.{n}" for row in _ON_SOCKETS for n in row.split())
"""Methods of sockets, which never wait at timeout 0."""


def _each(predicate: Predicate, owner: str, names: str) -> dict[str, Predicate]:
    return {f"{owner}.{name}": predicate for name in names.split()}


PREDICATES: Final[Mapping[str, Predicate]] = {
    "time.sleep": sleep_waits,
    **_each(os_reads, "os", "read pread readv preadv"),
    **_each(os_writes, "os", "write pwrite writev pwritev sendfile"),
    "os.lockf": lockf_waits,
    **_each(flock_waits, "fcntl", "flock lockf"),
    **_each(path_waits, "os", "stat lstat access readlink statvfs listdir scandir mkdir rmdir"),
    **_each(path_waits, "os", "remove unlink rename replace link symlink chmod lchmod chown"),
    **_each(path_waits, "os", "lchown utime mkfifo mknod truncate"),
    **_each(path_waits, "os", "getxattr setxattr listxattr removexattr"),
    "os.waitpid": wait_waits(1),
    "os.wait3": wait_waits(0),
    "os.wait4": wait_waits(1),
    "os.waitid": wait_waits(2),
    **_each(raw_reads, "io.FileIO", "read readall readinto"),
    **_each(raw_writes, "io.FileIO", "write truncate"),
    **_each(connect_waits, "socket.socket", "connect connect_ex"),
    **_each(socket_waits(1, _received_at_once), "socket.socket", "_accept"),
    **_each(socket_waits(2, _received_at_once), "socket.socket", "recv recvfrom"),
    **_each(
        socket_waits(3, _received_at_once),
        "socket.socket",
        "recv_into recvfrom_into recvmsg recvmsg_into",
    ),
    **_each(socket_waits(2, _sent_at_once), "socket.socket", "send sendall"),
    **_each(socket_waits(2), "socket.socket", "sendto"),
    **_each(socket_waits(3), "socket.socket", "sendmsg"),
    **_each(socket_waits(5), "socket.socket", "sendmsg_afalg"),
    **_each(tls_waits, "ssl.SSLSocket", "read write do_handshake shutdown"),
    **_each(name_waits, "socket", "getaddrinfo gethostbyname gethostbyname_ex"),
    "socket.getnameinfo": name_waits,
    "select.select": timeout_waits(3),
    **_each(timeout_waits(1), "select", "poll.poll epoll.poll devpoll.poll"),
    "select.kqueue.control": timeout_waits(3),
    "mmap.mmap": mmap_waits,
    "open": open_waits,
    "os.open": open_waits,
}
"""Dotted name of a target → its predicate; a target without one can always block."""
