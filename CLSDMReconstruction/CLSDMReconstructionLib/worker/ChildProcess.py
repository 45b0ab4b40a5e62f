"""The worker's child process: its streams, its folder, and how it is asked to end."""

import contextlib
import os
import signal
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from CLSDMReconstructionLib.base.CorePath import ensureCore

FOLDER_PREFIX = "clsdm-"
KEPT_LINES = 100


class Channel(Protocol):
    """A child process with its three streams; ``QtChannel`` in Slicer."""

    onOutput: Callable[[bytes], None]
    onErrors: Callable[[bytes], None]
    onFinished: Callable[[int, bool], None]  # exit code, whether it crashed, was killed or did not start
    processId: int

    def start(self, program: str, arguments: list[str], folder: str) -> None: ...
    def write(self, data: bytes) -> None: ...
    def closeInput(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, milliseconds: int) -> bool: ...


def newFolder() -> Any:
    """A temporary folder of this process's own (``clsdm.files.scratch``); those that a killed Slicer left are removed.

    Raises:
        OSError: none can be made.
    """
    ensureCore()
    from clsdm.files.scratch import OwnFolder, remove_abandoned

    temporary = Path(tempfile.gettempdir())
    remove_abandoned(temporary, FOLDER_PREFIX)
    return OwnFolder(temporary, FOLDER_PREFIX)


class Child:
    """A running child, the folder in which it makes its own, and its last lines.

    Attributes:
        refusal: the failure that it told of in place of its greeting, see ``InferenceProcess.Job.failure``; else empty.
    """

    def __init__(self, channel: Channel, own: Any) -> None:
        self.channel, self.own, self.folder = channel, own, own.path
        self.ended = False
        self.pid = 0
        self.rest = b""
        self.refusal: dict[str, str] = {}
        self.errors: deque[str] = deque(maxlen=KEPT_LINES)

    def ask(self) -> None:
        """Ask it to end: by its standard input, which reaches it through a launcher too, and by a signal.

        Slicer's launcher gets no signal: it would go and leave its child behind.
        """
        self.channel.closeInput()
        if self.pid == self.channel.processId:
            self.channel.terminate()

    def kill(self) -> None:
        """End it, and before it the worker proper where a launcher was started in its place."""
        if self.ended:
            return
        if self.pid not in (0, self.channel.processId):
            with contextlib.suppress(OSError):  # it is gone already
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self.channel.kill()

    def tidy(self) -> None:
        """Remove its folder, and what a killed child left in it."""
        self.own.remove()
