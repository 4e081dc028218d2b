"""What the plugin costs a suite of 1,000 short async tests, as a ratio to plain pytest.

    python benchmarks/bench_suite.py [--rounds 5] [--json FILE]

Each round runs the suite plain, with `--truasync`, and with blockbuster's autouse fixture as its
README has it, one after the other in an order that rotates; the ratio is CPU time (user and
system, of the whole process) to the plain run of the same round, and the median of the rounds is
told. The tests do what short async tests do: await, a task, a queue, a socket pair.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = """
import asyncio

import pytest


async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(250))
async def test_sleep(n):
    await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(250))
async def test_tasks(n):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0, i)) for i in range(5)]
    assert [task.result() for task in tasks] == list(range(5))


@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(250))
async def test_queue(n):
    items = asyncio.Queue(1)

    async def feed():
        for i in range(10):
            await items.put(i)

    feeder = asyncio.create_task(feed())
    assert [await items.get() for _ in range(10)] == list(range(10))
    await feeder


@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(250))
async def test_stream(n):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello\\\\n")
        assert await reader.readline() == b"hello\\\\n"
        writer.close()
        await writer.wait_closed()
""".replace("\\\\", "\\")

BLOCKBUSTER = """
import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def blockbuster():
    with blockbuster_ctx() as active:
        yield active
"""

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
TOOLS = ("plain", "truasync", "blockbuster")
TARGET = 1.10


def run(tool: str, folder: Path) -> float:
    """Return the CPU time of one run, in seconds."""
    (folder / "conftest.py").write_text(BLOCKBUSTER if tool == "blockbuster" else "")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", "-p", "no:xdist", *(["--truasync"] * (tool == "truasync"))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{tool}: the suite failed\n{done.stdout[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the table; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    ratios: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pytest.ini").write_text(INI)
        (folder / "test_suite.py").write_text(SUITE)
        for tool in TOOLS:
            run(tool, folder)  # warm
        for number in range(args.rounds):
            order = TOOLS[number % 3 :] + TOOLS[: number % 3]
            took = {tool: run(tool, folder) for tool in order}
            plain.append(took["plain"])
            for tool in TOOLS:
                ratios[tool].append(took[tool] / took["plain"])
    medians = {tool: statistics.median(values) for tool, values in ratios.items()}
    print(f"1,000 short async tests, {args.rounds} rounds, CPU time; plain {min(plain):.2f} s")
    for tool, ratio in medians.items():
        spread = f"{min(ratios[tool]):.2f} to {max(ratios[tool]):.2f}"
        print(f"{tool:12} {ratio:6.3f} x plain   ({spread})")
    if args.json:
        args.json.write_text(json.dumps({"medians": medians, "rounds": ratios}, indent=2))
    return int(medians["truasync"] > TARGET or medians["truasync"] > medians["blockbuster"])


if __name__ == "__main__":
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages come with their bytecode
    raise SystemExit(main())
