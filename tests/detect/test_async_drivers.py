"""Async drivers on real connections: nothing is to be reported of them."""

from __future__ import annotations

import pytest
from services import need, run_story

pytest_plugins = ("pytester",)


def check_silent(pytester: pytest.Pytester, story: str) -> None:
    report = run_story(pytester, story)
    assert not report.errors
    # What a library loads of its own accord, once, is a note.
    assert {code for _, code, _ in report.notes} <= {"TRU290"}


def test_asyncpg(pytester: pytest.Pytester) -> None:
    need("asyncpg", service="postgres")
    check_silent(
        pytester,
        """
        import asyncpg
        import pytest
        from addresses import POSTGRES_URL

        @pytest.mark.parametrize("ssl", ["disable", "prefer"])
        async def test_connection(ssl):
            connection = await asyncpg.connect(POSTGRES_URL, ssl=ssl)
            assert await connection.fetchval("select 1") == 1
            async with connection.transaction():
                rows = [row[0] async for row in connection.cursor("select generate_series(1, 3)")]
                assert rows == [1, 2, 3]
            await connection.close()

        async def test_pool():
            async with asyncpg.create_pool(POSTGRES_URL, min_size=1) as pool:
                assert await pool.fetchval("select 1") == 1
        """,
    )


PSYCOPG = """
        import psycopg
        import pytest
        from addresses import POSTGRES_URL

        async def test_connection():
            async with await psycopg.AsyncConnection.connect(POSTGRES_URL) as connection:
                async with connection.cursor() as cursor:
                    await cursor.execute("select 1")
                    assert await cursor.fetchone() == (1,)
                async with connection.cursor("named") as cursor:
                    await cursor.execute("select generate_series(1, 3)")
                    assert [row[0] async for row in cursor] == [1, 2, 3]
                async with connection.pipeline():
                    await connection.execute("select 1")
                async with connection.cursor().copy("copy (select 1) to stdout") as copy:
                    assert [bytes(row) async for row in copy] == [b"1\\n"]
                with pytest.raises(psycopg.errors.SyntaxError):
                    await connection.execute("selekt 1")
        """


def test_psycopg(pytester: pytest.Pytester) -> None:
    need("psycopg", "psycopg_binary", service="postgres")
    check_silent(pytester, PSYCOPG)


def test_psycopg_in_python(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    need("psycopg", service="postgres")
    monkeypatch.setenv("PSYCOPG_IMPL", "python")
    check_silent(pytester, PSYCOPG)


@pytest.mark.parametrize(
    ("driver", "dialect", "service"),
    [
        ("asyncpg", "postgresql+asyncpg", "postgres"),
        ("psycopg", "postgresql+psycopg", "postgres"),
        ("aiomysql", "mysql+aiomysql", "mariadb"),
        ("asyncmy", "mysql+asyncmy", "mariadb"),
    ],
)
def test_sqlalchemy(pytester: pytest.Pytester, driver: str, dialect: str, service: str) -> None:
    need("sqlalchemy", "greenlet", driver, service=service)
    check_silent(
        pytester,
        """
        import pytest
        import sqlalchemy as sa
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from addresses import SERVICE_URL

        @pytest.fixture
        async def engine():
            engine = create_async_engine("DIALECT" + SERVICE_URL[SERVICE_URL.index(":"):])
            yield engine
            await engine.dispose()

        async def test_engine(engine):
            async with engine.begin() as connection:
                assert (await connection.execute(sa.text("select 1"))).scalar() == 1

        async def test_session(engine):
            async with AsyncSession(engine) as session:
                assert await session.scalar(sa.text("select 1")) == 1
                await session.commit()
        """.replace("DIALECT", dialect).replace("SERVICE", service.upper()),
    )


def test_aiomysql(pytester: pytest.Pytester) -> None:
    need("aiomysql", service="mariadb")
    check_silent(pytester, MYSQL.replace("DRIVER", "aiomysql"))


def test_asyncmy(pytester: pytest.Pytester) -> None:
    need("asyncmy", service="mariadb")
    check_silent(pytester, MYSQL.replace("DRIVER", "asyncmy"))


MYSQL = """
        import DRIVER as driver
        from addresses import MYSQL

        async def test_pool():
            given = dict(MYSQL)
            async with driver.create_pool(db=given.pop("database"), **given) as pool:
                async with pool.acquire() as connection:
                    async with connection.cursor() as cursor:
                        await cursor.execute("select 1")
                        assert await cursor.fetchone() == (1,)
                    await connection.commit()
        """


def test_redis(pytester: pytest.Pytester) -> None:
    need("redis", service="redis")
    check_silent(
        pytester,
        """
        import asyncio
        import redis.asyncio
        from addresses import REDIS_URL

        async def test_commands():
            async with redis.asyncio.Redis.from_url(REDIS_URL) as client:
                await client.set("truasync", 1)
                async with client.pipeline() as pipe:
                    assert await pipe.get("truasync").execute() == [b"1"]

        async def test_messages():
            async with redis.asyncio.Redis.from_url(REDIS_URL) as client:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe("truasync")
                    await client.publish("truasync", "1")
                    while (await pubsub.get_message(timeout=1))["type"] != "message":
                        pass
        """,
    )


def test_aio_pika(pytester: pytest.Pytester) -> None:
    need("aio_pika", service="rabbitmq")
    check_silent(
        pytester,
        """
        import aio_pika
        from addresses import RABBITMQ_URL

        async def test_messages():
            async with await aio_pika.connect_robust(RABBITMQ_URL) as connection:
                channel = await connection.channel()
                queue = await channel.declare_queue(exclusive=True)
                await channel.default_exchange.publish(aio_pika.Message(b"1"), queue.name)
                message = await queue.get(timeout=1)
                await message.ack()
                assert message.body == b"1"
        """,
    )


def test_nats(pytester: pytest.Pytester) -> None:
    need("nats", service="nats")
    check_silent(
        pytester,
        """
        import nats
        from addresses import NATS_URL

        async def test_messages():
            client = await nats.connect(NATS_URL)
            subscription = await client.subscribe("truasync")
            await client.publish("truasync", b"1")
            assert (await subscription.next_msg(timeout=1)).data == b"1"
            await client.drain()
        """,
    )


def test_motor(pytester: pytest.Pytester) -> None:
    need("pymongo")
    check_silent(
        pytester,
        """
        import pymongo
        import pytest

        async def test_nobody_answers():
            client = pymongo.AsyncMongoClient("127.0.0.1", 1, serverSelectionTimeoutMS=20)
            with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
                await client.admin.command("ping")
            await client.close()
        """,
    )


TLS_SERVER = """
        import asyncio
        import ssl
        import subprocess
        import threading
        import pytest
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        @pytest.fixture(scope="session")
        def certificate(tmp_path_factory):
            folder = tmp_path_factory.mktemp("tls")
            command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
            subprocess.run(
                [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1",
                 "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                check=True, capture_output=True,
            )
            return folder

        @pytest.fixture
        def url(certificate):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
                server.socket = context.wrap_socket(server.socket, server_side=True)
                threading.Thread(target=server.serve_forever, daemon=True).start()
                yield f"https://127.0.0.1:{server.server_port}/"
                server.shutdown()

        @pytest.fixture
        def trust(certificate):
            return ssl.create_default_context(cafile=certificate / "cert.pem")
"""


def test_http_clients_over_tls(pytester: pytest.Pytester) -> None:
    need("httpx", "aiohttp")
    check_silent(
        pytester,
        TLS_SERVER
        + """
        import aiohttp
        import httpx

        async def test_httpx(url, trust):
            async with httpx.AsyncClient(verify=trust) as client:
                assert (await client.get(url)).text == "ok"

        async def test_httpx_loads_its_own_authorities(url):
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(url)

        async def test_aiohttp(url, trust):
            async with aiohttp.ClientSession() as session:
                async with session.get(url, ssl=trust) as response:
                    assert await response.text() == "ok"

        async def test_streams(url, trust):
            host, port = url.removeprefix("https://").rstrip("/").split(":")
            reader, writer = await asyncio.open_connection(host, int(port), ssl=trust)
            writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
            assert b"200" in await reader.readline()
            writer.close()
        """,
    )


def test_files_in_threads_are_notes(pytester: pytest.Pytester) -> None:
    need("aiofiles", "aiosqlite")
    report = run_story(
        pytester,
        """
        import aiofiles
        import aiosqlite

        async def test_files(tmp_path):
            async with aiofiles.open(tmp_path / "file", "w") as file:
                await file.write("text")

        async def test_database(tmp_path):
            async with aiosqlite.connect(tmp_path / "db") as database:
                async with database.execute("select 1") as cursor:
                    assert await cursor.fetchone() == (1,)
        """,
    )
    assert not report.errors
    assert {code for _, code, _ in report.notes} <= {"TRU302"}
