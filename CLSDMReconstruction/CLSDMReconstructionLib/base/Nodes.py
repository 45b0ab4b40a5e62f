"""Nodes that go: taking them out of the scene, and not taking another for one that was deleted."""

import slicer
import vtk


def removeFromScene(node) -> None:
    """Take a node out again with its display and storage nodes.

    The node goes first: a volume that a view shows would else get another display, for which Slicer looks at every voxel.
    """
    display = [node.GetNthDisplayNode(at) for at in range(node.GetNumberOfDisplayNodes())]
    for each in (node, *display, node.GetStorageNode()):
        if each is not None and each.GetScene() is not None:  # what a node shows or stores may go with it
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
