"""TRU2xx: calls that block the thread of an event loop."""

from __future__ import annotations

from pytest_truasync._model import Rule

BLOCKING_HTTP = Rule(
    code="TRU210",
    name="blocking-http",
    summary="{target} held the event loop",
    instead="await the request on one shared httpx.AsyncClient",
    why=(
        "A synchronous HTTP client waits for the whole round trip. Until the answer is there, no "
        "other task, timeout or cancellation of this loop gets a turn."
    ),
    bad="""\
async def load_feed(url: str) -> Any:
    return requests.get(url, timeout=10).json()
""",
    good="""\
async def load_feed(client: httpx.AsyncClient, url: str) -> Any:
    response = await client.get(url, timeout=10)
    return response.raise_for_status().json()
""",
)

BLOCKING_PROCESS_START = Rule(
    code="TRU220",
    name="blocking-process-start",
    summary="{target} held the event loop",
    instead="await asyncio.create_subprocess_exec(...) (or anyio.open_process, trio.run_process)",
    why=(
        "Starting a process copies page tables, opens pipes and waits until the child has called "
        "exec: milliseconds in a big process. What follows, the pipes and the wait, blocks too."
    ),
    bad="""\
async def convert(path: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["ffmpeg", "-i", path, "out.mp3"])
""",
    good="""\
async def convert(path: str) -> asyncio.subprocess.Process:
    command = ["ffmpeg", "-i", path, "out.mp3"]
    return await asyncio.create_subprocess_exec(*command)
""",
)

BLOCKING_PROCESS = Rule(
    code="TRU221",
    name="blocking-process",
    summary="{target} held the event loop",
    instead="await asyncio.create_subprocess_exec(...), then await process.communicate()",
    why=(
        "The call returns when the other program ends. For as long as that takes, the loop is "
        "as dead as if it slept."
    ),
    bad="""\
async def revision() -> bytes:
    return subprocess.check_output(["git", "rev-parse", "HEAD"])
""",
    good="""\
async def revision() -> bytes:
    command = ["git", "rev-parse", "HEAD"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    out, _ = await process.communicate()
    return out
""",
)

BLOCKING_PROCESS_WAIT = Rule(
    code="TRU222",
    name="blocking-process-wait",
    summary="{target} held the event loop",
    instead="start it by asyncio.create_subprocess_exec and await process.wait()",
    why="Another process decides when the loop goes on; if it hangs, so does every task.",
    bad="""\
async def finish(process: subprocess.Popen[bytes]) -> int:
    return process.wait()
""",
    good="""\
async def finish(process: asyncio.subprocess.Process) -> int:
    return await process.wait()
""",
)

BLOCKING_OPEN = Rule(
    code="TRU230",
    name="blocking-open",
    summary="{target} held the event loop",
    instead="async with await anyio.open_file(...) (or aiofiles), or read it before the loop runs",
    why=(
        "Opening a file waits for the disk, or for the network that the disk is on. It is quick "
        "on a developer's machine, and slow on the day when the volume is busy."
    ),
    bad="""\
async def load_config() -> str:
    with open("config.toml") as file:
        return file.read()
""",
    good="""\
async def load_config() -> str:
    async with await anyio.open_file("config.toml") as file:
        return await file.read()
""",
)

BLOCKING_FILE_IO = Rule(
    code="TRU231",
    name="blocking-file-io",
    summary="{target} held the event loop",
    instead="open it by anyio.open_file or aiofiles and await its read and write",
    why=(
        "Reading and writing wait for the disk, and a flush or fsync waits until the data is on "
        "it. The size of the file decides how long every other task stands still."
    ),
    bad="""\
async def save(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)
    file.flush()
""",
    good="""\
async def save(file: anyio.AsyncFile[bytes], chunk: bytes) -> None:
    await file.write(chunk)
    await file.flush()
""",
)

BLOCKING_FILE_LOCK = Rule(
    code="TRU232",
    name="blocking-file-lock",
    summary="{target} held the event loop",
    instead="try the lock with LOCK_NB and await asyncio.sleep(...) between the tries",
    why=(
        "A file lock waits for another process, without a limit. If that process in turn waits "
        "for an answer of this loop, neither goes on."
    ),
    bad="""\
async def lock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX)
""",
    good="""\
async def lock(fd: int) -> None:
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(0.05)
""",
)

BLOCKING_PATH = Rule(
    code="TRU240",
    name="blocking-path",
    summary="{target} held the event loop",
    instead="await the same method of anyio.Path(...) (or trio.Path, aiofiles.os)",
    why=(
        "Asking the file system about a path waits for the disk or a network mount; a directory "
        "tree is copied or removed file by file, with the loop standing still for all of them."
    ),
    bad="""\
async def prepare(folder: pathlib.Path) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
""",
    good="""\
async def prepare(folder: pathlib.Path) -> None:
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
""",
)

BLOCKING_INPUT = Rule(
    code="TRU250",
    name="blocking-input",
    summary="{target} held the event loop",
    instead="await asyncio.to_thread(input, ...) (or prompt_toolkit's prompt_async)",
    why="A person decides when the loop goes on.",
    bad="""\
async def confirm() -> bool:
    return input("Go on? ") == "y"
""",
    good="""\
async def confirm() -> bool:
    return await asyncio.to_thread(input, "Go on? ") == "y"
""",
)

BLOCKING_SLEEP = Rule(
    code="TRU251",
    name="blocking-sleep",
    summary="{target} held the event loop",
    instead="await asyncio.sleep(...) (or anyio.sleep, trio.sleep)",
    why=(
        "A sleeping thread runs nothing: no other task, no timeout, no health check. "
        "A retry that sleeps for a second stops the whole service for a second."
    ),
    bad="""\
async def retry() -> None:
    time.sleep(1)
""",
    good="""\
async def retry() -> None:
    await asyncio.sleep(1)
""",
)

BLOCKING_SIGNAL_WAIT = Rule(
    code="TRU252",
    name="blocking-signal-wait",
    summary="{target} held the event loop",
    instead="loop.add_signal_handler(...) and await an asyncio.Event that it sets",
    why="The loop stands still until a signal arrives, and then handles it before all else.",
    bad="""\
async def until_stopped() -> None:
    signal.sigwait({signal.SIGTERM})
""",
    good="""\
async def until_stopped() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
""",
)

BLOCKING_LOCK = Rule(
    code="TRU260",
    name="blocking-lock",
    summary="{target} held the event loop",
    instead="the primitive of the same name in asyncio (or anyio, trio), with async with or await",
    why=(
        "The loop's thread waits for another thread. If the one that holds the lock needs the "
        "loop to let go of it, this is a deadlock. A lock that was free is not reported."
    ),
    bad="""\
lock = threading.Lock()

async def update() -> None:
    with lock:
        await write()
""",
    good="""\
lock = asyncio.Lock()

async def update() -> None:
    async with lock:
        await write()
""",
)

BLOCKING_QUEUE = Rule(
    code="TRU261",
    name="blocking-queue",
    summary="{target} held the event loop",
    instead="asyncio.Queue and await queue.get() (or an anyio memory object stream)",
    why=(
        "An empty queue, or a full one, stops the loop until another thread moves. If the other "
        "side is a task of this loop, it never will."
    ),
    bad="""\
async def consume(jobs: queue.Queue[Job]) -> None:
    await handle(jobs.get())
""",
    good="""\
async def consume(jobs: asyncio.Queue[Job]) -> None:
    await handle(await jobs.get())
""",
)

BLOCKING_JOIN = Rule(
    code="TRU262",
    name="blocking-join",
    summary="{target} held the event loop",
    instead="make the work a task and await it (asyncio.TaskGroup, anyio or trio task groups)",
    why=(
        "The loop waits until the thread has ended; a thread that calls back into the loop, by "
        "call_soon_threadsafe or run_coroutine_threadsafe, never ends."
    ),
    bad="""\
async def run_all(worker: threading.Thread) -> None:
    worker.start()
    worker.join()
""",
    good="""\
async def run_all() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
""",
)

BLOCKING_FUTURE = Rule(
    code="TRU263",
    name="blocking-future",
    summary="{target} held the event loop",
    instead="await asyncio.wrap_future(future), or await the coroutine itself",
    why=(
        "A concurrent.futures.Future is waited for by stopping the thread. With "
        "run_coroutine_threadsafe(...).result() on the loop's own thread, it is a deadlock."
    ),
    bad="""\
async def total(pool: ProcessPoolExecutor) -> int:
    return pool.submit(add_up, rows).result()
""",
    good="""\
async def total(pool: ProcessPoolExecutor) -> int:
    return await asyncio.wrap_future(pool.submit(add_up, rows))
""",
)

BLOCKING_SOCKET = Rule(
    code="TRU270",
    name="blocking-socket",
    summary="{target} held the event loop",
    instead="await asyncio.open_connection(...), or await loop.sock_recv, sock_sendall and so on",
    why="A socket in blocking mode waits for the peer: a round trip, or for ever if it is gone.",
    bad="""\
async def ask(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address) as connection:
        connection.sendall(b"PING")
        return connection.recv(100)
""",
    good="""\
async def ask(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"PING")
    return await reader.read(100)
""",
)

BLOCKING_DNS = Rule(
    code="TRU271",
    name="blocking-dns",
    summary="{target} held the event loop",
    instead="await loop.getaddrinfo(...) (or anyio.getaddrinfo, dns.asyncresolver)",
    why="A name server that does not answer takes 5 to 30 seconds to give up on, on every look-up.",
    bad="""\
async def resolve(host: str) -> str:
    return socket.gethostbyname(host)
""",
    good="""\
async def resolve(host: str) -> str:
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return str(found[0][4][0])
""",
)

BLOCKING_SELECT = Rule(
    code="TRU272",
    name="blocking-select",
    summary="{target} held the event loop",
    instead="loop.add_reader(...) (or anyio.wait_readable, trio.lowlevel.wait_readable)",
    why="The loop has a selector of its own; while another one waits, it does not look at it.",
    bad="""\
async def readable(connection: socket.socket) -> None:
    select.select([connection], [], [])
""",
    good="""\
async def readable(connection: socket.socket) -> None:
    await anyio.wait_readable(connection)
""",
)

BLOCKING_MAIL_FTP = Rule(
    code="TRU273",
    name="blocking-mail-ftp",
    summary="{target} held the event loop",
    instead="an async client of the protocol: aiosmtplib, aioimaplib, aioftp, asyncssh",
    why=(
        "These protocols talk in many short turns, and the loop stands still for each of the "
        "round trips."
    ),
    bad="""\
async def notify(message: EmailMessage) -> None:
    with smtplib.SMTP("mail.example.org") as server:
        server.send_message(message)
""",
    good="""\
async def notify(message: EmailMessage) -> None:
    await aiosmtplib.send(message, hostname="mail.example.org")
""",
)

BLOCKING_BROKER = Rule(
    code="TRU274",
    name="blocking-broker",
    summary="{target} held the event loop",
    instead="an async client of the broker: aio-pika, aiokafka, aiomqtt, nats-py",
    why=(
        "A message broker answers when it wants to, and its client sends heartbeats from the "
        "same thread: a loop that waits for one misses the others."
    ),
    bad="""\
async def publish(event: bytes) -> None:
    connection = pika.BlockingConnection()
    connection.channel().basic_publish("", "events", event)
""",
    good="""\
async def publish(connection: aio_pika.Connection, event: bytes) -> None:
    channel = await connection.channel()
    message = aio_pika.Message(event)
    await channel.default_exchange.publish(message, routing_key="events")
""",
)

BLOCKING_DATABASE = Rule(
    code="TRU280",
    name="blocking-database",
    summary="{target} held the event loop",
    instead="an async driver: psycopg.AsyncConnection, asyncpg, asyncmy, redis.asyncio",
    why=(
        "A query takes a round trip, the work of the server, and the wait for its locks. "
        "With one slow query, every request of this process is slow."
    ),
    bad="""\
async def users(dsn: str) -> list[Any]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select * from users")
        return cursor.fetchall()
""",
    good="""\
async def users(dsn: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute("select * from users")
        return await cursor.fetchall()
""",
)

BLOCKING_SQLITE = Rule(
    code="TRU281",
    name="blocking-sqlite",
    summary="{target} held the event loop",
    instead="async with aiosqlite.connect(...) as db, then await db.execute(...)",
    why=(
        "SQLite reads and writes files, and waits for the locks of other connections: up to five "
        "seconds by default, before it reports that the database is locked."
    ),
    bad="""\
async def users(path: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        return connection.execute("select * from users").fetchall()
""",
    good="""\
async def users(path: str) -> list[Any]:
    async with aiosqlite.connect(path) as connection:
        rows = await connection.execute_fetchall("select * from users")
        return list(rows)
""",
)

LAZY_LOAD = Rule(
    code="TRU290",
    name="lazy-load",
    level="note",
    summary="{target} loaded files of a library on the event loop",
    instead="make the object that loads them once, at start-up, before the loop serves requests",
    why=(
        "A library reads its own files at first use: types of files, certificates, time zones, "
        "metadata of packages. It happens once in a process, so it never fails a test; but the "
        "first request pays for it, and an object made anew for each request pays each time."
    ),
    bad="""\
async def load_feed(url: str) -> str:
    async with httpx.AsyncClient() as client:  # reads CA files each time
        return (await client.get(url)).text
""",
    good="""\
client = httpx.AsyncClient()

async def load_feed(url: str) -> str:
    return (await client.get(url)).text
""",
)

RULES = (
    BLOCKING_HTTP,
    BLOCKING_PROCESS_START,
    BLOCKING_PROCESS,
    BLOCKING_PROCESS_WAIT,
    BLOCKING_OPEN,
    BLOCKING_FILE_IO,
    BLOCKING_FILE_LOCK,
    BLOCKING_PATH,
    BLOCKING_INPUT,
    BLOCKING_SLEEP,
    BLOCKING_SIGNAL_WAIT,
    BLOCKING_LOCK,
    BLOCKING_QUEUE,
    BLOCKING_JOIN,
    BLOCKING_FUTURE,
    BLOCKING_SOCKET,
    BLOCKING_DNS,
    BLOCKING_SELECT,
    BLOCKING_MAIL_FTP,
    BLOCKING_BROKER,
    BLOCKING_DATABASE,
    BLOCKING_SQLITE,
    LAZY_LOAD,
)
