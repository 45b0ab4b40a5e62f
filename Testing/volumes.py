"""Volumes whose every voxel is known."""

from collections.abc import Callable

import numpy as np
import slicer
import vtk

LPS = np.diag([-1.0, -1.0, 1.0])  # columns: RAS directions of the index axes


def linear_hu(position: np.ndarray) -> np.ndarray:
    """HU that grow linearly, differently along R, A and S; so linear interpolation makes no error."""
    return position @ np.array([2.0, 3.0, -1.5]) + 100.0


def add_volume(
    name: str,
    hu: Callable[[np.ndarray], np.ndarray] = linear_hu,
    size: tuple[int, int, int] = (20, 22, 24),
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0),
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    axes: np.ndarray = LPS,
) -> object:
    """A scalar volume node in the scene; ``hu`` gives the value at (n, 3) RAS positions."""
    grid = np.eye(4)
    grid[:3, :3] = axes * np.array(spacing)
    grid[:3, 3] = np.array(centre) - grid[:3, :3] @ ((np.array(size) - 1) / 2)
    k, j, i = np.meshgrid(*[np.arange(count) for count in size[::-1]], indexing="ij")
    positions = np.stack([i, j, k], -1).reshape(-1, 3) @ grid[:3, :3].T + grid[:3, 3]
    values = np.rint(hu(positions)).astype(np.int16).reshape(size[::-1])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(grid))
    slicer.util.updateVolumeFromArray(node, values)
    node.CreateDefaultDisplayNodes()
    return node


def turned(degrees: float) -> np.ndarray:
    """Index axes of a scan whose table and head were turned."""
    transform = vtk.vtkTransform()
    transform.RotateZ(degrees)
    transform.RotateX(degrees / 2)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())[:3, :3] @ LPS
