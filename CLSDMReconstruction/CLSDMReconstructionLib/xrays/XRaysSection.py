"""The section "X-rays": two slots and more on demand, found in pairs, swapped, and shown as the network sees them."""

import numpy as np
import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Pictures
from CLSDMReconstructionLib.base.Appearance import setTone
from CLSDMReconstructionLib.base.Dropping import DropFilter
from CLSDMReconstructionLib.xrays.Facts import checkTogether, pairNotes
from CLSDMReconstructionLib.xrays.Inputs import MAX_VIEWS
from CLSDMReconstructionLib.xrays.OrientationCheck import OrientationCheck
from CLSDMReconstructionLib.xrays.PairFinder import PairFinder
from CLSDMReconstructionLib.xrays.XRaySlotWidget import XRaySlotWidget

PREVIEW_DELAY_MS = 150
SLOT_PIXELS = {True: 200, False: 160}
"""Least width of a slot beside another, with its geometry and without; else they stand one below the other."""


class XRaysSection:
    """The X-rays of the panel.

    Attributes:
        slots: frontal, lateral, and further views.
        pair: the PairFinder.
        orientation: the OrientationCheck.
    """

    def __init__(self, ui, logic, slotFile: str, onChanged) -> None:
        """``onChanged()`` after every change by the user."""
        self.ui, self._logic, self._slotFile, self._onChanged = ui, logic, slotFile, onChanged
        self._noPreview, self._preset, self._bundle, self._columns = "", "chest", None, 2
        self.slots: list[XRaySlotWidget] = []
        self._notes: list[str] = []  # on what was left out when the slots were filled
        self._stale: list[XRaySlotWidget] = []
        self.pair = PairFinder(ui.pairButton, self._say, self._onPair, self._onNotes)
        self._runs: dict[XRaySlotWidget, object] = {}
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)  # PythonQt has no property singleShot: the static method hides it
        self._timer.setInterval(PREVIEW_DELAY_MS)
        self._timer.connect("timeout()", self._requestPreviews)
        self.orientation = OrientationCheck(ui, lambda: self.slots, self.swap, lambda: self._changed())
        self._addSlot("frontal", _("Frontal"))
        self._addSlot("lateral", _("Lateral"))
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        self._resizes = DropFilter(lambda sources: self.pair.among(sources), self._onResize)
        self.ui.slotArea.acceptDrops = True
        self.ui.slotArea.installEventFilter(self._resizes)
        self.ui.swapButton.connect("clicked()", self.swap)
        self.ui.addViewButton.connect("clicked()", self.addView)
        self.ui.geometryCheckBox.connect("toggled(bool)", self._showGeometry)

    def cleanup(self) -> None:
        """Stop asking for previews."""
        self.pair.stop()
        self.ui.slotArea.removeEventFilter(self._resizes)
        self._timer.stop()
        self._stale = []
        for slot in self.slots:
            slot.cleanup()

    # --- slots ---

    def _addSlot(self, role: str, title: str) -> XRaySlotWidget:
        removed = self._removeView if role == "view" else None
        slot = XRaySlotWidget(role, title, self._slotFile, self._onSlotChanged, self._onSeveralDropped, removed)
        slot.setPreset(self._preset)
        slot.setGeometryVisible(self.ui.geometryCheckBox.checked)
        self.slots.append(slot)
        self._layOut()
        return slot

    def _layOut(self) -> None:
        for number, slot in enumerate(self.slots):
            self.ui.slotArea.layout().addWidget(slot.widget, *divmod(number, self._columns))
            if slot.role == "view":
                slot.ui.titleLabel.text = "<b>{}</b>".format(_("View {number}").format(number=number + 1))
        for column in (0, 1):
            self.ui.slotArea.layout().setColumnStretch(column, int(column < self._columns))
        self.ui.addViewButton.enabled = len(self.slots) < MAX_VIEWS

    def _onResize(self) -> None:
        columns = 2 if self.ui.slotArea.width >= 2 * SLOT_PIXELS[self.ui.geometryCheckBox.checked] else 1
        if columns != self._columns:
            self._columns = columns
            self._layOut()

    def addView(self) -> XRaySlotWidget:
        """One more slot."""
        return self._addSlot("view", "")

    def _removeView(self, slot: XRaySlotWidget) -> None:
        self._dropSlot(slot)
        self._changed()

    def _dropSlot(self, slot: XRaySlotWidget) -> None:
        self.slots.remove(slot)
        self._runs.pop(slot, None)
        slot.cleanup()
        self.ui.slotArea.layout().removeWidget(slot.widget)
        slot.widget.hide()
        slot.widget.deleteLater()
        self._layOut()

    # --- what the user does ---

    def swap(self) -> None:
        """Exchange frontal and lateral; an angle that was typed stays with its X-ray."""
        first, second = (slot.xray for slot in self.slots[:2])
        self._fill([second, first])

    def _onSeveralDropped(self, slot: XRaySlotWidget, sources: list) -> None:
        self.pair.among(sources, lambda pair: self._fillFrom(slot, sources, pair))

    def _fillFrom(self, slot: XRaySlotWidget, sources: list, pair: list) -> None:
        """A folder with one X-ray in it, dropped on a slot, fills that slot, as its file would."""
        found = [xray for xray in pair if xray is not None]
        if len(sources) == len(found) == 1 and slot in self.slots:
            found[0].role = slot.role
            slot.take(found[0])
        else:
            self._onPair(pair)

    def _onPair(self, pair: list) -> None:
        """A pair was found: further views were beside another."""
        for slot in self.slots[2:]:
            self._dropSlot(slot)
        self._fill(pair)

    def _onNotes(self, notes: list[str]) -> None:
        self._notes = notes
        self._say(*self._pairMessage())

    def _fill(self, pair: list) -> None:
        for slot, xray in zip(self.slots, pair, strict=False):
            if xray is not None:
                xray.role = slot.role
            slot.setXRay(xray)
        self._changed()

    def _onSlotChanged(self, slot: XRaySlotWidget) -> None:
        self._changed(slot)

    def _changed(self, slot: XRaySlotWidget | None = None) -> None:
        self.pair.stop()
        self._notes = []
        self.refresh(slot)
        if any(slot.needsALook() for slot in self.slots):
            self.ui.geometryCheckBox.checked = True
        self._onChanged()

    def _showGeometry(self, visible: bool) -> None:
        self._onResize()
        for slot in self.slots:
            slot.setGeometryVisible(visible)

    # --- what the panel does ---

    def xrays(self) -> list:
        """An ``XRayInput`` or None for each slot."""
        return [slot.xray for slot in self.slots]

    def setXRays(self, xrays: list) -> None:
        """Show X-rays as the scene has them, without a callback."""
        self.pair.stop()
        self._notes = []
        for slot in self.slots[2:]:
            self._dropSlot(slot)
        for _extra in xrays[2:]:
            self.addView()
        for slot, xray in zip(self.slots, [*xrays, None, None], strict=False):
            slot.setXRay(xray)
        self.refresh()

    def setContext(self, preset: str, bundle) -> None:
        """Geometry preset and model, on which values and previews depend."""
        if (preset, bundle) != (self._preset, self._bundle):
            self._preset, self._bundle = preset, bundle
            for slot in self.slots:
                slot.setPreset(preset)
            self.refresh()

    def setNoPreview(self, reason: str) -> None:
        """Why the worker cannot make previews (torch is missing, the server does not answer); "" where it can."""
        before, self._noPreview = self._noPreview, reason
        if before and not reason:
            self.refresh()
        elif reason != before:
            for slot in self.slots:
                if slot.xray is not None and not slot.problem() and not slot.hasPreview():
                    slot.setPreview(None, reason)

    def refresh(self, slot: XRaySlotWidget | None = None) -> None:
        """Look at the pair again, and ask for new previews of one slot or of all."""
        self.orientation.clear()
        self._say(*self._pairMessage())
        for one in [slot] if slot is not None else self.slots:
            if one not in self._stale:
                self._stale.append(one)
        self._timer.start()

    def problem(self) -> str:
        """Why the X-rays cannot be reconstructed yet, or ""."""
        filled = [slot for slot in self.slots if slot.xray is not None]
        if not filled:
            return _("Choose a frontal or a lateral X-ray first.")
        for slot in filled:
            problem, title = slot.problem(), self._title(slot)
            if problem:
                return problem if problem.startswith(title) else f"{title}: {problem}"
        return checkTogether([slot.facts for slot in filled])[0]

    def _title(self, slot: XRaySlotWidget) -> str:
        return slot.title or _("View {number}").format(number=self.slots.index(slot) + 1)

    def _pairMessage(self) -> tuple[str, str]:
        filled = [slot for slot in self.slots if slot.facts is not None]
        facts, notes = [slot.facts for slot in filled], pairNotes([(self._title(slot), slot.facts) for slot in filled])
        notes = (*self._notes, *notes)
        if len(facts) == 1:
            text = _("With one view, depth along its rays is a guess. A second one, at 90°, helps most.")
            return "\n".join((text, *notes)), "caution" if notes else "muted"
        problem, warnings = checkTogether(facts)
        return (problem, "error") if problem else ("\n".join((*warnings, *notes)), "caution")

    def _say(self, text: str, tone: str) -> None:
        self.ui.pairLabel.text = text
        self.ui.pairLabel.visible = bool(text)
        setTone(self.ui.pairLabel, tone)

    # --- previews ---

    def _requestPreviews(self) -> None:
        stale, self._stale = self._stale, []
        for slot in stale:
            if slot in self.slots and slot.xray is not None and not slot.problem():
                self._requestPreview(slot)

    def _requestPreview(self, slot: XRaySlotWidget) -> None:
        if self._noPreview:
            slot.setPreview(None, self._noPreview)
            return
        if not slot.hasPreview():
            slot.setPreview(None, _("Preparing the preview…"))
        self._runs[slot] = None
        self._runs[slot] = self._logic.preview(
            slot.xray,
            bundle=self._bundle,
            preset=self._preset,
            slot=f"slot {self.slots.index(slot)}",
            onFinished=lambda run, slot=slot: self._onPreview(slot, run),
            onError=lambda run, slot=slot: self._onNoPreview(slot, run),
        )

    def _isCurrent(self, slot: XRaySlotWidget, run) -> bool:
        return slot in self.slots and self._runs.get(slot) in (None, run) and slot.xray is not None

    def _onPreview(self, slot: XRaySlotWidget, run) -> None:
        if self._isCurrent(slot, run):
            slot.setPreview(Pictures.withMask(run.result.image, np.asarray(run.result.mask, dtype=bool)))

    def _onNoPreview(self, slot: XRaySlotWidget, run) -> None:
        if self._isCurrent(slot, run) and run.state != "cancelled":
            slot.setPreview(None, run.error.message)
            if (
                run.error.kind == "input" and not slot.problem()
            ):  # what only the pixels tell: a file cut short, no contrast
                slot.setFault(run.error.message)
                self._onChanged()
