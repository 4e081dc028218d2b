"""Find fake async in a test run: blocking calls on the loop and work hidden in threads."""

from pytest_truasync._plain import plain_imports

with plain_imports():
    from pytest_truasync._allow import allow
    from pytest_truasync._model import CallSite, Observation, Rule, Violation

__all__ = ["CallSite", "Observation", "Rule", "Violation", "__version__", "allow"]

__version__ = "0.1.0"
