"""Questions of the logic to its worker about devices and models: which there are, loading one, looking at one, keeping one."""

import shutil
from pathlib import Path
from typing import Any

from CLSDMReconstructionLib.worker.ModelStore import Model, ModelStore, readModel
from CLSDMReconstructionLib.worker.RunKeeper import RunKeeper
from CLSDMReconstructionLib.worker.Runs import Run
from CLSDMReconstructionLib.worker.Server import Server


class ModelTasks:
    """A base of the logic, whose callbacks and ``wait`` are those of every run."""

    _keeper: RunKeeper
    models: ModelStore
    server: Server

    def listModels(self) -> list[Model]:
        """The models of the computer that computes, the default first."""
        return self.server.models if self.server.isUsed else self.models.list()

    def hello(self, *, wait: bool = False, **callbacks) -> Run:
        """Warm the worker; the result will be {"devices": [{"name", "label", "free_bytes", "total_bytes"}], "torch", ...}."""
        run = Run("hello", **callbacks)
        return self._keeper.start(run, lambda: self._keeper.submit(run, "hello", {}, self.server.hear), wait)

    def warm(self, bundle=None, device: str = "auto", *, wait: bool = False, **callbacks) -> Run:
        """Load a model in advance, so that the next reconstruction need not."""
        run = Run("hello", **callbacks)

        def begin() -> None:
            self._keeper.submit(
                run, "warm", {"bundle": modelPath(run, bundle), "device": device}, lambda answer: answer
            )

        return self._keeper.start(run, begin, wait)

    def inspectModel(self, source, *, wait: bool = False, **callbacks) -> Run:
        """Download a model (https address) or take a file or folder, and check every hash.

        The result will be a ``Model``, to show licence, size and SHA-256 before :meth:`addModel`.
        """
        run = Run("bundle", **callbacks)
        address = str(source)

        def begin() -> None:
            task, payload = ("fetch", {"url": address}) if "://" in address else ("bundle", {"bundle": address})
            self._keeper.submit(run, task, payload, lambda answer: self._inspected(run, answer, task == "fetch"))

        return self._keeper.start(run, begin, wait)

    def fetchIndex(self, url: str, *, wait: bool = False, **callbacks) -> Run:
        """An index of models at an https address; the result will be as of ``ModelStore.index``."""
        run = Run("index", **callbacks)
        return self._keeper.start(
            run, lambda: self._keeper.submit(run, "index", {"url": url}, lambda answer: answer), wait
        )

    def addModel(self, model: Model, *, wait: bool = False, **callbacks) -> Run:
        """Put an inspected model into the user's folder; the result will be the ``Model`` there."""
        run = Run("install", **callbacks)
        payload = {"bundle": str(model.path), "into": str(self.models.folder), "name": self.models.nameFor(model)}

        def begin() -> None:
            self._keeper.submit(run, "install", payload, lambda answer: self._added(answer, model))

        return self._keeper.start(run, begin, wait)

    def _added(self, answer: dict[str, Any], model: Model) -> Model:
        added = readModel(Path(answer["path"]))
        self._keeper.discard(model.path)
        return added

    def _inspected(self, run: Run, answer: dict[str, Any], fetched: bool) -> Model:
        path = Path(answer["path"])
        if fetched:  # out of the worker's folder, which is about to go
            path = Path(shutil.move(str(path), str(self._keeper.newFolder(run, keep=True))))
        return readModel(path, bytes=answer["bytes"], fileSha256=answer["file_sha256"])


def modelPath(run: Run, bundle) -> str | None:
    """The bundle's path for the worker; the log calls it the model."""
    path = getattr(bundle, "path", bundle)
    if path is None:
        return None
    if Path(path).is_absolute():  # else it is the name of a server's, or of one that comes with the program
        run.hide(str(path), "the model's bundle")
    return str(path)
