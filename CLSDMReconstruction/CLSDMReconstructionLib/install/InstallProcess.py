"""``Installer.py`` in child processes of the worker's Python, one command after the other, so that Slicer goes on.

Slicer's own packages are kept as they are by constraints. A child ends when its standard input closes: where Slicer's
launcher lies between it and us, killing what was started would leave it at work.
"""

import contextlib
import importlib.metadata
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

OnLog = Callable[[str], None]

KEPT = ("numpy", "SimpleITK", "requests", "pydicom", "vtk")
"""Slicer's own; never replaced."""

CONSTRAINTS_FILE = "constraints.txt"
INSTALLER = Path(__file__).with_name("Installer.py")


class InstallProcess:
    """Runs commands of ``Installer.py`` such as ["ensure", "safetensors"].

    Args:
        makeChannel: a child process.
        python: interpreter.
        onLog: called with each line of theirs.
        onEnd: called once with what went wrong: "" for nothing, "cancelled", or the last line that tells.
    """

    def __init__(
        self, makeChannel: Callable[[], object], python: str, onLog: OnLog, onEnd: Callable[[str], None]
    ) -> None:
        self._makeChannel, self._python, self._onLog, self._onEnd = makeChannel, python, onLog, onEnd
        self._waiting: deque[list[str]] = deque()
        self._channel = self._folder = None
        self._stopped, self._last, self._error = False, "", ""

    def start(self, commands: list[list[str]]) -> None:
        """Run them in a temporary folder; returns at once."""
        self._waiting.extend(commands)
        self._folder = tempfile.TemporaryDirectory(prefix="clsdm-", ignore_cleanup_errors=True)
        self._constraints = Path(self._folder.name) / CONSTRAINTS_FILE
        self._constraints.write_text(_constraints(), encoding="utf-8")
        self._next()

    def cancel(self) -> None:
        """End the command at work, and run no other."""
        if self._channel is not None:
            self._stopped = True
            self._channel.closeInput()
            self._channel.kill()

    def _next(self) -> None:
        if not self._waiting:
            self._end("")
            return
        channel = self._channel = self._makeChannel()
        channel.onOutput = channel.onErrors = self._hear
        channel.onFinished = self._onFinished
        command = ["-u", str(INSTALLER), str(self._constraints), *self._waiting.popleft()]
        channel.start(self._python, command, self._folder.name)

    def _onFinished(self, code: int, crashed: bool) -> None:
        if self._stopped:
            self._end("cancelled")
        elif crashed or code != 0:
            self._end(self.lastLine or f"code {code}")
        else:
            self._next()

    @property
    def lastLine(self) -> str:
        """The last line of output, of errors if there were any."""
        return self._error or self._last

    def _end(self, problem: str) -> None:
        self._channel = None
        self._folder.cleanup()
        self._onEnd(problem)

    def _hear(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._last = line.strip()
                self._error = self._last if self._last.startswith("ERROR") else self._error
                self._onLog(line)


def _constraints() -> str:
    lines = []
    for name in KEPT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
    return "".join(lines)
