"""TRU4xx: callbacks that held the loop for longer than the threshold."""

from __future__ import annotations

from pytest_truasync._model import Rule

CPU_STALL = Rule(
    code="TRU401",
    name="cpu-stall",
    summary="{target} computed on the event loop",
    instead="a process pool or asyncio.to_thread, or await asyncio.sleep(0) between the parts",
    why=(
        "One step of a task, from one await to the next, computed for longer than "
        "truasync_stall_threshold. All other tasks were late by that much."
    ),
    bad="""\
async def sign_in(password: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, 600_000)
""",
    good="""\
async def sign_in(password: bytes, salt: bytes) -> bytes:
    work = functools.partial(hashlib.pbkdf2_hmac, "sha256", password, salt)
    return await asyncio.to_thread(work, 600_000)
""",
)

WAITING_STALL = Rule(
    code="TRU402",
    name="waiting-stall",
    summary="{target} waited on the event loop",
    instead="the async API of the library that waits there, or an async library in its place",
    why=(
        "One step of a task held the loop for longer than truasync_stall_threshold and hardly "
        "computed: it waited in a call that no probe watches, such as a driver written in C."
    ),
    bad="""\
async def report(connection: pyodbc.Connection) -> Any:
    return connection.execute("select * from report").fetchall()
""",
    good="""\
async def report(pool: asyncpg.Pool) -> Any:
    return await pool.fetch("select * from report")
""",
)

RULES = (CPU_STALL, WAITING_STALL)
