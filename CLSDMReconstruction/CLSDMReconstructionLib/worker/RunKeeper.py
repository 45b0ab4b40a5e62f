"""Runs, from their first step to their last: at the worker, with temporary folders, and however they end.

Whatever ends a run (its result, an error, the user, the closing of the scene) passes here, so that its folders go, its
caller hears of it once, and nothing of it comes later.
"""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slicer

from CLSDMReconstructionLib.base.Steps import Steps, later
from CLSDMReconstructionLib.scene import Volumes
from CLSDMReconstructionLib.worker import Faults
from CLSDMReconstructionLib.worker.ChildProcess import newFolder
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess, Job
from CLSDMReconstructionLib.worker.Runs import ReconstructionError, Run

POLL_S = 0.002


class RunKeeper:
    """Starts runs and tidies up after them.

    Args:
        worker: does the work.
        ofScene: whether its runs end with the scene; else nothing of theirs is in it.
    """

    def __init__(self, worker: InferenceProcess, ofScene: bool = True) -> None:
        self.worker, self._ofScene = worker, ofScene
        self._runs: list[Run] = []
        self._ownFolder: Any = None
        self._folders = 0
        self._observer: int | None = None

    def cancel(self) -> None:
        """Cancel every run."""
        for run in list(self._runs):
            run.cancel()

    def cleanup(self) -> None:
        """Cancel every run, end the worker, remove temporary files and observers."""
        self._endAll()
        self.worker.stop()
        self._unobserve()
        folder, self._ownFolder = self._ownFolder, None
        if folder is not None:
            folder.remove()

    def start(self, run: Run, begin: Callable[[], None], wait: bool) -> Run:
        """Begin once the caller has the run."""
        run.stop = lambda: self._fail(run, Faults.cancelled())
        self._runs.append(run)
        self._observe()

        def first() -> None:
            if run.isRunning:
                self._guarded(run, begin)

        if wait:
            first()
            return self._waited(run)
        later(0, first)
        return run

    def _waited(self, run: Run) -> Run:
        while run.isRunning:
            slicer.app.processEvents()
            time.sleep(POLL_S)
        if run.error is not None:
            raise run.error
        return run

    def _guarded(self, run: Run, work: Callable[[], Any]) -> Any:
        """Do a step of a run; what it raises ends the run, and nothing else."""
        try:
            return work()
        except ReconstructionError as error:
            self._fail(run, error)
        except OSError as error:
            self._fail(run, Faults.explain("disk", error.strerror or type(error).__name__))
        except (ValueError, TypeError) as error:
            self._fail(run, Faults.explain("input", run.shown(str(error))))
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits for the run must hear of it
            details = run.shown(traceback.format_exc())
            self._fail(run, Faults.explain("defect", f"{type(error).__name__}: {run.shown(str(error))}", details))
        return None

    def submit(
        self, run: Run, task: str, payload: dict[str, Any], made: Callable[[dict], Any], arguments: dict | None = None
    ) -> None:
        """Hand a request to the worker; ``made`` turns its answer into the run's result."""

        def done(job: Job) -> None:
            if not run.isRunning:
                return
            if job.state == "finished":
                result = self._guarded(run, lambda: made(job.result))
                if run.isRunning:
                    run.stop = None  # its nodes are in the scene: too late to cancel
                    later(0, lambda: self._finish(run, result))  # a turn for the nodes, one for who waits for them
            elif job.state == "failed":
                message, details = (run.shown(job.failure[name]) for name in ("message", "details"))
                kind, field = job.failure["kind"], job.failure["field"]
                self._fail(run, Faults.explain(kind, message, details, arguments, field))
            else:
                self._fail(run, Faults.cancelled())

        def stop() -> None:
            self.worker.cancel(job)  # which calls done

        hears = {"onProgress": run.progress, "onLoad": run.take, "onLog": run.say, "onTold": run.tell}
        job = self.worker.submit(task, payload, onDone=done, **hears)
        run.stop, run.job = stop, job

    def write(self, run: Run, pairs: list[tuple[Any, Path]], then: Callable[[], None]) -> None:
        """Write volumes a piece at a time, with the event loop turning in between."""
        for node, _ in pairs:
            if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
                raise ValueError("expected a volume node; choose a volume")
        steps = Steps(
            _written(pairs),
            lambda _: self._guarded(run, then),
            lambda error: self._guarded(run, lambda: _raise(error)),
            lambda fraction: run.progress("export", round(100 * fraction), 100),
        )

        def stop() -> None:
            steps.cancel()
            self._fail(run, Faults.cancelled())

        run.stop = stop

    def _finish(self, run: Run, result: Any) -> None:
        if run.isRunning:  # else the scene was closed in between
            self._ended(run)
            run.finish(result)

    def _fail(self, run: Run, error: ReconstructionError) -> None:
        if run.isRunning:
            run.temporary += run.kept
            self._ended(run)
            run.fail(error)

    def _ended(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)
        for folder in run.temporary:
            shutil.rmtree(folder, ignore_errors=True)
        if not self._runs:
            self._unobserve()

    def newFolder(self, run: Run, *, keep: bool = False) -> Path:
        """A folder that goes when the run ends; with ``keep``, only when it fails, or else in ``cleanup``."""
        if self._ownFolder is None or not self._ownFolder.path.is_dir():
            self._ownFolder = newFolder()
        self._folders += 1
        folder = self._ownFolder.path / str(self._folders)
        folder.mkdir()
        (run.kept if keep else run.temporary).append(folder)
        return folder

    def discard(self, path: Path) -> None:
        """Remove a file that is no longer needed, if it lies in one of the folders."""
        if self._ownFolder is not None and self._ownFolder.path in path.parents:
            path.unlink(missing_ok=True)

    def _observe(self) -> None:
        if self._observer is None and self._ofScene:
            event = slicer.vtkMRMLScene.StartCloseEvent
            self._observer = slicer.mrmlScene.AddObserver(event, self._onSceneClose)

    def _unobserve(self) -> None:
        if self._observer is not None:
            slicer.mrmlScene.RemoveObserver(self._observer)
            self._observer = None

    def _onSceneClose(self, *_) -> None:
        self._endAll()

    def _endAll(self) -> None:
        """Cancel every run, also one whose nodes are made but whose caller has not heard of it."""
        self.cancel()
        for run in list(self._runs):
            self._fail(run, Faults.cancelled())


def _written(pairs: list[tuple[Any, Path]]) -> Iterator[float]:
    for number, (node, path) in enumerate(pairs):
        for fraction in Volumes.writeVolume(node, path):
            yield (number + fraction) / len(pairs)


def _raise(error: Exception) -> None:
    raise error
