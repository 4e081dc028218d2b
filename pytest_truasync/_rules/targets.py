"""Which calls are watched, and which rule speaks of them.

A row of `TARGETS` is a primitive: the lowest call that Python code can be seen to make. What a
user called to get there (`requests.get`, `subprocess.run`) is read off the stack; `CODES_BY_NAME`
says which rule speaks of that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from pytest_truasync._model import Target


def _rows(code: str, owner: str, names: str) -> Iterable[Target]:
    return (Target(f"{owner}.{name}", code) for name in names.split())


TARGETS: Final[tuple[Target, ...]] = (
    Target("time.sleep", "TRU251"),
    Target("builtins.input", "TRU250"),
    *_rows("TRU230", "io.FileIO", "__init__"),
    *_rows("TRU230", "os", "open"),
    *_rows("TRU252", "signal", "pause sigwait sigwaitinfo sigtimedwait"),
    *_rows("TRU231", "os", "read write pread pwrite readv writev preadv pwritev sendfile"),
    *_rows("TRU231", "os", "fsync fdatasync sync truncate ftruncate copy_file_range splice"),
    *_rows("TRU231", "os", "posix_fallocate"),
    *_rows("TRU232", "os", "lockf"),
    *_rows("TRU232", "fcntl", "flock lockf"),
    *_rows("TRU240", "os", "stat lstat access readlink statvfs listdir scandir mkdir rmdir"),
    *_rows("TRU240", "os", "remove unlink rename replace link symlink chmod lchmod chown lchown"),
    *_rows("TRU240", "os", "utime mkfifo mknod getxattr setxattr listxattr removexattr"),
    *_rows("TRU220", "os", "posix_spawn posix_spawnp"),
    *_rows("TRU221", "os", "system"),
    *_rows("TRU222", "os", "wait waitpid wait3 wait4 waitid"),
    *_rows("TRU231", "io.FileIO", "read readall readinto write truncate"),
    *_rows("TRU231", "mmap.mmap", "__init__ flush"),
    *_rows("TRU260", "threading.Lock", "acquire acquire_lock __enter__"),
    *_rows("TRU260", "threading.RLock", "acquire __enter__"),
    *_rows("TRU262", "_thread._ThreadHandle", "join"),
    *_rows("TRU261", "queue.SimpleQueue", "get"),
    *_rows("TRU260", "_multiprocessing.SemLock", "acquire __enter__"),
    *_rows("TRU270", "socket.socket", "connect connect_ex _accept recv recv_into recvfrom"),
    *_rows("TRU270", "socket.socket", "recvfrom_into recvmsg recvmsg_into send sendall sendto"),
    *_rows("TRU270", "socket.socket", "sendmsg sendmsg_afalg"),
    *_rows("TRU270", "ssl.SSLSocket", "read write do_handshake shutdown"),
    *_rows("TRU271", "socket", "getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr"),
    *_rows("TRU271", "socket", "getnameinfo"),
    *_rows("TRU272", "select", "select"),
    *_rows("TRU272", "select.poll", "poll"),
    *_rows("TRU272", "select.epoll", "poll"),
    *_rows("TRU272", "select.kqueue", "control"),
    *_rows("TRU272", "select.devpoll", "poll"),
    *_rows("TRU281", "sqlite3", "connect"),
    *_rows("TRU281", "sqlite3.Connection", "execute executemany executescript commit rollback"),
    *_rows("TRU281", "sqlite3.Connection", "backup close __exit__ blobopen load_extension"),
    *_rows("TRU281", "sqlite3.Connection", "serialize deserialize"),
    *_rows("TRU281", "sqlite3.Cursor", "execute executemany executescript fetchone fetchmany"),
    *_rows("TRU281", "sqlite3.Cursor", "fetchall __next__"),
    *_rows("TRU281", "sqlite3.Blob", "read write"),
)
"""Rows whose callable an interpreter lacks are left out where they are installed."""

AUDITED: Final[Mapping[str, Target]] = {
    "open": Target("open", "TRU230"),
    "mmap.__new__": Target("mmap.mmap", "TRU231"),
    "builtins.input": Target("builtins.input", "TRU250"),
    "time.sleep": Target("time.sleep", "TRU251"),
    "socket.connect": Target("socket.socket.connect", "TRU270"),
    "socket.getaddrinfo": Target("socket.getaddrinfo", "TRU271"),
    "socket.gethostbyname": Target("socket.gethostbyname", "TRU271"),
    "socket.gethostbyaddr": Target("socket.gethostbyaddr", "TRU271"),
    "socket.getnameinfo": Target("socket.getnameinfo", "TRU271"),
    "sqlite3.connect": Target("sqlite3.connect", "TRU281"),
    "os.system": Target("os.system", "TRU221"),
    "os.listdir": Target("os.listdir", "TRU240"),
    "os.scandir": Target("os.scandir", "TRU240"),
    "os.mkdir": Target("os.mkdir", "TRU240"),
    "os.rmdir": Target("os.rmdir", "TRU240"),
    "os.remove": Target("os.remove", "TRU240"),
    "os.rename": Target("os.rename", "TRU240"),
    "os.link": Target("os.link", "TRU240"),
    "os.symlink": Target("os.symlink", "TRU240"),
    "os.chmod": Target("os.chmod", "TRU240"),
    "os.chown": Target("os.chown", "TRU240"),
    "os.utime": Target("os.utime", "TRU240"),
    "os.truncate": Target("os.truncate", "TRU231"),
    "os.lockf": Target("os.lockf", "TRU232"),
    "fcntl.flock": Target("fcntl.flock", "TRU232"),
    "fcntl.lockf": Target("fcntl.lockf", "TRU232"),
}
"""Audit events (PEP 578) of calls that may go round a replaced name: through an alias that was
bound before, or where types cannot be patched. They say that a call is made, not how long it
takes.
"""

CODES_BY_NAME: Final[Mapping[str, str]] = {
    # standard library
    "subprocess": "TRU221",
    "subprocess.Popen": "TRU220",
    "subprocess.Popen.wait": "TRU222",
    "subprocess.Popen.communicate": "TRU222",
    "os.popen": "TRU221",
    "multiprocessing.process": "TRU220",
    "multiprocessing.process.BaseProcess.join": "TRU222",
    "multiprocessing.Process": "TRU220",
    "multiprocessing.Process.join": "TRU222",
    "multiprocessing.queues": "TRU261",
    "multiprocessing.Queue": "TRU261",
    "multiprocessing.pool": "TRU263",
    "multiprocessing.connection": "TRU261",
    "multiprocessing.synchronize": "TRU260",
    "multiprocessing.managers": "TRU261",
    "threading": "TRU260",
    "threading.Thread.join": "TRU262",
    "queue": "TRU261",
    "concurrent.futures": "TRU263",
    "selectors": "TRU272",
    "http.client": "TRU210",
    "urllib.request": "TRU210",
    "urllib.robotparser": "TRU210",
    "xmlrpc.client": "TRU210",
    "smtplib": "TRU273",
    "ftplib": "TRU273",
    "poplib": "TRU273",
    "imaplib": "TRU273",
    "nntplib": "TRU273",
    "telnetlib": "TRU273",
    "getpass": "TRU250",
    "sqlite3": "TRU281",
    "dbm.sqlite3": "TRU281",
    # HTTP and APIs over HTTP
    "requests": "TRU210",
    "urllib3": "TRU210",
    "httpx": "TRU210",
    "httpx2": "TRU210",
    "httpcore": "TRU210",
    "httplib2": "TRU210",
    "pycurl": "TRU210",
    "boto3": "TRU210",
    "botocore": "TRU210",
    "s3transfer": "TRU210",
    "google.cloud": "TRU210",
    "google.auth": "TRU210",
    "googleapiclient": "TRU210",
    "azure": "TRU210",
    "stripe": "TRU210",
    "twilio": "TRU210",
    "openai": "TRU210",
    "anthropic": "TRU210",
    "elasticsearch": "TRU210",
    "opensearchpy": "TRU210",
    "minio": "TRU210",
    "supabase": "TRU210",
    "postgrest": "TRU210",
    "gotrue": "TRU210",
    "storage3": "TRU210",
    "hvac": "TRU210",
    "consul": "TRU210",
    "docker": "TRU210",
    "kubernetes": "TRU210",
    "zeep": "TRU210",
    "slack_sdk": "TRU210",
    "grpc": "TRU210",
    "curl_cffi": "TRU210",
    "primp": "TRU210",
    # mail, file transfer, shells
    "paramiko": "TRU273",
    "fabric": "TRU273",
    "ldap3": "TRU273",
    # brokers
    "pika": "TRU274",
    "kombu": "TRU274",
    "amqp": "TRU274",
    "kafka": "TRU274",
    "confluent_kafka": "TRU274",
    "stomp": "TRU274",
    "paho": "TRU274",
    "zmq": "TRU274",
    "nats": "TRU274",
    # databases over a network
    "psycopg2": "TRU280",
    "psycopg": "TRU280",
    "psycopg_pool": "TRU280",
    "pg8000": "TRU280",
    "pymysql": "TRU280",
    "MySQLdb": "TRU280",
    "mysql": "TRU280",
    "mariadb": "TRU280",
    "pymssql": "TRU280",
    "pyodbc": "TRU280",
    "oracledb": "TRU280",
    "sqlalchemy": "TRU280",
    "sqlmodel": "TRU280",
    "peewee": "TRU280",
    "pony": "TRU280",
    "redis": "TRU280",
    "valkey": "TRU280",
    "memcache": "TRU280",
    "pymemcache": "TRU280",
    "pymongo": "TRU280",
    "mongoengine": "TRU280",
    "cassandra": "TRU280",
    "clickhouse_driver": "TRU280",
    "clickhouse_connect": "TRU280",
    "neo4j": "TRU280",
    "influxdb": "TRU280",
    # databases in the process
    "duckdb": "TRU281",
}
"""Public name of a module, class or function → rule; the longest that fits counts."""

OFFLOAD_CODES: Final[Mapping[str, str]] = {
    "TRU210": "TRU310",
    "TRU220": "TRU320",
    "TRU221": "TRU320",
    "TRU222": "TRU320",
    "TRU251": "TRU351",
    "TRU252": "TRU351",
    "TRU260": "TRU360",
    "TRU261": "TRU360",
    "TRU262": "TRU360",
    "TRU263": "TRU360",
    "TRU270": "TRU370",
    "TRU271": "TRU371",
    "TRU272": "TRU370",
    "TRU273": "TRU373",
    "TRU274": "TRU374",
    "TRU280": "TRU380",
}
"""Rule that a blocking call breaks on the loop → rule that it breaks inside an offload.
What is not here is file work, console or CPU: a legitimate offload."""

if sys.platform == "win32":  # pragma: no cover - Linux first
    TARGETS += tuple(_rows("TRU240", "nt", "_path_exists _path_isdir _path_isfile _path_islink"))


def code_for(names: Iterable[str], default: str) -> str:
    """Return the rule for a call that went through the functions *names*, outermost first."""
    for name in names:
        part = name
        while part:
            if code := CODES_BY_NAME.get(part):
                return code
            part = part.rpartition(".")[0]
    return default
