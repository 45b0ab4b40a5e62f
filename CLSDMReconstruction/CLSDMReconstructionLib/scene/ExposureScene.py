"""The exposures in 3-D: each X-ray as a picture on its detector plane, the source as a ball, the beam's edges as lines.

The pictures are the X-rays as the network saw them, bone bright; what was not measured is transparent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE
from CLSDMReconstructionLib.scene.Sampling import asArray
from CLSDMReconstructionLib.scene.Volumes import ijkToRas
from CLSDMReconstructionLib.scene.XRayNodes import detectorGeometry

COLOURS = ((0.95, 0.72, 0.2), (0.3, 0.75, 0.95), (0.6, 0.85, 0.4), (0.85, 0.5, 0.9))
SOURCE_RADIUS_MM = 12.0


@dataclass(frozen=True)
class Frustum:
    """The pyramid that an exposure's rays fill, in RAS mm.

    Attributes:
        source: focal spot.
        corners: (4, 3) corners of the image: top left, top right, bottom right, bottom left, as it is shown.
    """

    source: np.ndarray
    corners: np.ndarray


def frustumOf(view: dict, isocentreLps=(0.0, 0.0, 0.0)) -> Frustum:
    """Source and image corners of a view (a ``clsdm.geometry.view.View`` as a dict)."""
    rows, cols, offset, pixelMm = view["rows"], view["cols"], view["offset_mm"], view["pixel_mm"]
    toRas = asArray(ijkToRas(detectorGeometry(view, isocentreLps)))
    foot = [(cols - 1) / 2 - offset[1] / pixelMm[1], (rows - 1) / 2 - offset[0] / pixelMm[0]]  # of the principal ray
    corners = [
        (col, row, 0.0) for row, col in ((-0.5, -0.5), (-0.5, cols - 0.5), (rows - 0.5, cols - 0.5), (rows - 0.5, -0.5))
    ]
    source, *corners = np.c_[[(*foot, view["source_detector_mm"]), *corners], np.ones(5)] @ toRas[:3].T
    return Frustum(source, np.array(corners))


def measuredPart(view: dict, image: np.ndarray) -> tuple[dict, np.ndarray]:
    """The part of an image that holds all that was measured (not NaN), and its view."""
    measured = np.isfinite(image)
    if not measured.any():
        return view, image
    offset, box = [], []
    for axis, (count, pixelMm) in enumerate(zip(image.shape, view["pixel_mm"], strict=True)):
        hit = np.flatnonzero(measured.any(1 - axis))
        first, last = int(hit[0]), int(hit[-1]) + 1
        offset.append(view["offset_mm"][axis] + ((first + last) / 2 - count / 2) * pixelMm)
        box.append(slice(first, last))
    part = image[tuple(box)]
    return view | {"rows": part.shape[0], "cols": part.shape[1], "offset_mm": tuple(offset)}, part


class ExposureScene:
    """Shows the exposures of a reconstruction, in a folder of their own; not saved, because a scene keeps no textures."""

    def __init__(self) -> None:
        self._nodes: list = []
        self._folder = 0
        self._images: list = []  # a display node holds its texture's pipeline weakly in Python

    def show(self, result) -> Iterator[float]:
        """Show the exposures of a ``ReconstructionResult`` in place of those that were shown, a node in each step."""
        yield from self.clear()
        tree = Nodes.subjectHierarchy()
        if tree is not None:
            self._folder = tree.CreateFolderItem(tree.GetSceneItemID(), "X-ray exposures")
        isocentre = result.provenance.get("isocentre_lps_mm") or (0.0, 0.0, 0.0)
        for number, item in enumerate(result.reprojections):
            view, image = measuredPart(item["view"], item["input"])
            frustum = frustumOf(view, isocentre)
            colour = COLOURS[number % len(COLOURS)]
            name = f"X-ray at {item['angle_deg']:g} deg"
            self._addDetector(name, frustum, image)
            yield (3 * number + 1) / (3 * len(result.reprojections))
            self._add(f"{name} - source", _ball(frustum.source), colour)
            yield (3 * number + 2) / (3 * len(result.reprojections))
            self._add(f"{name} - beam", _beam(frustum), colour)
            yield (3 * number + 3) / (3 * len(result.reprojections))

    def setVisible(self, visible: bool) -> None:
        """Show or hide all of it."""
        for node in self._nodes:
            node.SetDisplayVisibility(visible)

    @property
    def nodes(self) -> list:
        """The model nodes: detector, source and beam of each view."""
        return list(self._nodes)

    def clear(self) -> Iterator[float]:
        """Remove all of it, a node in each step; begun anew, it goes on where it was."""
        tree = Nodes.subjectHierarchy()
        if tree is not None:
            _removeItems(tree, [*(tree.GetItemByDataNode(node) for node in self._nodes), self._folder])
        self._folder, self._images, count = 0, [], len(self._nodes)
        while self._nodes:
            Nodes.remove(self._nodes.pop())
            yield 1.0 - len(self._nodes) / count

    def _addDetector(self, name: str, frustum: Frustum, image: np.ndarray) -> None:
        node = self._add(name, _plane(frustum), (1.0, 1.0, 1.0))
        producer = vtk.vtkTrivialProducer()
        producer.SetOutput(texture(image))
        self._images.append(producer)
        display = node.GetDisplayNode()
        display.SetLighting(False)
        display.SetInterpolateTexture(True)
        display.SetTextureImageDataConnection(producer.GetOutputPort())

    def _add(self, name: str, polyData, colour):
        """A model node; its display is complete before anything in the scene hears of it."""
        display = slicer.vtkMRMLModelDisplayNode()
        display.SetSaveWithScene(False)
        display.SetColor(*colour)
        display.SetBackfaceCulling(False)
        display.SetVisibility2D(False)
        display.SetLineWidth(2)
        slicer.mrmlScene.AddNode(display)
        node = slicer.vtkMRMLModelNode()
        node.SetName(name)
        node.SetAttribute(ROLE_ATTRIBUTE, "exposure")
        node.SetSaveWithScene(False)
        node.SetAndObservePolyData(polyData)
        node.SetAndObserveDisplayNodeID(display.GetID())
        Nodes.addToScene([node], self._folder)
        self._nodes.append(node)
        return node


def _removeItems(tree, items: list[int]) -> None:
    """Remove the items that are still in the subject hierarchy, not the nodes they show."""
    there = vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), there, True)
    present = {there.GetId(index) for index in range(there.GetNumberOfIds())}
    for item in items:
        if item in present:
            tree.RemoveItem(item, False, False)


def _plane(frustum: Frustum):
    """A rectangle whose texture's first row lies at the image's bottom, as VTK wants it."""
    topLeft, _, bottomRight, bottomLeft = frustum.corners
    source = vtk.vtkPlaneSource()
    source.SetOrigin(*bottomLeft)
    source.SetPoint1(*bottomRight)
    source.SetPoint2(*topLeft)
    source.Update()
    return source.GetOutput()


def _ball(centre: np.ndarray):
    source = vtk.vtkSphereSource()
    source.SetCenter(*centre)
    source.SetRadius(SOURCE_RADIUS_MM)
    source.SetThetaResolution(24)
    source.SetPhiResolution(24)
    source.Update()
    return source.GetOutput()


def _beam(frustum: Frustum):
    """Lines from the source to the image's corners, and the image's frame."""
    points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
    for at in (frustum.source, *frustum.corners):
        points.InsertNextPoint(*at)
    for pair in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        lines.InsertNextCell(2)
        for index in pair:
            lines.InsertCellPoint(index)
    polyData = vtk.vtkPolyData()
    polyData.SetPoints(points)
    polyData.SetLines(lines)
    return polyData


def texture(image: np.ndarray) -> vtk.vtkImageData:
    """(rows, cols) X-ray as an RGBA texture; NaN is transparent."""
    grey = np.nan_to_num(_grey(image)).astype(np.uint8)
    rgba = np.dstack([grey, grey, grey, np.where(np.isfinite(image), 255, 0).astype(np.uint8)])[::-1]
    data = vtk.vtkImageData()
    data.SetDimensions(image.shape[1], image.shape[0], 1)
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(rgba).reshape(-1, 4), deep=True))
    return data


def _grey(image: np.ndarray) -> np.ndarray:
    """0 to 255 between the 0.5 and 99.5 percentile of what was measured; NaN stays."""
    measured = image[np.isfinite(image)]
    low, high = np.quantile(measured, (0.005, 0.995)) if measured.size else (0.0, 1.0)
    return np.clip((image - low) / max(high - low, 1e-6), 0.0, 1.0) * 255.0
