"""Realtime needs a websocket: it is refused by name, before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pytest_truasync.supabase.exceptions import RequestRefusedError

__all__ = ["refuse_realtime"]


def refuse_realtime(url: str) -> Callable[[], None] | None:
    """Let realtime clients of the project at *url* fail at once, where `realtime` is imported.

    Left alone they would look its host up in the DNS, five times, with seconds between.

    Returns:
        The function that puts the client's method back; None if there is no such client.
    """
    module = sys.modules.get("realtime._async.client")
    client: Any = getattr(module, "AsyncRealtimeClient", None)
    original = getattr(client, "connect", None)
    if original is None:
        return None
    host = urlsplit(url).hostname

    async def connect(self: Any) -> None:
        if urlsplit(str(self.url)).hostname == host:
            raise RequestRefusedError(
                f"GET {self.url}: pytest-truasync does not model realtime, which needs a websocket"
            )
        await original(self)

    client.connect = connect

    def undo() -> None:
        client.connect = original

    return undo
