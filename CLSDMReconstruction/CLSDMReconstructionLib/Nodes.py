"""Taking nodes out of the scene that may be gone already."""

import slicer

from CLSDMReconstructionLib import MrmlBridge


def remove(*nodes) -> None:
    """Remove those of the nodes that are still in the scene, with what displays and stores them."""
    for node in nodes:
        if node is None or node.GetScene() is None:
            continue
        if node.IsA("vtkMRMLDisplayableNode"):
            MrmlBridge.removeFromScene(node)
        else:
            slicer.mrmlScene.RemoveNode(node)
