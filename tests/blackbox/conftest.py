"""Fixtures of the black-box tests, and which files there are to collect."""
import os

import pytest

from optiroute import BINARY, Daemon

# Failpoints are compiled into a build of their own; make sets FAILPOINTS=1 when this is one.
collect_ignore = [] if os.environ.get("FAILPOINTS") == "1" else ["12_failpoints.py"]


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"no daemon at {BINARY}: build it, or set OPTIROUTED to its path")


@pytest.fixture(scope="module")
def daemon(request):
    """One daemon for the whole file, with the file's CONFIG laid over the standard one."""
    with Daemon(getattr(request.module, "CONFIG", {})) as running:
        yield running


@pytest.fixture
def daemons():
    """daemons(changes, ...) starts a daemon for this test alone; all are stopped at its end."""
    started = []

    def start(*arguments, **options):
        one = Daemon(*arguments, **options)
        started.append(one)
        return one

    failed = True
    try:
        yield start
        failed = False
    finally:
        for one in reversed(started):
            one.__exit__(Exception if failed else None, None, None)
