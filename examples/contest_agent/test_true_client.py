"""The same tests, of a client that is async; `pytest --truasync` has nothing to say of it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from slow_supabase import SlowSupabase
from true_client import TrueSupabase

pytestmark = pytest.mark.anyio


@pytest.fixture
async def supabase(server: SlowSupabase) -> AsyncIterator[TrueSupabase]:
    """Make a client of the server, and close it."""
    async with TrueSupabase(server.url, "a-key") as client:
        yield client


async def test_rows_are_written_and_read(supabase: TrueSupabase) -> None:
    """Insert, update, select and delete."""
    [new] = await supabase.insert("contests", {"title": "Relay", "prize": 5, "status": "open"})
    await supabase.update("contests", {"prize": 7}, id=new["id"])
    assert await supabase.select("contests", id=new["id"]) == [new | {"prize": 7}]
    await supabase.delete("contests", id=new["id"])
    assert await supabase.select("contests", id=new["id"]) == []


async def test_an_error_reply_is_raised(supabase: TrueSupabase) -> None:
    """Fail as the server says."""
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await supabase.select("contest")


async def test_a_filter_is_required_to_write(supabase: TrueSupabase, server: SlowSupabase) -> None:
    """Refuse what would change every row, before anything is sent."""
    with pytest.raises(ValueError, match="every row"):
        await supabase.update("contests", {"prize": 0})
    with pytest.raises(ValueError, match="every row"):
        await supabase.delete("contests")
    assert server.load.requests == 0


async def test_100_first_requests_share_one_client(
    supabase: TrueSupabase, server: SlowSupabase
) -> None:
    """Use all ten connections and no more: a second client would have opened its own ten."""
    answers = await asyncio.gather(*(supabase.select("contests") for _ in range(100)))
    assert len(answers) == 100
    assert server.load.peak == 10


async def test_connections_are_kept(supabase: TrueSupabase, server: SlowSupabase) -> None:
    """Send one request after another over the same connection."""
    for _ in range(3):
        await supabase.select("contests")
    assert server.load.connections == 1


async def test_it_closes_twice_and_opens_again(
    supabase: TrueSupabase, server: SlowSupabase
) -> None:
    """Take a second `aclose` as done, and a request after it as a new start."""
    await supabase.select("contests")
    await supabase.aclose()
    await supabase.aclose()
    await supabase.select("contests")
    assert server.load.connections == 2


@pytest.mark.parametrize(("scheme", "has_cas"), [("http", False), ("https", True)])
def test_ca_files_are_read_when_the_client_is_made(scheme: str, has_cas: bool) -> None:
    """Read them once, off the loop, and only for TLS."""
    client = TrueSupabase(f"{scheme}://contests.test", "a-key")
    assert bool(client._tls.cert_store_stats()["x509_ca"]) == has_cas
