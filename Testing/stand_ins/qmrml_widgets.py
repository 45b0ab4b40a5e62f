"""The qMRML widgets that the module uses, over a real MRML scene (read in Slicer, Libs/MRML/Widgets).

Like the originals they show nothing until somebody hands them the scene.
"""

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal
from vtk.util.numpy_support import vtk_to_numpy

from stand_ins.ctk_widgets import ctkComboBox


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells its children."""

    __stand_in__ = True
    mrmlSceneChanged = Signal(object)
    SIGNATURES = {"mrmlSceneChanged": ("mrmlSceneChanged(vtkMRMLScene*)",)}

    def __init__(self, *arguments: object) -> None:
        super().__init__(*[one for one in arguments if one is not None])
        self._scene = None

    def mrmlScene(self) -> object:
        return self._scene

    def setMRMLScene(self, scene: object) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


OPTIONS: dict[str, object] = {
    "nodeTypes": [],
    "showHidden": False,
    "showChildNodeTypes": True,
    "hideChildNodeTypes": [],
    "baseName": "",
    "noneEnabled": False,
    "addEnabled": True,
    "removeEnabled": True,
    "editEnabled": False,
    "renameEnabled": False,
    "noneDisplay": "None",
    "selectNodeUponCreation": True,
}


def _option(name: str) -> Property:
    """A property of the node selector that changes what it lists."""

    def write(self: QtWidgets.QWidget, value: object) -> None:
        self._values[name] = list(value) if isinstance(value, (list, tuple)) else value
        self._fill()

    kind = "QStringList" if isinstance(OPTIONS[name], list) else type(OPTIONS[name])
    return Property(kind, lambda self: self._values[name], write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Choose a node of some types from the scene."""

    __stand_in__ = True
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    SIGNATURES = {
        "currentNodeChanged": ("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"),
        "currentNodeIDChanged": ("currentNodeIDChanged(QString)",),
        "nodeActivated": ("nodeActivated(vtkMRMLNode*)",),
        "nodeAdded": ("nodeAdded(vtkMRMLNode*)",),
        "nodeAddedByUser": ("nodeAddedByUser(vtkMRMLNode*)",),
    }

    def __init__(self, *arguments: object) -> None:
        super().__init__(*[one for one in arguments if one is not None])
        self._values = dict(OPTIONS)
        self._scene, self._tags, self._attributes, self._current = None, [], [], None
        self._combo, self._ids = ctkComboBox(), []
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToContents)  # as wide as the longest name
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(self._picked)
        self._combo.activated.connect(lambda *_: self.nodeActivated.emit(self.currentNode()))

    def mrmlScene(self) -> object:
        return self._scene

    def setMRMLScene(self, scene: object) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            kind = slicer.vtkMRMLScene
            tags = [scene.AddObserver(event, self._onNode) for event in (kind.NodeAddedEvent, kind.NodeRemovedEvent)]
            ends = (kind.EndCloseEvent, kind.EndBatchProcessEvent)
            tags += [scene.AddObserver(event, self._onScene) for event in ends]
            self._tags = tags = [*tags, scene.AddObserver(kind.EndImportEvent, self._onImported)]
            self.destroyed.connect(lambda *_: [scene.RemoveObserver(tag) for tag in tags])
        self._fill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, scene: object, event: str, node: object) -> None:
        if node is None or node.GetID() in self._ids or self._fits(node):
            self._onScene()

    def _onScene(self, *_: object) -> None:
        if not self._scene.IsBatchProcessing():
            self._fill()

    def _onImported(self, *_: object) -> None:
        """All rows go and come anew (qMRMLSceneModel::updateScene), and what was chosen is chosen no longer."""
        if self._values["noneEnabled"]:
            self._choose(None)
        self._onScene()

    def _nodes(self) -> list[object]:
        if self._scene is None:
            return []
        found = []
        for number in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(number)
            if self._fits(node):
                found.append(node)
        return found

    def _fits(self, node: object) -> bool:
        types = self._values["nodeTypes"]
        inherits = self._values["showChildNodeTypes"]
        fits = any(node.IsA(kind) for kind in types) if inherits else node.GetClassName() in types
        if any(node.IsA(kind) for kind in self._values["hideChildNodeTypes"]):
            return False
        if node.GetHideFromEditors() and not self._values["showHidden"]:
            return False
        return fits and all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for kind, name, value in self._attributes
            if node.IsA(kind)
        )

    def _fill(self) -> None:
        """The nodes of the scene; the chosen one stays while it is there."""
        nodes = self._nodes()
        above = self._ids[max(0, self._ids.index(self._current) - 1)] if self._current in self._ids else None
        gone = self._current is not None and (self._scene is None or self._scene.GetNodeByID(self._current) is None)
        self._combo.blockSignals(True)
        self._combo.clear()
        self._ids = []
        if self._values["noneEnabled"]:
            self._combo.addItem(self._values["noneDisplay"])
            self._ids.append(None)
        for node in nodes:
            self._combo.addItem(node.GetName() or "")
            self._ids.append(node.GetID())
        wanted = above if gone else self._current  # Qt's combo box turns to the row above one that is removed
        wanted = wanted if wanted in self._ids else None
        if wanted is None and not self._values["noneEnabled"] and nodes:
            wanted = nodes[0].GetID()
        self._combo.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else -1)
        self._combo.blockSignals(False)
        self._choose(wanted)

    def _picked(self, index: int) -> None:
        self._choose(self._ids[index] if 0 <= index < len(self._ids) else None)

    def _choose(self, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        self.currentNodeIDChanged.emit(node_id or "")
        self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self) -> object:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: object) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else "" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        wanted = node_id or None
        if wanted in self._ids:
            self._combo.setCurrentIndex(self._ids.index(wanted))
        elif wanted is None:
            self._combo.setCurrentIndex(-1)
            self._choose(None)

    def addAttribute(self, kind: str, name: str, value: str | None = None) -> None:
        self._attributes.append((kind, name, value))
        self._fill()

    nodeTypes = _option("nodeTypes")
    showHidden = _option("showHidden")
    showChildNodeTypes = _option("showChildNodeTypes")
    hideChildNodeTypes = _option("hideChildNodeTypes")
    baseName = _option("baseName")
    noneEnabled = _option("noneEnabled")
    addEnabled = _option("addEnabled")
    removeEnabled = _option("removeEnabled")
    editEnabled = _option("editEnabled")
    renameEnabled = _option("renameEnabled")
    noneDisplay = _option("noneDisplay")
    selectNodeUponCreation = _option("selectNodeUponCreation")
    currentNodeID = Property(str, lambda self: self._current or "", lambda self, value: self.setCurrentNodeID(value))


class qMRMLUtils:
    """Conversions between VTK and Qt."""

    @staticmethod
    def vtkImageDataToQImage(image: object, picture: QtGui.QImage) -> bool:
        """RGB or grey; VTK's first row becomes the lowest."""
        width, height, _ = image.GetDimensions()
        channels = image.GetNumberOfScalarComponents()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, channels)[::-1].copy()
        kind = {1: QtGui.QImage.Format_Grayscale8, 3: QtGui.QImage.Format_RGB888, 4: QtGui.QImage.Format_RGBA8888}
        made = QtGui.QImage(pixels.data, width, height, channels * width, kind[channels]).copy()
        picture.swap(made)
        return True

    @staticmethod
    def mimeDataToSubjectHierarchyItemIDs(mime: QtCore.QMimeData, items: object) -> None:
        """Items of nodes that are dragged from the Data module."""
        items.Reset()
        for url in mime.urls():
            if url.scheme() == "mrml" and url.path() == "/subjecthierarchy/item":
                items.InsertNextId(int(QtCore.QUrlQuery(url.query()).queryItemValue("id")))


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox)
