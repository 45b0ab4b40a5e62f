"""Numbers that a user types: lengths with or without a unit, and a comma where others write a point."""

import re
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_LENGTH = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+))\s*([a-z]*)\.?", re.IGNORECASE)
_THOUSAND = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""What some read as a thousand and others as one and a fraction."""


def lengthOf(text: str, unit: str) -> float:
    """A length in mm as it was typed: 35, 35 cm, 350 mm, 35,0.

    Args:
        text: typed.
        unit: of ``UNITS_MM``, where none was typed.

    Raises:
        ValueError: it is no length, or may be read in two ways; the message says what is expected.
    """
    text = text.strip()
    if not text:
        raise ValueError(_("Nothing was typed. A length is expected, such as 35 cm or 350 mm."))
    found = _LENGTH.fullmatch(text)
    factor = None if found is None else UNITS_MM.get((found[2] or unit).lower())
    if found is None or factor is None:
        raise ValueError(
            _("“{text}” is no length. One in mm or cm is expected, such as 350 mm or 35 cm.").format(text=text)
        )
    if _THOUSAND.fullmatch(found[1]):
        raise ValueError(
            _("“{text}” may be {one} or {other}. Write it with a point, or without the comma.").format(
                text=text, one=found[1].replace(",", "."), other=found[1].replace(",", "")
            )
        )
    value = float(found[1].replace(",", ".")) * factor
    if value <= 0.0:
        raise ValueError(_("“{text}” is no length. It must be more than 0.").format(text=text))
    return value


def askLength(
    parent, title: str, question: str, text: str, unit: str, check: Callable[[float], object] | None = None
) -> float | None:
    """Ask for a length until one is typed; what is wrong with an answer stands above the question that is asked again.

    Args:
        parent: widget.
        title: of the dialog.
        question: names the unit.
        text: that stands in it.
        unit: of ``UNITS_MM``, where none is typed.
        check: takes the length in mm, and raises ValueError where it cannot be.

    Returns:
        The length in mm; None where the question was cancelled.
    """
    wrong, typed = "", text
    while True:
        answer = _ask(parent, title, f"{wrong}\n\n{question}" if wrong else question, typed)
        if answer is None:
            return None
        try:
            length = lengthOf(answer, unit)
            if check is not None:
                check(length)
        except ValueError as error:
            wrong, typed = str(error), answer
        else:
            return length


def _ask(parent, title: str, question: str, text: str) -> str | None:
    """What was typed, None for Cancel, which getText does not tell from an empty text: PythonQt gives no ``ok``."""
    dialog = qt.QInputDialog(parent)
    dialog.setWindowTitle(title)
    dialog.setLabelText(question)
    dialog.setTextValue(text)
    isTyped = dialog.exec_() == qt.QDialog.Accepted
    answer = dialog.textValue()
    dialog.deleteLater()
    return answer if isTyped else None


class DecimalComma(qt.QObject):
    """A comma typed into a spin box is its decimal point; Slicer's locale, C, would drop it, and make 5 of 0,5.

    What is typed behind either in a box for whole numbers is dropped with it: it would make 1505 of 150.5. A text with a comma
    that is pasted is not taken.

    Args:
        box: QDoubleSpinBox.
    """

    def __init__(self, box) -> None:
        super().__init__()
        self._line = slicer.util.findChild(box, "qt_spinbox_lineedit")
        self._isWhole, self._isBehind = box.decimals == 0, False
        # A point for decimals, like C's, and no comma for thousands, which Qt drops before it reads a number
        box.setLocale(qt.QLocale(qt.QLocale.German, qt.QLocale.Switzerland))
        box.installEventFilter(self)

    def eventFilter(self, watched, event) -> bool:
        """Qt calls this for every event of the box."""
        if event.type() == qt.QEvent.FocusOut:
            self._isBehind = False
        if event.type() != qt.QEvent.KeyPress:
            return False
        typed = event.text()
        if self._isWhole:
            self._isBehind = typed in (",", ".") or (self._isBehind and typed.isdigit())
            return self._isBehind
        if typed == ",":
            self._line.insert(".")
        return typed == ","
