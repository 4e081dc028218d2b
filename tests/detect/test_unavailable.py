"""What a platform lacks is told once, as a note, and the rest works."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_truasync import _detect
from pytest_truasync._detect import Detector
from pytest_truasync._rules.targets import AUDITED, OFFLOAD_CODES, TARGETS, code_for


def test_what_is_lacking_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_detect, "can_patch_types", lambda: False)
    detector = Detector(
        root=tmp_path,
        packages=(),
        targets=TARGETS,
        audited=AUDITED,
        name_code=code_for,
        offload_codes=OFFLOAD_CODES,
    )
    detector.install()
    try:
        told = [one for one in detector.drain("test", "call") if one.code == "TRU904"]
        again = [one for one in detector.drain("test", "call") if one.code == "TRU904"]
    finally:
        detector.uninstall()
    assert any("C types" in one.target for one in told)
    assert again == []
