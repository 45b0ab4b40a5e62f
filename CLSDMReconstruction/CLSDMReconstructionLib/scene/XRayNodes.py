"""X-rays as volume nodes: the file of one that is loaded, and the node of one that was simulated."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene import SessionFiles, Volumes
from CLSDMReconstructionLib.scene.Attributes import PREFIX, attributeOf, setAttributes

FILE_ATTRIBUTE = PREFIX + "xray_file"
INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"


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


def writeXRay(node, path: Path) -> None:
    """Write an X-ray node's pixels as they lie (rows from the top, columns from the left) as .nrrd with its spacing.

    Raises:
        ValueError: not a single image.
        OSError: it cannot be written.
    """
    array = Volumes.voxels(node)
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
    node = Volumes.makeVolume(image[None], detectorGeometry(view, isocentreMm or (0.0, 0.0, 0.0)), name)
    setAttributes(node, {"view": {**view, "isocentre_mm": isocentreMm}})
    node.SetAttribute(FILE_ATTRIBUTE, SessionFiles.keyOf(file))
    return node


def detectorGeometry(view: dict[str, Any], isocentreMm=(0.0, 0.0, 0.0)) -> dict[str, Any]:
    """The geometry (see ``Volumes``) of the pixels of an exposure: columns, rows, and from the detector towards the source.

    Args:
        view: a ``clsdm.geometry.view.View`` as a dict.
        isocentreMm: LPS.
    """
    ensureCore()
    from clsdm.geometry.directions import image_axes

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
    """The exposure of a node from :func:`makeXRay`; of any other, nothing."""
    return attributeOf(node, "view", {})
