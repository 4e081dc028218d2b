"""Build the part in C, which is a matter of speed alone: where it cannot be built, do without."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("pytest_truasync", "_detect", "_gates.c")
NAME = "pytest_truasync._detect._gates"


class GatesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Put the part in C into the wheel, or beside its source for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, if this is CPython with a GIL and a C compiler."""
        if not _is_wanted():
            return
        root = Path(self.root)
        with tempfile.TemporaryDirectory() as folder:
            built = self._build(root, Path(folder))
            if built is None:
                return
            place = root / SOURCE.parent / built.name
            fresh = place.with_name(f"{built.name}.{os.getpid()}")
            shutil.copy2(built, fresh)
            fresh.replace(place)  # another process may have the old one loaded
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(place.relative_to(root).as_posix())

    def _build(self, root: Path, folder: Path) -> Path | None:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        command = build_ext(Distribution({"ext_modules": [Extension(NAME, [str(root / SOURCE)])]}))
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        try:
            command.run()
        except Exception as error:  # noqa: BLE001 - of any compiler; the plugin works without
            self.app.display_warning(f"pytest-truasync is built without its part in C: {error}")
            return None
        return Path(command.get_ext_fullpath(NAME))


def _is_wanted() -> bool:
    return (
        sys.implementation.name == "cpython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and os.environ.get("TRUASYNC_CORE") != "python"
    )
