"""The nodes that belong to a reconstruction go with it, whoever deletes it."""

import slicer
import vtk

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene.Attributes import COVERAGE_ROLE, OTHERS_ROLE, SPREAD_ROLE


def belongingsOf(volume) -> list:
    """The nodes of coverage, spread and what came from other patients that a reconstruction has."""
    found = (volume.GetNodeReference(role) for role in (COVERAGE_ROLE, SPREAD_ROLE, OTHERS_ROLE))
    return [node for node in found if node is not None]


class Belongings:
    """Watches a scene for reconstructions that are deleted, and deletes what belonged to them."""

    def __init__(self) -> None:
        self._scene, self._tags = None, []
        self._leaving: dict[str, list] = {}  # what belongs to those that are just being removed, by their IDs

    def watch(self, scene) -> None:
        """Watch this scene and no other; None for none."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags, self._leaving = scene, [], {}
        if scene is not None:
            events = slicer.vtkMRMLScene
            self._tags = [
                scene.AddObserver(events.NodeAboutToBeRemovedEvent, self._onAboutToBeRemoved),
                scene.AddObserver(events.NodeRemovedEvent, self._onRemoved),
            ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onAboutToBeRemoved(self, scene, _event, node) -> None:
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and not scene.IsClosing():
            found = belongingsOf(node)
            if found:
                self._leaving[node.GetID()] = found

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onRemoved(self, _scene, _event, node) -> None:
        """Only now, for a scene that is removing a node does not expect others to go meanwhile."""
        if node is not None:
            Nodes.remove(*self._leaving.pop(node.GetID(), ()))
