"""The HU of a volume node anywhere in the world: on another volume's grid, on a plane, along a line.

Arrays are (k, j, i), as slicer.util.arrayFromVolume gives them; positions are RAS mm of the world.
"""

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

Extent = tuple[int, int, int, int, int, int]
"""First and last index along i, j and k."""


def ijkToWorld(node) -> vtk.vtkMatrix4x4:
    """From voxel indices to RAS mm, parent transforms included.

    Raises:
        ValueError: a parent transform bends space.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is None:
        return matrix
    if not parent.IsTransformToWorldLinear():
        raise ValueError("the volume is under a transform that bends it; harden that first (Transforms module)")
    toWorld = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(toWorld)
    vtk.vtkMatrix4x4.Multiply4x4(toWorld, matrix, matrix)
    return matrix


def asArray(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """(4, 4) array of a matrix."""
    return np.array([[matrix.GetElement(row, col) for col in range(4)] for row in range(4)])


def asMatrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """The vtkMatrix4x4 of a (4, 4) array."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for col in range(4):
            matrix.SetElement(row, col, float(array[row, col]))
    return matrix


def extentOf(node) -> Extent:
    """First and last voxel along each axis.

    Raises:
        ValueError: there is none.
    """
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise ValueError(f"{node.GetName()}: holds no voxels")
    return node.GetImageData().GetExtent()


def corners(node) -> np.ndarray:
    """(8, 3) RAS positions of the outer corners of a volume's outermost voxels."""
    e = extentOf(node)
    indices = [
        (i, j, k, 1.0)
        for i in (e[0] - 0.5, e[1] + 0.5)
        for j in (e[2] - 0.5, e[3] + 0.5)
        for k in (e[4] - 0.5, e[5] + 0.5)
    ]
    return (np.array(indices) @ asArray(ijkToWorld(node)).T)[:, :3]


def centre(node) -> np.ndarray:
    """RAS position of a volume's middle."""
    return corners(node).mean(0)


class Sampler:
    """A volume node, interpolated linearly on a grid in the world.

    Args:
        node: scalar volume.
        gridToWorld: from indices of the grid to RAS mm.
        outside: value where the volume is not.
    """

    def __init__(self, node, gridToWorld: vtk.vtkMatrix4x4, outside: float = float("nan")) -> None:
        toIndices = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(ijkToWorld(node), toIndices)
        vtk.vtkMatrix4x4.Multiply4x4(toIndices, gridToWorld, toIndices)
        transform = vtk.vtkTransform()
        transform.SetMatrix(toIndices)
        self._reslice = vtk.vtkImageReslice()
        self._reslice.SetInputData(node.GetImageData())
        self._reslice.SetResliceTransform(transform)
        self._reslice.SetInterpolationModeToLinear()
        self._reslice.SetOutputScalarType(vtk.VTK_FLOAT)
        self._reslice.SetOutputSpacing(1.0, 1.0, 1.0)
        self._reslice.SetOutputOrigin(0.0, 0.0, 0.0)
        self._reslice.SetBackgroundLevel(outside)

    def box(self, extent: Extent) -> np.ndarray:
        """(k, j, i) float32 values on a part of the grid."""
        self._reslice.SetOutputExtent(extent)
        self._reslice.Update()
        values = vtk_to_numpy(self._reslice.GetOutput().GetPointData().GetScalars())
        return values.reshape(extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1).copy()


def alongLine(node, start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """(count,) values from ``start`` to ``end``; NaN outside the volume."""
    grid = np.eye(4)
    grid[:3, 0] = (np.asarray(end) - np.asarray(start)) / (count - 1)
    grid[:3, 3] = start
    # The other two axes carry nothing, but an invertible matrix needs them.
    grid[:3, 1:3] = np.linalg.svd(grid[:3, :1])[0][:, 1:]
    return Sampler(node, asMatrix(grid)).box((0, count - 1, 0, 0, 0, 0))[0, 0]


def onPlane(node, middle: np.ndarray, right: np.ndarray, down: np.ndarray, pixels: int, pixelMm: float) -> np.ndarray:
    """(pixels, pixels) values on a square around ``middle``, spanned by two unit vectors; NaN outside the volume."""
    grid = np.eye(4)
    grid[:3, 0], grid[:3, 1] = np.asarray(right) * pixelMm, np.asarray(down) * pixelMm
    grid[:3, 2] = np.cross(right, down)
    grid[:3, 3] = np.asarray(middle) - (grid[:3, 0] + grid[:3, 1]) * (pixels - 1) / 2
    return Sampler(node, asMatrix(grid)).box((0, pixels - 1, 0, pixels - 1, 0, 0))[0]
