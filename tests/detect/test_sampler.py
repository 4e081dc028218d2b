"""The sampler: it looks while something is held, and sleeps while loops come round."""

from __future__ import annotations

import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_truasync._detect import alarms, native, originals, sampler
from pytest_truasync._detect.alarms import Alarm, Bell
from pytest_truasync._detect.clocks import Wakes, Waking
from pytest_truasync._detect.recorder import Recorder, ThreadWatch
from pytest_truasync._detect.sampler import Sampler
from pytest_truasync._detect.timers import Timer

MS = 1_000_000
TICK = 20 * MS
HALF = TICK // 2


def in_c() -> Alarm:
    assert native.Alarm is not None
    return native.Alarm()


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


def lack_part_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "Alarm", None)
    monkeypatch.setattr(alarms, "_timer", Timer)


def has_timers() -> bool:
    with pytest.MonkeyPatch.context() as patches:
        lack_part_in_c(patches)
        return isinstance(alarm_here(), Timer)


NEEDS_TIMERS = pytest.mark.skipif(not has_timers(), reason="this system has no such timers")
NEEDS_C = pytest.mark.skipif(native.Alarm is None, reason="the part in C has none here")


IN_C = pytest.param(in_c, marks=NEEDS_C)


@pytest.mark.parametrize("make", [IN_C, pytest.param(timer, marks=NEEDS_TIMERS), bell])
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


@pytest.mark.parametrize("make", [IN_C, bell])
class TestAlarmsOfOurOwn:
    def test_what_is_due_is_not_put_off(self, make: Callable[[], Alarm]) -> None:
        """Whoever ends the sampler is not held up by a loop that comes round in that moment."""
        rang: list[int] = []

        def wait() -> None:
            alarm = make()
            for number in range(20):
                alarm.set(0)
                alarm.set(3_600_000 * MS)
                alarm.wait()
                rang.append(number)
            alarm.close()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        thread.join(timeout=10)
        assert rang == [*range(20)]

    def test_it_rings_again_and_again(self, make: Callable[[], Alarm]) -> None:
        """As often as it is set, and not before it is."""
        alarm = make()
        rang: queue.Queue[int] = queue.Queue()

        def wait() -> None:
            for number in range(5):
                alarm.wait()
                rang.put(number)

        thread = threading.Thread(target=wait)
        thread.start()
        for number in range(5):
            assert rang.empty()
            alarm.set(number % 2 * MS)
            assert rang.get(timeout=5) == number
        thread.join()

    def test_it_waits_without_the_gil(self, make: Callable[[], Alarm]) -> None:
        """Others run meanwhile, whatever it is set to."""
        alarm = make()
        alarm.set(-1)
        alarm.wait()
        thread = threading.Thread(target=alarm.wait)
        thread.start()
        alarm.set(2**63 - 1)
        assert thread.is_alive()
        alarm.set(0)
        thread.join(timeout=5)
        assert not thread.is_alive()


@pytest.mark.skipif(originals.thread_usage is None, reason="no count of a thread's sleeps here")
@pytest.mark.parametrize("make", [IN_C, bell])
def test_how_often_it_was_put_off_does_not_count(make: Callable[[], Alarm]) -> None:
    """Only the sleeps after the alarm tell whether somebody held the GIL."""
    told: list[int] = []
    alarm = make()

    def wait() -> None:
        wakes = Wakes()
        alarm.wait()
        wakes.note(alarm.switches)
        told.append(wakes._slept)

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(100):
        alarm.set(2 * MS)
        if not thread.is_alive():
            break  # it rang: the machine was too busy to put it off in time
        time.sleep(0.001)
    thread.join(timeout=10)
    assert told[0] < 50


LONG_REST_NS = 500 * MS


def await_rest(made: Any) -> None:
    """Wait until the alarm, which was due, has put itself off for long."""
    end = time.monotonic() + 10
    while made.postponed_ns < LONG_REST_NS and time.monotonic() < end:
        time.sleep(0.0001)
    assert made.postponed_ns >= LONG_REST_NS


TIMERS = Path("/proc/self/timers")
LISTS_TIMERS = pytest.mark.skipif(not TIMERS.exists(), reason="this system lists no timers")


def timers_here() -> int:
    return sum(line.startswith("ID: ") for line in TIMERS.read_text().splitlines())


def run_script(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@NEEDS_C
class TestAlarmInC:
    def test_it_says_how_often_its_thread_has_slept(self) -> None:
        """What comes after is the wait for the GIL, and tells whether somebody held it."""
        alarm = in_c()
        assert alarm.switches == 0
        told: list[int] = []

        def wait() -> None:
            for _ in range(3):
                alarm.set(20 * MS)
                alarm.wait()
                told.append(alarm.switches or 0)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
        assert told == sorted(told)
        assert told[-1] > 0

    def test_it_puts_itself_off_while_all_wait_for_events(self) -> None:
        """And rings when one has come back, or after a while."""
        assert native.Alarm is not None
        threads = native.Threads()
        made = native.Alarm(threads, 1_000_000)
        rung = threading.Event()
        seen = []

        def wait() -> None:
            made.wait()
            rung.set()

        def wait_for_events(selector: Any, timeout: float) -> None:
            made.set(1_000_000)
            end = time.monotonic() + 10
            while made.postponed_ns < 3_000_000 and time.monotonic() < end:
                time.sleep(0.0001)
            seen.append(rung.is_set())

        def ask_for_events() -> None:
            gate(None, 3.0)

        waiting = threading.Thread(target=wait)
        gate = native.gated("poll", threads, wait_for_events, print, time.perf_counter_ns, print)
        watch = ThreadWatch(Recorder())
        watch.poller, watch.renew_ns = ask_for_events.__code__, 1 << 62
        threads[threading.get_ident()] = watch
        waiting.start()
        ask_for_events()
        assert seen == [False]
        assert rung.wait(10)
        waiting.join()
        made.set(1_000_000)
        assert made.postponed_ns == 0

    def test_it_puts_itself_off_while_there_is_no_thread(self) -> None:
        """As between two tests."""
        assert native.Alarm is not None
        made = native.Alarm(native.Threads(), 1_000_000)
        waiting = threading.Thread(target=made.wait)
        made.set(1_000_000)
        waiting.start()
        end = time.monotonic() + 10
        while made.postponed_ns < 3_000_000 and time.monotonic() < end:
            time.sleep(0.0001)
        assert waiting.is_alive()
        made.set(0)
        waiting.join(10)
        assert not waiting.is_alive()

    def test_who_is_to_end_is_called_whoever_waits(self) -> None:
        """Also where it was due already, and would put itself off."""
        assert native.Alarm is not None
        threads = native.Threads()
        rested = threading.Event()
        made = Sampler(
            *(lambda *_, **__: None, lambda: True, rested.set, TICK, time.perf_counter_ns),
            threads,
        )
        stopped = []

        def wait_for_events(selector: Any, timeout: float) -> None:
            made.start()
            alarm: Any = made.alarm
            end = time.monotonic() + 10
            while alarm.postponed_ns == 0 and time.monotonic() < end:
                time.sleep(0.0001)
            stopped.append(made.stop())

        def ask_for_events() -> None:
            gate(None, 3.0)

        gate = native.gated("poll", threads, wait_for_events, print, time.perf_counter_ns, print)
        watch = ThreadWatch(Recorder())
        watch.poller, watch.renew_ns = ask_for_events.__code__, 1 << 62
        threads[threading.get_ident()] = watch
        ask_for_events()
        assert stopped == [True]

    def test_one_that_comes_back_is_looked_at_a_tick_later(self) -> None:
        """Though the alarm would have rested for much longer."""
        assert native.Alarm is not None
        threads = native.Threads()
        made = native.Alarm(threads, 1_000_000)
        waiting = threading.Thread(target=made.wait)
        made.set(1_000_000)
        waiting.start()
        await_rest(made)
        assert waiting.is_alive()
        threads[0] = ThreadWatch(Recorder())
        assert made.postponed_ns < LONG_REST_NS
        waiting.join(10)
        assert not waiting.is_alive()

    def test_one_that_goes_does_not_wake_it(self) -> None:
        assert native.Alarm is not None
        threads = native.Threads()
        threads[0] = ThreadWatch(Recorder())
        made = native.Alarm(threads, 1_000_000)
        waiting = threading.Thread(target=made.wait)
        made.set(60_000 * MS)
        waiting.start()
        threads.pop(0)
        made.set(1_000_000)
        await_rest(made)
        threads.pop(0, None)
        threads.clear()
        assert made.postponed_ns >= LONG_REST_NS
        made.set(0)
        waiting.join(10)
        assert not waiting.is_alive()

    @LISTS_TIMERS
    def test_its_timer_goes_with_its_thread(self) -> None:
        """Another thread may wait for it later."""
        assert native.Alarm is not None
        made = native.Alarm()
        before = timers_here()
        for _ in range(3):
            made.set(0)
            thread = threading.Thread(target=made.wait)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
        assert timers_here() == before + 1
        made.close()
        made.close()
        assert timers_here() == before
        made.set(5 * MS)
        made.wait()
        del made
        assert timers_here() == before

    @LISTS_TIMERS
    def test_a_fork_sets_no_timer_of_its_own(self) -> None:
        """It has none of the parent's, and the same number may be one that the user made."""
        script = f"""
            import ctypes, os, threading, time
            from pytest_truasync._detect import native

            made = native.Alarm()
            thread = threading.Thread(target=made.wait, daemon=True)
            made.set(60_000 * {MS})
            thread.start()
            while not open("/proc/self/timers").read():
                time.sleep(0.001)
            child = os.fork()
            if child == 0:
                library, timer = ctypes.CDLL(None), ctypes.c_void_p()
                event = (ctypes.c_int * 16)(0, 0, 0, 1)  # SIGEV_NONE
                assert library.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
                made.set(5_000 * {MS})
                times = (ctypes.c_long * 4)()
                assert library.timer_gettime(timer, times) == 0
                os._exit(0 if list(times) == [0] * 4 else 1)
            assert os.waitpid(child, 0)[1] == 0
            made.set(0)
            thread.join(10)
            assert not thread.is_alive()
        """
        run_script(script)

    def test_signals_of_the_user_s_are_left_to_him(self) -> None:
        """Who waits for a signal also takes those that were sent to the process."""
        script = f"""
            import os, signal, threading, time
            from pytest_truasync._detect import native

            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            made = native.Alarm()
            thread = threading.Thread(target=made.wait)
            made.set(60_000 * {MS})
            thread.start()
            while thread.native_id is None or "S" not in open(
                f"/proc/self/task/{{thread.native_id}}/stat"
            ).read().rpartition(")")[2]:
                time.sleep(0.001)
            asked = signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}}
            for number in sorted(asked):
                os.kill(os.getpid(), number)
                found = signal.sigtimedwait(asked, 5)
                assert found is not None and found.si_signo == number, number
            made.set(0)
            thread.join(10)
            assert not thread.is_alive()
        """
        run_script(script)

    @LISTS_TIMERS
    def test_a_process_that_may_have_no_timer(self) -> None:
        script = f"""
            import resource, threading, time
            from pytest_truasync._detect import native

            resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
            made = native.Alarm()
            made.set(5 * {MS})
            before = time.perf_counter_ns()
            made.wait()
            assert open("/proc/self/timers").read() == ""
            thread = threading.Thread(target=made.wait)
            made.set(60_000 * {MS})
            thread.start()
            made.set(0)
            thread.join(10)
            assert not thread.is_alive()
        """
        run_script(script)

    def test_what_it_takes(self) -> None:
        with pytest.raises(TypeError):
            in_c().set("soon")  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            in_c().set(2**63)
        kind: Any = native.Alarm
        for wrong in ((1,), ({}, 1), (native.Threads(), 0)):
            with pytest.raises(TypeError, match="Alarm"):
                kind(*wrong)

    def test_it_is_what_is_used(self) -> None:
        assert type(alarms.alarm(time.perf_counter_ns)) is native.Alarm


@pytest.mark.parametrize("lacks", ["linux", "sigwait", "64 bit"])
def test_a_system_without_timers(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    lack_part_in_c(monkeypatch)
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
    lack_part_in_c(monkeypatch)
    monkeypatch.setattr(originals, "sigtimedwait", lambda *_: None)
    assert isinstance(alarm_here(), Bell)


class FakeAlarm:
    """Rings when the test says so."""

    switches = None
    postponed_ns = 0

    def __init__(self) -> None:
        self.rings: queue.Queue[None] = queue.Queue()
        self.pauses: list[int] = []

    def set(self, pause_ns: int) -> None:
        self.pauses.append(pause_ns)
        if pause_ns <= 0:
            self.rings.put(None)

    def wait(self) -> None:
        self.rings.get(timeout=10)

    def close(self) -> None:
        """Ring no more."""


class Bench:
    """A sampler on a clock and an alarm of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.alarm = FakeAlarm()
        self.wanted = True
        self.rested = 0
        self.looks: queue.Queue[int] = queue.Queue()
        monkeypatch.setattr(sampler, "alarm", lambda *_: self.alarm)
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


def test_it_looks_at_each_tick(bench: Bench) -> None:
    bench.sampler.start()
    bench.sampler.start()  # it runs already
    assert bench.alarm.pauses == [TICK]
    bench.ring(TICK + 3)
    assert bench.looks.get(timeout=5) == 3
    bench.until(lambda: len(bench.alarm.pauses) == 2)
    assert bench.alarm.pauses[1] == TICK
    bench.ring(2 * TICK + 3)
    assert bench.looks.get(timeout=5) == 0


def test_a_loop_that_comes_round_puts_it_off(bench: Bench) -> None:
    """Also while the sampler is awake already, and waits for the GIL."""
    bench.sampler.start()
    bench.now = HALF
    bench.sampler.put_off()
    bench.ring(TICK + 1)
    bench.until(lambda: len(bench.alarm.pauses) == 3)
    assert bench.alarm.pauses == [TICK, TICK, HALF - 1]
    assert bench.looks.empty()
    bench.ring(TICK + HALF)
    assert bench.looks.get(timeout=5) == 0


def test_it_sleeps_where_there_is_nothing_to_look_at(bench: Bench) -> None:
    bench.wanted = False
    bench.sampler.start()
    bench.ring(TICK)
    bench.until(lambda: bench.sampler.asleep)
    bench.until(lambda: bench.rested == 1)
    assert bench.alarm.pauses == [TICK]
    bench.wanted = True
    bench.sampler.start()
    assert not bench.sampler.asleep
    assert bench.alarm.pauses == [TICK, TICK]
    bench.ring(2 * TICK)
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


def test_it_begins_again_after_a_stop_that_nobody_waited_for(bench: Bench) -> None:
    bench.sampler.start()
    bench.sampler.quit()
    bench.ring(TICK)
    assert bench.sampler._gone.acquire(timeout=5)  # it has ended
    bench.sampler._gone.release()
    bench.sampler.start()
    bench.ring(2 * TICK)
    assert bench.looks.get(timeout=5) >= 0
