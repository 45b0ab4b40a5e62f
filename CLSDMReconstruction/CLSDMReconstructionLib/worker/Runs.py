"""One piece of work as its caller sees it: state, progress, result or error, log."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OnRun = Callable[["Run"], None]
OnLog = Callable[[str], None]

STAGES = {
    "export": "Writing the volume for the computation",
    "start": "Starting the computation",
    "patients": "Reconstructing the studies",
    "send": "Sending to the server",
    "queue": "Waiting for the server",
    "read X-rays": "Reading the X-rays",
    "load model": "Loading the model",
    "align X-rays": "Aligning the X-rays",
    "try orientations": "Trying how the X-rays hang",
    "sample": "Sampling",
    "decode": "Making the volume",
    "measure": "Measuring the volume",
    "project": "Projecting",
    "read": "Reading the volumes",
    "compare": "Computing the figures",
    "fixed": "Computing what the X-rays fix",
    "verify": "Checking the files",
    "download": "Downloading",
    "copy": "Copying",
}
"""The worker's stages in words for the user."""

_SAMPLED = {"start": 0.05, "read X-rays": 0.08, "load model": 0.12, "align X-rays": 0.2, "sample": 0.97, "decode": 1.0}
_ENDS = {
    "mean": {"start": 0.1, "read X-rays": 0.2, "load model": 0.4, "align X-rays": 1.0},
    "sample": _SAMPLED,
    "ensemble": _SAMPLED,
    "reconstruct_many": {"start": 0.02, "patients": 1.0},
    "simulate": {"export": 0.3, "start": 0.4, "project": 1.0},
    "compare": {"export": 0.3, "start": 0.4, "read": 0.6, "compare": 1.0},
    "fixed": {"export": 0.1, "start": 0.2, "fixed": 1.0},
    "preview": {"start": 0.5, "read X-rays": 1.0},
    "hello": {"start": 1.0},
    "index": {"download": 1.0},
    "bundle": {"start": 0.05, "download": 0.9, "verify": 1.0},
    "install": {"start": 0.1, "verify": 0.6, "copy": 1.0},
}
"""For each kind of run, how much of it is done when a stage ends."""


class ReconstructionError(Exception):
    """Why a run failed.

    Attributes:
        kind: "input", "memory", "device", "disk", "network", "server", "missing" (a Python package), "start", "crash",
            "cancelled", "defect".
        message: what happened, in a sentence.
        advice: what to do, in a sentence.
        details: technical, for the log.
        offers: changes to the arguments of ``reconstruct`` that would probably do, lightest first, as (label, changes)
            such as ("Use the CPU", {"device": "cpu"}); for buttons. Or ``Faults.COMPUTE_HERE``, in place of a server.
    """

    def __init__(
        self, kind: str, message: str, advice: str = "", details: str = "", offers: tuple[tuple[str, dict], ...] = ()
    ) -> None:
        super().__init__(f"{message} {advice}".strip())
        self.kind, self.message, self.advice, self.details, self.offers = kind, message, advice, details, offers


@dataclass(eq=False)
class Run:
    """One piece of work.

    Attributes:
        task: "reconstruct", "reconstruct_many", "simulate", "compare", "fixed", "preview", "hello", "bundle", "install".
        kind: of progress; the product for "reconstruct", else the task.
        onProgress: called with the run after each step.
        onFinished: called once with the run when it has its result.
        onError: called once with the run when it failed or was cancelled.
        onLog: called with each line of the log.
        onTold: called with each of many results, of a task that has them.
        state: "running" (also while it waits for another), "finished", "failed", "cancelled".
        stage: the step at work, in words for the user.
        done: steps done of this stage.
        total: steps of this stage.
        fraction: 0 to 1 of the whole run, never falling.
        load: what the worker took of its computer when it last said so, see ``clsdm.app.load``; empty before.
        result: what the task makes.
        error: when failed or cancelled.
        log: every line, without any path or name of the patient.
        stop: how to end it; the logic's.
        job: what the worker does for it, once it was asked; the logic's.
        temporary: folders that go when it ends; the logic's.
        kept: folders that hold its result; the logic's.
    """

    task: str
    kind: str = ""
    onProgress: OnRun | None = None
    onFinished: OnRun | None = None
    onError: OnRun | None = None
    onLog: OnLog | None = None
    onTold: Callable[[dict[str, Any]], None] | None = None
    state: str = "running"
    stage: str = ""
    done: int = 0
    total: int = 0
    fraction: float = 0.0
    load: dict[str, float] = field(default_factory=dict)
    result: Any = None
    error: ReconstructionError | None = None
    log: list[str] = field(default_factory=list)
    stop: Callable[[], None] | None = field(default=None, repr=False)
    job: Any = field(default=None, repr=False)
    temporary: list[Path] = field(default_factory=list, repr=False)
    kept: list[Path] = field(default_factory=list, repr=False)
    _names: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def isRunning(self) -> bool:
        """Whether it has not ended yet."""
        return self.state == "running"

    @property
    def isAtWork(self) -> bool:
        """Whether the worker is doing it right now."""
        return self.job is not None and self.job.state == "running"

    def cancel(self) -> None:
        """Stop it; nothing of it is left. Without effect when it has ended."""
        if self.isRunning and self.stop is not None:
            self.stop()

    def hide(self, text: str, label: str) -> None:
        """Write ``label`` in place of ``text`` from now on: a path or name that may be the patient's."""
        if len(text) > 2:
            self._names.append((text, label))
            self._names.sort(key=lambda pair: -len(pair[0]))

    def shown(self, text: str) -> str:
        """A text without what is to be hidden."""
        for name, label in self._names:
            text = text.replace(name, label)
        return text

    def say(self, line: str) -> None:
        """Add a line to the log."""
        line = self.shown(line)
        self.log.append(line)
        if self.onLog is not None:
            self.onLog(line)

    def progress(self, stage: str, done: int, total: int) -> None:
        """The worker is at step ``done`` of ``total`` of a stage."""
        if not self.isRunning or (stage == "decode" and done < total):  # an ensemble decodes while it samples
            return
        words = STAGES.get(stage, stage)
        if words != self.stage:
            self.say(words)
        self.stage, self.done, self.total = words, done, total
        self.fraction = max(self.fraction, self._fraction(stage, done, total))
        if self.onProgress is not None:
            self.onProgress(self)

    def _fraction(self, stage: str, done: int, total: int) -> float:
        ends = _ENDS.get(self.kind or self.task, {})
        if stage not in ends:
            return 0.0
        before = [0.0, *ends.values()][list(ends).index(stage)]
        return before + (ends[stage] - before) * done / max(1, total)

    def take(self, load: dict[str, float]) -> None:
        """What the worker takes of its computer; the progress that comes with it tells who looks at the run."""
        self.load = load

    def tell(self, result: dict[str, Any]) -> None:
        """One of many results is there."""
        if self.isRunning and self.onTold is not None:
            self.onTold(result)

    def finish(self, result: Any) -> None:
        """It has its result."""
        self.result, self.state, self.fraction = result, "finished", 1.0
        if self.onFinished is not None:
            self.onFinished(self)

    def fail(self, error: ReconstructionError) -> None:
        """It failed, or was cancelled."""
        self.error, self.state = error, "cancelled" if error.kind == "cancelled" else "failed"
        self.say(error.message)
        for line in error.details.splitlines():
            self.say(line)
        if self.onError is not None:
            self.onError(self)
