"""The server that the clients talk to, and the loops that the tests run on."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from slow_supabase import SlowSupabase

DELAY_S = 0.05

without_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")


@pytest.fixture(
    params=[
        pytest.param({"use_uvloop": False}, id="asyncio"),
        pytest.param({"use_uvloop": True}, id="uvloop", marks=without_uvloop),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Tell anyio's plugin to run each async test on both loops."""
    return "asyncio", request.param


@pytest.fixture(scope="session")
def running_server() -> Iterator[SlowSupabase]:
    """Start one server for the whole run. The fixture is sync: it works while no loop runs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("no_proxy", "127.0.0.1")
        with SlowSupabase(DELAY_S).running() as server:
            yield server


@pytest.fixture
def server(running_server: SlowSupabase) -> SlowSupabase:
    """Give a test the server with its first rows, and counting from zero."""
    running_server.reset()
    return running_server
