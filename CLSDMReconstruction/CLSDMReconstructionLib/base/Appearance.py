"""Colours and wording that the panel's parts share."""

from html import escape

import qt
import slicer

TONES = {
    "muted": ("#59626b", "#a8b0b8"),
    "good": ("#1d7044", "#6fcf97"),
    "caution": ("#7a5700", "#e0b040"),
    "error": ("#b3261e", "#ff8a80"),
    "info": ("#1f5fa8", "#7fb5ea"),
}
"""Colour on Slicer's light and on its dark style; a tone that is not here leaves a label as it is."""
TONE_ROLE = 256
"""Qt::UserRole, under which a cell keeps its tone; as a number, since Qt's enumerations are not numbers everywhere."""

NOTICE_STYLE = (
    "QLabel { background: #fff3cd; color: #664d03; border: 1px solid #ffe08a; border-radius: 3px; padding: 4px; }"
)
PRIMARY_STYLE = (
    "QPushButton { font-weight: bold; border-radius: 4px; padding: 6px; color: white; background: #2e7d5b; }"
    "QPushButton:hover { background: #358c67; } QPushButton:pressed { background: #256a4c; }"
    "QPushButton:disabled { background: #8a9690; color: #dfe5e2; }"
)
CANCEL_STYLE = PRIMARY_STYLE.replace("#2e7d5b", "#a8443a").replace("#358c67", "#bb4f44").replace("#256a4c", "#8e382f")
ERROR_STYLE = NOTICE_STYLE.replace("#fff3cd", "#f8d7da").replace("#664d03", "#58151c").replace("#ffe08a", "#f1aeb5")
"""Both say background and text, so that they are read on a light and on a dark style; of labels, since what stands in a
styled frame would not follow the application's colours."""


def setTone(label, tone: str) -> None:
    """Give a label one of :data:`TONES`, or "plain"."""
    label.setProperty("tone", tone)
    label.setStyleSheet(f"QLabel {{ color: {_colour(label, tone)}; }}" if tone in TONES else "")


def setCellTone(item, tone: str) -> None:
    """Give a cell of a QTableWidget, which holds it already, one of :data:`TONES`."""
    item.setData(TONE_ROLE, tone)
    item.setForeground(qt.QBrush(qt.QColor(_colour(item.tableWidget(), tone))))


def _colour(widget, tone: str) -> str:
    onDark = slicer.app.palette(widget).window().color().lightness() < 128  # styled labels keep an old one
    return TONES[tone][onDark]


def retone(widget) -> None:
    """Give the labels and the cells in a widget their tones anew, on a style that has changed."""
    for label in slicer.util.findChildren(widget, className="QLabel"):
        if label.property("tone"):
            setTone(label, label.property("tone"))
    for table in slicer.util.findChildren(widget, className="QTableWidget"):
        places = ((row, column) for row in range(table.rowCount) for column in range(table.columnCount))
        for item in (table.item(*place) for place in places):
            if item is not None and item.data(TONE_ROLE):
                setCellTone(item, item.data(TONE_ROLE))


def keepPlain(widget) -> None:
    """Let what the labels in a widget show be text as it is, never markup; those that hold markup say so in the .ui file."""
    for label in slicer.util.findChildren(widget, className="QLabel"):
        if label.textFormat == qt.Qt.AutoText:
            label.textFormat = qt.Qt.PlainText


def tip(text: str) -> str:
    """A tooltip that shows a text as it is, also where Qt would take it for markup."""
    return f"<qt>{escape(text)}</qt>" if "<" in text else text


def elided(text: str, length: int = 34) -> str:
    """A text with its middle left out where it is long."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def sentence(text: str) -> str:
    """A message of the core as a sentence; an address, a path or a file's name at its beginning stays as it is."""
    first = text.partition(" ")[0].rstrip(":.,")
    begun = text if any(mark in first for mark in "/\\.") else text[:1].upper() + text[1:]
    return begun + ("" if text.endswith((".", "?")) else ".")
