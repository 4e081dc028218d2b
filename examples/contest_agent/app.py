"""Contests, read from Supabase and served by FastAPI.

Run it with SUPABASE_URL and SUPABASE_KEY set: `uvicorn --factory app:from_environment`
"""

# ruff: noqa: D102 - the methods of Supabase are described where they are written

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, status
from pydantic import BaseModel
from true_client import TrueSupabase

Row = dict[str, Any]
Status = Literal["open", "closed"]


class Supabase(Protocol):
    """What the app asks of a client; fake_client.py and true_client.py both have it."""

    async def select(self, table: str, columns: str = "*", /, **equal: object) -> list[Row]: ...
    async def insert(self, table: str, *rows: Row) -> list[Row]: ...
    async def update(self, table: str, values: Row, /, **equal: object) -> list[Row]: ...
    async def delete(self, table: str, /, **equal: object) -> list[Row]: ...
    async def aclose(self) -> None: ...


class NewContest(BaseModel):
    """A contest as a caller sends it."""

    title: str
    prize: int
    status: Status = "open"


class Contest(NewContest):
    """A contest as the table holds it."""

    id: int


class Change(BaseModel):
    """What may change in a contest; what is not sent stays as it is."""

    title: str | None = None
    prize: int | None = None
    status: Status | None = None


# A plain `def` would be run in a thread for every request: FastAPI hides that, too.
async def supabase_of(request: Request) -> Supabase:
    """Return the one client that all requests share."""
    client: Supabase = request.app.state.supabase
    return client


Client = Annotated[Supabase, Depends(supabase_of)]
router = APIRouter(prefix="/contests")


@router.get("")
async def list_contests(supabase: Client, status: Status | None = None) -> list[Contest]:
    """List all contests, or those of one status."""
    equal = {"status": status} if status else {}
    rows = await supabase.select("contests", **equal)
    return [Contest.model_validate(row) for row in rows]


@router.get("/{contest_id}")
async def get_contest(supabase: Client, contest_id: int) -> Contest:
    """Get one contest."""
    return _one(await supabase.select("contests", id=contest_id))


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_contest(supabase: Client, contest: NewContest) -> Contest:
    """Create a contest; the database gives it its id."""
    return _one(await supabase.insert("contests", contest.model_dump()))


@router.patch("/{contest_id}")
async def change_contest(supabase: Client, contest_id: int, change: Change) -> Contest:
    """Change a contest."""
    values = change.model_dump(exclude_none=True)
    return _one(await supabase.update("contests", values, id=contest_id))


@router.delete("/{contest_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_contest(supabase: Client, contest_id: int) -> None:
    """Delete a contest."""
    _one(await supabase.delete("contests", id=contest_id))


def create_app(supabase: Supabase) -> FastAPI:
    """Return the app over *supabase*, which it closes at shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await supabase.aclose()

    app = FastAPI(title="Contests", lifespan=lifespan)
    app.state.supabase = supabase
    app.include_router(router)
    return app


def from_environment() -> FastAPI:
    """Return the app for the project that SUPABASE_URL and SUPABASE_KEY name."""
    return create_app(TrueSupabase(os.environ["SUPABASE_URL"], os.environ["SUPABASE_KEY"]))


def _one(rows: list[Row]) -> Contest:
    if not rows:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such contest")
    return Contest.model_validate(rows[0])
