"""Panels that fit into a narrow module area: no entry, however long, makes its selector and with it the window wide."""

import qt
import slicer

from CLSDMReconstructionLib.base.Appearance import tip as shown

LEAST_PIXELS = 60
ELIDE_MIDDLE = 2
"""Qt::ElideMiddle; as a number, since PythonQt has only ctkComboBox's property to set it by."""
_WIDE = ("QComboBox", "ctkSliderWidget", "QLineEdit")


def keepNarrow(widget) -> None:
    """Let the selectors, sliders and texts in a widget be as narrow as the panel; long names are elided."""
    for selector in slicer.util.findChildren(widget, className="qMRMLNodeComboBox"):
        _shrink(selector)
        for box in slicer.util.findChildren(selector, className="ctkComboBox"):
            _shrink(box)
            box.setProperty("elideMode", ELIDE_MIDDLE)
        selector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node, each=selector, tip=selector.toolTip: _name(each, node, tip)
        )
    for kind in _WIDE:
        for each in slicer.util.findChildren(widget, className=kind):
            _shrink(each)
    for label in slicer.util.findChildren(widget, className="QLabel"):
        if label.wordWrap:
            label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)


def _shrink(widget) -> None:
    """A stated minimum is used in place of the one that a widget asks for."""
    widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
    widget.minimumWidth = LEAST_PIXELS


def _name(selector, node, tip: str) -> None:
    selector.toolTip = tip if node is None else shown(f"{node.GetName()}\n\n{tip}")
