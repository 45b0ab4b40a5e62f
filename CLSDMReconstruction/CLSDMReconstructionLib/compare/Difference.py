"""The difference of a reconstruction and the true CT as a volume of the scene, and the windows that both are shown in.

The difference lies on the truth's voxels where the reconstruction's cube covers them; elsewhere it holds ``OUTSIDE``,
which is never shown. Long work is a generator of fractions done, so that the event loop can turn between two steps.
"""

from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE
from CLSDMReconstructionLib.scene.Sampling import Sampler, asArray, asMatrix, corners, extentOf, ijkToWorld

OUTSIDE = -32768
"""Voxels of a difference that hold nothing."""
AIR_HU = -1024
"""Nothing is less dense; scanners pad with lower values."""
NOTHING_SHOWN_BELOW_HU = -5000
VOXELS_PER_STEP = 300_000

WINDOWS = {
    "Whole range": (2000.0, 0.0),
    "Soft tissue": (400.0, 40.0),
    "Lung": (1500.0, -500.0),
    "Bone": (1800.0, 400.0),
}
"""Window and level in HU by the preset's name."""


def overlapExtent(truth, reconstruction):
    """The part of the truth's grid that the reconstruction's box touches.

    Raises:
        ValueError: the two do not meet.
    """
    toIndex = np.linalg.inv(asArray(ijkToWorld(truth)))
    at = np.c_[corners(reconstruction), np.ones(8)] @ toIndex.T
    whole = extentOf(truth)
    part = []
    for axis in range(3):
        first = max(whole[2 * axis], int(np.ceil(at[:, axis].min())))
        last = min(whole[2 * axis + 1], int(np.floor(at[:, axis].max())))
        if last < first:
            raise ValueError(
                "The reconstruction and the chosen CT do not overlap: they are not of the same patient, or not in the "
                "same coordinates."
            )
        part += [first, last]
    return tuple(part)


def makeDifference(truth, reconstruction) -> Iterator[float]:
    """Make a volume node of reconstruction minus truth, in HU; the node is the generator's return value.

    The node joins the scene only when it is complete.

    Raises:
        ValueError: the volumes do not overlap, or a transform of theirs is not linear.
    """
    e = overlapExtent(truth, reconstruction)
    grid = ijkToWorld(truth)
    sampler = Sampler(reconstruction, grid)
    shape = (e[5] - e[4] + 1, e[3] - e[2] + 1, e[1] - e[0] + 1)
    image = vtk.vtkImageData()
    image.SetDimensions(*shape[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    difference = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    truthImage = truth.GetImageData()
    true = vtk_to_numpy(truthImage.GetPointData().GetScalars()).reshape(truthImage.GetDimensions()[::-1])
    true = true[e[4] : e[5] + 1, e[2] : e[3] + 1, e[0] : e[1] + 1]
    slices = max(1, VOXELS_PER_STEP // (shape[1] * shape[2]))
    for first in range(0, shape[0], slices):
        last = min(first + slices, shape[0])
        values = sampler.box((*e[:4], e[4] + first, e[4] + last - 1))
        inside = np.isfinite(values)
        values = np.where(inside, values - np.maximum(true[first:last], AIR_HU), OUTSIDE)
        difference[first:last] = np.clip(np.rint(values), OUTSIDE, 32767)
        yield last / shape[0]
    return _differenceNode(image, asArray(grid), e, reconstruction)


def _differenceNode(image, grid: np.ndarray, extent, reconstruction):
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(f"{reconstruction.GetName()} - difference to CT")
    node.SetAttribute(ROLE_ATTRIBUTE, "difference")
    node.SetAttribute("CLSDM.outside", str(OUTSIDE))
    grid = grid.copy()
    grid[:3, 3] += grid[:3, :3] @ np.array(extent[0::2], dtype=float)
    node.SetIJKToRASMatrix(asMatrix(grid))
    node.SetAndObserveImageData(image)
    Nodes.addToScene([node], Nodes.studyItem([reconstruction]), window=WINDOWS["Whole range"])
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(divergingColours().GetID())
    hideBelow(display, NOTHING_SHOWN_BELOW_HU)
    Nodes.keepFromSaving(node)
    return node


def hideBelow(display, below: float) -> None:
    """Show nothing of a volume where it is below this value."""
    display.SetAutoThreshold(False)
    display.SetThreshold(below, 32767)
    display.SetApplyThreshold(True)


def setDifferenceLimit(difference, limitHu: float) -> None:
    """Show the difference from -limit (blue) over 0 (white) to +limit (red)."""
    display = difference.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2.0 * limitHu, 0.0)


def divergingColours():
    """The colour table of differences: blue where the reconstruction is too thin, white, red where too dense."""
    name = "CLS-DM difference"
    node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLColorTableNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetTypeToUser()
        node.SetName(name)
        node.SetSingletonTag(name)
        node = slicer.mrmlScene.AddNode(node)
        Nodes.keepFromUndo(node)
        Nodes.keepFromSaving(node)
    if node.GetNumberOfColors() != 256:  # it is new, or came with a scene that was saved without its file
        node.SetNumberOfColors(256)
        for index in range(256):
            unit = index / 255.0
            node.SetColor(index, "", min(1.0, 2.0 * unit), 1.0 - abs(2.0 * unit - 1.0), min(1.0, 2.0 - 2.0 * unit), 1.0)
    return node
