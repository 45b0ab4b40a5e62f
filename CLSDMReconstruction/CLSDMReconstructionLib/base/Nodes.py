"""Nodes of any kind: putting them into the scene, taking them out, and not taking another for one that was deleted."""

from collections.abc import Iterable

import slicer
import vtk


def addToScene(nodes: Iterable, parentItem: int = 0, window: tuple[float, float] | None = None) -> None:
    """Put nodes with default display nodes into the scene, all of them or none, and under a subject hierarchy item.

    Args:
        nodes: in no scene yet.
        parentItem: 0 for none.
        window: (window, level) of volumes; without it Slicer looks for one, for 0.2 s in a volume of 35 million voxels.
    """
    added = []
    try:
        for node in nodes:
            node.SetName(slicer.mrmlScene.GetUniqueNameByString(node.GetName()))
            added.append(slicer.mrmlScene.AddNode(node))
            if window is not None:
                _displayIn(node, window)
            node.CreateDefaultDisplayNodes()
            keepFromUndo(node)
            putUnder(node, parentItem)
    except BaseException:
        for node in added:
            removeFromScene(node)
        raise


def keepFromUndo(*nodes) -> None:
    """Have Slicer's Undo leave nodes alone, with what displays and stores them, even where their kind can be undone.

    Of nodes that refer to each other Slicer restores all or none; those of this module refer to volumes and views that it
    would not restore.
    """
    for node in nodes:
        node.UndoEnabledOff()
        for each in _partsOf(node) if node.IsA("vtkMRMLDisplayableNode") else ():
            each.UndoEnabledOff()


def keepFromSaving(*nodes) -> None:
    """Have no scene keep nodes, with what displays and stores them: what is made anew with a click, and owned by a panel."""
    for node in nodes:
        for each in (node, *(_partsOf(node) if node.IsA("vtkMRMLDisplayableNode") else ())):
            each.SetSaveWithScene(False)


def _partsOf(node) -> list:
    """What displays and stores a node."""
    display = [node.GetNthDisplayNode(at) for at in range(node.GetNumberOfDisplayNodes())]
    return [each for each in (*display, node.GetStorageNode()) if each is not None]


def _displayIn(node, window: tuple[float, float]) -> None:
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*window)
    display.SetDefaultColorMap()
    slicer.mrmlScene.AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())


def subjectHierarchy():
    """The scene's subject hierarchy node, or None."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def studyItem(nodes: Iterable, studyUid: str = "") -> int:
    """The subject hierarchy item of the study that the first of ``nodes``, or else the UID, belongs to; 0 for none."""
    tree = subjectHierarchy()
    if tree is None:
        return 0
    for node in nodes:
        item = tree.GetItemByDataNode(node)
        parent = tree.GetItemParent(item) if item else 0
        if parent and parent != tree.GetSceneItemID():
            return parent
    return tree.GetItemByUID("DICOM", studyUid) if studyUid else 0


def putUnder(node, parentItem: int) -> None:
    """Put a node in the scene under a subject hierarchy item; nothing for item 0."""
    tree = subjectHierarchy()
    item = tree.GetItemByDataNode(node) if tree is not None and parentItem else 0
    if item:
        tree.SetItemParent(item, parentItem)


def removeFromScene(node) -> None:
    """Take a node out again with its display and storage nodes.

    The node goes first: a volume that a view shows would else get another display, for which Slicer looks at every voxel.
    """
    for each in (node, *_partsOf(node)):
        if each.GetScene() is not None:  # what a node shows or stores may go with it
            slicer.mrmlScene.RemoveNode(each)


def remove(*nodes) -> None:
    """Remove those of the nodes that are still in the scene, with what displays and stores them."""
    for node in nodes:
        if node is None or node.GetScene() is None:
            continue
        if node.IsA("vtkMRMLDisplayableNode"):
            removeFromScene(node)
        else:
            slicer.mrmlScene.RemoveNode(node)


class Chosen:
    """Node selectors that show nothing when their node is deleted; left alone, they turn to the node listed before it.

    Args:
        selectors: of class qMRMLNodeComboBox.
    """

    def __init__(self, *selectors) -> None:
        self._selectors, self._scene, self._tag = selectors, None, None

    def watch(self, scene) -> None:
        """Watch this scene and no other; None for none."""
        if self._scene is not None:
            self._scene.RemoveObserver(self._tag)
        self._scene = scene
        if scene is not None:
            self._tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onRemoved)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onRemoved(self, _scene, _event, node) -> None:
        for selector in self._selectors:
            if node is not None and selector.currentNode() is node:
                selector.setCurrentNode(None)
