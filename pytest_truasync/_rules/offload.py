"""TRU3xx: synchronous work that was sent to a thread; the last two digits mirror TRU2xx."""

from __future__ import annotations

from pytest_truasync._model import Rule

FAKE_ASYNC_WAIT = Rule(
    code="TRU301",
    name="fake-async-wait",
    summary="{target} waited in a thread",
    instead="the async API of the library that waits there, or an async library in its place",
    why=(
        "The thread spent its time neither computing nor in a call that a probe watches: "
        "a driver written in C waited. As many can wait at once as the pool has workers; the "
        "next call stands in the queue, whatever the loop could have done."
    ),
    bad="""\
async def report(dsn: str) -> Any:
    return await asyncio.to_thread(run_query, dsn)  # ODBC waits, in C
""",
    good="""\
async def report(pool: asyncpg.Pool) -> Any:
    return await pool.fetch("select * from report")
""",
)

OFFLOADED_WORK = Rule(
    code="TRU302",
    name="offloaded-work",
    level="note",
    summary="{target} ran in a thread",
    instead="keep it, if the pool is large enough for the load",
    why=(
        "Local file I/O has no async form, and a computation must run somewhere: a thread is the "
        "right place for both. It is listed so that every way off the loop is known, and it "
        "never fails a test."
    ),
    bad="""\
async def thumbnail(path: str) -> bytes:
    return shrink(path)  # on the loop
""",
    good="""\
async def thumbnail(path: str) -> bytes:
    return await asyncio.to_thread(shrink, path)
""",
)

SATURATED_POOL = Rule(
    code="TRU303",
    name="saturated-pool",
    level="warning",
    summary="{target} kept calls waiting in its queue",
    instead="async I/O, which needs no workers; for work that does, a pool sized for the load",
    why=(
        "More calls were made at once than the pool has workers. The rest waited in its queue, "
        "and so does everything else that shares the pool: DNS look-ups share asyncio's default "
        "executor, and all synchronous endpoints of a Starlette app share 40 workers."
    ),
    bad="""\
pool = ThreadPoolExecutor(max_workers=3)

async def load_all(urls: list[str]) -> list[Any]:
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(pool, load, url) for url in urls]
    return await asyncio.gather(*calls)
""",
    good="""\
async def load_all(client: httpx.AsyncClient, urls: list[str]) -> list[Any]:
    return await asyncio.gather(*(client.get(url) for url in urls))
""",
)

STRICT_OFFLOAD = Rule(
    code="TRU304",
    name="strict-offload",
    summary="{target} ran in a thread",
    instead="do it before the loop starts or in another process, or allow this one with a reason",
    why=(
        "The project asked for it: under truasync_offload = strict, every offload is an error, "
        "also that of file I/O or a computation (TRU302)."
    ),
    bad="""\
async def template(name: str) -> str:
    return await asyncio.to_thread(Path(name).read_text)
""",
    good="""\
TEMPLATES = {path.name: path.read_text() for path in FOLDER.iterdir()}

async def template(name: str) -> str:
    return TEMPLATES[name]
""",
)

FAKE_ASYNC_HTTP = Rule(
    code="TRU310",
    name="fake-async-http",
    summary="{target} waited in a thread",
    instead="await the request on one shared httpx.AsyncClient",
    why=(
        "The function is called async, but each request holds a worker for its whole round trip. "
        "A pool of 3 makes 3 requests at a time; an AsyncClient makes as many as its limits "
        "allow, without a thread. Neither a timeout nor a cancellation reaches the request."
    ),
    bad="""\
async def load(url: str) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, requests.get, url)
""",
    good="""\
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=10))

async def load(url: str) -> Any:
    return await client.get(url)
""",
)

FAKE_ASYNC_PROCESS = Rule(
    code="TRU320",
    name="fake-async-process",
    summary="{target} waited in a thread",
    instead="await asyncio.create_subprocess_exec(...), then await process.communicate()",
    why=(
        "A worker does nothing but wait for another program, and a cancelled task leaves both "
        "running. The loop can wait for any number of processes without a thread."
    ),
    bad="""\
async def convert(path: str) -> None:
    command = ["ffmpeg", "-i", path, "out.mp3"]
    await asyncio.to_thread(subprocess.run, command)
""",
    good="""\
async def convert(path: str) -> None:
    command = ["ffmpeg", "-i", path, "out.mp3"]
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()
""",
)

FAKE_ASYNC_SLEEP = Rule(
    code="TRU351",
    name="fake-async-sleep",
    summary="{target} waited in a thread",
    instead="await asyncio.sleep(...) (or anyio.sleep, trio.sleep)",
    why="A worker of the pool is taken for nothing, and a cancelled task sleeps on.",
    bad="""\
async def retry() -> None:
    await asyncio.to_thread(time.sleep, 1)
""",
    good="""\
async def retry() -> None:
    await asyncio.sleep(1)
""",
)

FAKE_ASYNC_LOCK = Rule(
    code="TRU360",
    name="fake-async-lock",
    summary="{target} waited in a thread",
    instead="the primitive of the same name in asyncio (or anyio, trio), awaited on the loop",
    why=(
        "Workers that wait for each other fill the pool. When all of them wait, the call that "
        "would set them free stands in the queue: a deadlock that only a load brings about."
    ),
    bad="""\
async def update(lock: threading.Lock) -> None:
    await asyncio.to_thread(lock.acquire)
""",
    good="""\
async def update(lock: asyncio.Lock) -> None:
    async with lock:
        await write()
""",
)

FAKE_ASYNC_SOCKET = Rule(
    code="TRU370",
    name="fake-async-socket",
    summary="{target} waited in a thread",
    instead="await asyncio.open_connection(...), or await loop.sock_recv, sock_sendall and so on",
    why=(
        "Each connection holds a worker for as long as the peer is silent. The loop can wait for "
        "thousands of sockets in its one thread."
    ),
    bad="""\
async def receive(connection: socket.socket) -> bytes:
    return await asyncio.to_thread(connection.recv, 100)
""",
    good="""\
async def receive(reader: asyncio.StreamReader) -> bytes:
    return await reader.read(100)
""",
)

FAKE_ASYNC_DNS = Rule(
    code="TRU371",
    name="fake-async-dns",
    summary="{target} waited in a thread",
    instead="await loop.getaddrinfo(...), or dns.asyncresolver, which needs no thread at all",
    why=(
        "The look-up holds a worker of your pool until a name server answers. asyncio's own "
        "loop.getaddrinfo is not reported."
    ),
    bad="""\
async def resolve(host: str) -> str:
    return await asyncio.to_thread(socket.gethostbyname, host)
""",
    good="""\
async def resolve(host: str) -> str:
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return str(found[0][4][0])
""",
)

FAKE_ASYNC_MAIL_FTP = Rule(
    code="TRU373",
    name="fake-async-mail-ftp",
    summary="{target} waited in a thread",
    instead="an async client of the protocol: aiosmtplib, aioimaplib, aioftp, asyncssh",
    why="Each message or file holds a worker for all the round trips of its protocol.",
    bad="""\
async def notify(message: EmailMessage) -> None:
    await asyncio.to_thread(send_by_smtplib, message)
""",
    good="""\
async def notify(message: EmailMessage) -> None:
    await aiosmtplib.send(message, hostname="mail.example.org")
""",
)

FAKE_ASYNC_BROKER = Rule(
    code="TRU374",
    name="fake-async-broker",
    summary="{target} waited in a thread",
    instead="an async client of the broker: aio-pika, aiokafka, aiomqtt, nats-py",
    why=(
        "A worker waits for the broker, often for ever: a consumer takes one out of the pool for "
        "good. Most of these clients must not be shared by threads in the first place."
    ),
    bad="""\
async def publish(event: bytes) -> None:
    await asyncio.to_thread(channel.basic_publish, "", "events", event)
""",
    good="""\
async def publish(exchange: AbstractExchange, event: bytes) -> None:
    await exchange.publish(aio_pika.Message(event), routing_key="events")
""",
)

FAKE_ASYNC_DATABASE = Rule(
    code="TRU380",
    name="fake-async-database",
    summary="{target} waited in a thread",
    instead="an async driver: psycopg.AsyncConnection, asyncpg, asyncmy, redis.asyncio",
    why=(
        "The size of the pool, not that of the database, decides how many queries run at once, "
        "and a cancelled request leaves its query and its connection behind in the thread."
    ),
    bad="""\
async def users() -> list[Any]:
    return await run_in_threadpool(session.query(User).all)
""",
    good="""\
async def users(session: AsyncSession) -> Sequence[User]:
    return (await session.scalars(select(User))).all()
""",
)

RULES = (
    FAKE_ASYNC_WAIT,
    OFFLOADED_WORK,
    SATURATED_POOL,
    STRICT_OFFLOAD,
    FAKE_ASYNC_HTTP,
    FAKE_ASYNC_PROCESS,
    FAKE_ASYNC_SLEEP,
    FAKE_ASYNC_LOCK,
    FAKE_ASYNC_SOCKET,
    FAKE_ASYNC_DNS,
    FAKE_ASYNC_MAIL_FTP,
    FAKE_ASYNC_BROKER,
    FAKE_ASYNC_DATABASE,
)
