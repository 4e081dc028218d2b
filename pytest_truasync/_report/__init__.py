"""The voice: formats of report files, and the only place that writes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from pytest_truasync._model import RunInfo, Verdict
from pytest_truasync._report import as_json

__all__ = ["FORMATS", "Render", "ReportError", "write_reports"]

Render: TypeAlias = Callable[[Verdict, RunInfo], str]

FORMATS: Final[Mapping[str, Render]] = MappingProxyType({"json": as_json.render})
"""Name of a format → what renders it; the names are those of `_options.FORMAT_NAMES`."""


class ReportError(Exception):
    """A report could not be written; the message names it and says why."""


def write_reports(reports: Iterable[tuple[str, Path]], verdict: Verdict, run: RunInfo) -> None:
    """Write each report whole or not at all.

    Args:
        reports: format and path of each.
        verdict: what the run found, all tests merged.
        run: what is told of the run.

    Raises:
        ReportError: a folder is missing, or a file cannot be written.
    """
    for name, path, text in [(name, path, FORMATS[name](verdict, run)) for name, path in reports]:
        try:
            _write(path.resolve(), text)
        except OSError as wrong:
            why = f"there is no folder {path.parent}" if not path.parent.is_dir() else str(wrong)
            raise ReportError(f"report {name}:{path} is not written: {why}") from wrong


def _write(path: Path, text: str) -> None:
    if path.exists() and not path.is_file():  # a pipe or /dev/stdout must not be replaced
        path.write_text(text, encoding="utf-8")
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
