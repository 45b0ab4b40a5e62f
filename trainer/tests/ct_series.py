"""Writes the DICOM CT series that several tests read, and edits DICOM files."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, generate_uid

from clsdm.files.dicom import new_dicom
from clsdm.volume.ct import CTVolume


def write_series(folder: Path, ct: CTVolume, prefix: str = "", **tags: object) -> list[Path]:
    """A CT series with shuffled file names; stored values are (HU + 1000) * 2, so that slope and intercept matter."""
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    names = np.random.default_rng(0).permutation(ct.hu.shape[0])
    paths = []
    for z, (name, plane) in enumerate(zip(names, ct.hu, strict=True)):
        path = folder / f"{prefix}{name:03d}.dcm"
        item = new_dicom(CTImageStorage, generate_uid())
        item.Modality, item.PatientID, item.SeriesInstanceUID = "CT", "LIDC-IDRI-0001", series
        item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.Rows, item.Columns = plane.shape
        item.PixelSpacing = [ct.spacing_mm[1], ct.spacing_mm[0]]
        position = np.array(ct.origin_mm) + ct.direction @ (np.array([0, 0, z]) * np.array(ct.spacing_mm))
        item.ImagePositionPatient = [round(float(value), 4) for value in position]
        item.ImageOrientationPatient = [float(value) for value in ct.direction[:, :2].T.ravel()]
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation, item.SamplesPerPixel = 15, 0, 1
        item.PhotometricInterpretation = "MONOCHROME2"
        item.RescaleSlope, item.RescaleIntercept = 0.5, -1000
        item.PixelData = ((plane + 1000.0) * 2).astype(np.uint16).tobytes()
        for tag, value in tags.items():
            setattr(item, tag, value)
        item.save_as(path)
        paths.append(path)
    return paths


def edit(path: Path, **tags: object) -> None:
    """Set tags of a DICOM file."""
    item = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(item, tag, value)
    item.save_as(path)
