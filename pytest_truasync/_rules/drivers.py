"""Drivers whose waiting happens in C, out of sight of Python: which of their calls to watch.

A row is applied when the user's code imports the row's module, and costs nothing until then.
Drivers written in Python over sockets (pymysql, redis, pymongo, pika, requests) need no row: they
are found by the socket below them, and named off the stack.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from pytest_truasync._model import Driver

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = Mapping[str, Any]

_IDLE: Final = 1  # psycopg2.extensions.STATUS_READY: no transaction is open
_ZMQ_DONTWAIT: Final = 1
_ZMQ_RCVTIMEO: Final = 27
_ZMQ_SNDTIMEO: Final = 28


# What tells that a call cannot block: False for one that cannot, True for one that can.


def _psycopg2_waits(args: Args, kwargs: Kwargs) -> bool:
    """Not on a connection in async mode, whose user polls.

    Nor under a wait callback, which is Python: its own waiting is seen.
    """
    connection: Any = getattr(args[0], "connection", args[0])
    return not (connection.async_ or _psycopg2_calls_back())


def _psycopg2_calls_back() -> bool:
    driver: Any = sys.modules["psycopg2._psycopg"]
    return driver.get_wait_callback() is not None


def _psycopg2_connects(args: Args, kwargs: Kwargs) -> bool:
    """As above; the mode is an argument here."""
    mode = args[2] if len(args) > 2 else kwargs.get("async_", kwargs.get("async", False))
    return not (mode or _psycopg2_calls_back())


def _psycopg2_ends(args: Args, kwargs: Kwargs) -> bool:
    """Nothing is sent where no transaction is open."""
    return _psycopg2_waits(args, kwargs) and args[0].status != _IDLE


def _psycopg2_fetches(args: Args, kwargs: Kwargs) -> bool:
    """Only a named cursor has its rows at the server still; `execute` brought all others."""
    cursor = args[0]
    return bool(cursor.name and not cursor.closed) and _psycopg2_waits(args, kwargs)


def _psycopg2_iterates(args: Args, kwargs: Kwargs) -> bool:
    """A named cursor asks for `itersize` rows at a time."""
    cursor = args[0]
    return _psycopg2_fetches(args, kwargs) and cursor.rownumber >= cursor.rowcount


def _unbuffered(args: Args, kwargs: Kwargs) -> bool:
    """A buffered cursor has all its rows."""
    return not args[0].buffered


def _more_results(args: Args, kwargs: Kwargs) -> bool:
    """The last result says that it is the last."""
    return bool(args[0].more_results())


def _connector_fetches(args: Args, kwargs: Kwargs) -> bool:
    """Not where all rows were fetched at once."""
    return bool(args[0].have_result_set and not args[0].buffered())


def _odbc_ends(args: Args, kwargs: Kwargs) -> bool:
    """Nothing to end under autocommit."""
    connection: Any = getattr(args[0], "connection", args[0])
    return not connection.autocommit


def _oracle_is_thick(args: Args, kwargs: Kwargs) -> bool:
    """The thin driver is Python over sockets, which are watched."""
    driver: Any = sys.modules["oracledb"]
    return not driver.is_thin_mode()


def _kafka_timeout(place: int) -> Callable[[Args, Kwargs], bool]:
    """Not with a timeout of zero, which stands at *place* of the arguments; the default is none."""

    def waits(args: Args, kwargs: Kwargs) -> bool:
        timeout = args[place] if len(args) > place else kwargs.get("timeout", -1)
        return bool(timeout != 0)

    return waits


def _kafka_flushes(args: Args, kwargs: Kwargs) -> bool:
    """Not with nothing to deliver."""
    return len(args[0]) > 0 and _kafka_timeout(1)(args, kwargs)


def _kafka_commits(args: Args, kwargs: Kwargs) -> bool:
    """Waits for the broker where asked to; the default is to return at once."""
    return not kwargs.get("asynchronous", kwargs.get("async", True))


def _kafka_watermarks(args: Args, kwargs: Kwargs) -> bool:
    return not kwargs.get("cached", False)


def _curl_selects(args: Args, kwargs: Kwargs) -> bool:
    return bool(args[1] > 0)


def _zmq_receives(args: Args, kwargs: Kwargs) -> bool:
    """`recv`: the flags come first."""
    return _zmq_waits(args[0], args[1] if len(args) > 1 else kwargs.get("flags", 0), _ZMQ_RCVTIMEO)


def _zmq_receives_into(args: Args, kwargs: Kwargs) -> bool:
    return _zmq_waits(args[0], kwargs.get("flags", 0), _ZMQ_RCVTIMEO)


def _zmq_sends(args: Args, kwargs: Kwargs) -> bool:
    """`send`: the message comes first."""
    return _zmq_waits(args[0], args[2] if len(args) > 2 else kwargs.get("flags", 0), _ZMQ_SNDTIMEO)


def _zmq_waits(socket: Any, flags: int, timeout: int) -> bool:
    return not flags & _ZMQ_DONTWAIT and socket.get(timeout) != 0


def _zmq_polls(args: Args, kwargs: Kwargs) -> bool:
    return bool((args[1] if len(args) > 1 else kwargs.get("timeout", -1)) != 0)


# The rows.

_DUCKDB_CALLS: Final = (
    "execute executemany sql query from_query table view values read_csv read_json read_parquet "
    "fetchone fetchmany fetchall fetchnumpy fetchdf fetch_df fetch_df_chunk df pl arrow "
    "fetch_arrow_table fetch_record_batch commit rollback checkpoint append connect "
    "install_extension load_extension"
)
_DUCKDB_RESULT_CALLS: Final = (
    "execute fetchone fetchmany fetchall fetchnumpy fetchdf df pl arrow fetch_arrow_table show "
    "to_csv to_parquet write_csv write_parquet insert insert_into create to_table arrow_table drain"
)
_PRIMP_CALLS: Final = "request get head options delete post put patch"
_PSYCOPG_WAITS: Final = "wait_c"

DRIVERS: Final[tuple[Driver, ...]] = (
    # PostgreSQL
    Driver(
        "psycopg2._psycopg",
        "connection",
        "__init__",
        "TRU280",
        "psycopg2.extensions.connection",
        _psycopg2_connects,
    ),
    Driver(
        "psycopg2._psycopg",
        "connection",
        "commit rollback __exit__",
        "TRU280",
        "psycopg2.extensions.connection",
        _psycopg2_ends,
    ),
    Driver(
        "psycopg2._psycopg",
        "connection",
        "tpc_begin tpc_prepare tpc_commit tpc_rollback tpc_recover set_session "
        "set_isolation_level set_client_encoding lobject cancel reset",
        "TRU280",
        "psycopg2.extensions.connection",
        _psycopg2_waits,
    ),
    Driver(
        "psycopg2._psycopg",
        "cursor",
        "execute executemany callproc copy_from copy_to copy_expert",
        "TRU280",
        "psycopg2.extensions.cursor",
        _psycopg2_waits,
    ),
    Driver(
        "psycopg2._psycopg",
        "cursor",
        "fetchone fetchmany fetchall scroll close",
        "TRU280",
        "psycopg2.extensions.cursor",
        _psycopg2_fetches,
    ),
    Driver(
        "psycopg2._psycopg",
        "cursor",
        "__next__",
        "TRU280",
        "psycopg2.extensions.cursor",
        _psycopg2_iterates,
    ),
    Driver(
        "psycopg2._psycopg",
        "ReplicationCursor",
        "start_replication_expert consume_stream",
        "TRU280",
        "psycopg2.extras.ReplicationCursor",
        _psycopg2_waits,
    ),
    Driver(
        "psycopg2._psycopg",
        "lobject",
        "read write seek tell close unlink export truncate",
        "TRU280",
        "psycopg2.extensions.lobject",
    ),
    # A generator does the talking and yields where it has to wait.
    Driver("psycopg_binary._psycopg", "", _PSYCOPG_WAITS, "TRU280", "psycopg.waiting", steps=True),
    Driver("psycopg_c._psycopg", "", _PSYCOPG_WAITS, "TRU280", "psycopg.waiting", steps=True),
    # MySQL and MariaDB
    Driver(
        "MySQLdb._mysql",
        "connection",
        "__init__ query read_query_result store_result discard_result commit rollback "
        "autocommit ping select_db change_user kill shutdown stat set_character_set "
        "set_server_option dump_debug_info",
        "TRU280",
        "MySQLdb.connections.Connection",
    ),
    Driver(
        "MySQLdb._mysql",
        "connection",
        "next_result",
        "TRU280",
        "MySQLdb.connections.Connection",
        _more_results,
    ),
    Driver("MySQLdb._mysql", "", "connect", "TRU280", "MySQLdb._mysql"),
    Driver(
        "MySQLdb.cursors",
        "CursorUseResultMixIn",
        "fetchone fetchmany fetchall",
        "TRU280",
        "MySQLdb.cursors.SSCursor",
    ),
    Driver(
        "mariadb._mariadb",
        "connection",
        "__init__ connect ping change_user reconnect reset dump_debug_info _execute_command "
        "_read_response",
        "TRU280",
        "mariadb.Connection",
    ),
    Driver(
        "mariadb._mariadb",
        "cursor",
        "_execute_text _execute_binary _execute_bulk _readresponse _initresult _nextset",
        "TRU280",
        "mariadb.Cursor",
    ),
    Driver(
        "mariadb._mariadb",
        "cursor",
        "fetchone fetchrows next",
        "TRU280",
        "mariadb.Cursor",
        _unbuffered,
    ),
    Driver(
        "_mysql_connector",
        "MySQL",
        "connect query commit rollback autocommit ping select_db change_user reset_connection "
        "refresh set_character_set shutdown stat stmt_prepare",
        "TRU280",
        "mysql.connector.connection_cext.CMySQLConnection",
    ),
    Driver(
        "_mysql_connector",
        "MySQL",
        "next_result",
        "TRU280",
        "mysql.connector.connection_cext.CMySQLConnection",
        _more_results,
    ),
    Driver(
        "_mysql_connector",
        "MySQL",
        "fetch_row",
        "TRU280",
        "mysql.connector.connection_cext.CMySQLConnection",
        _connector_fetches,
    ),
    Driver(
        "_mysql_connector",
        "MySQLPrepStmt",
        "stmt_execute stmt_reset fetch_row",
        "TRU280",
        "mysql.connector.cursor_cext.CMySQLCursorPrepared",
    ),
    # other databases over a network
    Driver("pyodbc", "", "connect", "TRU280", "pyodbc"),
    Driver("pyodbc", "Connection", "execute", "TRU280", "pyodbc.Connection"),
    Driver(
        "pyodbc",
        "Connection",
        "commit rollback __exit__",
        "TRU280",
        "pyodbc.Connection",
        _odbc_ends,
    ),
    Driver(
        "pyodbc",
        "Cursor",
        "execute executemany fetchval fetchone fetchall fetchmany __next__ nextset skip tables "
        "tablePrivileges columns statistics rowIdColumns rowVerColumns primaryKeys foreignKeys "
        "getTypeInfo procedures procedureColumns",
        "TRU280",
        "pyodbc.Cursor",
    ),
    Driver("pyodbc", "Cursor", "commit rollback __exit__", "TRU280", "pyodbc.Cursor", _odbc_ends),
    Driver("pymssql._pymssql", "", "connect", "TRU280", "pymssql"),
    Driver(
        "pymssql._pymssql",
        "Connection",
        "autocommit commit rollback bulk_copy",
        "TRU280",
        "pymssql.Connection",
    ),
    Driver(
        "pymssql._pymssql",
        "Cursor",
        "execute executemany callproc nextset fetchone fetchmany fetchall __next__",
        "TRU280",
        "pymssql.Cursor",
    ),
    Driver("pymssql._mssql", "", "connect", "TRU280", "pymssql._mssql"),
    Driver(
        "pymssql._mssql",
        "MSSQLConnection",
        "select_db nextresult execute_non_query execute_query execute_row execute_scalar "
        "executemany",
        "TRU280",
        "pymssql._mssql.MSSQLConnection",
    ),
    Driver(
        "oracledb.connection",
        "Connection",
        "__init__ commit rollback ping changepassword tpc_begin tpc_commit tpc_end tpc_prepare "
        "tpc_recover tpc_rollback gettype createlob subscribe",
        "TRU280",
        "oracledb.Connection",
        _oracle_is_thick,
    ),
    Driver(
        "oracledb.cursor",
        "Cursor",
        "execute executemany callfunc callproc parse",
        "TRU280",
        "oracledb.Cursor",
        _oracle_is_thick,
    ),
    # databases in the process
    *(
        Driver(module, owner, calls, "TRU281", shown)
        for module in ("_duckdb", "duckdb.duckdb")
        for owner, calls, shown in (
            ("", _DUCKDB_CALLS, "duckdb"),
            ("DuckDBPyConnection", f"{_DUCKDB_CALLS} _submit", "duckdb.DuckDBPyConnection"),
            ("DuckDBPyRelation", _DUCKDB_RESULT_CALLS, "duckdb.DuckDBPyRelation"),
            ("RelationResult", _DUCKDB_RESULT_CALLS, "duckdb.DuckDBPyRelation"),
        )
    ),
    # brokers
    Driver(
        "confluent_kafka.cimpl",
        "Producer",
        "poll",
        "TRU274",
        "confluent_kafka.Producer",
        _kafka_timeout(1),
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Producer",
        "flush",
        "TRU274",
        "confluent_kafka.Producer",
        _kafka_flushes,
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Producer",
        "list_topics cluster_id init_transactions send_offsets_to_transaction commit_transaction "
        "abort_transaction",
        "TRU274",
        "confluent_kafka.Producer",
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Consumer",
        "poll",
        "TRU274",
        "confluent_kafka.Consumer",
        _kafka_timeout(1),
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Consumer",
        "consume",
        "TRU274",
        "confluent_kafka.Consumer",
        _kafka_timeout(2),
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Consumer",
        "commit",
        "TRU274",
        "confluent_kafka.Consumer",
        _kafka_commits,
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Consumer",
        "get_watermark_offsets",
        "TRU274",
        "confluent_kafka.Consumer",
        _kafka_watermarks,
    ),
    Driver(
        "confluent_kafka.cimpl",
        "Consumer",
        "committed offsets_for_times list_topics cluster_id close",
        "TRU274",
        "confluent_kafka.Consumer",
    ),
    Driver(
        "confluent_kafka.cimpl",
        "_AdminClientImpl",
        "list_topics",
        "TRU274",
        "confluent_kafka.admin.AdminClient",
    ),
    Driver("zmq.backend.cython._zmq", "Socket", "recv", "TRU274", "zmq.Socket", _zmq_receives),
    Driver(
        "zmq.backend.cython._zmq",
        "Socket",
        "recv_into",
        "TRU274",
        "zmq.Socket",
        _zmq_receives_into,
    ),
    Driver("zmq.backend.cython._zmq", "Socket", "send", "TRU274", "zmq.Socket", _zmq_sends),
    Driver("zmq.backend.cython._zmq", "", "zmq_poll", "TRU274", "zmq", _zmq_polls),
    Driver("zmq.backend.cython._zmq", "", "proxy proxy_steerable", "TRU274", "zmq"),
    # HTTP and RPC
    Driver(
        "grpc._channel",
        "_UnaryUnaryMultiCallable",
        "__call__ with_call",
        "TRU210",
        "grpc.UnaryUnaryMultiCallable",
    ),
    Driver(
        "grpc._channel",
        "_StreamUnaryMultiCallable",
        "__call__ with_call",
        "TRU210",
        "grpc.StreamUnaryMultiCallable",
    ),
    Driver("grpc._cython.cygrpc", "SegregatedCall", "next_event", "TRU210", "grpc.Call"),
    Driver("pycurl", "Curl", "perform perform_rb perform_rs", "TRU210", "pycurl.Curl"),
    Driver("pycurl", "CurlMulti", "select", "TRU210", "pycurl.CurlMulti", _curl_selects),
    Driver("curl_cffi.curl", "Curl", "perform", "TRU210", "curl_cffi.Curl"),
    Driver("primp.primp", "", _PRIMP_CALLS, "TRU210", "primp"),
    Driver("primp.primp", "Client", _PRIMP_CALLS, "TRU210", "primp.Client"),
    Driver("primp.primp", "RClient", _PRIMP_CALLS, "TRU210", "primp.Client"),
)
"""A name that the installed version of a driver lacks is left out where the row is applied."""
