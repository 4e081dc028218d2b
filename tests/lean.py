"""Options for a pytest below a test, so that it starts without the plugins of this machine."""

from __future__ import annotations

from typing import Final

_OTHERS: Final = """
    cacheprovider randomly hypothesispytest anyio trio respx pytest_httpx pytest_cov xdist
    xdist.looponfail rerunfailures time_machine pytest_mock socket timeout platformdirs
"""


def lean(*needed: str) -> tuple[str, ...]:
    """Return options that leave out all plugins but pytest-asyncio, ours and those *needed*."""
    off = [name for name in _OTHERS.split() if name.partition(".")[0] not in needed]
    return (
        *(part for name in off for part in ("-p", f"no:{name}")),
        *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
    )
