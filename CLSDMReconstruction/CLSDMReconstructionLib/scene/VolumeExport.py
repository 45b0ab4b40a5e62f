"""A reconstruction as files: NIfTI or NRRD with a record beside it, or a DICOM CT series that names its X-rays.

Everything is written by the core (``clsdm.volume.write_dicom``, ``clsdm.files.atomic``): whole or not at all.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.scene import Volumes
from CLSDMReconstructionLib.scene.Attributes import attributeOf, provenanceOf
from CLSDMReconstructionLib.scene.XRaySources import dicomFiles, sourcesOf

SUFFIXES = {"NIfTI": ".nii.gz", "NRRD": ".nrrd"}
DICOM = "DICOM CT series"
FORMATS = (*SUFFIXES, DICOM)


def toSitk(node) -> sitk.Image:
    """The volume in LPS, with whole HU; a linear parent transform is part of its position."""
    geometry = Volumes.geometryOf(node)
    image = sitk.GetImageFromArray(np.rint(Volumes.voxels(node)).astype(np.int16))
    image.SetSpacing(geometry["spacing_mm"])
    image.SetOrigin(geometry["origin_mm"])
    image.SetDirection(np.ravel(geometry["direction"]).tolist())
    return image


def writeVolume(node, path: Path) -> Iterator[float]:
    """Write NIfTI or NRRD, a piece at a time, and beside it the record of how it was made; the generator returns both.

    Closed before its end, it leaves nothing. Whether a volume that is there may be replaced is asked before.

    Raises:
        InputError: it cannot be written there, or a file of the record's name is there and is no record.
    """
    ensureCore()
    from clsdm import NOTICE
    from clsdm.app.record import companions, is_record, make_record, record_text
    from clsdm.files.atomic import written_together
    from clsdm.files.digest import sha256_of
    from clsdm.files.names import refuse_overwriting, refuse_replacing
    from clsdm.volume.write import Placed, volume_in_steps

    path = Path(path)
    suffix = next((suffix for suffix in SUFFIXES.values() if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise ValueError(f"{path.name}: expected a name ending in {' or '.join(SUFFIXES.values())}")
    hu, placed = Volumes.voxels(node), Placed(**Volumes.geometryOf(node))
    record = companions(path)["record"]
    refuse_overwriting([path, record], [file for source in sourcesOf(node) for file in source.files])
    refuse_replacing([record], is_record)
    residuals, warnings = attributeOf(node, "residuals", []), attributeOf(node, "warnings", [])
    with written_together(path.parent, needed_bytes=2 * hu.size) as scratch:
        yield from volume_in_steps(scratch / path.name, hu, placed, NOTICE)
        files = {"volume": (yield from aside(lambda: sha256_of(scratch / path.name)))}
        known = make_record(
            provenanceOf(node), residuals, warnings, files=files, measures=attributeOf(node, "measures")
        )
        (scratch / record.name).write_text(record_text(known), encoding="utf-8")
    return [path, record]


def writeDicom(node, folder: Path, keepPatient: bool = True) -> Iterator[float]:
    """Write a DICOM CT series, slice by slice; the generator returns the files.

    Args:
        node: reconstruction.
        folder: new or empty.
        keepPatient: file it under patient and study of its X-rays, and refer to them; else of nobody.

    Raises:
        InputError: it cannot be written there, or the X-rays are of two patients.
        ValueError: the patient is to be kept, and the X-rays' files are not there, or not what they were.
    """
    ensureCore()
    from clsdm.volume import write_dicom as ct_write

    files = (yield from dicomFiles(node)) if keepPatient else []
    sources = [source for source in map(ct_write.read_source, files) if source is not None]
    return (
        yield from ct_write.ct_series_in_steps(
            toSitk(node), folder, sources=sources, provenance=provenanceOf(node), keep_patient=keepPatient
        )
    )
