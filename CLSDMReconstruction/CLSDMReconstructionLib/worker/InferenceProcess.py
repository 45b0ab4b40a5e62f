"""The worker: one child process that reconstructs, kept warm between runs, spoken to in JSON lines.

Nothing here touches MRML, and torch is never imported: it lives in the child, ``clsdm serve`` (``clsdm.app.worker``, which
documents the lines). The child comes in as a ``ChildProcess.Channel``, so that tests can use a fake. All calls and
callbacks are on the main thread.

The child ends by itself when its standard input closes, so it cannot outlive Slicer, however Slicer ends.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CLSDMReconstructionLib.base.CorePath import corePath
from CLSDMReconstructionLib.worker.ChildProcess import Channel, Child, newFolder

GRACE_MS = 2000
"""Between asking a worker to end and killing it."""

IDLE_SECONDS = 600.0

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from clsdm.app.worker import main; sys.exit(main())"


@dataclass(eq=False)
class Job:
    """One request to the worker and what became of it.

    Attributes:
        task: what is asked for.
        payload: the request's other fields, JSON types.
        onProgress: called with (stage, done, total).
        onLoad: called with what the worker takes of its computer while it works (``clsdm.app.load``).
        onLog: called with one line.
        onTold: called with each of many results, before the answer.
        onDone: called once, when the job has ended.
        number: which tells answers apart.
        state: "waiting", "running", "finished", "failed", "cancelled".
        result: the worker's answer, when finished. Its arrays may be gone once ``onDone`` returns.
        failure: {"kind", "message", "details", "field"} when failed; kinds are those of ``clsdm.failures.KINDS``, "crash"
            and "start", fields its ``FIELDS`` and ``SETTINGS``, or "".
        attempts: how often it was sent.
        heard: whether the worker has said anything about it.
    """

    task: str
    payload: dict[str, Any]
    onProgress: Callable[[str, int, int], None]
    onLog: Callable[[str], None]
    onTold: Callable[[dict[str, Any]], None]
    onDone: Callable[["Job"], None]
    onLoad: Callable[[dict[str, float]], None]
    number: int
    state: str = "waiting"
    result: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    heard: bool = False


class InferenceProcess:
    """Starts the worker when it is needed, gives it one job after the other, and ends it.

    Args:
        makeChannel: a new child process; ``QtChannel`` by default.
        python: interpreter to run the worker in; ``QtChannel.findPython()`` by default.
        options: gives further options of the worker's, each time that one is started.
        idleSeconds: after which an unused worker ends and frees the GPU.
        later: calls a function after some milliseconds; ``Steps.later`` by default.
    """

    def __init__(
        self,
        makeChannel: Callable[[], Channel] | None = None,
        *,
        python: str | None = None,
        options: Callable[[], list[str]] = list,
        idleSeconds: float = IDLE_SECONDS,
        later: Callable[[int, Callable[[], None]], None] | None = None,
    ) -> None:
        self._makeChannel, self._python, self._later = makeChannel, python, later
        self._idleSeconds, self._options = idleSeconds, options
        self._worker: Child | None = None
        self._leaving: list[Child] = []
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._jobs = 0

    @property
    def isRunning(self) -> bool:
        """Whether there is a child process."""
        return self._worker is not None

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        return self._running is not None or bool(self._waiting)

    @property
    def processId(self) -> int:
        """Of the worker proper, also behind a launcher; 0 where none runs."""
        return (self._worker.pid or self._worker.channel.processId) if self._worker else 0

    @property
    def folder(self) -> Path | None:
        """The worker's private folder."""
        return self._worker.folder if self._worker else None

    def start(self) -> None:
        """Warm up: start the worker and have it load torch; returns at once."""
        if not self.isRunning and not self.busy:
            self.submit("hello", {})

    def stop(self) -> None:
        """End the worker and all jobs (as "cancelled"); when this returns, no process and no file is left."""
        waiting, self._waiting = self._waiting, deque()
        jobs = [*([self._running] if self._running else []), *waiting]
        self._running = None
        self._retire()
        for job in jobs:
            self._end(job, "cancelled")
        for worker in list(self._leaving):
            if not worker.channel.wait(GRACE_MS):
                worker.kill()
                worker.channel.wait(GRACE_MS)
            self._onFinished(worker, 0, False)

    def submit(
        self,
        task: str,
        payload: dict[str, Any],
        *,
        onProgress: Callable[[str, int, int], None] = lambda stage, done, total: None,
        onLog: Callable[[str], None] = lambda line: None,
        onTold: Callable[[dict[str, Any]], None] = lambda result: None,
        onDone: Callable[[Job], None] = lambda job: None,
        onLoad: Callable[[dict[str, float]], None] = lambda load: None,
    ) -> Job:
        """Queue a request; jobs run one after the other."""
        self._jobs += 1
        job = Job(task, payload, onProgress, onLog, onTold, onDone, onLoad, self._jobs)
        self._waiting.append(job)
        self._next()
        return job

    def cancel(self, job: Job) -> None:
        """Take a waiting job back; a running one ends with its worker, and others go on in a new one."""
        if job is self._running:
            self._running = None
            self._retire()
        elif job in self._waiting:
            self._waiting.remove(job)
        else:
            return
        try:
            self._end(job, "cancelled")
        finally:
            self._next()

    def _next(self) -> None:
        """Give the worker the next job, if it has none and there is one."""
        if self._running is not None or not self._waiting:
            return
        job = self._running = self._waiting.popleft()
        job.state, job.attempts = "running", job.attempts + 1
        try:
            worker = self._worker or self._launch(job)
        except OSError as error:  # no room for a folder
            self._running = None
            self._fail(job, "disk", f"no temporary folder can be made: {error.strerror}")
            self._next()
            return
        if self._running is not job:  # could not be started, and has failed
            return
        line = json.dumps({"id": job.number, "task": job.task, **job.payload}, allow_nan=False)
        worker.channel.write(line.encode("ascii") + b"\n")

    def _launch(self, job: Job) -> Child:
        if self._makeChannel is None or self._python is None:
            from CLSDMReconstructionLib.base.QtChannel import QtChannel, findPython

            self._makeChannel, self._python = self._makeChannel or QtChannel, self._python or findPython()
        worker = self._worker = Child(self._makeChannel(), newFolder())
        worker.channel.onOutput = lambda data: self._onOutput(worker, data)
        worker.channel.onErrors = lambda data: self._onErrors(worker, data)
        worker.channel.onFinished = lambda code, crashed: self._onFinished(worker, code, crashed)
        job.onProgress("start", 0, 1)
        arguments = ["--folder", str(worker.folder), "--idle", str(self._idleSeconds), *self._options()]
        worker.channel.start(self._python, ["-c", _START, str(corePath()), *arguments], str(worker.folder))
        return worker

    def _retire(self) -> None:
        """Let the worker end on its own time; nothing it still says is heard."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._leaving.append(worker)
        worker.ask()
        if self._later is None:
            from CLSDMReconstructionLib.base.Steps import later

            self._later = later
        self._later(GRACE_MS, worker.kill)

    def _onOutput(self, worker: Child, data: bytes) -> None:
        *lines, worker.rest = (worker.rest + data).split(b"\n")
        for line in lines:
            if worker is self._worker and line.strip():
                self._hear(worker, line)

    def _hear(self, worker: Child, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except ValueError:
            self._onErrors(worker, line + b"\n")
            return
        worker.pid = answer.get("pid", worker.pid)
        if not worker.pid:
            worker.refusal = answer.get("error", {})
        job = self._running
        if job is None or answer.get("id") != job.number:
            return
        job.heard = True
        if "load" in answer:
            job.onLoad(answer["load"])
        if "stage" in answer:
            job.onProgress(answer["stage"], answer["i"], answer["n"])
        elif "log" in answer:
            job.onLog(answer["log"])
        elif "told" in answer:
            job.onTold(answer["told"])
        else:
            self._answered(worker, job, answer)

    def _answered(self, worker: Child, job: Job, answer: dict[str, Any]) -> None:
        self._running = None
        try:
            if "error" in answer:
                self._fail(job, **answer["error"])
            else:
                job.result = answer["result"]
                self._end(job, "finished")
        finally:
            self._next()

    def _onErrors(self, worker: Child, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            worker.errors.append(line)
            if worker is self._worker and self._running is not None:
                self._running.onLog(line)

    def _onFinished(self, worker: Child, code: int, crashed: bool) -> None:
        if worker.ended:
            return
        worker.ended = True
        worker.tidy()
        if worker in self._leaving:
            self._leaving.remove(worker)
        if worker is not self._worker:
            return
        self._worker = None
        job, self._running = self._running, None
        try:
            if job is not None and code == 0 and not crashed and not job.heard and job.attempts == 1:
                job.state = "waiting"  # the worker's idle time was over just when the request was on its way
                self._waiting.appendleft(job)
            elif job is not None and worker.refusal:
                self._fail(job, **worker.refusal)
            elif job is not None:
                kind = "crash" if worker.pid else "start"  # its first line, a greeting, never came
                self._fail(job, kind, f"the worker ended with code {code}", "\n".join(worker.errors))
        finally:
            self._next()

    def _fail(self, job: Job, kind: str, message: str, details: str = "", field: str = "") -> None:
        job.failure = {"kind": kind, "message": message, "details": details, "field": field}
        self._end(job, "failed")

    def _end(self, job: Job, state: str) -> None:
        job.state = state
        job.onDone(job)
