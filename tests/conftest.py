"""Settings that every test shares: how hypothesis runs, and how a failing run is repeated."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# The blob it prints reproduces one failing example; two busy cores make a per-example deadline a lottery, and
# the timeout of the whole test still holds.
settings.register_profile(
    "default",
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile("default")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Chooses the seed here, where it can be printed; the worker processes inherit it."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"repeat this run with --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.fixture(autouse=True)
def _logs_go_where_they_went() -> Iterator[None]:
    """A `main` under test sends the process's logs to a stream that is closed when the test ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # What a server within the test has to say is not among what a command under test prints.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
