"""Files and nodes dragged onto a widget."""

import qt
import slicer
import vtk


class DropFilter(qt.QObject):
    """An event filter that takes what is dropped on a widget and calls ``onDrop(sources)`` with paths or nodes.

    ``onResize()`` is called when the widget has another size.
    """

    def __init__(self, onDrop, onResize) -> None:
        super().__init__()
        self.onDrop, self.onResize = onDrop, onResize

    def eventFilter(self, watched, event) -> bool:
        """Qt calls this for every event of the widget."""
        kind = event.type()
        if kind == qt.QEvent.Resize:
            self.onResize()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        sources = droppedSources(event.mimeData())
        if not sources:
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            self.onDrop(sources)
        return True


def droppedSources(mime) -> list:
    """Paths of local files and folders, or volume nodes from the subject hierarchy, in the order they were dragged."""
    if not mime.hasUrls():
        return []
    return [*droppedNodes(mime), *[url.toLocalFile() for url in mime.urls() if url.isLocalFile()]]


def droppedNodes(mime) -> list:
    """Volume nodes that are dragged from Slicer's Data module."""
    items = vtk.vtkIdList()
    slicer.qMRMLUtils().mimeDataToSubjectHierarchyItemIDs(mime, items)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    nodes = [hierarchy.GetItemDataNode(items.GetId(index)) for index in range(items.GetNumberOfIds())]
    return [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
