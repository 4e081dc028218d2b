"""A stand-in for a Supabase project: one table, as PostgREST serves it, each answer late.

It counts what reaches it, which tells a client's true concurrency from its promised one.
As a script it prints its address, serves until its input ends (Ctrl+D), and prints its counts.
"""

import argparse
import asyncio
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Row = dict[str, Any]

CONTESTS = (
    {"id": 1, "title": "Spring sprint", "prize": 500, "status": "open"},
    {"id": 2, "title": "Summer marathon", "prize": 2000, "status": "open"},
    {"id": 3, "title": "Winter relay", "prize": 800, "status": "closed"},
)


@dataclass(slots=True)
class Load:
    """What the server saw: the most requests at one time, and over how many connections."""

    requests: int = 0
    active: int = 0
    peak: int = 0
    connections: int = 0


class SlowSupabase:
    """Serve /rest/v1/contests, each answer *delay_s* late."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.url = ""  # known once it runs
        self.reset()

    def reset(self) -> None:
        """Go back to the first rows and to zero."""
        self.load = Load()
        self._rows: list[Row] = [dict(row) for row in CONTESTS]
        self._peers: set[object] = set()

    @contextmanager
    def running(self) -> Iterator["SlowSupabase"]:
        """Serve on a free loopback port, from a thread with a loop of its own.

        Enter it from sync code, as a sync fixture is: it starts a thread, and waits for it at the
        end. The socket listens before the thread starts, so that no client comes too early.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        # asyncio sets this only on sockets made with proto=IPPROTO_TCP. Without it, every answer on
        # a connection in use waits 40 ms for a delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = Starlette(
            routes=[
                Route("/rest/v1/{table}", self._serve, methods=["GET", "POST", "PATCH", "DELETE"])
            ]
        )
        config = uvicorn.Config(
            app, loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="slow-supabase")
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()

    async def _serve(self, request: Request) -> Response:
        load = self.load
        self._peers.add(request.client)
        load.connections = len(self._peers)
        load.requests += 1
        load.active += 1
        load.peak = max(load.peak, load.active)
        try:
            await asyncio.sleep(self.delay_s)
            return await self._answer(request)
        finally:
            load.active -= 1

    async def _answer(self, request: Request) -> Response:
        if "apikey" not in request.headers:
            return JSONResponse({"message": "No API key found in request"}, 401)
        if (table := request.path_params["table"]) != "contests":
            message = f"Could not find the table 'public.{table}' in the schema cache"
            return JSONResponse({"code": "PGRST205", "message": message}, 404)
        match request.method:
            case "POST":
                new = [self._with_id(row) for row in await request.json()]
                self._rows += new
                return JSONResponse(new, 201)
            case "PATCH":
                found = self._matching(request)
                values = await request.json()
                for row in found:
                    row.update(values)
            case "DELETE":
                found = self._matching(request)
                self._rows = [row for row in self._rows if row not in found]
            case _:
                found = self._matching(request)
        return JSONResponse(found)

    def _matching(self, request: Request) -> list[Row]:
        equal = {
            column: value.removeprefix("eq.")
            for column, value in request.query_params.items()
            if column != "select"
        }
        return [
            row for row in self._rows if all(str(row[column]) == equal[column] for column in equal)
        ]

    def _with_id(self, row: Row) -> Row:
        return {"id": max((row["id"] for row in self._rows), default=0) + 1} | row


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=450, metavar="MS", help="of each answer")
    options = parser.parse_args()
    with SlowSupabase(options.delay / 1000).running() as server:
        print(server.url, flush=True)
        sys.stdin.read()
    print(json.dumps(asdict(server.load)))


if __name__ == "__main__":
    main()
