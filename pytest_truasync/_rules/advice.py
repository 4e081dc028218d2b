"""What to write instead of a call, by its dotted name.

The longest name that is the target or a prefix of it, at a dot, wins. Work on the network is
never advised into a thread: that is what TRU3xx reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

KEEPS_ITS_OWN: Final = frozenset(
    {"TRU290", "TRU302", "TRU303", "TRU304", "TRU901", "TRU902", "TRU903", "TRU904", "TRU905"}
)
"""Codes whose rule knows better than a table by target."""

_HTTPX = "await the request on one shared httpx.AsyncClient"
_STREAMS = "await asyncio.open_connection(...) and its reader and writer (or anyio.connect_tcp)"
_SUBPROCESS = "await asyncio.create_subprocess_exec(...), then await process.communicate()"
_SHELL = "await asyncio.create_subprocess_shell(...), then await process.communicate()"
_WAIT = "start it by asyncio.create_subprocess_exec and await process.wait()"
_GETADDRINFO = "await loop.getaddrinfo(...) (or anyio.getaddrinfo, dns.asyncresolver)"
_GETNAMEINFO = "await loop.getnameinfo(...) (or anyio.getnameinfo, dns.asyncresolver)"
_PSYCOPG = "psycopg.AsyncConnection or asyncpg"
_MYSQL = "aiomysql or asyncmy"
_AIOBOTO = "aioboto3 or aiobotocore: async with session.create_client(...) as client"
_AIOKAFKA = "aiokafka: AIOKafkaProducer, AIOKafkaConsumer"
_ASYNCIO_WS = "async with websockets.connect(...) as websocket"
_SELECTOR = "loop.add_reader(...) (or anyio.wait_readable, trio.lowlevel.wait_readable)"

NETWORK: Final[Mapping[str, str]] = MappingProxyType(
    {
        # HTTP
        "requests": _HTTPX,
        "urllib3": _HTTPX,
        "urllib.request": _HTTPX,
        "urllib.robotparser": "fetch robots.txt by httpx.AsyncClient and parse(...) its lines",
        "http.client": _HTTPX,
        "httplib2": _HTTPX,
        "pycurl": _HTTPX,
        "httpx": _HTTPX,
        "httpx.Client": "httpx.AsyncClient, and await its methods",
        "httpx.stream": "async with client.stream(...) on one shared httpx.AsyncClient",
        "httpx2": "await the request on one shared httpx2.AsyncClient",
        "httpcore": "httpcore.AsyncConnectionPool",
        "niquests": "niquests.AsyncSession",
        "curl_cffi": "curl_cffi.requests.AsyncSession",
        "primp": "primp.AsyncClient",
        "cloudscraper": _HTTPX,
        "requests_html": _HTTPX,
        "requests_toolbelt": _HTTPX,
        "xmlrpc.client": "aiohttp-xmlrpc, or the request by httpx.AsyncClient",
        "zeep": "zeep.AsyncClient",
        "gql": "gql with HTTPXAsyncTransport, and await client.execute_async(...)",
        "sgqlc": "gql with HTTPXAsyncTransport, and await client.execute_async(...)",
        "feedparser": "fetch by httpx.AsyncClient, then feedparser.parse(response.content)",
        "pandas.read_html": "fetch by httpx.AsyncClient, then pandas.read_html(StringIO(text))",
        "websocket": _ASYNCIO_WS,
        "websockets.sync": _ASYNCIO_WS,
        "socketio.Client": "socketio.AsyncClient",
        "engineio.Client": "engineio.AsyncClient",
        # services
        "openai": "openai.AsyncOpenAI, and await its methods",
        "anthropic": "anthropic.AsyncAnthropic, and await its methods",
        "mistralai": "the *_async methods of mistralai.Mistral",
        "cohere": "cohere.AsyncClientV2",
        "groq": "groq.AsyncGroq",
        "together": "together.AsyncTogether",
        "ollama": "ollama.AsyncClient",
        "replicate": "replicate.async_run(...) and its other async_* functions",
        "google.genai": "the same call on client.aio, awaited",
        "google.cloud": "the AsyncClient of the same service: ...ServiceAsyncClient",
        "google.cloud.storage": "gcloud-aio-storage: gcloud.aio.storage.Storage",
        "google.auth": "google.auth.aio",
        "googleapiclient": "aiogoogle",
        "azure": "the client of the same name in the .aio module of the package",
        "boto3": _AIOBOTO,
        "botocore": _AIOBOTO,
        "s3transfer": _AIOBOTO,
        "minio": "miniopy-async, or aiobotocore",
        "stripe": "the method's *_async form, such as await stripe.Customer.create_async(...)",
        "twilio": "AsyncTwilioHttpClient, and the *_async methods",
        "sendgrid": "the same request by httpx.AsyncClient",
        "slack_sdk": "slack_sdk.web.async_client.AsyncWebClient",
        "telebot": "telebot.async_telebot.AsyncTeleBot",
        "tweepy": "tweepy.asynchronous.AsyncClient",
        "praw": "asyncpraw",
        "ccxt": "ccxt.async_support",
        "github": "githubkit, whose every method has an async_ form",
        "jira": "the same request by httpx.AsyncClient",
        "sentry_sdk": "let its own transport send it: no flush() while the loop runs",
        "docker": "aiodocker",
        "kubernetes": "kubernetes_asyncio",
        "consul": "the same request by httpx.AsyncClient",
        "hvac": "the same request by httpx.AsyncClient",
        "supabase": "await supabase.acreate_client(...) (or create_async_client)",
        "supabase.create_client": "await supabase.acreate_client(...) (or create_async_client)",
        "postgrest": "postgrest.AsyncPostgrestClient, and await ...execute()",
        "storage3": "storage3.create_client(..., is_async=True)",
        "supabase_auth": "supabase_auth.AsyncGoTrueClient",
        "gotrue": "gotrue.AsyncGoTrueClient",
        "supabase_functions": "supabase_functions.AsyncFunctionsClient",
        "firebase_admin": "firebase_admin.firestore_async, messaging.send_each_async",
        "grpc": "grpc.aio: grpc.aio.insecure_channel(...), await stub.Method(...)",
        "thriftpy2": "thriftpy2.contrib.aio",
        "zmq": "zmq.asyncio.Context, and await socket.recv()",
        "serial": "serial_asyncio.open_serial_connection(...)",
        "pymodbus": "pymodbus.client.AsyncModbusTcpClient",
        "pysnmp": "pysnmp.hlapi.v3arch.asyncio",
        "ldap3": "bonsai: async with client.connect(is_async=True)",
        "ldap": "bonsai: async with client.connect(is_async=True)",
        # mail, FTP, SSH
        "smtplib": "aiosmtplib: await aiosmtplib.send(message, hostname=...)",
        "imaplib": "aioimaplib",
        "poplib": "aioimaplib, where the server speaks IMAP as well",
        "nntplib": _STREAMS,
        "telnetlib": "telnetlib3.open_connection(...)",
        "ftplib": "aioftp: async with aioftp.Client.context(host) as client",
        "ftputil": "aioftp: async with aioftp.Client.context(host) as client",
        "paramiko": "asyncssh: async with asyncssh.connect(host) as connection",
        "pysftp": "asyncssh: async with connection.start_sftp_client() as sftp",
        "fabric": "asyncssh: async with asyncssh.connect(host) as connection",
        "netmiko": "scrapli with transport='asyncssh'",
        "pexpect": "await child.expect(..., async_=True)",
        # brokers
        "pika": "aio-pika: await aio_pika.connect_robust(...)",
        "amqp": "aio-pika: await aio_pika.connect_robust(...)",
        "kombu": "aio-pika: await aio_pika.connect_robust(...)",
        "kafka": _AIOKAFKA,
        "confluent_kafka": _AIOKAFKA,
        "paho": "aiomqtt: async with aiomqtt.Client(host) as client",
        "stomp": "an async STOMP client over asyncio.open_connection",
        "pulsar": "the *_async methods of pulsar.Client and pulsar.Producer",
        "nsq": "ansq",
        "celery": "taskiq or arq, whose queues are awaited",
        "rq": "arq, whose queue is awaited",
        # databases
        "psycopg2": _PSYCOPG,
        "psycopg": "psycopg.AsyncConnection, and await its methods",
        "psycopg_pool": "psycopg_pool.AsyncConnectionPool",
        "pg8000": _PSYCOPG,
        "pymysql": _MYSQL,
        "MySQLdb": _MYSQL,
        "mariadb": _MYSQL,
        "mysql.connector": "mysql.connector.aio, aiomysql or asyncmy",
        "redis": "redis.asyncio.Redis, and await its methods",
        "redis.sentinel": "redis.asyncio.Sentinel",
        "redis.cluster": "redis.asyncio.RedisCluster",
        "valkey": "valkey.asyncio.Valkey, and await its methods",
        "rediscluster": "redis.asyncio.RedisCluster",
        "sqlalchemy": "sqlalchemy.ext.asyncio.create_async_engine, and await on AsyncSession",
        "sqlmodel": "sqlmodel.ext.asyncio.session.AsyncSession over create_async_engine",
        "peewee": "peewee-async, or SQLAlchemy's create_async_engine",
        "pony": "SQLAlchemy's create_async_engine, or Tortoise ORM",
        "records": "SQLAlchemy's create_async_engine",
        "dataset": "SQLAlchemy's create_async_engine",
        "pymongo": "pymongo.AsyncMongoClient, and await its methods",
        "mongoengine": "beanie over pymongo.AsyncMongoClient",
        "elasticsearch": "elasticsearch.AsyncElasticsearch",
        "elastic_transport": "elasticsearch.AsyncElasticsearch",
        "opensearchpy": "opensearchpy.AsyncOpenSearch",
        "cassandra": "acsylla or scyllapy, whose queries are awaited",
        "neo4j": "neo4j.AsyncGraphDatabase.driver(...)",
        "oracledb": "await oracledb.connect_async(...)",
        "cx_Oracle": "await oracledb.connect_async(...)",
        "clickhouse_connect": "await clickhouse_connect.get_async_client(...)",
        "clickhouse_driver": "asynch, or clickhouse_connect.get_async_client",
        "influxdb_client": "influxdb_client.client.influxdb_client_async.InfluxDBClientAsync",
        "pymemcache": "aiomcache",
        "pylibmc": "aiomcache",
        "memcache": "aiomcache",
        "happybase": "a client that is async on the wire",
        "pyodbc": "a driver that is async on the wire; aioodbc is pyodbc in a thread",
        "pymssql": "a driver that is async on the wire",
        "qdrant_client": "qdrant_client.AsyncQdrantClient",
        "weaviate": "weaviate.use_async_with_local(...) and its kin",
        "pinecone": "pinecone.PineconeAsyncio",
        "chromadb": "await chromadb.AsyncHttpClient(...)",
        "meilisearch": "meilisearch-python-sdk: AsyncClient",
        "arango": "python-arango-async: arangoasync.ArangoClient",
        "couchbase": "acouchbase.cluster.Cluster",
        # sockets and names
        "socket": _STREAMS,
        "socket.create_connection": "await asyncio.open_connection(...) (or anyio.connect_tcp)",
        "socket.socket.accept": "await asyncio.start_server(...), or await loop.sock_accept(sock)",
        "socket.socket.connect": "await asyncio.open_connection(...), or loop.sock_connect",
        "socket.socket.connect_ex": "await asyncio.open_connection(...), or loop.sock_connect",
        "socket.socket.recv": "await reader.read(...) of asyncio streams, or loop.sock_recv",
        "socket.socket.recv_into": "await reader.read(...), or loop.sock_recv_into",
        "socket.socket.recvfrom": "await loop.sock_recvfrom(...), or a datagram endpoint",
        "socket.socket.recvfrom_into": "await loop.sock_recvfrom_into(...)",
        "socket.socket.recvmsg": "a datagram endpoint (loop.create_datagram_endpoint)",
        "socket.socket.send": "writer.write(...); await writer.drain(), or loop.sock_sendall",
        "socket.socket.sendall": "writer.write(...); await writer.drain(), or loop.sock_sendall",
        "socket.socket.sendto": "await loop.sock_sendto(...), or a datagram endpoint",
        "socket.socket.sendfile": "await loop.sock_sendfile(sock, file)",
        "socket.socket.sendmsg": "writer.writelines(...); await writer.drain()",
        "socket.getaddrinfo": _GETADDRINFO,
        "socket.gethostbyname": _GETADDRINFO,
        "socket.gethostbyname_ex": _GETADDRINFO,
        "socket.getfqdn": _GETNAMEINFO,
        "socket.gethostbyaddr": _GETNAMEINFO,
        "socket.getnameinfo": _GETNAMEINFO,
        "dns.resolver": "dns.asyncresolver",
        "dns.query": "dns.asyncquery",
        "ssl": "await asyncio.open_connection(..., ssl=context)",
        "ssl.get_server_certificate": "await asyncio.open_connection(..., ssl=context)",
        "socketserver": "await asyncio.start_server(...)",
        "http.server": "aiohttp.web, or an ASGI app under uvicorn",
        "wsgiref": "an ASGI app under uvicorn",
        "multiprocessing.connection": "asyncio streams over a Unix socket",
        "select": _SELECTOR,
        "selectors": _SELECTOR,
    }
)
"""Calls that wait for another machine, or may."""

_ANYIO_PATH = "await the same method of anyio.Path(...) (or trio.Path, aiofiles.os)"
_OS = "await the same function of aiofiles.os, or the method of anyio.Path(...)"
_SHUTIL = "await asyncio.to_thread(...) around it, or the methods of anyio.Path(...)"
_OPEN = "async with await anyio.open_file(...) (or aiofiles.open), or read it before the loop runs"
_FILE_IO = "open it by anyio.open_file or aiofiles.open and await its methods"
_TEMPFILE = "anyio.TemporaryFile, anyio.TemporaryDirectory and their kin (or aiofiles.tempfile)"
_TRY_LOCK = "acquire(block=False), and await asyncio.sleep(...) between the tries"
_EXECUTOR = "await loop.run_in_executor(pool, ...), or await asyncio.wrap_future(future)"
_HASH = "await asyncio.to_thread(...): it lets go of the GIL while it computes"

LOCAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        # sleep and retry
        "time.sleep": "await asyncio.sleep(...) (or anyio.sleep, trio.sleep)",
        "gevent.sleep": "await asyncio.sleep(...)",
        "eventlet.sleep": "await asyncio.sleep(...)",
        "tenacity": "decorate an async def: tenacity then awaits asyncio.sleep (AsyncRetrying)",
        "backoff": "decorate an async def: backoff then awaits asyncio.sleep",
        "retrying": "tenacity on an async def, which awaits asyncio.sleep",
        "signal": "loop.add_signal_handler(...) and await an asyncio.Event that it sets",
        # processes
        "subprocess": _SUBPROCESS,
        "subprocess.Popen": "await asyncio.create_subprocess_exec(...) (or anyio.open_process)",
        "subprocess.Popen.wait": _WAIT,
        "subprocess.Popen.communicate": "await process.communicate() of create_subprocess_exec",
        "subprocess.getoutput": _SHELL,
        "subprocess.getstatusoutput": _SHELL,
        "os.system": _SHELL,
        "os.popen": _SHELL,
        "os.spawnl": _SUBPROCESS,
        "os.spawnv": _SUBPROCESS,
        "os.posix_spawn": _SUBPROCESS,
        "os.wait": _WAIT,
        "os.waitpid": _WAIT,
        "os.wait3": _WAIT,
        "os.wait4": _WAIT,
        "os.waitid": _WAIT,
        "pty.spawn": _SUBPROCESS,
        "plumbum": _SUBPROCESS,
        "sh": "await sh.command(..., _async=True)",
        "invoke": _SUBPROCESS,
        "git": "await asyncio.create_subprocess_exec('git', ...)",
        "multiprocessing": "await loop.run_in_executor(ProcessPoolExecutor(), ...)",
        "multiprocessing.synchronize": _TRY_LOCK,
        "_multiprocessing": _TRY_LOCK,
        "multiprocessing.Process": "await asyncio.create_subprocess_exec(...), or a process pool",
        "psutil": "psutil's calls without interval=, and await asyncio.sleep(...) between them",
        "webbrowser": "await asyncio.create_subprocess_exec('xdg-open', url)",
        # files
        "open": _OPEN,
        "io.open": _OPEN,
        "codecs.open": _OPEN,
        "os.open": _OPEN,
        "os.fdopen": _OPEN,
        "os.read": "loop.connect_read_pipe(...) for a pipe, anyio.open_file for a file",
        "os.write": "loop.connect_write_pipe(...) for a pipe, anyio.open_file for a file",
        "io": _FILE_IO,
        "gzip": "read it by anyio.open_file, then gzip.decompress(data)",
        "bz2": "read it by anyio.open_file, then bz2.decompress(data)",
        "lzma": "read it by anyio.open_file, then lzma.decompress(data)",
        "zipfile": "await asyncio.to_thread(...) around the whole archive",
        "tarfile": "await asyncio.to_thread(...) around the whole archive",
        "tomllib.load": "await anyio.Path(...).read_text(), then tomllib.loads(text)",
        "json.load": "await anyio.Path(...).read_text(), then json.loads(text)",
        "pickle.load": "await anyio.Path(...).read_bytes(), then pickle.loads(data)",
        "yaml": "await anyio.Path(...).read_text(), then yaml.safe_load(text)",
        "configparser": "await anyio.Path(...).read_text(), then parser.read_string(text)",
        "csv": "await anyio.Path(...).read_text(), then csv.reader(text.splitlines())",
        "dotenv": "load_dotenv() at import, before the loop runs",
        "importlib": "import at the top of the module",
        "importlib.metadata": "ask for it at import, before the loop runs",
        "logging": "logging.handlers.QueueHandler with a QueueListener",
        "linecache": "await asyncio.to_thread(linecache.getline, ...)",
        "mimetypes": "mimetypes.init() at import, before the loop runs",
        "zoneinfo": "make the ZoneInfo at import, before the loop runs",
        "jinja2": "load templates before the loop runs, or Environment(enable_async=True)",
        "fileinput": _FILE_IO,
        "pathlib": _ANYIO_PATH,
        "os": _OS,
        "os.path": "await the same method of anyio.Path(...) (or aiofiles.ospath)",
        "os.walk": "async for ... in anyio.Path(...).walk() (or .rglob('*'))",
        "os.fwalk": "async for ... in anyio.Path(...).walk()",
        "os.scandir": "async for entry in anyio.Path(...).iterdir() (or aiofiles.os.scandir)",
        "os.fsync": "await asyncio.to_thread(os.fsync, fd)",
        "os.sendfile": "await loop.sendfile(transport, file)",
        "glob": "async for path in anyio.Path(...).glob(pattern)",
        "shutil": _SHUTIL,
        "tempfile": _TEMPFILE,
        "mmap": "await asyncio.to_thread(...) around the work on the map",
        "fcntl": "try it with LOCK_NB and await asyncio.sleep(...) between the tries",
        "fcntl.ioctl": "await asyncio.to_thread(fcntl.ioctl, ...)",
        "filelock": "filelock.AsyncFileLock",
        "portalocker": "filelock.AsyncFileLock",
        "fasteners": "filelock.AsyncFileLock",
        "diskcache": "await asyncio.to_thread(cache.get, ...)",
        "shelve": "aiosqlite, or await asyncio.to_thread(...)",
        "dbm": "aiosqlite, or await asyncio.to_thread(...)",
        "sqlite3": "aiosqlite: async with aiosqlite.connect(...) as db; await db.execute(...)",
        "apsw": "aiosqlite: async with aiosqlite.connect(...) as db; await db.execute(...)",
        "duckdb": "await asyncio.to_thread(connection.execute, ...)",
        "watchdog": "watchfiles.awatch(...)",
        # console
        "input": "await asyncio.to_thread(input, ...) (or prompt_toolkit's prompt_async)",
        "getpass": "await asyncio.to_thread(getpass.getpass, ...)",
        "sys.stdin": "loop.connect_read_pipe(...) on sys.stdin",
        "click": "await asyncio.to_thread(click.prompt, ...), or ask before the loop runs",
        # threads
        "threading.Lock": "asyncio.Lock (or anyio.Lock): async with lock",
        "threading.RLock": "asyncio.Lock (or anyio.Lock): async with lock",
        "threading.Condition": "asyncio.Condition (or anyio.Condition): await condition.wait()",
        "threading.Event": "asyncio.Event (or anyio.Event): await event.wait()",
        "threading.Semaphore": "asyncio.Semaphore (or anyio.Semaphore): async with semaphore",
        "threading.BoundedSemaphore": "asyncio.BoundedSemaphore: async with semaphore",
        "threading.Barrier": "asyncio.Barrier: await barrier.wait()",
        "threading.Thread": "a task: asyncio.TaskGroup, and await it",
        "threading.Thread.join": "make the work a task, and await it",
        "threading.Timer": "loop.call_later(...), or a task that awaits asyncio.sleep(...)",
        "_thread": "asyncio.Lock (or anyio.Lock): async with lock",
        "queue": "asyncio.Queue: await queue.get(), await queue.put(...)",
        "queue.LifoQueue": "asyncio.LifoQueue: await queue.get(), await queue.put(...)",
        "queue.PriorityQueue": "asyncio.PriorityQueue: await queue.get(), await queue.put(...)",
        "queue.Queue.join": "await asyncio.Queue.join()",
        "multiprocessing.Queue": "a process pool, and await asyncio.wrap_future(future)",
        "concurrent.futures": _EXECUTOR,
        "concurrent.futures.wait": "await asyncio.wait([asyncio.wrap_future(f) for f in futures])",
        "concurrent.futures.as_completed": (
            "asyncio.as_completed([asyncio.wrap_future(f) for f in futures])"
        ),
        "concurrent.futures.Executor.map": (
            "await asyncio.gather(*(loop.run_in_executor(pool, work, one) for one in many))"
        ),
        "concurrent.futures.Executor.shutdown": "shutdown(wait=False), or after the loop has ended",
        "concurrent.futures.ThreadPoolExecutor.shutdown": (
            "shutdown(wait=False), or after the loop has ended"
        ),
        "concurrent.futures.ProcessPoolExecutor.shutdown": (
            "shutdown(wait=False), or after the loop has ended"
        ),
        "asyncio.run_coroutine_threadsafe": "await the coroutine itself",
        "asgiref.sync.async_to_sync": "await the coroutine itself",
        "anyio.from_thread": "await the coroutine itself",
        # computations
        "hashlib": _HASH,
        "bcrypt": _HASH,
        "argon2": _HASH,
        "passlib": _HASH,
        "zlib": _HASH,
        "PIL": _HASH,
        "numpy": _HASH,
        "pandas": "await asyncio.to_thread(...), or a process pool",
        "re": "a pattern without nested repeats, or the work in a process pool",
        "json": "orjson, or a smaller document; else await asyncio.to_thread(json.loads, ...)",
    }
)
"""Calls that wait for this machine only, or compute."""

ADVICE: Final[Mapping[str, str]] = MappingProxyType({**NETWORK, **LOCAL})
"""Dotted name → what to write instead."""
