"""Between MRML nodes and the files and arrays of the core. The only place where LPS becomes RAS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ATTRIBUTE_PREFIX = "CLSDM."


def lpsToIjkToRas(spacingMm, originMm, direction):
    """vtkMatrix4x4 of a volume given by LPS spacing, origin (x, y, z) and 3x3 direction (columns: axes)."""
    raise NotImplementedError


def ijkToRasToLps(node):
    """(spacing, origin, 3x3 direction) in LPS of a volume node; parent transforms are applied where linear."""
    raise NotImplementedError


def makeVolumeNode(array: np.ndarray, geometry: dict[str, Any], name: str, *, units: str = "HU"):
    """A scalar volume node that is not in a scene yet. ``array`` is (z, y, x), ``geometry`` of the worker's answer."""
    raise NotImplementedError


def writeVolume(node, path: Path) -> Iterator[float]:
    """Write a scalar volume as MetaImage (.mha) in pieces of some 10 ms, yielding the fraction that is done."""
    raise NotImplementedError


def xrayFile(node) -> Path | None:
    """The original file of an X-ray node (by DICOM database or storage), or None where it must be written."""
    raise NotImplementedError


def writeXRay(node, path: Path) -> None:
    """Write an X-ray node's pixels as they lie (rows from top, columns from left) as .nrrd with its spacing."""
    raise NotImplementedError
