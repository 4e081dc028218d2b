"""What lies between a client and the project: latency, faults, a bounded pool, concurrency."""

from __future__ import annotations

import fnmatch
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

import anyio
import httpcore

__all__ = ["FAULTS", "Call", "Fault", "FaultName", "Network"]

FaultName = Literal[
    "connect_error",
    "connect_timeout",
    "read_timeout",
    "write_timeout",
    "pool_timeout",
    "reset",
    "disconnect",
    "malformed_json",
]

#: Fault → what httpcore raises, and with which words a real one comes.
FAULTS: Mapping[str, tuple[type[Exception], str]] = {
    "connect_error": (httpcore.ConnectError, "All connection attempts failed"),
    "connect_timeout": (httpcore.ConnectTimeout, ""),
    "read_timeout": (httpcore.ReadTimeout, ""),
    "write_timeout": (httpcore.WriteTimeout, ""),
    "pool_timeout": (httpcore.PoolTimeout, ""),
    "reset": (httpcore.ReadError, "[Errno 104] Connection reset by peer"),
    "disconnect": (
        httpcore.RemoteProtocolError,
        "Server disconnected without sending a response.",
    ),
}

#: Requests that one HTTP/2 connection carries at once: the default of httpcore and of most servers.
HTTP2_STREAMS = 100


@dataclass(slots=True)
class Call:
    """One request that reached the project, and how it ended.

    Attributes:
        method: Upper case.
        path: Percent-encoded, with the query: ``/rest/v1/items?id=eq.1``.
        headers: Lower-case name → value; not shown, for it holds keys.
        body: The request's bytes.
        service: ``rest``, ``auth``, ``storage``, ``functions`` or ``other``.
        status: Of the reply; None while it is under way, and when none came back.
        error: The fault's name; None without.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    service: str
    status: int | None = None
    error: str | None = None

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Fault:
    """What is to go wrong, and with which requests.

    Attributes:
        status: Answer with this status.
        body: Answer with this body: bytes, or any JSON value.
        headers: Answer with these headers.
        error: Raise instead, see `FAULTS`; or ``malformed_json``, a 200 cut off in the middle.
        method: Only requests of this method.
        path: Only requests whose path, without the query, fits this pattern: ``/rest/v1/items*``.
        times: Only the first so many requests that fit; all if None.
        after: Leave so many requests that fit alone first.
        commits: The project does the work first; the answer alone is lost.
        hits: How many requests it has hit.
        seen: How many requests fitted, hit or not.
    """

    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    method: str | None = None
    path: str | None = None
    times: int | None = None
    after: int = 0
    commits: bool = False
    hits: int = 0
    seen: int = 0

    def strikes(self, call: Call) -> bool:
        """Tell whether *call* goes wrong, and count it."""
        if self.method is not None and call.method != self.method:
            return False
        if self.path is not None and not fnmatch.fnmatchcase(
            call.path.partition("?")[0], self.path
        ):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Pool(Protocol):
    """The part of httpcore's connection pools that tells how much they carry at once."""

    _max_connections: int
    _http2: bool


class Network:
    """Latency, faults and concurrency of one mocked project.

    Attributes:
        latency: Seconds that each request takes, or a function from the request to seconds.
        faults: The faults to come, first match first.
        calls: All requests, in the order sent.
        in_flight: Requests that hold a connection right now.
        peak_in_flight: The most of them at any moment.
        waiting: Requests that wait for a connection right now.
        peak_waiting: The most of them at any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.latency: float | Callable[[Call], float] = 0.0
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.waiting = 0
        self.peak_waiting = 0
        self._request_s = 0.0
        self._busy_s = 0.0
        self._changed_at = 0.0
        self._gates: WeakKeyDictionary[Any, _Gate] = WeakKeyDictionary()
        # Taken by sync clients in threads alone: code on a loop never waits for it.
        self._lock = threading.Lock()

    @property
    def mean_in_flight(self) -> float:
        """Mean number of requests in flight, over the time when there was at least one."""
        self._account()
        return self._request_s / self._busy_s if self._busy_s else 0.0

    def delay_s(self, call: Call) -> float:
        """Return how long *call* takes, in seconds."""
        return self.latency(call) if callable(self.latency) else self.latency

    def fault_for(self, call: Call) -> Fault | None:
        """Return the fault that hits *call*."""
        return next((fault for fault in self.faults if fault.strikes(call)), None)

    async def acquire(self, pool: Any, https: bool, timeout_s: float | None) -> Callable[[], None]:
        """Wait for a connection of *pool*, as httpcore would.

        Returns:
            The function that gives the connection back; safe to call twice.

        Raises:
            httpcore.PoolTimeout: None came free in *timeout_s* seconds.
        """
        gate = self._gate(pool, https)
        if gate.in_use < gate.limit:
            gate.in_use += 1
        else:
            self.waiting += 1
            self.peak_waiting = max(self.peak_waiting, self.waiting)
            try:
                await gate.wait(timeout_s)
            finally:
                self.waiting -= 1
        self._enter()
        return _Release(self, gate)

    @contextmanager
    def sync_slot(self, pool: Any, https: bool, timeout_s: float | None) -> Iterator[None]:
        """Hold a connection of a sync client's *pool*; blocks this thread while none is free.

        Raises:
            httpcore.PoolTimeout: None came free in *timeout_s* seconds.
        """
        with self._lock:
            gate = self._gate(pool, https)
            free = gate.threads()
        if not free.acquire(timeout=timeout_s):
            raise httpcore.PoolTimeout
        try:
            with self._lock:
                self._enter()
            try:
                yield
            finally:
                with self._lock:
                    self.leave()
        finally:
            free.release()

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Let the threads of sync clients work on the project one at a time."""
        with self._lock:
            yield

    def leave(self) -> None:
        """Count one request out."""
        self._account()
        self.in_flight -= 1

    def _enter(self) -> None:
        self._account()
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def _account(self) -> None:
        now = self._clock()
        if self.in_flight:
            passed = now - self._changed_at
            self._request_s += passed * self.in_flight
            self._busy_s += passed
        self._changed_at = now

    def _gate(self, pool: Any, https: bool) -> _Gate:
        gate = self._gates.get(pool)
        if gate is None:
            limit = pool._max_connections
            if pool._http2 and https:
                # httpcore sends everything to one origin over one HTTP/2 connection.
                limit = HTTP2_STREAMS
            gate = self._gates[pool] = _Gate(limit)
        return gate


class _Gate:
    """The connections of one pool."""

    __slots__ = ("_threads", "in_use", "limit", "waiters")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.waiters: deque[anyio.Event] = deque()
        self._threads: threading.Semaphore | None = None

    def threads(self) -> threading.Semaphore:
        if self._threads is None:
            self._threads = threading.Semaphore(self.limit)
        return self._threads

    async def wait(self, timeout_s: float | None) -> None:
        event = anyio.Event()
        self.waiters.append(event)
        try:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        except BaseException:
            # Cancelled: a connection handed over in the same moment goes to the next one.
            if event.is_set():
                self.free()
            else:
                self.waiters.remove(event)
            raise
        if not event.is_set():
            self.waiters.remove(event)
            raise httpcore.PoolTimeout

    def free(self) -> None:
        if self.waiters:
            self.waiters.popleft().set()
        else:
            self.in_use -= 1


class _Release:
    """Gives a connection back, once."""

    __slots__ = ("_gate", "_network")

    def __init__(self, network: Network, gate: _Gate) -> None:
        self._network: Network | None = network
        self._gate = gate

    def __call__(self) -> None:
        network, self._network = self._network, None
        if network is not None:
            network.leave()
            self._gate.free()
