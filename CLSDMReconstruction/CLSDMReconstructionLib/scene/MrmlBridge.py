"""Between MRML nodes and the files and arrays of the core. The only place where LPS becomes RAS.

Arrays are (z, y, x) as in the core; geometry is a dict with "spacing_mm", "origin_mm" (x, y, z; LPS) and "direction"
(3x3, its columns are the axes), as the worker gives it. Nodes are made outside the scene and put in together at the end.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene import SessionFiles
from CLSDMReconstructionLib.scene.Sampling import asArray, ijkToWorld

ATTRIBUTE_PREFIX = "CLSDM."
ROLE_ATTRIBUTE = ATTRIBUTE_PREFIX + "role"
"""What a node of ours is: "volume", "coverage", "spread", "difference", "pattern" or "exposure"."""

VIEW_ATTRIBUTE = ATTRIBUTE_PREFIX + "view"
FILE_ATTRIBUTE = ATTRIBUTE_PREFIX + "xray_file"
INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
HU_WINDOW, HU_LEVEL = 1500.0, -50.0
PIECE_BYTES = 4 << 20

_HU_QUANTITY = ("112031", "DCM", "Attenuation Coefficient")
_HU_UNITS = ("[hnsf'U]", "UCUM", "Hounsfield unit")
_META_TYPES = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def ijkToRas(geometry: dict[str, Any]) -> vtk.vtkMatrix4x4:
    """The matrix of a volume given in LPS."""
    axes = _LPS_TO_RAS @ np.array(geometry["direction"], dtype=float) @ np.diag(geometry["spacing_mm"])
    origin = _LPS_TO_RAS @ np.array(geometry["origin_mm"], dtype=float)
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, axes[row, column])
        matrix.SetElement(row, 3, origin[row])
    return matrix


def geometryOf(node) -> dict[str, Any]:
    """Where a volume node lies, in LPS, with its transforms.

    Raises:
        ValueError: under a transform that is not linear.
    """
    affine = asArray(ijkToWorld(node))[:3]
    axes, spacing = _LPS_TO_RAS @ affine[:, :3], np.linalg.norm(affine[:, :3], axis=0)
    return {
        "spacing_mm": spacing.tolist(),
        "origin_mm": (_LPS_TO_RAS @ affine[:, 3]).tolist(),
        "direction": (axes / spacing).tolist(),
    }


def voxels(node) -> np.ndarray:
    """(z, y, x) or (z, y, x, channels) view of a volume node's voxels.

    Raises:
        ValueError: it has none.
    """
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        raise ValueError("the volume holds no voxels")
    array, size = vtk_to_numpy(scalars), image.GetDimensions()[::-1]
    return array.reshape(*size, *array.shape[1:])


def makeVolume(array: np.ndarray, geometry: dict[str, Any], name: str, *, hounsfield: bool = False):
    """A scalar volume node that is in no scene yet; the array is copied."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return wrapVolume(image, ijkToRas(geometry), name, hounsfield=hounsfield)


def wrapVolume(image: vtk.vtkImageData, toRas: vtk.vtkMatrix4x4, name: str, *, hounsfield: bool = False):
    """The same of voxels that are in VTK's hands already, and are not copied."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(toRas)
    if hounsfield:
        node.SetVoxelValueQuantity(_coded(_HU_QUANTITY))
        node.SetVoxelValueUnits(_coded(_HU_UNITS))
    return node


def _coded(entry: tuple[str, str, str]):
    coded = slicer.vtkCodedEntry()
    coded.SetValueSchemeMeaning(*entry)
    return coded


def describe(node, attributes: dict[str, Any]) -> None:
    """Write plain JSON types as attributes ``CLSDM.<name>``; None is left out."""
    for name, value in attributes.items():
        if value is not None:
            node.SetAttribute(ATTRIBUTE_PREFIX + name, value if isinstance(value, str) else json.dumps(value))


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
            _place(node, parentItem)
    except BaseException:
        for node in added:
            Nodes.removeFromScene(node)
        raise


def _displayIn(node, window: tuple[float, float]) -> None:
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*window)
    display.SetDefaultColorMap()
    slicer.mrmlScene.AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())


def showHounsfield(node) -> None:
    """The window in which soft tissue, lung and bone can all be seen."""
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(HU_WINDOW, HU_LEVEL)


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


def _place(node, parentItem: int) -> None:
    tree = subjectHierarchy()
    item = tree.GetItemByDataNode(node) if tree is not None and parentItem else 0
    if item:
        tree.SetItemParent(item, parentItem)


def writeVolume(node, path: Path) -> Iterator[float]:
    """Write a scalar volume as MetaImage (.mha), a piece at a time, yielding the fraction that is done.

    Each step takes some milliseconds, so that the caller can let the event loop turn in between. The voxels are those
    of the first step, whatever becomes of the node.

    Raises:
        ValueError: no scalar volume, or under a transform that is not linear.
        OSError: it cannot be written.
    """
    array, geometry = voxels(node), geometryOf(node)
    if array.ndim != 3:
        raise ValueError("the volume has colours; expected a CT")
    kind = array.dtype.newbyteorder("<") if array.dtype.name in _META_TYPES else np.dtype("<f8")
    with path.open("wb") as file:
        file.write(_metaHeader(array.shape, kind, geometry).encode("ascii"))
        at_once = max(1, PIECE_BYTES // max(1, array[0].size * kind.itemsize))
        for first in range(0, len(array), at_once):
            file.write(np.ascontiguousarray(array[first : first + at_once], dtype=kind).data)
            yield min(1.0, (first + at_once) / len(array))


def _metaHeader(shape: tuple[int, ...], kind: np.dtype, geometry: dict[str, Any]) -> str:
    def text(values) -> str:
        return " ".join(repr(float(value)) for value in values)

    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": text(np.array(geometry["direction"]).T.ravel()),  # one axis after the other
        "Offset": text(geometry["origin_mm"]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": text(geometry["spacing_mm"]),
        "DimSize": " ".join(str(count) for count in shape[::-1]),
        "ElementType": _META_TYPES[kind.name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items())


def xrayFile(node) -> Path | None:
    """The original file of an X-ray node, by what made it, the DICOM database, or its storage; None where it must be written."""
    made = SessionFiles.pathOf(node.GetAttribute(FILE_ATTRIBUTE))
    storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
    unchanged = storage is not None and not node.GetModifiedSinceRead()
    candidates = [made, _inDatabase(node), storage.GetFileName() if unchanged else None]
    return next((Path(each) for each in candidates if each and Path(each).is_file()), None)


def _inDatabase(node) -> str | None:
    uids = (node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    return database.fileForInstance(uids[0]) if len(uids) == 1 and database is not None else None


def seriesFile(seriesUid: str) -> Path | None:
    """The file of a DICOM series of one image in Slicer's database, or None."""
    database = getattr(slicer, "dicomDatabase", None)
    files = list(database.filesForSeries(seriesUid)) if database is not None else []
    return Path(files[0]) if len(files) == 1 else None


def writeXRay(node, path: Path) -> None:
    """Write an X-ray node's pixels as they lie (rows from the top, columns from the left) as .nrrd with its spacing.

    Raises:
        ValueError: not a single image.
        OSError: it cannot be written.
    """
    array = voxels(node)
    if array.shape[0] != 1:
        raise ValueError(f"a volume of {array.shape[0]} slices, a CT in place of an X-ray; expected a 2-D image")
    image = sitk.GetImageFromArray(np.ascontiguousarray(array[0]), isVector=array.ndim == 4)
    image.SetSpacing(node.GetSpacing()[:2])
    try:
        sitk.WriteImage(image, str(path))
    except RuntimeError as error:
        raise OSError(str(error).strip().splitlines()[-1]) from error


@contextlib.contextmanager
def xrayAsFile(node) -> Iterator[Path]:
    """The original file of an X-ray node, or one that lives as long as the block."""
    original = xrayFile(node)
    if original is not None:
        yield original
        return
    descriptor, name = tempfile.mkstemp(prefix="clsdm-", suffix=".nrrd")
    os.close(descriptor)
    path = Path(name)
    try:
        writeXRay(node, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def makeXRay(image: np.ndarray, view: dict[str, Any], isocentreMm, name: str, file: str):
    """An X-ray as a volume node of one slice that lies where the detector was. In no scene yet.

    Args:
        image: (rows, cols).
        view: of the exposure, a ``clsdm.geometry.view.View`` as a dict.
        isocentreMm: LPS, or None.
        name: of the node.
        file: DICOM file of the same image.
    """
    node = makeVolume(image[None], _detector(view, isocentreMm or (0.0, 0.0, 0.0)), name)
    describe(node, {"view": {**view, "isocentre_mm": isocentreMm}})
    node.SetAttribute(FILE_ATTRIBUTE, SessionFiles.keyOf(file))
    return node


def _detector(view: dict[str, Any], isocentreMm) -> dict[str, Any]:
    ensureCore()
    from clsdm.xray.orient import image_axes

    right, down = image_axes(view["angle_deg"], view["tilt_deg"])
    toSource = np.cross(right, down)
    rowMm, columnMm = view["pixel_mm"]
    centre = np.array(isocentreMm, dtype=float) - (view["source_detector_mm"] - view["source_axis_mm"]) * toSource
    centre += view["offset_mm"][0] * down + view["offset_mm"][1] * right
    first = centre - (view["cols"] - 1) / 2 * columnMm * right - (view["rows"] - 1) / 2 * rowMm * down
    return {
        "spacing_mm": [columnMm, rowMm, 1.0],
        "origin_mm": first.tolist(),
        "direction": np.stack((right, down, toSource), axis=1).tolist(),
    }


def viewOf(node) -> dict[str, Any]:
    """What :func:`makeXRay` noted about an exposure, or nothing."""
    noted = node.GetAttribute(VIEW_ATTRIBUTE)
    return json.loads(noted) if noted else {}


def residualsOf(volumeNode) -> list[dict[str, Any]]:
    """The residuals noted on a reconstruction's node, for a scene that was saved and opened again."""
    noted = volumeNode.GetAttribute(ATTRIBUTE_PREFIX + "residuals")
    return json.loads(noted) if noted else []
