"""What the reconstruction's row shows: it alone or with a layer, or over the true CT by fader, checkerboard and curtain.

Both volumes share one window.
"""

from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.compare.Difference import AIR_HU, WINDOWS, hideBelow
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE
from CLSDMReconstructionLib.scene.Sampling import asArray, ijkToWorld

NORMALS = {"Sagittal": 0, "Coronal": 1, "Axial": 2}
"""The axis of RAS across each plane."""

NOT_SHOWN = -1.0e6
"""Voxels of a pattern that hold nothing; so far off that what is interpolated beside them is not shown either."""


class SharedWindow:
    """Keeps the window of volumes the same, whichever of them is changed; gives each its own back at the end."""

    def __init__(self) -> None:
        self._members: list[tuple[object, int, tuple[float, float, int]]] = []  # display, observer, before
        self._copying = False

    def start(self, nodes) -> None:
        """Share the window of these volume nodes, beginning with the last one's."""
        self.stop()
        for node in reversed(nodes):
            self.add(node)

    def add(self, node) -> None:
        """Let one more volume node have the shared window."""
        display = node.GetDisplayNode()
        before = (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel())
        if self._members:
            self._copy(self._members[0][0], display)
        self._members.append((display, display.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified), before))

    def set(self, window: float, level: float) -> None:
        """Set the window of all."""
        for display, _, _ in self._members[:1]:
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(window, level)

    def get(self) -> tuple[float, float]:
        """(window, level); of the whole range where nothing is shared."""
        if not self._members:
            return WINDOWS["Whole range"]
        return self._members[0][0].GetWindow(), self._members[0][0].GetLevel()

    def stop(self) -> None:
        """Stop sharing and restore what was there before."""
        members, self._members = self._members, []
        for display, observer, (window, level, auto) in members:
            display.RemoveObserver(observer)
            display.SetWindowLevel(window, level)
            display.SetAutoWindowLevel(auto)

    def _onModified(self, changed, _event) -> None:
        if self._copying:
            return
        self._copying = True
        try:
            for display, _, _ in self._members:
                if display is not changed:
                    self._copy(changed, display)
        finally:
            self._copying = False

    @staticmethod
    def _copy(source, target) -> None:
        target.SetAutoWindowLevel(False)
        target.SetWindowLevel(source.GetWindow(), source.GetLevel())


class Overlay:
    """The truth under the reconstruction in its row: faded in, in a checkerboard, or behind a curtain.

    It alone says what the row's views show. A layer is laid over the reconstruction where that stands alone.

    Fading is the opacity of the reconstruction. Checkerboard and curtain are copies of the reconstruction that hold
    nothing where the truth is to be seen, one for each plane: on the reconstruction's own, coarse grid such a copy takes
    milliseconds, the first time some ten of them.
    """

    MODES = ("Side by side", "Fade", "Checkerboard", "Curtain")
    SQUARE_MM = 48.0

    def __init__(self, layout, window: SharedWindow) -> None:
        self._layout, self._window = layout, window
        self._patterns: dict[str, object] = {}
        self._volumes = (None, None)
        self.layer = self.layerOf = None  # a layer's volume node, and the reconstruction that it belongs to

    def start(self, truth, reconstruction) -> None:
        """Lay these two over each other from now on; copies of another reconstruction must have been handed over."""
        self.stop()
        self._volumes = (truth, reconstruction)
        for node in self._patterns.values():
            self._window.add(node)

    def apply(self, mode: str, fraction: float) -> Iterator[float]:
        """Show a mode, a plane at a time.

        Args:
            mode: one of ``MODES``.
            fraction: 0 to 1; of the reconstruction's opacity, of a square's edge, or of the way the curtain is drawn.
        """
        views = list(self._layout.views("Reconstruction"))
        for done, (plane, _, composite) in enumerate(views, 1):
            truth, reconstruction = self._volumes
            if reconstruction is None:  # stopped meanwhile
                return
            alone = mode == self.MODES[0]
            over = self._layerShown() if alone else self._over(mode, plane, fraction)
            _put(composite, reconstruction if alone else truth, over, fraction if mode == "Fade" else 1.0)
            yield done / len(views)

    def stop(self) -> None:
        """Show the reconstruction without truth or layer; the copies stay for the next time."""
        if all(node is not None and node.GetScene() is not None for node in self._volumes):
            for _, _, composite in self._layout.views("Reconstruction"):
                _put(composite, self._volumes[1], None, 1.0)
        self._volumes = (None, None)

    def handOver(self) -> list:
        """Stop, and give the nodes of the copies to who removes them."""
        self.stop()
        copies, self._patterns = list(self._patterns.values()), {}
        return copies

    def _layerShown(self):
        there = self.layer is not None and self.layer.GetScene() is not None
        return self.layer if there and self.layerOf is self._volumes[1] else None

    def _over(self, mode: str, plane: str, fraction: float):
        """The volume over the truth in a plane; a pattern's borders cross it, and none lies in it.

        There what is shown and what is not would mix in every pixel.
        """
        reconstruction = self._volumes[1]
        if mode == "Fade":
            return reconstruction
        across = NORMALS[plane]
        if mode == "Curtain":  # drawn from image left: from the patient's right, in the sagittal plane from the front
            axis = 1 if across == 0 else 0
            return self._pattern(f"curtain {axis}", _besideCurtain(reconstruction, axis, fraction))
        edgeMm = self.SQUARE_MM * (0.25 + 1.5 * fraction)
        return self._pattern(f"squares {across}", _squares(reconstruction, edgeMm, across))

    def _pattern(self, key: str, shown: np.ndarray):
        reconstruction = self._volumes[1]
        hu = slicer.util.arrayFromVolume(reconstruction)
        values = np.where(shown, hu, np.float32(NOT_SHOWN)).astype(np.float32, copy=False)
        node = self._patterns.get(key)
        if node is None:
            node = self._patterns[key] = _hiddenCopy(reconstruction, values)
            self._window.add(node)
        else:
            slicer.util.updateVolumeFromArray(node, values)
        return node


def _put(composite, under, over, opacity: float) -> None:
    composite.SetBackgroundVolumeID(under.GetID())
    composite.SetForegroundVolumeID(None if over is None else over.GetID())
    composite.SetForegroundOpacity(opacity)


def _hiddenCopy(volume, values: np.ndarray):
    """A node of the volume's geometry with these (k, j, i) float32 values, complete before a view hears of it."""
    image = vtk.vtkImageData()
    image.SetDimensions(volume.GetImageData().GetDimensions())
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = values.ravel()
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetSaveWithScene(False)
    display.SetDefaultColorMap()
    hideBelow(display, AIR_HU - 50)
    slicer.mrmlScene.AddNode(display)
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(f"{volume.GetName()} - pattern")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetAttribute(ROLE_ATTRIBUTE, "pattern")
    node.CopyOrientation(volume)
    node.SetAndObserveImageData(image)
    node.SetAndObserveDisplayNodeID(display.GetID())
    slicer.mrmlScene.AddNode(node)
    Nodes.keepFromUndo(node)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def _along(volume, axis: int) -> np.ndarray:
    """Position in mm of every voxel's centre along one axis of RAS, (k, j, i) or 1 where it does not change."""
    row = asArray(ijkToWorld(volume))[axis].astype(np.float32)
    i, j, k = (
        np.arange(count if step else 1, dtype=np.float32)
        for count, step in zip(volume.GetImageData().GetDimensions(), row, strict=False)
    )
    return (row[2] * k[:, None, None] + row[1] * j[:, None] + row[3]) + row[0] * i


def _squares(volume, edgeMm: float, across: int) -> np.ndarray:
    """(k, j, i) bool, True in every other beam along the axis ``across`` of RAS."""
    odd = np.zeros(volume.GetImageData().GetDimensions()[::-1], dtype=bool)
    for axis in {0, 1, 2} - {across}:
        odd ^= np.floor(_along(volume, axis) * (1.0 / edgeMm)).astype(np.int32) % 2 == 1
    return ~odd


def _besideCurtain(volume, axis: int, fraction: float) -> np.ndarray:
    """(k, j, i) bool, True in this fraction of the volume from the patient's right (axis 0) or front (axis 1)."""
    along = _along(volume, axis)
    shown = along > along.max() - fraction * np.ptp(along) - 1e-3 if fraction > 0.0 else np.zeros(along.shape, bool)
    return np.broadcast_to(shown, volume.GetImageData().GetDimensions()[::-1])
