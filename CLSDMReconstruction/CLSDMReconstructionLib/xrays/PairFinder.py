"""The button "Find pair": frontal and lateral among files, loaded volumes, or the newest study of the DICOM database."""

from collections.abc import Callable, Iterator

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import Steps, aside
from CLSDMReconstructionLib.scene.Attributes import isUsers
from CLSDMReconstructionLib.xrays.DicomSeries import studyFiles, xraySeries
from CLSDMReconstructionLib.xrays.Facts import FolderError, suggestPair
from CLSDMReconstructionLib.xrays.Inputs import XRayInput
from CLSDMReconstructionLib.xrays.XRaySlotWidget import FILES


class PairFinder:
    """See the module's docstring.

    Args:
        button: gets the menu.
        say: takes a line and its tone.
        fill: takes what was found: an ``XRayInput`` or None for frontal and for lateral.
        note: takes sentences on what was left out of it, after ``fill``.
    """

    def __init__(
        self,
        button,
        say: Callable[[str, str], None],
        fill: Callable[[list], None],
        note: Callable[[list[str]], None],
    ) -> None:
        self._button, self._say, self._fill, self._note = button, say, fill, note
        self._search: Steps | None = None
        self._nothing = ""  # what is said where nothing is found
        self._menu = qt.QMenu(button)
        for text, slot in (
            (_("From image files…"), self.fromFiles),
            (_("From the loaded volumes"), self.fromNodes),
            (_("From the newest study in the DICOM database"), self.fromDatabase),
            (_("Localizers of the loaded CT"), self.fromLocalizers),
        ):
            self._menu.addAction(text).connect("triggered()", slot)
        button.setMenu(self._menu)

    @property
    def isLooking(self) -> bool:
        """Whether a pair is being looked for."""
        return self._search is not None

    def fromFiles(self) -> None:
        """Choose several files and let frontal and lateral be found among them."""
        pattern = _("X-ray images ({patterns});;All files (*)").format(patterns=FILES)
        names = qt.QFileDialog.getOpenFileNames(self._button, _("X-ray images"), "", pattern)
        names = names[0] if isinstance(names, tuple) and len(names) == 2 and not isinstance(names[0], str) else names
        if names:
            self.among(list(names))

    def fromNodes(self) -> None:
        """Find frontal and lateral among the loaded volumes."""
        self.among(loadedXRays(), nothing=_("No X-ray is loaded: none of the volumes is a single image."))

    def fromDatabase(self) -> None:
        """Find frontal and lateral in the newest study that holds X-rays."""
        notes: list[str] = []
        self._look(_newestPair(notes), notes=notes, nothing=_("The DICOM database holds no X-ray."))

    def fromLocalizers(self) -> None:
        """Take the localizers (scouts, topograms) that the loaded CT was planned on."""
        cts = loadedCts()
        if cts:
            self._look(_localizers(cts), nothing=_("No localizers were found in the study of the loaded CT."))
        else:
            self.stop()
            self._say(_("Load the CT first."), "caution")

    def among(self, candidates: list, fill: Callable[[list], None] | None = None, nothing: str = "") -> None:
        """Find them among paths, folders or nodes, for ``fill`` in place of the usual one; ``nothing`` is said of none."""
        notes: list[str] = []
        self._look(suggestPair(candidates, notes), fill, notes, nothing)

    def stop(self) -> None:
        """Look no further."""
        search, self._search = self._search, None
        if search is not None:
            search.cancel()

    def _look(
        self,
        steps: Iterator[float],
        fill: Callable[[list], None] | None = None,
        notes: list[str] | None = None,
        nothing: str = "",
    ) -> None:
        self.stop()
        self._nothing = nothing or _("No X-ray was found there.")
        self._say(_("Looking for a pair…"), "muted")
        self._search = Steps(steps, lambda pair: self._onPair(pair, fill or self._fill, notes or []), self._onError)

    def _onPair(self, pair: tuple, fill: Callable[[list], None], notes: list[str]) -> None:
        self._search = None
        if pair == (None, None):
            self._say(self._nothing, "caution")
        else:
            fill(list(pair))
            self._note(notes)

    def _onError(self, error: Exception) -> None:
        self._search = None
        self._say(str(error) if isinstance(error, FolderError) else self._nothing, "caution")


def loadedXRays() -> list:
    """The loaded volumes that are single images."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in volumes if node.GetImageData() and 1 in node.GetImageData().GetDimensions()]


def loadedCts() -> list:
    """The loaded volumes of several slices that are none of ours."""
    xrays, volumes = loadedXRays(), slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in volumes if node.GetImageData() and node not in xrays and isUsers(node)]


def _localizers(cts: list) -> Iterator[float]:
    """Those of the first of these CTs that has any."""
    ensureCore()
    from clsdm.xray.scouts import localizer_files

    for number, node in enumerate(cts):
        yield number / len(cts)
        bounds = [0.0] * 6
        node.GetRASBounds(bounds)
        files = studyFiles(node)
        found = yield from aside(lambda files=files, bounds=bounds: localizer_files(files, (bounds[4], bounds[5])))
        if found != (None, None):
            roles = zip(found, ("frontal", "lateral"), strict=True)
            return tuple(None if path is None else XRayInput(path=str(path), role=role) for path, role in roles)
    return None, None


def _newestPair(notes: list[str]) -> Iterator[float]:
    """The pair in the newest study of the DICOM database that holds X-rays; ``notes`` gets which study that is."""
    series = yield from xraySeries(studies=1)
    notes += [_("The newest study: {study}.").format(study=one.whose) for one in series[:1]]
    return (yield from suggestPair([one.path for one in series], notes, named=False))
