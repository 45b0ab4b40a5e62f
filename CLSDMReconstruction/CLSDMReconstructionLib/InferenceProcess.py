"""The worker: one child process that reconstructs, kept warm between runs, spoken to in JSON lines.

Nothing here touches MRML, and torch is never imported: it lives in the child, ``clsdm serve`` (``clsdm.worker``). What a
child process is comes in as a :class:`Channel`, so that tests can play one. All calls and callbacks are on the main
thread.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Channel(Protocol):
    """A child process with its three streams; ``QtChannel`` in Slicer."""

    onOutput: Callable[[bytes], None]
    onErrors: Callable[[bytes], None]
    onFinished: Callable[[int, bool], None]  # exit code, whether it crashed or was killed
    processId: int

    def start(self, program: str, arguments: list[str], environment: dict[str, str], folder: str) -> None: ...
    def write(self, data: bytes) -> None: ...
    def closeInput(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Job:
    """One request to the worker and what became of it.

    Attributes:
        state: "waiting", "running", "finished", "failed", "cancelled".
        result: the worker's answer (plain JSON types), when finished.
        failure: {"kind": ..., "message": ..., "details": ...} when failed; kinds are in ``clsdm.worker.KINDS`` and "crash".
    """


class InferenceProcess:
    """Starts the worker when it is needed and ends it when it is not.

    Attributes:
        isRunning: whether a child process is there.
        busy: whether a job is running or waiting.
        folder: the worker's private folder (None while none runs); removed when the worker ends.
    """

    def __init__(self, makeChannel: Callable[[], Channel] | None = None, idleSeconds: float = 600.0) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Warm up: start the worker and have it load torch; returns at once."""

    def stop(self) -> None:
        """End the worker now and for all jobs (as "cancelled"); no process and no file is left."""

    def submit(
        self,
        task: str,
        payload: dict[str, Any],
        *,
        onProgress: Callable[[str, int, int], None],
        onLog: Callable[[str], None],
        onDone: Callable[["Job"], None],
    ) -> Job:
        """Queue a request; jobs run one after the other."""
        raise NotImplementedError

    def cancel(self, job: Job) -> None:
        """Take a waiting job back; a running one ends with its worker (terminate, 2 s, kill), others go on in a new one."""
