from __future__ import annotations

import json
import os
import random
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from story import OBSERVATIONS, OTHER_POOLS, PERMISSIONS, POOL, RUN, VERDICT

from pytest_truasync._model import Verdict
from pytest_truasync._report import FORMATS, ReportError, write_reports
from pytest_truasync._report.as_json import FORMAT_VERSION, render
from pytest_truasync._verdict import Policy, judge, merge, verdict_from_json, verdict_to_json

DOCS = Path(__file__).parents[2] / "docs" / "report.md"


def test_render(golden: Callable[[str, str], None]) -> None:
    golden("report.json", render(VERDICT, RUN))


def test_an_empty_report_has_every_key() -> None:
    document = json.loads(render(Verdict(), RUN))
    assert document.pop("format") == FORMAT_VERSION
    assert document.pop("run")["plugin"] == "0.1.0"
    assert document == {
        "violations": [],
        "warnings": [],
        "notes": [],
        "permissions": [],
        "pools": [],
    }


def test_it_is_the_same_in_any_order_and_with_any_number_of_workers() -> None:
    dice = random.Random(1)
    expected = render(judge(OBSERVATIONS, PERMISSIONS[2:], Policy(), [POOL, *OTHER_POOLS]), RUN)
    for _ in range(5):
        parts = [
            *(judge([one], [], Policy()) for one in OBSERVATIONS),
            judge([], PERMISSIONS[2:], Policy()),
            *(judge([], [], Policy(), [one]) for one in (POOL, *OTHER_POOLS)),
        ]
        dice.shuffle(parts)
        travelled = [
            verdict_from_json(json.loads(json.dumps(verdict_to_json(one)))) for one in parts
        ]
        workers = [merge(travelled[:7]), merge(travelled[7:])]
        assert render(merge(workers), RUN) == expected


def test_the_docs_name_every_key() -> None:
    document = json.loads(render(VERDICT, RUN))
    named = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    keys = set(document) | set(document["run"])
    for part in ("violations", "permissions", "pools"):
        keys |= set(document[part][0])
    assert keys <= named


class TestWriting:
    def test_all_reports_are_written(self, tmp_path: Path) -> None:
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        paths[0].write_text("old")
        write_reports([("json", path) for path in paths], VERDICT, RUN)
        assert {path.read_text(encoding="utf-8") for path in paths} == {render(VERDICT, RUN)}
        assert sorted(tmp_path.iterdir()) == paths

    def test_no_report_no_file(self) -> None:
        write_reports([], VERDICT, RUN)

    def test_others_may_read_it(self, tmp_path: Path) -> None:
        ordinary = tmp_path / "ordinary"
        ordinary.touch()
        write_reports([("json", tmp_path / "out.json")], VERDICT, RUN)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {stat.S_IMODE(ordinary.stat().st_mode)}

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match=r"json:.*there is no folder .*nowhere"):
            write_reports([("json", tmp_path / "nowhere" / "out.json")], VERDICT, RUN)

    def test_a_folder_in_its_place_is_no_report(self, tmp_path: Path) -> None:
        (tmp_path / "out.json").mkdir()
        with pytest.raises(ReportError, match=r"out\.json is not written"):
            write_reports([("json", tmp_path / "out.json")], VERDICT, RUN)
        assert list((tmp_path / "out.json").iterdir()) == []

    def test_what_cannot_be_rendered_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = tmp_path / "out.json"
        old.write_text("old")
        monkeypatch.setattr("pytest_truasync._report.FORMATS", {**FORMATS, "bad": lambda *_: 1 / 0})
        with pytest.raises(ZeroDivisionError):
            write_reports([("json", old), ("bad", tmp_path / "x")], VERDICT, RUN)
        assert old.read_text() == "old"

    def test_what_cannot_be_written_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: Path, target: Path) -> Path:
            raise OSError("disk full")

        old = tmp_path / "out.json"
        old.write_text("old")
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(ReportError, match="disk full"):
            write_reports([("json", old)], VERDICT, RUN)
        assert old.read_text() == "old"
        assert list(tmp_path.iterdir()) == [old]

    def test_the_target_of_a_link_is_written(self, tmp_path: Path) -> None:
        link = tmp_path / "link.json"
        link.symlink_to(tmp_path / "real.json")
        write_reports([("json", link)], VERDICT, RUN)
        assert link.is_symlink()
        assert (tmp_path / "real.json").exists()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_is_written_to_and_not_replaced(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            write_reports([("json", pipe)], Verdict(), RUN)
            assert os.read(reader, 65536).decode() == render(Verdict(), RUN)
        finally:
            os.close(reader)
        assert pipe.is_fifo()
