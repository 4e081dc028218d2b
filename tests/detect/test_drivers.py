"""Sync drivers, on an event loop and in offloads, against real services.

Each story is a test module that passes; its comments name what is to be reported, and nothing
else may be.
"""

from __future__ import annotations

from importlib import import_module

import pytest
from services import lacking, need, run_story

pytest_plugins = ("pytester",)


def check(pytester: pytest.Pytester, story: str) -> None:
    report = run_story(pytester, story)
    assert report.errors == report.expected


def test_psycopg2(pytester: pytest.Pytester) -> None:
    need("psycopg2", service="postgres")
    check(
        pytester,
        """
        import asyncio
        import psycopg2
        import pytest
        from psycopg2 import connect, extensions
        from addresses import POSTGRES_URL

        @pytest.fixture
        def connection():
            connection = connect(POSTGRES_URL)
            yield connection
            connection.close()

        async def test_connects():
            connect(POSTGRES_URL).close()  # expect: TRU280 psycopg2.connect
            psycopg2.connect(dsn=POSTGRES_URL).close()  # expect: TRU280 psycopg2.connect
            # expect: TRU280 psycopg2.extensions.connection
            extensions.connection(POSTGRES_URL).close()

        async def test_executes(connection):
            connection.commit()
            with connection.cursor() as cursor:
                cursor.execute("select 1")  # expect: TRU280 psycopg2.extensions.cursor.execute
                assert cursor.fetchone() == (1,)
                # expect: TRU280 psycopg2.extensions.cursor.executemany
                cursor.executemany("select %s", [(1,)])
                assert cursor.mogrify("%s", (1,)) == b"1"
            connection.commit()  # expect: TRU280 psycopg2.extensions.connection.commit
            connection.commit()
            connection.rollback()

        async def test_named_cursor(connection):
            cursor = connection.cursor("named")
            cursor.itersize = 2
            # expect: TRU280 psycopg2.extensions.cursor.execute
            cursor.execute("select generate_series(1, 3)")
            for _ in cursor:  # expect: TRU280 psycopg2.extensions.cursor.__next__
                pass
            assert cursor.fetchall() == []  # expect: TRU280 psycopg2.extensions.cursor.fetchall

        async def test_a_block_that_commits(connection):
            with connection:  # expect: TRU280 psycopg2.extensions.connection
                # expect: TRU280 psycopg2.extensions.cursor.execute
                connection.cursor().execute("select 1")

        async def test_async_mode():
            loop = asyncio.get_running_loop()
            connection = psycopg2.connect(POSTGRES_URL, async_=True)

            async def wait():
                while (state := connection.poll()) != extensions.POLL_OK:
                    ready = loop.create_future()
                    kind = "reader" if state == extensions.POLL_READ else "writer"
                    add = getattr(loop, f"add_{kind}")
                    add(connection.fileno(), lambda: ready.done() or ready.set_result(None))
                    await ready
                    getattr(loop, f"remove_{kind}")(connection.fileno())

            await wait()
            cursor = connection.cursor()
            cursor.execute("select 1")
            await wait()
            assert cursor.fetchall() == [(1,)]
            connection.close()

        def query(connection):
            cursor = connection.cursor()
            cursor.execute("select 1")
            return cursor.fetchall()

        async def test_offload(connection):
            # expect: TRU380 psycopg2.extensions.cursor.execute
            assert await asyncio.to_thread(query, connection) == [(1,)]

        def test_outside(connection):
            assert query(connection) == [(1,)]
        """,
    )


def test_psycopg2_waits_by_callback(pytester: pytest.Pytester) -> None:
    need("psycopg2", service="postgres")
    check(
        pytester,
        """
        import select
        import psycopg2
        import pytest
        from psycopg2 import extensions
        from addresses import POSTGRES_URL

        def wait(connection):
            while (state := connection.poll()) != extensions.POLL_OK:
                reads = [connection] if state == extensions.POLL_READ else []
                writes = [connection] if state == extensions.POLL_WRITE else []
                select.select(reads, writes, [])  # expect: TRU272 select.select

        @pytest.fixture
        def green():
            extensions.set_wait_callback(wait)
            yield
            extensions.set_wait_callback(None)

        async def test_connects(green):
            psycopg2.connect(POSTGRES_URL).close()
        """,
    )


def test_psycopg2_keeps_its_manners(pytester: pytest.Pytester) -> None:
    need("psycopg2", service="postgres")
    check(
        pytester,
        """
        import inspect
        import psycopg2
        import pytest
        from psycopg2 import extensions, extras
        from addresses import POSTGRES_URL

        class Cursor(extensions.cursor):
            def execute(self, query, vars=None):
                # expect: TRU280 psycopg2.extensions.cursor.execute
                return super().execute(query + " + 1", vars)

        @pytest.fixture
        def connection():
            connection = psycopg2.connect(POSTGRES_URL, cursor_factory=Cursor)
            yield connection
            connection.close()

        async def test_subclass(connection):
            cursor = connection.cursor()
            assert type(cursor) is Cursor
            assert cursor.execute("select 1") is None
            assert cursor.fetchone() == (2,)

        async def test_errors(connection):
            cursor = connection.cursor()
            with pytest.raises(psycopg2.errors.SyntaxError, match="syntax error") as error:
                cursor.execute("selekt 1")
            assert error.value.cursor is cursor
            connection.rollback()  # expect: TRU280 psycopg2.extensions.connection.rollback
            cursor.close()
            with pytest.raises(psycopg2.InterfaceError, match="cursor already closed"):
                cursor.execute("select 1")

        async def test_rows_as_dicts(connection):
            cursor = connection.cursor(cursor_factory=extras.RealDictCursor)
            # expect: TRU280 psycopg2.extras.RealDictCursor.execute
            cursor.execute("select 1 as one")
            assert cursor.fetchall() == [{"one": 1}]

        def test_wrong_arguments(connection):
            with pytest.raises(TypeError, match="missing required argument 'query'"):
                connection.cursor().executemany()

        def test_names():
            assert extensions.cursor.execute.__name__ == "execute"
            assert extensions.cursor.execute.__doc__.startswith("execute(query, vars=None)")
            assert isinstance(psycopg2.connect(POSTGRES_URL), extensions.connection)
        """,
    )


def test_psycopg(pytester: pytest.Pytester) -> None:
    need("psycopg", "psycopg_binary", service="postgres")
    check(pytester, PSYCOPG)


def test_psycopg_in_python(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    need("psycopg", service="postgres")
    monkeypatch.setenv("PSYCOPG_WAIT_FUNC", "wait_poll")
    check(pytester, PSYCOPG)


PSYCOPG = """
    import asyncio
    import psycopg
    import pytest
    from addresses import POSTGRES_URL

    @pytest.fixture
    def connection():
        with psycopg.connect(POSTGRES_URL) as connection:
            yield connection

    async def test_connects():
        psycopg.connect(POSTGRES_URL).close()  # expect: TRU280 psycopg.Connection.connect

    async def test_executes(connection):
        connection.commit()
        cursor = connection.execute("select 1")  # expect: TRU280 psycopg.Connection.execute
        assert cursor.fetchone() == (1,)
        assert list(cursor) == []
        cursor.execute("select 2")  # expect: TRU280 psycopg.Cursor.execute
        assert cursor.fetchall() == [(2,)]
        cursor.executemany("select %s", [(1,), (2,)])  # expect: TRU280 psycopg.Cursor.executemany
        connection.commit()  # expect: TRU280 psycopg.Connection.commit
        connection.rollback()

    async def test_server_cursor(connection):
        with connection.cursor("named") as cursor:
            # expect: TRU280 psycopg.ServerCursor.execute
            cursor.execute("select generate_series(1, 3)")
            assert cursor.fetchone() == (1,)  # expect: TRU280 psycopg.ServerCursor.fetchone
            cursor.close()  # expect: TRU280 psycopg.ServerCursor.close

    async def test_errors(connection):
        with pytest.raises(psycopg.errors.SyntaxError, match="syntax error"):
            connection.execute("selekt 1")  # expect: TRU280 psycopg.Connection.execute

    def query(connection):
        return connection.execute("select 1").fetchall()

    async def test_offload(connection):
        # expect: TRU380 psycopg.Connection.execute
        assert await asyncio.to_thread(query, connection) == [(1,)]

    def test_outside(connection):
        assert query(connection) == [(1,)]
"""


@pytest.mark.parametrize(
    ("driver", "dialect"),
    [("psycopg2", "postgresql+psycopg2"), ("psycopg", "postgresql+psycopg")],
)
def test_sqlalchemy_on_postgres(pytester: pytest.Pytester, driver: str, dialect: str) -> None:
    need("sqlalchemy", driver, service="postgres")
    story = SQLALCHEMY.replace("DIALECT", dialect).replace("URL", "POSTGRES_URL")
    check(pytester, story.replace(ROLLS_BACK, "\n"))


@pytest.mark.parametrize(
    ("driver", "dialect"),
    [
        ("pymysql", "mysql+pymysql"),
        ("MySQLdb", "mysql+mysqldb"),
        ("mariadb", "mariadb+mariadbconnector"),
    ],
)
def test_sqlalchemy_on_mariadb(pytester: pytest.Pytester, driver: str, dialect: str) -> None:
    need("sqlalchemy", driver, service="mariadb")
    check(pytester, SQLALCHEMY.replace("DIALECT", dialect).replace("URL", "MARIADB_URL"))


ROLLS_BACK = "  # expect: TRU280 sqlalchemy.Connection\n"  # on MySQL's protocol, always
SQLALCHEMY = """
    import asyncio
    import pytest
    import sqlalchemy as sa
    from sqlalchemy.orm import Session
    from addresses import URL

    @pytest.fixture
    def engine():
        engine = sa.create_engine("DIALECT" + URL[URL.index(":"):])
        with engine.connect() as connection:
            connection.execute(sa.text("select 1"))
        yield engine
        engine.dispose()

    async def test_engine(engine):
        with engine.connect() as connection:  # expect: TRU280 sqlalchemy.Connection
            # expect: TRU280 sqlalchemy.Connection.execute
            assert connection.execute(sa.text("select 1")).scalar() == 1
            connection.commit()  # expect: TRU280 sqlalchemy.Connection.commit

    async def test_session(engine):
        session = Session(engine)
        # expect: TRU280 sqlalchemy.orm.Session.scalar
        assert session.scalar(sa.text("select 1")) == 1
        session.commit()  # expect: TRU280 sqlalchemy.orm.Session.commit

    def query(engine):
        with Session(engine) as session:
            return session.scalar(sa.text("select 1"))

    async def test_offload(engine):
        # expect: TRU380 sqlalchemy.orm.Session.scalar; TRU380 sqlalchemy.orm.Session
        assert await asyncio.to_thread(query, engine) == 1
"""


def test_sqlalchemy_on_files(pytester: pytest.Pytester) -> None:
    need("sqlalchemy", "aiosqlite")
    report = run_story(
        pytester,
        """
        import asyncio
        import pytest
        import sqlalchemy as sa
        from sqlalchemy.ext.asyncio import create_async_engine

        @pytest.fixture
        def engine(tmp_path):
            return sa.create_engine(f"sqlite:///{tmp_path / 'db'}")

        async def test_engine(engine):
            with engine.connect() as connection:  # expect: TRU281 sqlalchemy.Engine.connect
                # expect: TRU281 sqlalchemy.Connection.execute
                connection.execute(sa.text("select 1"))
                connection.close()

        def query(engine):
            with engine.connect() as connection:
                return connection.execute(sa.text("select 1")).scalar()

        async def test_offload(engine):
            assert await asyncio.to_thread(query, engine) == 1

        async def test_async_engine(tmp_path):
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
            async with engine.connect() as connection:
                assert (await connection.execute(sa.text("select 1"))).scalar() == 1
            await engine.dispose()
        """,
    )
    assert {seen for seen in report.errors if seen[1] != "TRU281"} == set()
    assert {seen[0] for seen in report.errors} >= {seen[0] for seen in report.expected}


@pytest.mark.parametrize(
    ("driver", "connect", "execute", "commit"),
    [
        pytest.param(
            "pymysql",
            "pymysql.Connection",
            "pymysql.cursors.Cursor.execute",
            "pymysql.Connection.commit",
            id="pymysql",
        ),
        pytest.param(
            "MySQLdb",
            "MySQLdb.Connect",
            "MySQLdb.cursors.BaseCursor.execute",
            "MySQLdb.connections.Connection.commit",
            id="MySQLdb",
        ),
        pytest.param(
            "mariadb",
            "mariadb.connect",
            "mariadb.Cursor.execute",
            "mariadb.Connection.commit",
            id="mariadb",
        ),
    ],
)
def test_mariadb(
    pytester: pytest.Pytester, driver: str, connect: str, execute: str, commit: str
) -> None:
    need(driver, service="mariadb")
    story = """
        import asyncio
        import DRIVER as driver
        import pytest
        from DRIVER import connect
        from addresses import MYSQL

        @pytest.fixture
        def connection():
            connection = connect(**MYSQL)
            yield connection
            connection.close()

        async def test_connects():
            connection = connect(**MYSQL)  # expect: TRU280 CONNECT
            asyncio.get_running_loop().call_later(0, lambda: None)
            LEFT.append(connection)

        LEFT = []

        async def test_executes(connection):
            cursor = connection.cursor()
            cursor.execute("select 1")  # expect: TRU280 EXECUTE
            assert list(cursor.fetchall()) == [(1,)]
            connection.commit()  # expect: TRU280 COMMIT

        async def test_errors(connection):
            cursor = connection.cursor()
            with pytest.raises(driver.ProgrammingError, match="SQL syntax"):
                cursor.execute("selekt 1")  # expect: TRU280 EXECUTE

        def query(connection):
            cursor = connection.cursor()
            cursor.execute("select 1")
            return list(cursor.fetchall())

        async def test_offload(connection):
            assert await asyncio.to_thread(query, connection) == [(1,)]  # expect: TRU380 EXECUTE

        def test_outside(connection):
            assert query(connection) == [(1,)]
        """
    for name, value in (
        ("DRIVER", driver),
        ("CONNECT", connect),
        ("EXECUTE", execute),
        ("COMMIT", commit),
    ):
        story = story.replace(name, value)
    check(pytester, story)


@pytest.mark.parametrize(
    ("driver", "options", "target"),
    [
        ("MySQLdb", "MySQLdb.cursors.SSCursor", "MySQLdb.cursors.SSCursor.fetchone"),
        ("mariadb", "buffered=False", "mariadb.Cursor.fetchone"),
    ],
    ids=["MySQLdb", "mariadb"],
)
def test_mariadb_row_by_row(
    pytester: pytest.Pytester, driver: str, options: str, target: str
) -> None:
    need(driver, service="mariadb")
    story = """
        import DRIVER
        import DRIVER.cursors
        import pytest
        from addresses import MYSQL

        @pytest.fixture
        def cursor():
            connection = DRIVER.connect(**MYSQL)
            cursor = connection.cursor(OPTIONS)
            cursor.execute("select 1 union select 2")
            yield cursor
            cursor.close()
            connection.close()

        async def test_fetches(cursor):
            assert cursor.fetchone() == (1,)  # expect: TRU280 TARGET
        """
    for name, value in (("DRIVER", driver), ("OPTIONS", options), ("TARGET", target)):
        story = story.replace(name, value)
    check(pytester, story)


def test_oracledb(pytester: pytest.Pytester) -> None:
    need("oracledb")
    check(
        pytester,
        """
        import asyncio
        import oracledb
        import pytest

        def connect():
            with pytest.raises(oracledb.Error):
                # expect: TRU280 oracledb.connect
                oracledb.connect(user="me", password="it", dsn="127.0.0.1:1/none")

        async def test_thin():
            connect()

        async def test_offload():
            await asyncio.to_thread(connect)  # expect: TRU380 oracledb.connect

        async def test_thick(monkeypatch):
            monkeypatch.setattr(oracledb, "is_thin_mode", lambda: False)
            cursor = object.__new__(oracledb.Cursor)
            with pytest.raises(Exception):
                cursor.execute("select 1 from dual")  # expect: TRU280 oracledb.Cursor.execute
        """,
    )


def test_mysql_connector(pytester: pytest.Pytester) -> None:
    need("mysql.connector", service="mariadb")
    if not import_module("mysql.connector").HAVE_CEXT:
        pytest.skip("the C extension of mysql.connector cannot be loaded here")
    check(
        pytester,
        """
        import asyncio
        import mysql.connector
        import pytest
        from addresses import MYSQL

        @pytest.fixture
        def connection():
            connection = mysql.connector.connect(**MYSQL, use_pure=False)
            yield connection
            connection.close()

        async def test_connects():
            # expect: TRU280 mysql.connector.connect
            LEFT.append(mysql.connector.connect(**MYSQL, use_pure=False))

        LEFT = []

        async def test_executes(connection):
            cursor = connection.cursor()  # expect: TRU280 mysql.connector.CMySQLConnection.cursor
            # expect: TRU280 mysql.connector.cursor_cext.CMySQLCursor.execute
            cursor.execute("select 1")
            # expect: TRU280 mysql.connector.cursor_cext.CMySQLCursor.fetchall
            assert cursor.fetchall() == [(1,)]

        def ping(connection):
            connection.ping()

        async def test_offload(connection):
            # expect: TRU380 mysql.connector.CMySQLConnection.ping
            await asyncio.to_thread(ping, connection)
        """,
    )


def test_pyodbc(pytester: pytest.Pytester) -> None:
    need("pyodbc", service="postgres")
    if "PostgreSQL Unicode" not in import_module("pyodbc").drivers():
        lacking("the ODBC driver of PostgreSQL is not installed")
    check(
        pytester,
        """
        import asyncio
        import pyodbc
        import pytest
        from pyodbc import connect
        from addresses import ODBC

        @pytest.fixture
        def connection():
            connection = connect(ODBC)
            yield connection
            connection.close()

        async def test_connects():
            connect(ODBC).close()  # expect: TRU280 pyodbc.connect

        async def test_executes(connection):
            cursor = connection.cursor()
            cursor.execute("select 1")  # expect: TRU280 pyodbc.Cursor.execute
            assert cursor.fetchval() == 1  # expect: TRU280 pyodbc.Cursor.fetchval
            for _ in cursor:  # expect: TRU280 pyodbc.Cursor.__next__
                pass
            connection.commit()  # expect: TRU280 pyodbc.Connection.commit
            connection.autocommit = True
            connection.commit()

        class Client:
            connect = pyodbc.connect

        async def test_a_builtin_is_no_method():
            Client().connect(ODBC).close()  # expect: TRU280 pyodbc.connect

        def query(connection):
            return connection.execute("select 1").fetchval()

        async def test_offload(connection):
            # expect: TRU380 pyodbc.Connection.execute; TRU380 pyodbc.Cursor.fetchval
            assert await asyncio.to_thread(query, connection) == 1
        """,
    )


def test_pymssql(pytester: pytest.Pytester) -> None:
    need("pymssql")
    check(
        pytester,
        """
        import asyncio
        import pymssql
        import pytest

        def query():
            with pytest.raises(pymssql.OperationalError):
                # expect: TRU280 pymssql.connect
                pymssql.connect("127.0.0.1", port=1, login_timeout=1)

        async def test_connects():
            query()

        async def test_offload():
            await asyncio.to_thread(query)  # expect: TRU380 pymssql.connect
        """,
    )


def test_redis(pytester: pytest.Pytester) -> None:
    need("redis", service="redis")
    check(
        pytester,
        """
        import asyncio
        import pytest
        import redis
        from addresses import REDIS_URL

        @pytest.fixture
        def client():
            with redis.Redis.from_url(REDIS_URL) as client:
                client.ping()
                yield client

        async def test_commands(client):
            client.set("truasync", 1)  # expect: TRU280 redis.commands.core.BasicKeyCommands.set
            with client.pipeline() as pipe:
                pipe.get("truasync")
                assert pipe.execute() == [b"1"]  # expect: TRU280 redis.client.Pipeline.execute

        async def test_offload(client):
            # expect: TRU380 redis.commands.core.BasicKeyCommands.get
            assert await asyncio.to_thread(client.get, "truasync") == b"1"
        """,
    )


def test_pika(pytester: pytest.Pytester) -> None:
    need("pika", service="rabbitmq")
    check(
        pytester,
        """
        import asyncio
        import pika
        import pytest
        from addresses import RABBITMQ_URL

        @pytest.fixture
        def channel():
            with pika.BlockingConnection(pika.URLParameters(RABBITMQ_URL)) as connection:
                yield connection.channel()

        async def test_connects():
            # expect: TRU274 pika.BlockingConnection
            LEFT.append(pika.BlockingConnection(pika.URLParameters(RABBITMQ_URL)))

        LEFT = []

        async def test_declares(channel):
            # expect: TRU274 pika.adapters.blocking_connection.BlockingChannel.queue_declare
            channel.queue_declare("", exclusive=True)

        async def test_offload(channel):
            # expect: TRU374 pika.adapters.blocking_connection.BlockingChannel.queue_declare
            await asyncio.to_thread(channel.queue_declare, "", exclusive=True)
        """,
    )


def test_confluent_kafka(pytester: pytest.Pytester) -> None:
    need("confluent_kafka")
    check(
        pytester,
        """
        import asyncio
        import confluent_kafka
        import pytest
        from confluent_kafka import Consumer, Producer

        NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}

        async def test_producer():
            producer = Producer(NOWHERE)
            producer.produce("topic", b"message")
            producer.poll(0)
            producer.poll(0.002)  # expect: TRU274 confluent_kafka.Producer.poll
            assert producer.flush(0.002) == 1  # expect: TRU274 confluent_kafka.Producer.flush
            assert producer.flush(0) == 1
            with pytest.raises(confluent_kafka.KafkaException):
                # expect: TRU274 confluent_kafka.Producer.list_topics
                producer.list_topics(timeout=0.002)
            producer.purge()
            producer.poll(0)

        async def test_consumer():
            consumer = Consumer({**NOWHERE, "group.id": "group"})
            consumer.subscribe(["topic"])
            consumer.poll(0)
            # expect: TRU274 confluent_kafka.Consumer.poll
            assert consumer.poll(timeout=0.002) is None
            # expect: TRU274 confluent_kafka.Consumer.consume
            assert consumer.consume(1, 0.002) == []
            consumer.close()  # expect: TRU274 confluent_kafka.Consumer.close

        async def test_offload():
            producer = Producer(NOWHERE)
            # expect: TRU374 confluent_kafka.Producer.poll
            await asyncio.to_thread(producer.poll, 0.002)
        """,
    )


def test_zmq(pytester: pytest.Pytester) -> None:
    need("zmq")
    check(
        pytester,
        """
        import asyncio
        import pytest
        import zmq
        import zmq.asyncio

        @pytest.fixture
        def pair():
            with zmq.Context() as context:
                with context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
                    here.bind("inproc://pair")
                    there.connect("inproc://pair")
                    yield here, there

        async def test_sockets(pair):
            here, there = pair
            here.send(b"1")  # expect: TRU274 zmq.Socket.send
            assert there.recv() == b"1"  # expect: TRU274 zmq.Socket.recv
            here.send(b"2", zmq.NOBLOCK)
            assert there.poll(0) == zmq.POLLIN
            assert there.poll(2) == zmq.POLLIN  # expect: TRU274 zmq.Socket.poll
            assert there.recv(zmq.NOBLOCK) == b"2"
            there.rcvtimeo = 0
            with pytest.raises(zmq.Again):
                there.recv()
            here.send_multipart([b"1", b"2"])  # expect: TRU274 zmq.Socket.send_multipart

        async def test_asyncio():
            with zmq.asyncio.Context() as context:
                with context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
                    here.bind("inproc://pair")
                    there.connect("inproc://pair")
                    receiving = asyncio.ensure_future(there.recv_multipart())
                    await asyncio.sleep(0)
                    await here.send_multipart([b"1", b"2"])
                    assert await receiving == [b"1", b"2"]
                    assert await there.poll(1) == 0

        def receive(pair):
            pair[0].send_string("1")
            return pair[1].recv_string()

        async def test_offload(pair):
            # expect: TRU374 zmq.Socket.send_string; TRU374 zmq.Socket.recv_string
            assert await asyncio.to_thread(receive, pair) == "1"
        """,
    )


def test_grpc(pytester: pytest.Pytester) -> None:
    need("grpc")
    check(
        pytester,
        """
        import asyncio
        from concurrent import futures
        import grpc
        import pytest

        def echo(request, context):
            if request == b"fail":
                context.abort(grpc.StatusCode.NOT_FOUND, "gone")
            return request

        def echoes(requests, context):
            yield from requests

        def count(request, context):
            yield from (request, request)

        @pytest.fixture
        def address():
            server = grpc.server(futures.ThreadPoolExecutor(2))
            handlers = {
                "echo": grpc.unary_unary_rpc_method_handler(echo),
                "echoes": grpc.stream_stream_rpc_method_handler(echoes),
                "count": grpc.unary_stream_rpc_method_handler(count),
            }
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", handlers)])
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            yield f"127.0.0.1:{port}"
            server.stop(None)

        async def test_stubs(address):
            with grpc.insecure_channel(address) as channel:
                stub = channel.unary_unary("/s/echo")
                assert stub(b"1") == b"1"  # expect: TRU210 grpc.UnaryUnaryMultiCallable
                # expect: TRU210 grpc.UnaryUnaryMultiCallable.with_call
                response, _ = stub.with_call(b"1")
                with pytest.raises(grpc.RpcError) as error:
                    stub(b"fail")  # expect: TRU210 grpc.UnaryUnaryMultiCallable
                assert error.value.code() is grpc.StatusCode.NOT_FOUND

        async def test_streams(address):
            channel = grpc.insecure_channel(address)
            # expect: TRU210 grpc._channel._Rendezvous.__next__
            for answer in channel.unary_stream("/s/count")(b"1"):
                assert answer == b"1"
            channel.close()

        async def test_aio(address):
            async with grpc.aio.insecure_channel(address) as channel:
                assert await channel.unary_unary("/s/echo")(b"1") == b"1"
                call = channel.stream_stream("/s/echoes")(iter([b"1", b"2"]))
                assert [one async for one in call] == [b"1", b"2"]

        def ask(address):
            with grpc.insecure_channel(address) as channel:
                return channel.unary_unary("/s/echo")(b"1")

        async def test_offload(address):
            # expect: TRU310 grpc.UnaryUnaryMultiCallable
            assert await asyncio.to_thread(ask, address) == b"1"
        """,
    )


HTTP_SERVER = """
        import asyncio
        import http.server
        import threading
        import pytest

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        @pytest.fixture
        def url():
            with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                yield f"http://127.0.0.1:{server.server_port}/"
                server.shutdown()
"""


def test_pycurl(pytester: pytest.Pytester) -> None:
    need("pycurl")
    check(
        pytester,
        HTTP_SERVER
        + """
        import io
        import pycurl

        def get(url):
            into = io.BytesIO()
            curl = pycurl.Curl()
            curl.setopt(curl.URL, url)
            curl.setopt(curl.WRITEDATA, into)
            curl.perform()  # expect: TRU210 pycurl.Curl.perform
            return into.getvalue()

        async def test_perform(url):
            assert get(url) == b"ok"

        async def test_multi(url):
            multi, curl = pycurl.CurlMulti(), pycurl.Curl()
            curl.setopt(curl.URL, url)
            curl.setopt(curl.WRITEFUNCTION, lambda data: None)
            multi.add_handle(curl)
            while multi.perform()[1]:
                multi.select(0.1)  # expect: TRU210 pycurl.CurlMulti.select

        async def test_offload(url):
            assert await asyncio.to_thread(get, url) == b"ok"  # expect: TRU310 pycurl.Curl.perform
        """,
    )


def test_curl_cffi(pytester: pytest.Pytester) -> None:
    need("curl_cffi")
    check(
        pytester,
        HTTP_SERVER
        + """
        import curl_cffi

        async def test_get(url):
            assert curl_cffi.requests.get(url).text == "ok"  # expect: TRU210 curl_cffi.get

        async def test_async(url):
            async with curl_cffi.AsyncSession() as session:
                assert (await session.get(url)).text == "ok"

        async def test_offload(url):
            # expect: TRU310 curl_cffi.get
            assert (await asyncio.to_thread(curl_cffi.get, url)).text == "ok"
        """,
    )


def test_primp(pytester: pytest.Pytester) -> None:
    need("primp")
    check(
        pytester,
        HTTP_SERVER
        + """
        import primp

        async def test_get(url):
            assert primp.get(url).text == "ok"  # expect: TRU210 primp.get
            assert primp.Client().get(url).text == "ok"  # expect: TRU210 primp.Client.get

        async def test_offload(url):
            client = primp.Client()
            # expect: TRU310 primp.Client.get
            assert (await asyncio.to_thread(client.get, url)).text == "ok"
        """,
    )


def test_boto3(pytester: pytest.Pytester) -> None:
    need("boto3")
    check(
        pytester,
        HTTP_SERVER
        + """
        import boto3

        @pytest.fixture
        def client(url):
            return boto3.client(
                "s3",
                endpoint_url=url,
                region_name="here",
                aws_access_key_id="key",
                aws_secret_access_key="secret",
            )

        async def test_call(client):
            # expect: TRU210 botocore.client.BaseClient._make_api_call
            client.get_object(Bucket="b", Key="k")

        async def test_offload(client):
            # expect: TRU310 botocore.client.BaseClient._make_api_call
            await asyncio.to_thread(client.get_object, Bucket="b", Key="k")
        """,
    )


def test_pymongo(pytester: pytest.Pytester) -> None:
    need("pymongo")
    check(
        pytester,
        """
        import asyncio
        import pymongo
        import pytest

        NOWHERE = {"host": "127.0.0.1", "port": 1, "serverSelectionTimeoutMS": 20}

        @pytest.fixture
        def client():
            client = pymongo.MongoClient(**NOWHERE)
            yield client
            client.close()

        def ping(client):
            with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
                # expect: TRU280 pymongo.synchronous.database.Database.command
                client.admin.command("ping")

        async def test_command(client):
            ping(client)

        async def test_offload(client):
            # expect: TRU380 pymongo.synchronous.database.Database.command
            await asyncio.to_thread(ping, client)

        async def test_async():
            async with pymongo.AsyncMongoClient(**NOWHERE) as client:
                with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
                    await client.admin.command("ping")
        """,
    )


def test_paramiko(pytester: pytest.Pytester) -> None:
    need("paramiko")
    check(
        pytester,
        """
        import asyncio
        import socket
        import paramiko
        import pytest

        @pytest.fixture
        def mute():
            with socket.create_server(("127.0.0.1", 0)) as server:
                yield server.getsockname()[1]

        def connect(port):
            with paramiko.SSHClient() as client, pytest.raises(paramiko.SSHException):
                # expect: TRU273 paramiko.SSHClient.connect
                client.connect("127.0.0.1", port, banner_timeout=0.05, timeout=1)

        async def test_connects(mute):
            connect(mute)

        async def test_offload(mute):
            await asyncio.to_thread(connect, mute)  # expect: TRU373 paramiko.SSHClient.connect
        """,
    )


def test_kafka_python(pytester: pytest.Pytester) -> None:
    need("kafka")
    check(
        pytester,
        """
        import asyncio
        import kafka
        import pytest

        def connect():
            with pytest.raises(kafka.errors.KafkaError):
                # expect: TRU274 kafka.KafkaAdminClient
                kafka.KafkaAdminClient(bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=50)

        async def test_connects():
            connect()

        async def test_offload():
            await asyncio.to_thread(connect)  # expect: TRU374 kafka.KafkaAdminClient
        """,
    )


def test_duckdb(pytester: pytest.Pytester) -> None:
    need("duckdb")
    report = run_story(
        pytester,
        """
        import asyncio
        import duckdb

        async def test_connection(tmp_path):
            connection = duckdb.connect(tmp_path / "db")  # expect: TRU281 duckdb.connect
            # expect: TRU281 duckdb.DuckDBPyConnection.execute
            connection.execute("select 1").fetchall()
            connection.close()

        async def test_relation():
            assert duckdb.sql("select 1").fetchall() == [(1,)]  # expect: TRU281 duckdb.sql

        def query():
            return duckdb.execute("select 1").fetchall()

        async def test_offload():
            assert await asyncio.to_thread(query) == [(1,)]
        """,
    )
    assert {code for _, code, _ in report.errors} == {"TRU281"}
    assert {line for line, _, _ in report.errors} == {line for line, _, _ in report.expected}
    assert {code for _, code, _ in report.notes} == {"TRU302"}
