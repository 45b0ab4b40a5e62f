"""A picture as a DICOM Secondary Capture, filed with the series that it shows."""

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from clsdm.files.dicom import new_dicom

OF_A_VOLUME = ("KVP", "AcquisitionNumber", "PatientPosition", "PositionReferenceIndicator", "FrameOfReferenceUID")
"""Attributes that a picture has no use for."""


def capture(rgb: np.ndarray, common: Dataset, uids: Iterator[UID]) -> FileDataset:
    """The file of a picture.

    Args:
        rgb: (rows, columns, 3) uint8.
        common: what the slices of the series share: patient, study, origin.
        uids: for the picture and its series.
    """
    dataset = new_dicom(SecondaryCaptureImageStorage, next(uids))
    dataset.update({element.tag: element for element in common if element.keyword not in OF_A_VOLUME})
    dataset.Modality, dataset.ConversionType, dataset.ImageType = "OT", "WSD", ["DERIVED", "SECONDARY"]
    dataset.SeriesInstanceUID, dataset.SeriesNumber = next(uids), common.SeriesNumber + 1
    dataset.SeriesDescription = f"{common.SeriesDescription}, picture"[:64]
    dataset.InstanceNumber, dataset.PatientOrientation = 1, None
    dataset.Rows, dataset.Columns = rgb.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = np.ascontiguousarray(rgb, dtype=np.uint8).tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    return dataset
