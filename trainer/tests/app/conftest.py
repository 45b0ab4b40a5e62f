"""A server and its clients, for the tests of both."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from serving import KEY, LONG_S, serving
from worker_process import hear, process

from clsdm.app import access


@pytest.fixture(scope="session")
def server(small_model, tmp_path_factory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server") / "temporary", "--model", str(small_model.path)) as (_, address):
        yield address


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Starts workers: of this computer, or of a server."""
    monkeypatch.setenv(access.KEY_VARIABLE, KEY)

    @contextmanager
    def started(address: str | None = None, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        before = "" if address is None else "sys.modules['torch'] = None  # to import it would raise"
        options = [] if address is None else ["--server", address, *more]
        with process(tmp_path / f"w{address is None}", before, idle=LONG_S, more=options) as child:
            hear(child)
            yield child

    return started
