"""Volume nodes as the core's arrays and files. Only here LPS becomes RAS.

Arrays are (z, y, x) as in the core; geometry is a dict with "spacing_mm", "origin_mm" (x, y, z; LPS) and "direction"
(3x3, its columns are the axes), as the worker gives it. Nodes are made outside the scene; ``base.Nodes`` puts them in.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene.Sampling import asArray, asMatrix, ijkToWorld

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


def ijkToRas(geometry: dict[str, Any]) -> vtk.vtkMatrix4x4:
    """The matrix from voxel indices to RAS mm of a geometry in LPS."""
    affine, turn = np.eye(4), _lpsToRas()
    affine[:3, :3] = turn @ np.array(geometry["direction"], dtype=float) @ np.diag(geometry["spacing_mm"])
    affine[:3, 3] = turn @ np.array(geometry["origin_mm"], dtype=float)
    return asMatrix(affine)


def _lpsToRas() -> np.ndarray:
    ensureCore()
    from clsdm.geometry.directions import LPS_TO_RAS

    return LPS_TO_RAS


def geometryOf(node) -> dict[str, Any]:
    """The geometry of a volume node in LPS, its transforms included.

    Raises:
        ValueError: under a transform that is not linear.
    """
    affine, turn = asArray(ijkToWorld(node))[:3], _lpsToRas()
    axes, spacing = turn @ affine[:, :3], np.linalg.norm(affine[:, :3], axis=0)
    return {
        "spacing_mm": spacing.tolist(),
        "origin_mm": (turn @ affine[:, 3]).tolist(),
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
    return wrapVolume(imageOf(array), ijkToRas(geometry), name, hounsfield=hounsfield)


def imageOf(array: np.ndarray) -> vtk.vtkImageData:
    """A copy of (z, y, x) voxels in VTK's hands; numpy copies, since VTK would hold Python's lock meanwhile."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
    np.copyto(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape), array)
    return image


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


def showHounsfield(node) -> None:
    """The window in which soft tissue, lung and bone can all be seen."""
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(HU_WINDOW, HU_LEVEL)


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
