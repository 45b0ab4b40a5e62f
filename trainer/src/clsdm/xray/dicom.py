"""DICOM X-rays (CR, DX, XA, RF, RT images, CT localizers, captures): the file as a :class:`~clsdm.xray.orient.StoredXRay`.

What the tags mean stands in ``dicom_geometry``, the grey scale in ``dicom_grey``, decoding in ``files.dicom_pixels``. Whether a
file is an X-ray is decided by its SOP class and what it holds, not by the label in Modality.

The patient's identifiers leave this module only as a salted one-way hash.
"""

import hashlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from clsdm.errors import InputError, reading
from clsdm.files.dicom_open import open_dicom
from clsdm.files.dicom_pixels import check_pixel_header, frames_of, stored_values, through_palette
from clsdm.files.dicom_tags import PROJECTIONS, Tags
from clsdm.volume.slices import is_localizer
from clsdm.xray.dicom_geometry import VIEW_ANGLES_DEG, geometry
from clsdm.xray.dicom_grey import FLUOROSCOPY, attenuation, polarity, voi_window
from clsdm.xray.image import chosen_image
from clsdm.xray.listing import TRUNK, listing_of
from clsdm.xray.localizer import localizer_geometry
from clsdm.xray.notes import EIGHT_BITS, LOSSY
from clsdm.xray.orient import Pair, StoredXRay, blank, grey
from clsdm.xray.rt_image import RT_IMAGE, rt_geometry
from clsdm.xray.shutters import measured_area

__all__ = ["OWN_ISSUER", "VIEW_ANGLES_DEG", "is_dicom", "is_simulated", "patient_key", "read_dicom"]

OWN_ISSUER = "CLS-DM"
"""IssuerOfPatientID of the files we write: their PatientID already is a patient key."""

NO_PROJECTIONS = ("CT", "MR", "PT", "NM", "US", "IVUS", "OCT", "OPT", "ES", "GM", "SM", "XC", "MG", "BMD", "ECG")
"""Modalities that are no radiographs of the trunk, whatever the SOP class says."""

PROJECTION_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX for presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX for processing",
    "1.2.840.10008.5.1.4.1.1.12.1": "XA",
    "1.2.840.10008.5.1.4.1.1.12.1.1": "Enhanced XA",
    "1.2.840.10008.5.1.4.1.1.12.2": "XRF",
    "1.2.840.10008.5.1.4.1.1.12.2.1": "Enhanced XRF",
    RT_IMAGE: "RT Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.1": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.3": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Secondary Capture",
}
STANDARD_CLASSES = "1.2.840.10008."
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
_SALT = "clsdm patient key 1|"
_HEAD_BYTES = 132
_META_START = 144


def is_simulated(path: Path) -> bool:
    """Whether a file is an X-ray that this program made of a CT, or the preview of the one beside it."""
    path = path.with_suffix(".dcm")
    try:
        with reading(path, "DICOM"):
            return (
                str(open_dicom(path, pixels=False, tags=["IssuerOfPatientID"]).get("IssuerOfPatientID")) == OWN_ISSUER
            )
    except InputError:
        return False


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by "DICM" after its preamble, or by the first tag where it has no preamble."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES + 8)
    return head[128:132] == b"DICM" or _begins_with_a_tag(head)


def _begins_with_a_tag(head: bytes) -> bool:
    """A tag of group 2 or 8 of a low number, with a VR of two letters, or with a short even length."""
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if len(head) < 16 or group not in (2, 8) or element > 0x1155:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or (int.from_bytes(head[4:8], "little") < 1024 and head[4] % 2 == 0)


def read_dicom(
    path: str | os.PathLike[str],
    invert: bool | None = None,
    window: Pair | None = None,
    frame: int | None = None,
    *,
    pixels: bool = True,
) -> StoredXRay:
    """Read one DICOM X-ray.

    Args:
        path: file.
        invert: True where the image as shown has bone dark, False where bright; None: by the tags.
        window: (low, high) in the file's values, beyond which nothing is told apart; None: the file's, where it has one.
        frame: of a cine run, from 1; None: the file holds one image.
        pixels: False reads the header only, which takes milliseconds; the image is ``orient.blank`` then.

    Returns:
        The image as stored, with what the tags say of its geometry.

    Raises:
        InputError: not a grey X-ray, several frames and none named, truncated, damaged, or in a compression nobody
            here can decode.
    """
    path = Path(path)
    with warnings.catch_warnings(), reading(path, "DICOM"):
        warnings.simplefilter("ignore")  # pydicom comments on odd values, and such values may name the patient
        tags = Tags(open_dicom(path, pixels=pixels), path)
        _refuse_other_kinds(tags, pixels)
        check_pixel_header(tags)
        number = chosen_image(frames_of(tags), frame, path)
        return _whole(tags, invert, window, number) if pixels else _header(tags, invert, number)


def _refuse_other_kinds(tags: Tags, pixels: bool) -> None:
    modality, kind = tags.text("Modality"), tags.text("SOPClassUID")
    scout = modality == "CT" and is_localizer(tags.dataset)
    if modality in NO_PROJECTIONS and not scout:
        named = "CT, a CT in place of an X-ray" if modality == "CT" else modality
        raise InputError(f"{tags.path}: Modality is {named}; expected a radiograph ({', '.join(PROJECTIONS)})")
    if kind.startswith(STANDARD_CLASSES) and kind not in PROJECTION_CLASSES and not scout:
        raise InputError(f"{tags.path}: SOPClassUID is {pydicom.uid.UID(kind).name}; expected a radiograph")
    if (pixels and "PixelData" not in tags) or "Rows" not in tags:
        raise InputError(f"{tags.path}: the DICOM file holds no image (no PixelData)")
    shown = tags.text("PhotometricInterpretation")
    if not shown:
        raise InputError(f"{tags.path}: PhotometricInterpretation is missing; expected MONOCHROME1 or MONOCHROME2")
    samples = tags.count("SamplesPerPixel", 1)
    if shown not in (_ONE_SAMPLE if samples == 1 else _THREE_SAMPLES):
        raise InputError(
            f"{tags.path}: PhotometricInterpretation is {shown}, a colour image, with {samples} samples per pixel; "
            "expected MONOCHROME1 or 2"
        )


def _whole(tags: Tags, invert: bool | None, window: Pair | None, frame: int) -> StoredXRay:
    stored, remarks = stored_values(tags, frame)
    if tags.text("PhotometricInterpretation") == "PALETTE COLOR":
        stored = through_palette(tags.dataset, stored)
    plain, valid, notes = grey(stored, str(tags.path))
    how = polarity(tags, invert)
    image, more = attenuation(tags, plain, how, window)
    header = _header(tags, invert, frame)
    area, shut = measured_area(tags, stored if stored.ndim == 2 else None, image.shape)
    if area is not None:
        valid = area if valid is None else valid & area
    notes = (*remarks, *notes, *more, *header.warnings, *shut)
    return replace(header, image=image, valid=valid, warnings=tuple(dict.fromkeys(notes)))


def _header(tags: Tags, invert: bool | None, frame: int) -> StoredXRay:
    """Everything but the pixels."""
    shape = tags.count("Rows"), tags.count("Columns")
    known, geometry_notes = geometry(tags, shape, frame)
    letters = tags.texts("PatientOrientation")
    orientation = (letters[0], letters[1]) if len(letters) == 2 and all(letters) else None
    if tags.text("SOPClassUID") == RT_IMAGE:
        known, orientation, geometry_notes = rt_geometry(tags, known, orientation, geometry_notes)
    if tags.text("Modality") == "CT":
        known, orientation, geometry_notes = localizer_geometry(tags, shape)
    how = polarity(tags, invert)
    return StoredXRay(
        image=blank(*shape),
        source=str(tags.path),
        known=replace(known, invert=how.bone_dark if how.stated else None, window=voi_window(tags)),
        orientation=orientation,
        shown_like_pa=tags.text("Modality") not in FLUOROSCOPY,
        bone_dark_assumed=None if how.stated else how.bone_dark,
        marked=tags.text("BurnedInAnnotation") != "NO",
        patient_key=patient_key(tags.dataset),
        study_uid=str(tags.value("StudyInstanceUID") or ""),
        listing=listing_of(tags),
        sop_instance=str(tags.value("SOPInstanceUID") or ""),
        unreadable=tuple(tags.unreadable),
        warnings=(*_image_notes(tags), *geometry_notes),
    )


def patient_key(dataset: Dataset) -> str | None:
    """32 hex digits that differ between patients and cannot be turned back; None without a PatientID."""
    identifier, issuer = (str(dataset.get(name, "") or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    if not identifier:
        return None
    if issuer == OWN_ISSUER:
        return identifier
    return hashlib.sha256(f"{_SALT}{issuer}|{identifier}".encode()).hexdigest()[:32]


def _image_notes(tags: Tags) -> list[str]:
    notes = []
    if tags.text("PresentationIntentType") == "FOR PRESENTATION":
        notes.append(
            "image: FOR PRESENTATION, its contrast was processed for viewing and is not proportional to attenuation"
        )
    if tags.count("BitsStored", 16) <= 8:
        notes.append(EIGHT_BITS)
    if tags.text("LossyImageCompression") == "01" or tags.dataset.file_meta.TransferSyntaxUID in _LOSSY:
        notes.append(LOSSY)
    if tags.text("Modality") not in (*PROJECTIONS, "CT"):
        notes.append("image: Modality is not that of a radiograph")
    part = "".join(tags.text("BodyPartExamined").split())
    if part and not any(known in part for known in TRUNK):
        notes.append(f"BodyPartExamined is {part}; the reconstruction knows trunks only")
    return notes
