"""Writing a fan-beam X-ray as a CT localizer, which ``localizer`` reads back with the same view.

The image lies in the plane through the isocentre, where its pixels are those of PixelSpacing; TubeAngle and
DataCollectionCenterPatient say what the orientation of the image leaves open.
"""

import hashlib
import os

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, generate_uid

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.files.dicom import decimal, new_dicom, save_dicom
from clsdm.geometry.directions import image_axes
from clsdm.xray.dicom import OWN_ISSUER
from clsdm.xray.image import XRay

TOP_VALUE = 4095


def write_localizer(
    xray: XRay, path: str | os.PathLike[str], *, study_uid: str | None = None, instance_number: int = 1
) -> None:
    """Write a fan-beam X-ray. The same input gives the same bytes.

    Args:
        xray: image (brighter = more attenuation) and geometry; its isocentre is the origin where it is not known.
        path: file to write.
        study_uid: StudyInstanceUID; by default made from the patient key.
        instance_number: place in the series.

    Raises:
        InputError: a cone beam, or the file cannot be written.
    """
    view = xray.view
    if view.beam != "fan":
        raise InputError(f"{path}: a CT localizer is made by a fan beam, got a {view.beam} beam")
    key = xray.patient_key or "unknown"
    study = study_uid or generate_uid(entropy_srcs=["study", key])
    content = hashlib.sha256(np.ascontiguousarray(xray.image).tobytes()).hexdigest()
    dataset = new_dicom(CTImageStorage, generate_uid(entropy_srcs=[study, str(instance_number), str(view), content]))
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = "CLS-DM^Simulated", key, OWN_ISSUER
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["localizers", study])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", study])
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, instance_number
    dataset.ImageType = ["DERIVED", "PRIMARY", "LOCALIZER"]
    dataset.SeriesDescription, dataset.Manufacturer = "Simulated localizers, research only", "CLS-DM"
    dataset.PatientPosition, dataset.TubeAngle = "HFS", (view.angle_deg - 180.0) % 360.0
    dataset.DistanceSourceToDetector = decimal(view.source_detector_mm)
    dataset.DistanceSourceToPatient = decimal(view.source_axis_mm)
    isocentre = np.array(xray.isocentre_mm or (0.0, 0.0, 0.0))
    right, down = image_axes(view.angle_deg, 0.0)
    pixel_mm = [pixel / magnification for pixel, magnification in zip(view.pixel_mm, view.magnifications, strict=True)]
    middle = isocentre + down * view.offset_mm[0] + right * view.offset_mm[1] / view.magnification
    first = middle - down * pixel_mm[0] * (view.rows - 1) / 2 - right * pixel_mm[1] * (view.cols - 1) / 2
    dataset.DataCollectionCenterPatient = [float(value) for value in isocentre]
    dataset.ImagePositionPatient = [decimal(value) for value in first]
    dataset.ImageOrientationPatient = [decimal(value) for value in (*right, *down)]
    dataset.PixelSpacing = [decimal(value) for value in pixel_mm]
    _fill(dataset, xray)
    write_atomically(path, lambda name: save_dicom(dataset, name))


def _fill(dataset: FileDataset, xray: XRay) -> None:
    low, high = float(xray.image.min()), float(xray.image.max())
    scale = TOP_VALUE / (high - low) if high > low else 1.0
    dataset.Rows, dataset.Columns = xray.image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    stored = np.round((xray.image.astype(np.float64) - low) * scale)
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
