"""The modules `qt` and `ctk` as Slicer has them: flat, and without what only PySide6 has."""

import sys
import types
import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets

from stand_ins import ctk_widgets, python_qt, qmrml_widgets


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with the stand-ins for Slicer's widgets, and makes its connections.

    PySide6 cannot connect `mrmlSceneChanged(vtkMRMLScene*)`, so the file's connections are made here, from its XML; one
    that names no such object, signal or slot is an error.
    """

    __stand_in__ = True

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for module in (ctk_widgets, qmrml_widgets):
            for kind in module.WIDGETS:
                self.registerCustomWidget(kind)

    def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        text = bytes(file.readAll().data()).decode("utf-8")
        tree = ET.fromstring(text)
        self._check_classes(tree)
        connections = tree.find("connections")
        wanted = [] if connections is None else [{part.tag: part.text for part in one} for one in connections]
        if connections is not None:
            tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(tree))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        for one in wanted:
            sender, receiver = (_named(widget, one[end]) for end in ("sender", "receiver"))
            sender.connect(one["signal"], getattr(receiver, one["slot"].partition("(")[0]))
        return widget

    def _check_classes(self, tree: ET.Element) -> None:
        known = set(self.availableWidgets()) | {"Line"}
        for element in tree.iter("widget"):
            if element.get("class") not in known:
                raise ValueError(f"{element.get('name')}: there is no stand-in for {element.get('class')}")


def _named(root: QtWidgets.QWidget, name: str) -> QtCore.QObject:
    found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise ValueError(f"the .ui file connects {name!r}, which it does not have")
    return found


def install() -> None:
    """Put `qt` and `ctk` into `sys.modules`."""
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in python_qt.MODULES:
        for name in dir(module):
            if not name.startswith("_") and name not in python_qt.NOT_IN_PYTHONQT:
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = QUiLoader
    for kind in ctk_widgets.WIDGETS:
        setattr(ctk, kind.__name__, kind)
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
