"""A worker (``clsdm serve``) as the child of a server, started when it is needed, and the turns of those who want it."""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from clsdm.app.worker import PREFIX, Answer
from clsdm.failures import ReportedError, ServerError
from clsdm.files.scratch import remove_abandoned
from clsdm.limits import CLIENTS_WAITING

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from clsdm.app.worker import main; sys.exit(main())"
"""Without the command line, which needs torch to begin with; and from where this program runs, installed or not."""
TICK_S = 0.25
_AS_TOLD = (0, -signal.SIGTERM)
"""How a worker ends that is told to terminate, as with all of its server's group; out of memory it is killed."""
END_S = 10.0


class Turns:
    """One request after the other, in the order in which they came."""

    def __init__(self) -> None:
        self._line: list[object] = []
        self._moved = threading.Condition()

    @contextlib.contextmanager
    def turn(self, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Wait for one's turn; ``on_wait`` is called with how many are before, again and again.

        Raises:
            ServerError: too many wait already.
        """
        mine = object()
        with self._moved:
            if len(self._line) >= CLIENTS_WAITING:
                raise ServerError(
                    f"the server is busy: {CLIENTS_WAITING} requests are waiting already; try again later"
                )
            self._line.append(mine)
        try:
            while (before := self._before(mine)) > 0:
                on_wait(before)
            yield
        finally:
            with self._moved:
                self._line.remove(mine)
                self._moved.notify_all()

    def _before(self, mine: object) -> int:
        with self._moved:
            self._moved.wait_for(lambda: self._line[0] is mine, TICK_S)
            return self._line.index(mine)


class Child:
    """One worker, for one request at a time.

    Args:
        folder: in which it makes its own.
        idle_s: after which it ends.
    """

    def __init__(self, folder: Path, idle_s: float) -> None:
        own = str(Path(__file__).resolve().parents[2])
        self._command = [sys.executable, "-c", _START, own, "--folder", str(folder), "--idle", str(idle_s)]
        self._folder, self._numbers = folder, count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lines: queue.Queue[bytes | None] = queue.Queue()

    def ask(self, request: Answer) -> Generator[Answer | None, None, None]:
        """Its answers without their ids, the last with "result" or "error"; None where it says nothing for a moment.

        Whoever stops before a result has been taken ends the worker, and with it what it made; after an error it stays as it
        is, with its model. One whose idle time was just over is replaced.

        Yields:
            an answer, or None.

        Raises:
            ReportedError: it died, or was stopped.
        """
        number, ended, heard, again = next(self._numbers), False, False, self._process is not None
        try:
            self._say({"id": number, **request})
            while not ended:
                try:
                    line = self._lines.get(timeout=TICK_S)
                except queue.Empty:
                    yield None
                    continue
                if line is None:
                    code = self._gone()
                    if self._stopped or (heard and code in _AS_TOLD):
                        raise ReportedError(_STOPPED)
                    if heard or not again:
                        raise ReportedError(_DIED)
                    again = False
                    self._say({"id": number, **request})
                    continue
                answer: dict[str, Any] = json.loads(line)
                if answer.pop("id", 0) in (number, None):  # None: what it could not read as a request
                    heard, ended = True, "error" in answer  # of which nothing is left to be removed
                    yield answer
                    ended = ended or "result" in answer
        finally:
            if not ended:
                self.end()

    def stop(self) -> None:
        """End it for good, as the server ends; whoever waits for an answer hears so."""
        self._stopped = True
        self.end()

    def _gone(self) -> int | None:
        """Tidy up after the worker, which has closed its output: the code that it ended with."""
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is ended below
            if process is not None:
                process.wait(TICK_S)
        self.end()
        return None if process is None else process.returncode

    def end(self) -> None:
        """End it at once, with what it left."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(END_S)
            remove_abandoned(self._folder, PREFIX)

    def _say(self, request: Answer) -> None:
        if self._stopped:
            raise ReportedError(_STOPPED)
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has just ended, which its lines tell
            self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        process = self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lines = self._lines = queue.Queue()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()


_STOPPED = {"kind": "server", "message": "the connection to the server was lost: the server was stopped"}
_DIED = {"kind": "server", "message": "the server's worker ended unexpectedly, perhaps for lack of memory"}
