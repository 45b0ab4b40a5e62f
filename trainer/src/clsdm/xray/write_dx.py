"""Writing an X-ray as DICOM "DIGITAL X-RAY IMAGE FOR PROCESSING" with its whole geometry, and as a PNG to look at.

``read.read_xray`` gives back the same ``View`` from standard tags alone: ImagerPixelSpacing,
DistanceSourceToDetector, DistanceSourceToPatient, PositionerPrimaryAngle, PositionerSecondaryAngle (the detector's, so
minus our tilt), PatientOrientation, and PositionOfIsocenterProjection for the offset of the panel. IsocenterPosition
says where in the patient (LPS mm) the isocentre lies, so that a reconstruction can be laid over the CT.

Pixel values grow with attenuation, so PixelIntensityRelationship is LOG with sign -1 ("higher values, less beam"). DX
fixes RescaleSlope to 1 and RescaleIntercept to 0; the scale of line integrals stands in RealWorldValueMappingSequence.
"""

import hashlib
import math
import os

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForProcessing, generate_uid

from clsdm.files.atomic import write_atomically
from clsdm.files.dicom import decimal, new_dicom, save_dicom
from clsdm.files.png import write_png
from clsdm.geometry.directions import image_axes, letters_of
from clsdm.geometry.view import View
from clsdm.xray.dicom import OWN_ISSUER, VIEW_ANGLES_DEG
from clsdm.xray.preprocess import XRay

EMPTY = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "DetectorType",
)
"""Type 2 attributes: they must be there and may be empty."""

TOP_VALUE = 65535  # stored values run from 1 to this; 0 marks pixels without a measurement


def write_dx(
    xray: XRay,
    path: str | os.PathLike[str],
    *,
    study_uid: str | None = None,
    patient_key: str | None = None,
    instance_number: int = 1,
) -> None:
    """Write one X-ray as DICOM DX. The same input gives the same bytes: the file holds no date and no random number.

    Args:
        xray: image (brighter = more attenuation) and geometry.
        path: file to write.
        study_uid: StudyInstanceUID that the views of one patient share; by default made from the patient key.
        patient_key: stands in PatientID; by default the X-ray's own.
        instance_number: place in the series.

    Raises:
        InputError: the file cannot be written.
    """
    key = patient_key or xray.patient_key or "unknown"
    study = study_uid or generate_uid(entropy_srcs=["study", key])
    dataset = _file(xray, study, instance_number)
    _set_identity(dataset, key, study, instance_number)
    _set_geometry(dataset, xray.view)
    if xray.isocentre_mm is not None:
        dataset.IsocenterPosition = [decimal(value) for value in xray.isocentre_mm]
    _fill(dataset, xray)
    write_atomically(path, lambda name: save_dicom(dataset, name))


def write_preview(xray: XRay, path: str | os.PathLike[str]) -> None:
    """Write an 8-bit picture as radiographs are hung: bone bright, and an AP view with the patient's left at image right.

    Args:
        xray: image and geometry; pixels without a measurement become black.
        path: PNG file to write.

    Raises:
        InputError: the file cannot be written.
    """
    measured = xray.image if xray.valid is None else xray.image[xray.valid]
    low, high = np.quantile(measured, (0.005, 0.995))
    unit = np.clip((xray.image - low) / max(float(high - low), 1e-12), 0.0, 1.0)
    if xray.valid is not None:
        unit = np.where(xray.valid, unit, 0.0)
    if math.cos(math.radians(xray.view.angle_deg)) < -0.7:
        unit = unit[:, ::-1]
    picture = np.round(unit * 255.0).astype(np.uint8)
    write_atomically(path, lambda name: write_png(picture, name))


def _file(xray: XRay, study_uid: str, number: int) -> FileDataset:
    content = hashlib.sha256(np.ascontiguousarray(xray.image).tobytes()).hexdigest()
    uid = generate_uid(entropy_srcs=[study_uid, str(number), str(xray.view), content])
    return new_dicom(DigitalXRayImageStorageForProcessing, uid)


def _set_identity(dataset: Dataset, key: str, study_uid: str, number: int) -> None:
    """Patient, study, series and equipment; types 1 and 2 of the DX IOD."""
    dataset.PatientName = "CLS-DM^Simulated"
    dataset.PatientID = key
    dataset.IssuerOfPatientID = OWN_ISSUER
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", study_uid])
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.Manufacturer = "CLS-DM"
    dataset.ManufacturerModelName = "clsdm.simulate"
    dataset.SeriesDescription = "Simulated X-rays, research only"
    for keyword in EMPTY:
        setattr(dataset, keyword, "")
    for sequence in ("AnatomicRegionSequence", "AcquisitionContextSequence"):
        setattr(dataset, sequence, Sequence())
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = "Line integrals of attenuation computed from a CT"
    dataset.ImageLaterality = "U"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ContentQualification = "RESEARCH"


def _set_geometry(dataset: Dataset, view: View) -> None:
    angle = math.remainder(view.angle_deg, 360.0)
    dataset.PositionerType = "CARM"
    dataset.PositionerPrimaryAngle = decimal(angle)
    dataset.PositionerSecondaryAngle = decimal(-view.tilt_deg)
    dataset.ViewPosition = next(
        (name for name, at in VIEW_ANGLES_DEG.items() if abs(math.remainder(angle - at, 360.0)) < 1), ""
    )
    dataset.PatientOrientation = [letters_of(axis) for axis in image_axes(view.angle_deg, view.tilt_deg)]
    dataset.DistanceSourceToDetector = decimal(view.source_detector_mm)
    dataset.DistanceSourceToPatient = decimal(view.source_axis_mm)
    dataset.EstimatedRadiographicMagnificationFactor = decimal(view.magnification)
    dataset.ImagerPixelSpacing = [decimal(value) for value in view.pixel_mm]
    dataset.PositionOfIsocenterProjection = [
        count / 2 - offset / spacing
        for count, offset, spacing in zip((view.rows, view.cols), view.offset_mm, view.pixel_mm, strict=True)
    ]


def _fill(dataset: Dataset, xray: XRay) -> None:
    """Pixel data and what its numbers mean."""
    low, high = float(xray.image.min()), float(xray.image.max())
    slope = (high - low) / (TOP_VALUE - 1) or 1.0
    stored = np.round((xray.image.astype(np.float64) - low) / slope + 1.0)
    if xray.valid is not None:
        stored = np.where(xray.valid, stored, 0.0)
        dataset.PixelPaddingValue = 0
    dataset.Rows, dataset.Columns = xray.image.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.RealWorldValueMappingSequence = Sequence([_line_integrals(slope, low - slope)])
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _line_integrals(slope: float, intercept: float) -> Dataset:
    mapping, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "no units"
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 1, TOP_VALUE
    mapping["RealWorldValueFirstValueMapped"].VR = mapping["RealWorldValueLastValueMapped"].VR = "US"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, intercept
    mapping.LUTLabel, mapping.LUTExplanation = "LINE_INTEGRAL", "Line integral of linear attenuation"
    mapping.MeasurementUnitsCodeSequence = Sequence([unit])
    return mapping
