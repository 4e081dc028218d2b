"""The files that tell how long a thread stood in the queue, and what is kept open of them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from young import in_thread

from pytest_truasync._detect import native, queues
from pytest_truasync._detect.clocks import await_end
from pytest_truasync._detect.queues import QueueFile, native_id, queue_of

linux = pytest.mark.skipif(not queues.has_queue(), reason="this system does not tell")
kept = pytest.mark.skipif(native.read_queue is None, reason="the part in C keeps none open here")


@pytest.fixture
def file() -> Iterator[QueueFile]:
    file = QueueFile()
    yield file
    file.close()


def descriptors() -> list[str]:
    """Return the numbers of the open descriptors of this process."""
    return sorted(one.name for one in Path("/proc/self/fd").iterdir())


@linux
class TestQueue:
    def test_who_runs_has_had_turns(self) -> None:
        delay_ns, turns = queue_of(native_id())
        assert delay_ns >= 0
        assert turns > 0

    @pytest.mark.parametrize("turns", [native.turns, None], ids=["in C", "in Python"])
    def test_the_thread_itself_knows_its_turns_without_the_file(
        self, monkeypatch: pytest.MonkeyPatch, turns: Callable[[], int] | None
    ) -> None:
        """Of a thread that has lived for long the two counts of the system may be one apart."""
        monkeypatch.setattr(native, "turns", turns)

        def ask() -> tuple[int, int, int]:
            before = queue_of(native_id())[1]
            turns_here = queues.turns_here()
            return before, turns_here, queue_of(native_id())[1]

        before, turns_here, after = in_thread(ask)
        assert before <= turns_here <= after

    def test_a_thread_that_there_is_not(self) -> None:
        assert queue_of(2**30) == (-1, -1)
        assert queues.state_of(2**30) == b""

    def test_who_asks_is_running(self) -> None:
        assert queues.state_of(native_id()) == b"R"


@linux
@kept
class TestKept:
    def test_it_tells_what_the_other_way_tells(self, file: QueueFile) -> None:
        first = queue_of(native_id())
        kept_delay, _ = file.read() or (-1, -1)
        file.close()
        last = queue_of(native_id())
        assert first[0] <= kept_delay <= last[0]

    def test_its_number_is_out_of_the_way_and_is_given_back(self) -> None:
        before = descriptors()
        file = QueueFile()
        (new,) = set(descriptors()) - set(before)
        assert int(new) >= 200
        assert not os.get_inheritable(int(new))
        file.close()
        file.close()
        assert descriptors() == before

    def test_there_is_one_of_each_thread(self, file: QueueFile) -> None:
        before = descriptors()
        other = QueueFile()
        assert descriptors() == before
        other.close()
        assert descriptors() == before
        _, turns = queue_of(native_id())
        assert turns <= (file.read() or (-1, -1))[1]

    def test_that_of_a_thread_that_has_ended_tells_nothing(self) -> None:
        made = []
        thread = threading.Thread(target=lambda: made.append((QueueFile(), native_id())))
        thread.start()
        thread.join()
        ((file, number),) = made
        await_end(number)
        assert file.read() is None
        assert queue_of(number) == (-1, -1)
        file.close()

    def test_after_a_fork_the_parents_is_not_read(self, file: QueueFile) -> None:
        file.leave()
        assert queue_of(native_id())[1] > 0
        assert os.fstat(file._number)

    def test_no_hook_hears_of_it(self) -> None:
        heard: list[str] = []
        on = [True]
        sys.addaudithook(lambda event, _: heard.append(event) if on else None)
        QueueFile().close()
        queue_of(native_id())
        on.clear()
        assert not [event for event in heard if event.startswith(("open", "os.", "fcntl"))]

    def test_who_closes_all_descriptors_closes_it(self, file: QueueFile) -> None:
        os.close(file._number)
        assert queue_of(native_id())[1] > 0
        assert file.read() is None

    def test_a_number_that_somebody_else_has_now_is_theirs(
        self, file: QueueFile, tmp_path: Path
    ) -> None:
        theirs = tmp_path / "theirs"
        theirs.write_text("some words of theirs")
        number = file._number
        with theirs.open("rb") as opened:
            os.dup2(opened.fileno(), number)
        assert file.read() is None
        assert queue_of(native_id())[1] > 0
        file.close()
        assert os.read(number, 4) == b"some"
        os.close(number)

    def test_no_number_left(self) -> None:
        resource = pytest.importorskip("resource")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, limits[1]))
        try:
            file = QueueFile()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert queue_of(native_id())[1] > 0
        file.close()
        assert descriptors() == before

    def test_no_test_sees_a_descriptor_come_or_go(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import asyncio, os, time, pytest

            def open_files():
                numbers = os.listdir("/proc/self/fd")
                return {one: os.path.realpath(f"/proc/self/fd/{one}") for one in numbers}

            @pytest.fixture(autouse=True)
            def balanced():
                before = open_files()
                yield
                assert open_files().keys() == before.keys()
                high = {int(n): path for n, path in before.items() if int(n) >= 200}
                assert high == {int(n): p for n, p in open_files().items() if int(n) >= 200}

            @pytest.mark.parametrize("fork", [False, True])
            def test_loop(fork):
                async def main():
                    if fork and os.fork() == 0:
                        os._exit(0)
                    start = time.perf_counter()
                    while time.perf_counter() < start + 0.05:  # the sampler looks
                        await asyncio.sleep(0)
                asyncio.run(main())
            """
        )
        result = pytester.runpytest_subprocess("--truasync", "-W", "ignore::DeprecationWarning")
        result.assert_outcomes(passed=2)


def test_without_the_part_in_c_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "read_queue", None)
    monkeypatch.setattr(native, "open_high", None)
    file = QueueFile()
    assert file.read() is None
    file.close()


@pytest.mark.skipif(sys.platform.startswith("linux"), reason="Linux tells")
def test_another_system_tells_nothing() -> None:
    assert queue_of(native_id()) == (-1, -1)
    assert QueueFile().read() is None
