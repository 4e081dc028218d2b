"""The files that tell how long a thread stood in the queue, and what is kept open of them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_truasync._detect import native, queues
from pytest_truasync._detect.clocks import await_end
from pytest_truasync._detect.queues import QueueFile, native_id, queue_of

linux = pytest.mark.skipif(not queues.has_queue(), reason="this system does not tell")
kept = pytest.mark.skipif(native.read_open is None, reason="the part in C keeps none open here")


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
        kept_delay = int(file.read()[1])
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

    def test_another_thread_takes_no_other_number(self, file: QueueFile) -> None:
        here, before = native_id(), descriptors()
        told = []

        def ask() -> None:
            file.point_at(native_id())
            told.append((native_id(), descriptors(), queue_of(native_id()), file.read()))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        ((number, open_then, found, words),) = told
        await_end(number)
        assert open_then == before
        assert found[1] <= int(words[2])
        assert file.read() == []
        assert queue_of(here)[1] > 0

    def test_two_files_of_one_thread(self, file: QueueFile) -> None:
        other = QueueFile()
        file.close()
        assert queue_of(native_id()) <= tuple(map(int, other.read()[1:]))
        other.close()
        assert queue_of(native_id())[1] > 0

    def test_who_closes_all_descriptors_closes_it(self, file: QueueFile) -> None:
        os.close(file._number)
        assert file.read() == []
        assert queue_of(native_id())[1] > 0
        file.point_at(native_id())
        assert file.read() == []

    def test_a_number_that_somebody_else_has_now_is_theirs(
        self, file: QueueFile, tmp_path: Path
    ) -> None:
        theirs = tmp_path / "theirs"
        theirs.write_text("some words of theirs")
        number = file._number
        with theirs.open("rb") as opened:
            os.dup2(opened.fileno(), number)
        assert file.read() == []
        assert queue_of(native_id())[1] > 0
        file.point_at(native_id())
        file.close()
        assert os.read(number, 4) == b"some"
        os.close(number)

    def test_no_number_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none_left(*_: object) -> int:
            raise OSError(24, "Too many open files")

        import fcntl

        before = descriptors()
        monkeypatch.setattr(fcntl, "fcntl", none_left)
        file = QueueFile()
        assert file.read() == []
        file.close()
        assert descriptors() == before

    def test_no_test_sees_a_descriptor_come_or_go(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import asyncio, os, time, pytest

            count = lambda: len(os.listdir("/proc/self/fd"))

            @pytest.fixture(autouse=True)
            def balanced():
                before = count()
                yield
                assert count() == before

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
    monkeypatch.setattr(native, "read_open", None)
    file = QueueFile()
    assert file.read() == []
    file.point_at(native_id())
    file.close()


@pytest.mark.skipif(sys.platform.startswith("linux"), reason="Linux tells")
def test_another_system_tells_nothing() -> None:
    assert queue_of(native_id()) == (-1, -1)
    assert QueueFile().read() == []
