"""Arrays as pictures on Qt labels. Rows run downwards."""

import numpy as np
import qt
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk


def toPixmap(pixels: np.ndarray) -> "qt.QPixmap":
    """A pixmap of (rows, cols) grey or (rows, cols, 3) RGB, uint8."""
    rows, cols = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels[::-1]).reshape(rows * cols, -1)  # VTK's first row is the lowest
    image = vtk.vtkImageData()
    image.SetDimensions(cols, rows, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    picture = qt.QImage()
    slicer.qMRMLUtils().vtkImageDataToQImage(image, picture)
    return qt.QPixmap.fromImage(picture.copy())  # the image shares its memory with VTK's


def showFitted(label, pixmap) -> None:
    """Show a pixmap as large as the label allows, without changing its proportions."""
    size = qt.QSize(max(label.width, 32), max(label.height, 32))
    label.setPixmap(pixmap.scaled(size, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation))


def withMask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGB of a grey X-ray in which what was not measured is tinted blue."""
    rgb = np.repeat(image[..., None], 3, axis=2)
    rgb[~mask] = (28, 42, 70)
    return rgb
