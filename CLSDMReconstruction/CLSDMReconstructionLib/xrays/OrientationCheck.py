"""Films that hang upside down or mirrored, found by the core from the images, said, and turned with one click."""

from collections.abc import Callable

from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import setTone


class OrientationCheck:
    """See the module's docstring.

    Args:
        ui: the panel's named widgets.
        logic: the ReconstructionLogic.
        slots: gives frontal and lateral slot.
        onTurned: called when the user took what was found.
    """

    def __init__(self, ui, logic, slots: Callable[[], list], onTurned: Callable[[], None]) -> None:
        self.ui, self._logic, self._slots, self._onTurned = ui, logic, slots, onTurned
        self._run, self._checked, self._hangs = None, None, []
        ui.foundButton.connect("clicked()", self._turn)
        setTone(ui.foundLabel, "info")
        self.clear()

    def look(self, **arguments) -> None:
        """Ask the worker where a file does not say how its film lies; once for the same X-rays."""
        slots = self._slots()
        state = [None if slot.xray is None else slot.xray.toPlain() for slot in slots]
        if None in state or state == self._checked or not any(_isOpen(slot) for slot in slots):
            return
        self.clear()
        self._checked = state
        self._run = self._logic.hanging(
            *(slot.xray for slot in slots), onFinished=self._onFound, onError=lambda run: None, **arguments
        )

    def clear(self) -> None:
        """Say nothing; what is still being looked for is not heard."""
        self._run, self._checked, self._hangs = None, None, []
        self.ui.foundArea.visible = False

    def _onFound(self, run) -> None:
        if run is not self._run:
            return
        self._run, self._hangs = None, run.result["hangs"]
        named = [
            _inWords(slot.title, hang)
            for slot, hang in zip(self._slots(), self._hangs, strict=True)
            if any(hang.values())
        ]
        self.ui.foundArea.visible = bool(named)
        self.ui.foundLabel.text = _("Found: {what}. The residual falls from {before} to {after}.").format(
            what="; ".join(named),
            before=_percent(run.result["residual_before"]),
            after=_percent(run.result["residual_after"]),
        )

    def _turn(self) -> None:
        slots, hangs = self._slots(), self._hangs
        self.clear()
        for slot, hang in zip(slots, hangs, strict=True):
            fields = slot.facts.fields
            if hang["turned"]:
                slot.xray.enter("rotateQuarters", (fields["rotateQuarters"].value + 2) % 4)
            if hang["mirrored"]:
                slot.xray.enter("flip", not fields["flip"].value)
            slot.refresh()
        self._onTurned()


def _isOpen(slot) -> bool:
    """Whether neither file nor user says how a film lies."""
    return slot.facts is not None and slot.facts.header is not None and slot.facts.fields["flip"].origin == "default"


def _inWords(title: str, hang: dict) -> str:
    how = {
        (True, False): _("{title} is upside down"),
        (False, True): _("{title} is mirrored: the patient faces the other way"),
        (True, True): _("{title} is upside down and mirrored"),
    }
    return how[hang["turned"], hang["mirrored"]].format(title=title)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
