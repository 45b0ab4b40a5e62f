"""The reconstruction that the panel's button starts, from the click to the result in the scene."""

import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.panel.Parameters import asText, nodeOf
from CLSDMReconstructionLib.panel.ResultSection import showInSlices
from CLSDMReconstructionLib.panel.Words import madeFromOthers, verdict


class Runner:
    """Starts one at a time, with what the panel shows.

    Args:
        panel: the ReconstructionPanel.

    Attributes:
        run: the reconstruction under way, or None.
        made: what the last one made and the line below the button that says so, or None.
        isTrying: whether a sample is on its way that is to be reconstructed at once.
    """

    def __init__(self, panel) -> None:
        self._panel, self.run, self.made, self.isTrying = panel, None, None, False
        self._model = None  # of the last one

    def tryOut(self, model, sample: str) -> None:
        """Reconstruct a sample with a model, as soon as its X-rays are there."""
        self._panel.model.choose(model)
        self.isTrying = True
        self._panel.samples.load(sample)
        self.isTrying &= sample != "chest" or self._panel.samples.isLoading  # else the download was refused

    def onSample(self) -> None:
        """A sample's X-rays are in the slots."""
        wanted, self.isTrying = self.isTrying, False
        if wanted and self._panel.ui.reconstructButton.enabled:
            self.reconstruct()

    def reconstruct(self, **changes) -> None:
        """Start a reconstruction with what the panel shows; ``changes`` overrule it."""
        if self.run is not None or self._panel.parameters is None:
            return
        arguments = self.arguments() | changes
        self._model = self._panel.model.model
        xrays = self._panel.xrays.xrays()
        frontal, lateral, *views = xrays
        begunWith = asText(xrays)  # the slots are locked, but a scene that is loaded meanwhile brings its own
        self._panel.runSection.start()
        self._panel.lock(True)
        try:
            with slicer.util.tryWithErrorDisplay(_("The reconstruction could not be started.")):
                self.run = self._panel.logic.reconstruct(
                    frontal,
                    lateral,
                    views=[view for view in views if view is not None],
                    onProgress=self._onProgress,
                    onFinished=lambda run: self._onFinished(run, arguments, begunWith),
                    onError=self._onError,
                    onLog=self._panel.runSection.log,
                    **arguments,
                )
        finally:
            if self.run is None:
                self._panel.lock(False)
                self._panel.runSection.idle()

    def arguments(self) -> dict:
        """How to reconstruct, as the panel says; of ``ReconstructionLogic.reconstruct``."""
        parameters = self._panel.parameters
        return {
            "product": parameters.product,
            "steps": parameters.steps or None,
            "samples": parameters.samples,
            "seed": parameters.seed,
            "preset": parameters.preset,
            "device": self._panel.model.device,
            "bundle": self._panel.model.bundle(),
            "into": nodeOf(parameters, "output"),
        }

    def cancel(self) -> None:
        """Stop the reconstruction."""
        if self.run is not None:
            self.run.cancel()

    def forgetDeleted(self) -> None:
        """What is said of the last volume goes with it, whoever deletes it."""
        if self.made is None or slicer.mrmlScene.IsNodePresent(self.made[0]):
            return
        line, self.made = self.made[1], None
        if self._panel.ui.stageLabel.text == line:
            self._panel.runSection.say("")

    def takeOffer(self, changes: dict) -> None:
        """Try again as an error proposed; the panel shows what changed, save the device, which is the machine's.

        This computer in place of a server is tried only where it can compute, and has the model that the server took.
        """
        if "computer" in changes:
            self._computeHere()
            return
        kept = {name: value for name, value in changes.items() if name in self._panel.parameters.allParameters}
        for name, value in kept.items():
            self._panel.parameters.setValue(name, value)
        self.reconstruct(**changes)

    def _computeHere(self) -> None:
        panel, model = self._panel, self._model
        panel.server.useThisComputer()
        if model is not None and not panel.model.chooseSame(model):
            words = _(
                "This computer does not have the model {id} {version} that the server took: choose one, then click."
            )
            panel.runSection.say(words.format(id=model.id, version=model.version), "caution")
        elif panel.ui.reconstructButton.enabled:
            self.reconstruct()

    def _onProgress(self, run) -> None:
        if run is self.run:
            self._panel.runSection.progress(run)
            self._panel.model.gauges.show(run.load)

    def _onFinished(self, run, arguments: dict, begunWith: str) -> None:
        if not self._ended(run):
            return
        panel, result = self._panel, run.result
        panel.compare.onChanged(result.volumeNode)
        panel.model.remember(arguments["product"], arguments["samples"], result)
        isOfSlots = panel.holdsXRays(begunWith)
        said, tone = verdict(result.residuals) if isOfSlots else madeFromOthers()
        done = _("Done in {seconds:.1f} s.").format(seconds=result.seconds.get("total", 0.0))
        line = f"{done} {said}".strip()
        self.made = (result.volumeNode, line)
        panel.runSection.idle(line, tone if said else "good")
        panel.showResult(result, begunWith)
        showInSlices(result.volumeNode, panel.views)
        panel.export.setReconstruction(result.volumeNode)
        panel.xrays.orientation.show(result.hanging if isOfSlots else None)

    def _onError(self, run) -> None:
        if not self._ended(run):
            return
        if run.state == "cancelled":
            self._panel.runSection.idle(_("Cancelled. The scene is as it was."))
        else:
            self._panel.runSection.idle()
            self._panel.runSection.showError(run.error)
            self._panel.server.onRunFailed(run.error)
            self._panel.dependencies.refresh()  # what was there at the start may be gone
            self._panel.model.refresh()
            self._panel.updateReadiness()

    def _ended(self, run) -> bool:
        """Whether this was the run the panel waits for; the panel can be used again."""
        if run is not self.run:
            return False
        self.run = None
        self._panel.lock(False)
        if self._panel.parameters is None:  # a scene was loaded while another module is shown
            self._panel.runSection.idle()
        return self._panel.parameters is not None
