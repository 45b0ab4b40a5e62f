"""The section "Model": which network, what it makes, on which device, and how long that will take."""

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import setTone, tip
from CLSDMReconstructionLib.panel.Gauges import Gauges
from CLSDMReconstructionLib.panel.Parameters import PRESETS
from CLSDMReconstructionLib.panel.Timing import Timing, inWords
from CLSDMReconstructionLib.worker.ModelStore import namesOf
from CLSDMReconstructionLib.xrays.Simulation import presets

DEVICE_SETTING = "CLSDMReconstruction/device"


class ModelSection:
    """The model and how it is used.

    Attributes:
        models: what can be chosen, in the order of the selector.
        timing: how long reconstructions took.
        gauges: how busy the computer is.
    """

    def __init__(self, ui, logic, onChanged, onMessage, search) -> None:
        """``onChanged()``: another model or device; ``onMessage(text, isError)`` for news; ``search()`` opens the search."""
        self._search = search
        self.ui, self._logic, self._onChanged, self._onMessage = ui, logic, onChanged, onMessage
        self.models: list = []
        self.timing, self.gauges = Timing(), Gauges(ui, logic.server)
        self._wanted, self._updating, self._parameters = "", False, None
        self._devices = [{"name": "auto", "label": ""}, {"name": "cpu", "label": ""}]
        self._buildMenu()
        ui.modelSelector.connect("currentIndexChanged(int)", self._onModel)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._onDevice)
        ui.advancedSection.connect("contentsCollapsed(bool)", self._onAdvanced)
        self._fillDevices()
        self.refresh()

    def _buildMenu(self) -> None:
        self._menu = qt.QMenu(self.ui.modelMenuButton)
        for text, slot in (
            (_("Search models…"), self._search),
            (_("Add from a file…"), self.addFromFile),
            (_("Add from a folder…"), self.addFromFolder),
            (_("Add from a URL…"), self.addFromUrl),
            (_("Open the folder of models"), self._logic.models.openFolder),
        ):
            self._menu.addAction(text).connect("triggered()", slot)
        self._deleteAction = self._menu.addAction(_("Delete this model…"))
        self._deleteAction.connect("triggered()", self.delete)
        self.ui.modelMenuButton.setMenu(self._menu)

    # --- the model ---

    @property
    def model(self):
        """The chosen ``Model``, or None where there is none."""
        index = self.ui.modelSelector.currentIndex
        return self.models[index] if 0 <= index < len(self.models) else None

    def bundle(self):
        """The argument ``bundle`` of ``reconstruct``."""
        return None if self.model is None else str(self.model.path)

    def refresh(self, wanted: str | None = None) -> None:
        """List the models again; choose ``wanted`` (a key or an id, "" for the default) or keep the choice."""
        self._wanted = self._wanted if wanted is None else wanted
        self.models = self._logic.listModels()
        names = namesOf(self.models)
        self._updating = True
        self.ui.modelSelector.clear()
        for name, model in zip(names, self.models, strict=True):
            self.ui.modelSelector.addItem(self._labelOf(name, model))
        lines = (f"{name}: {purposeOf(model)}" for name, model in zip(names, self.models, strict=True))
        self.ui.modelSelector.toolTip = tip("\n".join(lines))
        self.ui.modelSelector.currentIndex = self._indexOf(self._wanted)
        self._updating = False
        self._showDetails()

    def _labelOf(self, name: str, model) -> str:
        where = _("{id} (server)") if self._logic.server.isUsed else _("{id} (embedded)")
        return where.format(id=name) if model.embedded else name

    def _indexOf(self, wanted: str) -> int:
        """Of a key, or else of an id, as scenes of earlier versions and scripts have it; the default's where it is not here."""
        for names in ([self._keyOf(model) for model in self.models], [model.id for model in self.models]):
            if wanted in names:
                return names.index(wanted)
        return 0 if self.models else -1

    def _isMissing(self) -> bool:
        """Whether another model is wanted than is chosen."""
        return bool(self._wanted) and self.model is not None and self._wanted not in (self.model.key, self.model.id)

    def choose(self, model) -> None:
        """Use a model of the list from now on."""
        self.refresh(self._keyOf(model))
        self._onChanged()

    def chooseSame(self, model) -> bool:
        """Use the model of the list that has another computer's id, version and weights; False where there is none.

        Then that of the other computer is still the one that is wanted, and said not to be here.
        """
        identity = (model.id, model.version, model.sha256)
        same = next((each for each in self.models if (each.id, each.version, each.sha256) == identity), None)
        self.refresh(model.key if same is None else self._keyOf(same))
        self._onChanged()
        return same is not None

    @property
    def wanted(self) -> str:
        """The key or id of the model for the parameter node, also of one that is not here; "" for the default."""
        return self._wanted

    def _keyOf(self, model) -> str:
        return "" if model.embedded and model.key == self.models[0].key else model.key

    def _onModel(self, index: int) -> None:
        if not self._updating:
            self._wanted = self._keyOf(self.model)
            self._showDetails()
            self._onChanged()

    def _showDetails(self) -> None:
        model = self.model
        self._deleteAction.enabled = model is not None and not model.embedded
        if model is None:
            self.ui.modelDetails.text = _("No model is there. Add one from a file.")
            setTone(self.ui.modelDetails, "error")
            return
        self.ui.modelDetails.text = purposeOf(model)
        setTone(self.ui.modelDetails, "muted")
        if self._isMissing():
            words = _("The model {id} that was chosen is not here; this one will be used. {purpose}")
            self.ui.modelDetails.text = words.format(id=self._wanted.partition("|")[0], purpose=purposeOf(model))
            setTone(self.ui.modelDetails, "caution")
        self.ui.modelDetails.toolTip = tip(factsOf(model))
        self.showProduct()

    # --- adding and deleting ---

    def addFromFile(self) -> None:
        """Ask for an archive."""
        path = qt.QFileDialog.getOpenFileName(self.ui.modelMenuButton, _("Model"), "", _("Models (*.zip)"))
        self.add(path[0] if isinstance(path, tuple) else path)

    def addFromFolder(self) -> None:
        """Ask for a folder."""
        self.add(qt.QFileDialog.getExistingDirectory(self.ui.modelMenuButton, _("Folder with bundle.json")))

    def addFromUrl(self) -> None:
        """Ask for an address."""
        text = _("Address of the model's archive, with its hash (https://…/model.zip#sha256=…):")
        url = qt.QInputDialog.getText(self.ui.modelMenuButton, _("Add a model"), text)
        self.add(url[0] if isinstance(url, tuple) else url)

    def add(self, source: str) -> None:
        """Look at a model and, if the user agrees to what it is, add it."""
        if not source:
            return
        self._onMessage(_("Checking the model…"), False)
        self._logic.inspectModel(source, onFinished=self._onInspected, onError=self._onFailed)

    def _onInspected(self, run) -> None:
        if any(run.result.key == model.key for model in self._logic.models.list()):
            text = _("The model {id} {version} is here already.")
            self._onMessage(text.format(id=run.result.id, version=run.result.version), True)
            return
        question = _("Add this model?") + "\n\n" + factsOf(run.result)
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Add a model")):
            self._onMessage(_("No model was added."), False)
            return
        self._logic.addModel(run.result, onFinished=self._onAdded, onError=self._onFailed)

    def _onAdded(self, run) -> None:
        self.refresh(run.result.key)
        text = _("The model {id} {version} was added.")
        self._onMessage(text.format(id=run.result.id, version=run.result.version), False)
        self._onChanged()

    def _onFailed(self, run) -> None:
        if run.error is not None:
            self._onMessage(str(run.error), True)

    def delete(self) -> None:
        """Ask, and remove the chosen model from disk."""
        model = self.model
        question = _("Delete the model {id} from disk?").format(id=model.id)
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Delete a model")):
            return
        try:
            self._logic.models.delete(model)
        except (OSError, ValueError) as error:
            self._onMessage(_("The model could not be deleted: {reason}").format(reason=error), True)
        self.refresh("")
        self._onChanged()

    # --- device ---

    @property
    def device(self) -> str:
        """ "auto", "cpu" or "cuda"."""
        index = self.ui.deviceSelector.currentIndex
        return self._devices[index]["name"] if 0 <= index < len(self._devices) else "auto"

    def _fillDevices(self) -> None:
        wanted = qt.QSettings().value(DEVICE_SETTING) or "auto"
        self._updating = True
        self.ui.deviceSelector.clear()
        for device in self._devices:
            self.ui.deviceSelector.addItem(_deviceLabel(device))
        names = [device["name"] for device in self._devices]
        self.ui.deviceSelector.currentIndex = names.index(wanted) if wanted in names else 0
        self._updating = False

    def setDevices(self, devices: list[dict]) -> None:
        """Offer the devices that the worker found, with their free memory."""
        self._devices = [{"name": "auto", "label": ""}, *devices]
        self._fillDevices()
        self.gauges.setDevice(self.device, self._devices)
        self.showProduct()

    def _onDevice(self, index: int) -> None:
        if not self._updating:
            qt.QSettings().setValue(DEVICE_SETTING, self.device)
            self.gauges.setDevice(self.device, self._devices)
            self.showProduct()
            self._onChanged()

    def _onAdvanced(self, collapsed: bool) -> None:
        self.gauges.setDevice(self.device, self._devices)
        if not collapsed and not self._logic.dependencies.status().missing:
            self._logic.hello(onFinished=lambda run: self.setDevices(run.result["devices"]), onError=lambda run: None)

    # --- product ---

    def setParameters(self, parameters) -> None:
        """The scene's parameters, or None."""
        self._parameters = parameters
        for index, text in enumerate((_("Mean"), _("One sample"), _("Ensemble"))):
            self.ui.productSelector.setItemText(index, text)
        labels = presets()
        for index, name in enumerate(PRESETS):
            self.ui.presetSelector.setItemText(index, labels[name])
        self.showProduct()

    def steps(self) -> int:
        """Denoising steps of a sample as they will be made."""
        chosen = self._parameters.steps if self._parameters is not None else 0
        return chosen or (self.model.steps if self.model is not None else 1)

    def showProduct(self) -> None:
        """Say what will be made and how long it will take."""
        parameters = self._parameters
        if parameters is None or self.model is None:
            return
        product = parameters.product
        text = {
            "mean": _("Closest to the truth on average, and smooth where two views cannot decide."),
            "sample": _("One realistic volume among many that fit the X-rays."),
            "ensemble": _("The mean of several samples, with a map of where they differ."),
        }[product]
        self.ui.samplesSpinBox.enabled = product == "ensemble"
        self.ui.stepsSpinBox.enabled = self.ui.seedSpinBox.enabled = product != "mean"
        device = "cpu" if self.device == "auto" and len(self._devices) < 3 else self.device
        device, onServer = self._timed(device), self._logic.server.isUsed
        seconds, measured = self.timing.expected(self.model, product, self.steps(), parameters.samples, device)
        source = _("on this server") if onServer else _("on this computer")
        source = _("as before {where}").format(where=source) if measured else _("on two CPU cores")
        time = _("About {time}, {source}.").format(time=inWords(seconds), source=source)
        self.ui.productDetails.text = f"{text} {time}" if measured or not onServer else text
        setTone(self.ui.productDetails, "muted")

    def _timed(self, device: str) -> str:
        return f"server-{device}" if self._logic.server.isUsed else device

    def remember(self, product: str, samples: int, result) -> None:
        """Learn from a reconstruction how long the next will take."""
        device = self._timed(result.provenance.get("device", "cpu"))
        for model in self.models:
            if model.sha256 == result.provenance.get("model_sha256"):
                self.timing.remember(model, product, self.steps(), samples, device, result.seconds.get("core", 0.0))
        self._onAdvanced(self.ui.advancedSection.collapsed)
        self.showProduct()


def factsOf(model) -> str:
    """A model's facts for a person who has to agree to them."""
    return "\n".join(
        (
            _("Name: {id} {version}").format(id=model.id, version=model.version),
            _("Licence: {licence}").format(licence=model.licence),
            _("Size: {size:.1f} MB").format(size=model.bytes / 1e6),
            _("SHA-256 of the weights: {sha256}").format(sha256=model.sha256),
            purposeOf(model),
            model.notice,
        )
    )


def purposeOf(model) -> str:
    """The use of a model: the anatomy it knows, and its grid."""
    words = _("Has seen: {anatomy}. {voxels}³ voxels of {spacing:g} mm")
    return words.format(anatomy=model.anatomy or _("unknown anatomy"), voxels=model.voxels, spacing=model.spacingMm)


def _deviceLabel(device: dict) -> str:
    if device["name"] == "auto":
        return _("Automatic")
    label = device.get("label") or {"cpu": _("CPU"), "cuda": _("GPU")}.get(device["name"], device["name"])
    if device.get("free_bytes"):
        label += _(" ({free:.1f} of {total:.1f} GB free)").format(
            free=device["free_bytes"] / 1e9, total=device["total_bytes"] / 1e9
        )
    return label
