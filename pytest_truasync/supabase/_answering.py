"""How a request fares on the way to the project and back: time, faults, a lost answer."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import httpcore

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._gateway import Gateway
from pytest_truasync.supabase._network import FAULTS, Call, Fault, Network
from pytest_truasync.supabase._wire import json_reply

__all__ = ["Answering"]

_T = TypeVar("_T")
_KNOWN = frozenset(HTTPStatus)


class Answering:
    """Answers requests that hold a connection: by the gateway, as the network lets it."""

    def __init__(self, network: Network, gateway: Gateway) -> None:
        self.network = network
        self._gateway = gateway

    async def answer(
        self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, timeouts: Any
    ) -> Reply:
        """Answer one request that holds a connection."""
        call = Call(method, raw_path, headers, body, self._gateway.service_of(raw_path))
        network = self.network
        network.calls.append(call)
        fault = network.fault_for(call) if network.faults else None
        late = False
        if network.latency:
            late, wait_s = _waiting(network.delay_s(call), timeouts)
            await anyio.sleep(wait_s)
        else:
            # No network answers before other tasks have had their turn.
            await anyio.lowlevel.checkpoint()
        if fault is not None and not fault.commits and (reply := _struck(fault, call)) is not None:
            return reply
        reply = await self._gateway.answer(call)
        return _ended(call, reply, fault, late=late)

    def answer_sync(
        self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, timeouts: Any
    ) -> Reply:
        """Answer one request of a sync client, in its thread."""
        call = Call(method, raw_path, headers, body, self._gateway.service_of(raw_path))
        network = self.network
        with network.one_thread():
            network.calls.append(call)
            fault = network.fault_for(call)
        late, wait_s = _waiting(network.delay_s(call), timeouts)
        if wait_s:
            time.sleep(wait_s)
        if fault is not None and not fault.commits and (reply := _struck(fault, call)) is not None:
            return reply
        with network.one_thread():
            reply = _drive(self._gateway.answer(call))
        return _ended(call, reply, fault, late=late)


def _waiting(delay_s: float, timeouts: Mapping[str, float | None]) -> tuple[bool, float]:
    """Return whether the client gives up first, and how long the request takes till then."""
    read_s = timeouts.get("read")
    late = read_s is not None and delay_s > read_s
    return late, read_s if late and read_s is not None else delay_s


def _struck(fault: Fault, call: Call) -> Reply | None:
    """Raise or return what *fault* does to *call*; None if the true answer is needed for it."""
    if fault.error == "malformed_json":
        return None
    if fault.error is not None:
        call.error = fault.error
        raise _raised(fault.error)
    status = fault.status or 500
    call.status, call.error = status, str(status)
    if isinstance(fault.body, bytes):
        return Reply(status, tuple(fault.headers.items()), fault.body)
    body = fault.body
    if body is None:
        body = {"message": HTTPStatus(status).phrase if status in _KNOWN else "Fault"}
    return json_reply(status, body, fault.headers)


def _ended(call: Call, reply: Reply, fault: Fault | None, *, late: bool) -> Reply:
    """Return what the client gets of the project's *reply*."""
    if late:
        call.error = "read_timeout"
        raise httpcore.ReadTimeout
    if fault is not None:
        lost = _struck(fault, call)
        if lost is not None:
            return lost
        call.error = fault.error
        reply = Reply(reply.status, reply.headers, reply.body[: len(reply.body) // 2])
    call.status = reply.status
    return reply


def _raised(error: str) -> Exception:
    kind, message = FAULTS[error]
    return kind(message) if message else kind()


def _drive(answering: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that awaits nothing, without a loop."""
    try:
        answering.send(None)
    except StopIteration as done:
        value: _T = done.value
        return value
    except RuntimeError as error:
        error.add_note(_NO_LOOP)
        raise
    answering.close()
    raise RuntimeError(_NO_LOOP)


_NO_LOOP = (
    "A sync httpx.Client called an async function of the test: only an httpx.AsyncClient can "
    "await it. Register a sync function."
)
