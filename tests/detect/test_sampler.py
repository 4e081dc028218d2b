"""The sampler: it looks while something is held, and sleeps while loops come round."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pytest_truasync._detect import alarms, originals, sampler
from pytest_truasync._detect.alarms import Alarm, Bell, Timer
from pytest_truasync._detect.clocks import Waking
from pytest_truasync._detect.sampler import Sampler

MS = 1_000_000
TICK = 20 * MS
HALF = TICK // 2


def timer() -> Alarm:
    return Timer()


def bell() -> Alarm:
    return Bell(time.perf_counter_ns)


def alarm_here() -> Alarm:
    """Return the alarm of this system, made in a thread of its own, which blocks its signal."""
    made: queue.Queue[Alarm] = queue.Queue()

    def make() -> None:
        made.put(alarms.alarm(time.perf_counter_ns))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    found = made.get(timeout=5)
    found.close()
    return found


NEEDS_TIMERS = pytest.mark.skipif(
    not isinstance(alarm_here(), Timer), reason="this system has no such timers"
)


@pytest.mark.parametrize("make", [pytest.param(timer, marks=NEEDS_TIMERS), bell])
class TestAlarms:
    def ring(self, make: Callable[[], Alarm], then: Callable[[Alarm], None]) -> int:
        """Return when an alarm rang, which a thread of its own waited for."""
        ready: queue.Queue[Alarm] = queue.Queue()
        rang: queue.Queue[int] = queue.Queue()

        def wait() -> None:
            alarm = make()
            ready.put(alarm)
            alarm.wait()
            rang.put(time.perf_counter_ns())
            alarm.close()

        thread = threading.Thread(target=wait)
        thread.start()
        then(ready.get(timeout=5))
        found = rang.get(timeout=5)
        thread.join()
        return found

    def test_it_rings_when_it_is_due(self, make: Callable[[], Alarm]) -> None:
        before = time.perf_counter_ns()
        assert self.ring(make, lambda alarm: alarm.set(5 * MS)) >= before + 5 * MS

    def test_it_can_be_put_off(self, make: Callable[[], Alarm]) -> None:
        last: list[int] = []

        def put_off(alarm: Alarm) -> None:
            for _ in range(3):
                last[:] = [time.perf_counter_ns()]
                alarm.set(200 * MS)
            last[:] = [time.perf_counter_ns()]
            alarm.set(50 * MS)

        assert self.ring(make, put_off) >= last[0] + 50 * MS

    def test_it_can_ring_at_once(self, make: Callable[[], Alarm]) -> None:
        def ring(alarm: Alarm) -> None:
            alarm.set(60_000 * MS)
            alarm.set(0)

        assert self.ring(make, ring) > 0


@pytest.mark.parametrize("lacks", ["linux", "sigwait", "64 bit"])
def test_a_system_without_timers(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    if lacks == "linux":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif lacks == "64 bit":
        monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    else:
        monkeypatch.setattr(originals, "sigwait", None)
    with pytest.raises(OSError, match="no timer"):
        Timer()
    assert isinstance(alarms.alarm(time.perf_counter_ns), Bell)


def test_a_system_whose_timers_do_not_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "sigtimedwait", lambda *_: None)
    assert isinstance(alarm_here(), Bell)


class FakeAlarm:
    """Rings when the test says so."""

    def __init__(self) -> None:
        self.rings: queue.Queue[None] = queue.Queue()
        self.pauses: list[int] = []
        self.closed = False

    def set(self, pause_ns: int) -> None:
        self.pauses.append(pause_ns)
        if pause_ns <= 0:
            self.rings.put(None)

    def wait(self) -> None:
        self.rings.get(timeout=10)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A sampler on a clock and an alarm of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.alarm = FakeAlarm()
        self.wanted = True
        self.rested = 0
        self.looks: queue.Queue[int] = queue.Queue()
        monkeypatch.setattr(sampler, "alarm", lambda _: self.alarm)
        self.sampler = Sampler(self.look, self.is_wanted, self.rest, TICK, lambda: self.now)

    def look(self, own: int, *, late_ns: int, why: Callable[[int], Waking]) -> None:
        assert own == threading.get_ident()
        assert why(0).prompt
        self.looks.put(late_ns)

    def is_wanted(self) -> bool:
        return self.wanted

    def rest(self) -> None:
        self.rested += 1

    def ring(self, now: int) -> None:
        self.now = now
        self.alarm.rings.put(None)

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not what():
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    assert made.sampler.stop()
    assert made.alarm.closed


def test_it_looks_at_each_tick(bench: Bench) -> None:
    bench.sampler.start()
    bench.sampler.start()  # it runs already
    assert bench.alarm.pauses == [HALF]
    bench.ring(HALF + 3)
    assert bench.looks.get(timeout=5) == 3
    bench.until(lambda: len(bench.alarm.pauses) == 2)
    assert bench.alarm.pauses[1] == TICK
    bench.ring(HALF + TICK + 3)
    assert bench.looks.get(timeout=5) == 0


def test_a_loop_that_comes_round_puts_it_off(bench: Bench) -> None:
    """Also while the sampler is awake already, and waits for the GIL."""
    bench.sampler.start()
    bench.now = HALF
    bench.sampler.put_off()
    bench.ring(HALF + 1)
    bench.until(lambda: len(bench.alarm.pauses) == 3)
    assert bench.alarm.pauses == [HALF, HALF, HALF - 1]
    assert bench.looks.empty()
    bench.ring(TICK)
    assert bench.looks.get(timeout=5) == 0


def test_it_sleeps_where_there_is_nothing_to_look_at(bench: Bench) -> None:
    bench.wanted = False
    bench.sampler.start()
    bench.ring(TICK)
    bench.until(lambda: bench.sampler.asleep)
    bench.until(lambda: bench.rested == 1)
    assert bench.alarm.pauses == [HALF]
    bench.wanted = True
    bench.sampler.start()
    assert not bench.sampler.asleep
    assert bench.alarm.pauses == [HALF, HALF]
    bench.ring(TICK + HALF)
    assert bench.looks.get(timeout=5) == 0


def test_who_comes_back_while_it_goes_to_sleep_is_seen(bench: Bench) -> None:
    def rest() -> None:
        bench.wanted = True

    bench.wanted = False
    bench.sampler._resting = rest
    bench.sampler.start()
    bench.ring(TICK)
    bench.until(lambda: len(bench.alarm.pauses) == 2)
    assert not bench.sampler.asleep
