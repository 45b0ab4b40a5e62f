"""The module without a GUI: reconstruct, simulate X-rays, compare, preview; blocking or with callbacks.

Work is done by the worker (``InferenceProcess``); nodes are made only when everything they need is there, so a run that
fails, is cancelled or is outlived by its scene leaves the scene as it was. Closing the scene ends every run but those of
many studies, which are files.

Callbacks take the :class:`Run` (``onLog`` a line), on the main thread, after the call that started it has returned.
``onError`` is for failed and for cancelled runs; ``run.state`` tells which. With ``wait=True`` events are processed
until the run has ended, and what is not finished raises ``ReconstructionError``.
"""

import time
from functools import partial
from typing import Any

from CLSDMReconstructionLib.install.Dependencies import Dependencies
from CLSDMReconstructionLib.scene.Attributes import attributeOf
from CLSDMReconstructionLib.worker import Requests, Results
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess
from CLSDMReconstructionLib.worker.ModelStore import Model, ModelStore
from CLSDMReconstructionLib.worker.ModelTasks import ModelTasks, modelPath
from CLSDMReconstructionLib.worker.Results import Preview, ReconstructionResult, SimulationResult
from CLSDMReconstructionLib.worker.RunKeeper import RunKeeper
from CLSDMReconstructionLib.worker.Runs import ReconstructionError, Run
from CLSDMReconstructionLib.worker.Server import Server
from CLSDMReconstructionLib.xrays.Inputs import XRayInput

__all__ = [
    "Model",
    "Preview",
    "ReconstructionError",
    "ReconstructionLogic",
    "ReconstructionResult",
    "Run",
    "SimulationResult",
    "XRayInput",
]


class ReconstructionLogic(ModelTasks):
    """See the module's docstring. ``CLSDMReconstructionLogic`` is this together with ScriptedLoadableModuleLogic.

    Attributes:
        models: the ModelStore.
        dependencies: the Dependencies.
        server: the Server, which may compute in place of this computer.
    """

    def __init__(
        self,
        worker: InferenceProcess | None = None,
        models: ModelStore | None = None,
        dependencies: Dependencies | None = None,
        batchWorker: InferenceProcess | None = None,
    ) -> None:
        self.server = Server()
        self._keeper = RunKeeper(worker or InferenceProcess(options=self.server.options))
        self._batchKeeper = RunKeeper(batchWorker or InferenceProcess(options=self.server.options), ofScene=False)
        self.models = models or ModelStore()
        self.dependencies = dependencies or Dependencies()
        self.dependencies.isElsewhere = lambda: self.server.isUsed
        self._previews: dict[str, Run] = {}

    @property
    def worker(self) -> InferenceProcess:
        """The child process; starts when it is first needed."""
        return self._keeper.worker

    def reconstruct(
        self,
        frontal=None,
        lateral=None,
        *,
        views=(),
        product: str = "mean",
        steps: int | None = None,
        samples: int = 8,
        seed: int = 0,
        device: str = "auto",
        bundle=None,
        preset: str = "chest",
        into=None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onError=None,
        onLog=None,
    ) -> Run:
        """Reconstruct a CT volume.

        Args:
            frontal: PA or AP X-ray: a volume node, a file, or an ``XRayInput`` with what was entered about it.
            lateral: lateral X-ray, likewise.
            views: further X-rays, likewise.
            product: "mean", "sample" or "ensemble".
            steps: evaluations of the denoiser per sample; the model's default if None.
            samples: of an ensemble.
            seed: of the samples.
            device: "auto", "cuda" or "cpu".
            bundle: model (a ``Model``, folder, archive or the name of an embedded one); the default if None.
            preset: machine whose distances are taken where neither file nor user knows them.
            into: a reconstruction's node that the result takes the place of; a new one if None.
            wait: see the module's docstring, and so all others.
            onProgress: likewise.
            onFinished: likewise.
            onError: likewise.
            onLog: likewise.

        Returns:
            The run; its result will be a ``ReconstructionResult``.
        """
        began = time.monotonic()
        run = Run("reconstruct", product, onProgress, onFinished, onError, onLog)
        options = {"product": product, "steps": steps, "samples": samples, "seed": seed, "device": device}

        def begin() -> None:
            if into is not None and attributeOf(into, "role") != "volume":
                raise ReconstructionError(
                    "input", "Only a reconstruction can give place to another; this volume is none."
                )
            inputs = Requests.inputsOf(frontal, lateral, views)
            facts = Requests.checked(inputs, preset)
            payload = {
                "views": Requests.viewRequests(run, inputs, self._keeper.newFolder(run)),
                "options": options,
                "bundle": modelPath(run, bundle),
                "preset": preset,
            }
            noted = Requests.noted(inputs, payload["views"])
            studyUid = next((each.header.study_uid for each in facts if each.header.study_uid), "")
            for xray, each in zip(inputs, facts, strict=True):
                run.say(Requests.summary(xray, each))

            def made(answer: dict[str, Any]) -> ReconstructionResult:
                result = Results.reconstructionFrom(answer, inputs, studyUid, run.shown, into, noted)
                result.seconds["total"] = time.monotonic() - began
                return result

            self._keeper.submit(run, "reconstruct", payload, made, options)

        return self._keeper.start(run, begin, wait)

    def reconstructMany(
        self, pairs, folder, *, options=None, bundle=None, preset: str = "chest", wait: bool = False, **callbacks
    ) -> Run:
        """Reconstruct many studies into a folder, one after the other, as ``clsdm reconstruct --table`` does.

        They have a worker of their own, so that the rest of the module need not wait for them. X-rays are read and results
        written here, also where a server computes. What is there of exactly these X-rays, made by this model in this way,
        stays; one that fails stops nobody. Nothing comes into the scene, and closing it stops nothing. The result will be
        the counts, and "files", the paths of the table and the page of all.

        Args:
            pairs: frontal and lateral X-ray, both files or ``XRayInput`` of files, by the name of the study's folder.
            folder: for the folders of the studies.
            options: product, steps, samples, seed and device, as in :meth:`reconstruct`.
            bundle: likewise.
            preset: likewise.
            wait: see the module's docstring.
            callbacks: likewise; ``onTold`` takes each study that has ended, a dict of ``clsdm.app.batch_summary.Row``'s
                fields with "status" done, kept or failed.
        """
        run = Run("reconstruct_many", **callbacks)

        def begin() -> None:
            cases = {
                name: [Requests.fileRequest(xray) for xray in Requests.inputsOf(*pair)] for name, pair in pairs.items()
            }
            payload = {"cases": cases, "options": options or {}, "out": str(folder), "preset": preset}
            payload["bundle"] = modelPath(run, bundle)
            self._batchKeeper.submit(run, "reconstruct_many", payload, lambda answer: answer)

        return self._batchKeeper.start(run, begin, wait)

    def simulate(self, ctNode, preset: str = "chest", angles=(0.0, 90.0), *, wait: bool = False, **callbacks) -> Run:
        """X-rays of a loaded CT; the result will be a ``SimulationResult``.

        Args:
            ctNode: volume node in HU.
            preset: machine.
            angles: in degrees; 0 is PA, 90 a left lateral.
            wait: see the module's docstring.
            callbacks: likewise.
        """
        run = Run("simulate", **callbacks)

        def begin() -> None:
            ct, out = self._keeper.newFolder(run) / "ct.mha", self._keeper.newFolder(run, keep=True)
            payload = {"ct": str(ct), "out": str(out), "preset": preset, "angles": [float(angle) for angle in angles]}
            run.hide(str(ct), "the CT")
            self._keeper.write(
                run, [(ctNode, ct)], lambda: self._keeper.submit(run, "simulate", payload, Results.simulationFrom)
            )

        return self._keeper.start(run, begin, wait)

    def compare(self, reconstructionNode, truthNode, *, wait: bool = False, **callbacks) -> Run:
        """Figures of both protocols on the reconstruction's grid; the result will be ``clsdm.quality.compare.as_json``'s dict."""
        nodes = {"reconstruction": reconstructionNode, "truth": truthNode}
        then = partial(Results.comparisonFrom, reconstructionNode)
        return self._ofVolumes(Run("compare", **callbacks), nodes, {}, then, wait)

    def fromOthers(self, reconstructionNode, *, wait: bool = False, **callbacks) -> Run:
        """The part of a reconstruction that its X-rays do not fix; the result: a volume node, referred to as ``OTHERS_ROLE``."""
        node, views = reconstructionNode, {"views": attributeOf(reconstructionNode, "views", [])}
        then = partial(Results.fromOthersOf, node)
        return self._ofVolumes(Run("fixed", **callbacks), {"reconstruction": node}, views, then, wait)

    def _ofVolumes(self, run: Run, nodes: dict[str, Any], payload: dict[str, Any], then, wait: bool) -> Run:
        """A task of the worker's that reads volumes by name."""

        def begin() -> None:
            folder = self._keeper.newFolder(run)
            files = {name: folder / f"{name}.mha" for name in nodes}
            for name, file in files.items():
                run.hide(str(file), f"the {name}")
            asked = payload | {name: str(file) for name, file in files.items()}
            pairs = [(node, files[name]) for name, node in nodes.items()]
            self._keeper.write(run, pairs, lambda: self._keeper.submit(run, run.task, asked, then))

        return self._keeper.start(run, begin, wait)

    def preview(
        self, xrayInput, *, bundle=None, preset: str = "chest", slot: str = "", wait: bool = False, **callbacks
    ) -> Run:
        """An X-ray as the network sees it; the result will be a ``Preview``.

        Args:
            xrayInput: volume node, file or ``XRayInput``.
            bundle: model whose detector it is put on.
            preset: machine.
            slot: a newer preview of a slot takes the place of an older one, of which nothing more is heard; by default
                the X-ray's role.
            wait: see the module's docstring.
            callbacks: likewise.
        """
        run = Run("preview", **callbacks)
        xray = XRayInput.of(xrayInput, slot if slot in ("frontal", "lateral") else "view")
        older, self._previews[slot or xray.role] = self._previews.get(slot or xray.role), run
        if older is not None and older.isRunning:
            older.onProgress = older.onFinished = older.onError = older.onLog = None
            if not older.isAtWork:  # else it may end, unheard: to stop it would cost the warm worker
                older.cancel()

        def begin() -> None:
            Requests.checked([xray], preset)
            view = Requests.viewRequest(run, xray, self._keeper.newFolder(run) / "xray.nrrd")
            payload = {"view": view, "bundle": modelPath(run, bundle), "preset": preset}
            self._keeper.submit(run, "preview", payload, lambda answer: Results.previewFrom(answer, run.shown))

        return self._keeper.start(run, begin, wait)

    def cancel(self) -> None:
        """Cancel every run."""
        for keeper in (self._keeper, self._batchKeeper):
            keeper.cancel()

    def cancelOfScene(self) -> None:
        """Cancel every run that reads from the scene, or writes into it."""
        self._keeper.cancel()

    def stopWorkers(self) -> None:
        """Cancel every run and end the workers, which start again when they are needed."""
        self.cancel()
        for keeper in (self._keeper, self._batchKeeper):
            keeper.worker.stop()

    def cleanup(self) -> None:
        """Cancel every run, end the workers, remove temporary files and observers."""
        for keeper in (self._keeper, self._batchKeeper):
            keeper.cleanup()
