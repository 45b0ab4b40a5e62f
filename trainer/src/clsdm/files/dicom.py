"""The common part of every DICOM file we write. Free of torch, because 3D Slicer writes DICOM in its own process."""

from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat


def new_dicom(sop_class_uid: UID, instance_uid: UID) -> FileDataset:
    """A file with preamble, meta header and SOP identification, to be filled."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = instance_uid
    return dataset


def save_dicom(dataset: FileDataset, path: Path) -> None:
    """Write a DICOM file with preamble and meta header, with pydicom 2.4 (Slicer until 5.8) and 3 alike."""
    if int(pydicom.__version__.split(".")[0]) >= 3:
        dataset.save_as(path, enforce_file_format=True)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)


def decimal(value: float) -> DSfloat:
    """A DS value with as many digits as its 16 characters hold."""
    return DSfloat(float(value), auto_format=True)
