"""X-rays that hang otherwise than was taken, found by the core with every reconstruction, said, and righted with one click."""

from collections.abc import Callable

from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import setTone


class OrientationCheck:
    """See the module's docstring.

    Args:
        ui: the panel's named widgets.
        slots: gives all slots, frontal and lateral first.
        swap: exchanges the X-rays of those two.
        onRighted: called when the user took what was found.
    """

    def __init__(self, ui, slots: Callable[[], list], swap: Callable[[], None], onRighted: Callable[[], None]) -> None:
        self.ui, self._slots, self._swap, self._onRighted = ui, slots, swap, onRighted
        self._found = None
        ui.foundButton.connect("clicked()", self._right)
        setTone(ui.foundLabel, "info")
        self.clear()

    def show(self, found: dict | None) -> None:
        """Say what a reconstruction of the X-rays in the slots found (``clsdm.hanging.Hanging.to_plain``, or None)."""
        self.clear()
        if found is None:
            return
        self._found = found
        named = [_("frontal and lateral are swapped")] if found["swapped"] else []
        named += [
            _inWords(slot.title, hang)
            for slot, hang in zip(self._filled(), found["hangs"], strict=True)
            if any(hang.values())
        ]
        self.ui.foundArea.visible = bool(named)
        self.ui.foundLabel.text = _("Found: {what}. The residual goes from {before} to {after}.").format(
            what="; ".join(named), before=_percent(found["residual_before"]), after=_percent(found["residual_after"])
        )

    def clear(self) -> None:
        """Say nothing."""
        self._found = None
        self.ui.foundArea.visible = False

    def _filled(self) -> list:
        return [slot for slot in self._slots() if slot.xray is not None]

    def _right(self) -> None:
        slots, found = self._filled(), self._found
        self.clear()
        for slot, hang in zip(slots, found["hangs"], strict=True):
            fields = slot.facts.fields
            if hang["turned"]:
                slot.xray.enter("rotateQuarters", (fields["rotateQuarters"].value + 2) % 4)
            if hang["mirrored"]:
                slot.xray.enter("flip", not fields["flip"].value)
            if hang["inverted"]:
                slot.xray.enter("invert", not fields["invert"].value)
            slot.refresh()
        if found["swapped"]:
            self._swap()
        self._onRighted()


def _inWords(title: str, hang: dict) -> str:
    words = [(hang["turned"], _("upside down")), (hang["mirrored"], _("mirrored")), (hang["inverted"], _("inverted"))]
    return _("{title} is {how}").format(title=title, how=", ".join(word for so, word in words if so))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
