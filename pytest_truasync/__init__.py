"""Find fake async in a test run: blocking calls on the loop and work hidden in threads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pytest_truasync._plain import plain_imports

if TYPE_CHECKING:
    from pytest_truasync._allow import allow
    from pytest_truasync._model import CallSite, Observation, Rule, Violation
    from pytest_truasync._session import BlockingCallError

__all__ = [
    "BlockingCallError",
    "CallSite",
    "Observation",
    "Rule",
    "Violation",
    "__version__",
    "allow",
]

__version__ = "0.1.0"

_HOMES = {"allow": "_allow", "BlockingCallError": "_session"}
"""Names that are not of `_model` → their modules."""


def __getattr__(name: str) -> Any:
    """Import what is asked for: pytest imports this package at each start, mostly for nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with plain_imports():
        home = importlib.import_module(f"{__name__}.{_HOMES.get(name, '_model')}")
    found = globals()[name] = getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
