"""DICOM radiographs (CR, DX, XA, RF): pixels as attenuation, and every geometry tag we understand.

What decides that *brighter means more attenuation* (``beam_sign``):

- FOR PROCESSING data with PixelIntensityRelationshipSign: the sign. LIN data are turned into line integrals by -log.
- XA and RF without a sign: larger values are more beam, as fluoroscopy shows bone dark.
- Everything else, FOR PRESENTATION above all, is what a reader sees: bone bright, after MONOCHROME1 or an INVERSE
  presentation LUT is undone. Such data are already log-like and are used as they are; the VOI LUT is ignored on
  purpose, since it only clips (``xray.normalise`` removes scale and offset anyway).

Angles: PositionerPrimaryAngle counts from RAO to LAO and so equals ``View.angle_deg``; PositionerSecondaryAngle is the
*detector's* cranial angle, so ``View.tilt_deg`` is its negative. ViewPosition gives PA 0, AP 180, LL 90, RL -90.
PositionOfIsocenterProjection (row, column of the principal ray, from the first pixel's outer corner) gives the offset.

The patient's identifiers leave this module only as a salted one-way hash.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from clsdm.errors import InputError
from clsdm.xray.orient import Film, Known, Pair, blank, grey, read_quietly
from clsdm.xray.shutters import measured_area

MODALITIES = ("CR", "DX", "XA", "RF", "RG")
FLUOROSCOPY = ("XA", "RF")
VIEW_ANGLES_DEG = {"PA": 0.0, "AP": 180.0, "LL": 90.0, "RL": -90.0}
OWN_ISSUER = "CLS-DM"
"""IssuerOfPatientID of the files we write: their PatientID already is a patient key."""

_SALT = "clsdm patient key 1|"
_DAMAGE = (ValueError, TypeError, AttributeError, KeyError, IndexError, EOFError, OverflowError, NotImplementedError)


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's "DICM" after its preamble."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_dicom(
    path: str | os.PathLike[str], invert: bool | None = None, window: Pair | None = None, *, pixels: bool = True
) -> Film:
    """Read one DICOM radiograph.

    Args:
        path: file.
        invert: True where the image as shown has bone dark, False where bright; None: by the tags.
        window: (low, high) in the file's values, beyond which nothing is told apart; None: all of them count.
        pixels: False reads the header only, which takes milliseconds; the image is ``film.blank`` then.

    Returns:
        The image as stored, with what the tags say of its geometry.

    Raises:
        InputError: not a single-frame grey radiograph, truncated, or in a compression nobody here can decode.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom comments on odd values, and such values may name the patient
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
            _refuse_other_kinds(dataset, path, pixels)
            return _film(dataset, path, invert, window) if pixels else _header(dataset, path, invert)
        except InvalidDicomError:
            raise InputError(f"{path}: not a DICOM file") from None
        except (*_DAMAGE, RuntimeError, OSError) as error:
            raise InputError(f"{path}: truncated or damaged DICOM ({type(error).__name__} while reading)") from None


def _refuse_other_kinds(dataset: Dataset, path: Path, pixels: bool) -> None:
    modality = text(dataset, "Modality")
    if modality not in (*MODALITIES, "OT", ""):
        named = "CT, a CT in place of an X-ray" if modality == "CT" else modality
        raise InputError(f"{path}: Modality is {named}; expected a radiograph ({', '.join(MODALITIES)})")
    frames = number(dataset, "NumberOfFrames", path) or 1
    if frames > 1:
        raise InputError(f"{path}: NumberOfFrames is {frames:g}; expected a single X-ray image")
    if (pixels and "PixelData" not in dataset) or "Rows" not in dataset:
        raise InputError(f"{path}: the DICOM file holds no image (no PixelData)")
    shown = text(dataset, "PhotometricInterpretation")
    if shown not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        raise InputError(f"{path}: PhotometricInterpretation is {shown}, a colour image; expected MONOCHROME1 or 2")


def _film(dataset: Dataset, path: Path, invert: bool | None, window: Pair | None) -> Film:
    stored, rescaled = _decoded(dataset, path)
    grey_values, valid, notes = grey(stored, str(path))
    values = grey_values if rescaled else _modality_values(dataset, grey_values, path)
    image = _attenuation(dataset, values if window is None else np.clip(values, *window), path, invert)
    area = measured_area(dataset, stored if stored.ndim == 2 and not rescaled else None, image.shape)
    if area is not None:
        valid = area if valid is None else valid & area
    film = _header(dataset, path, invert)
    return replace(film, image=image, valid=valid, warnings=(*notes, *film.warnings))


def _header(dataset: Dataset, path: Path, invert: bool | None) -> Film:
    """Everything but the pixels."""
    shape = int(dataset.Rows), int(dataset.Columns)
    known, geometry_notes = _geometry(dataset, shape, path)
    orientation = [str(letters) for letters in dataset.get("PatientOrientation") or ()]
    shown = _shown(dataset, invert, path)
    return Film(
        image=blank(*shape),
        source=str(path),
        known=replace(known, **shown),
        orientation=(orientation[0], orientation[1]) if len(orientation) == 2 and all(orientation) else None,
        shown_like_pa=text(dataset, "Modality") not in FLUOROSCOPY,
        patient_key=patient_key(dataset),
        study_uid=str(dataset.get("StudyInstanceUID", "") or ""),
        warnings=(*_image_notes(dataset), *geometry_notes),
    )


def _shown(dataset: Dataset, invert: bool | None, path: Path) -> dict[str, Any]:
    """How a reader would show the image: inverted or not, and its first VOI window."""
    inverted = (_beam_sign(dataset, invert, path) > 0) != _low_is_white(dataset)
    centre, width = number(dataset, "WindowCenter", path), number(dataset, "WindowWidth", path)
    window = None if centre is None or not width or width <= 0.0 else (centre - width / 2, centre + width / 2)
    return {"invert": inverted, "window": window}


def patient_key(dataset: Dataset) -> str | None:
    """32 hex digits that differ between patients and cannot be turned back; None without a PatientID."""
    identifier, issuer = (str(dataset.get(name, "") or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    if not identifier:
        return None
    if issuer == OWN_ISSUER:
        return identifier
    return hashlib.sha256(f"{_SALT}{issuer}|{identifier}".encode()).hexdigest()[:32]


def text(dataset: Dataset, keyword: str) -> str:
    """A code string in capitals, "" where missing."""
    return str(dataset.get(keyword, "") or "").strip().upper()


def numbers(dataset: Dataset, keyword: str, path: Path) -> list[float]:
    """The finite numbers of a tag; empty where it is missing or empty, ``InputError`` where it holds something else."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        values = [float(one) for one in (value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value])]
    except (ValueError, TypeError):
        raise InputError(f"{path}: {keyword} is not a number") from None
    return values if all(map(math.isfinite, values)) else []


def number(dataset: Dataset, keyword: str, path: Path) -> float | None:
    """The first number of a tag, or None."""
    return next(iter(numbers(dataset, keyword, path)), None)


def _decoded(dataset: Dataset, path: Path) -> tuple[np.ndarray, bool]:
    """Stored pixels, and whether they have been through the modality LUT already (ITK's decoder does both)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return dataset.pixel_array, False
    except (*_DAMAGE, RuntimeError, OSError):
        if not syntax.is_compressed or syntax.is_deflated:
            rows, cols = dataset.Rows, dataset.Columns
            expected = rows * cols * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
            raise InputError(
                f"{path}: PixelData is truncated or damaged: found {len(dataset.PixelData)} bytes, expected {expected} "
                f"for {rows}x{cols} pixels"
            ) from None
    image = read_quietly(path)
    if image is None:
        raise InputError(f"{path}: TransferSyntaxUID {syntax.name} ({syntax}) is damaged or cannot be decoded here")
    pixels = sitk.GetArrayFromImage(image)
    return pixels.reshape(pixels.shape[1:] if pixels.shape[0] == 1 else pixels.shape), True


def _modality_values(dataset: Dataset, stored: np.ndarray, path: Path) -> np.ndarray:
    """Stored values through the modality LUT or rescale, and a real-world mapping of LOG data."""
    if dataset.get("ModalityLUTSequence"):
        table = dataset.ModalityLUTSequence[0]
        count, first, bits = (int(value) for value in table.LUTDescriptor)
        data = table.LUTData
        if isinstance(data, bytes):
            data = np.frombuffer(data, dtype="<u2" if bits > 8 else "u1")
        data = np.asarray(data, dtype=np.float32)[: count or 65536]
        return data[np.clip(stored - first, 0, len(data) - 1).astype(int)]
    slope, intercept = number(dataset, "RescaleSlope", path), number(dataset, "RescaleIntercept", path)
    values = stored.astype(np.float64) * (slope or 1.0) + (intercept or 0.0)
    if dataset.get("RealWorldValueMappingSequence") and text(dataset, "PixelIntensityRelationship") == "LOG":
        mapping = dataset.RealWorldValueMappingSequence[0]
        slope, intercept = (number(mapping, f"RealWorldValue{part}", path) for part in ("Slope", "Intercept"))
        values = values * (slope or 1.0) + (intercept or 0.0)
    return values.astype(np.float32)


def _low_is_white(dataset: Dataset) -> bool:
    inverse = text(dataset, "PresentationLUTShape") == "INVERSE"
    return inverse or text(dataset, "PhotometricInterpretation") == "MONOCHROME1"


def _beam_sign(dataset: Dataset, invert: bool | None, path: Path) -> int:
    """+1 where larger values are more beam (less attenuation), -1 where they are less."""
    low_is_white = _low_is_white(dataset)
    if invert is not None:
        return 1 if invert != low_is_white else -1
    sign = number(dataset, "PixelIntensityRelationshipSign", path)
    if sign and text(dataset, "PresentationIntentType") != "FOR PRESENTATION":
        return 1 if sign > 0 else -1
    if text(dataset, "Modality") in FLUOROSCOPY:
        return 1
    return 1 if low_is_white else -1


def _attenuation(dataset: Dataset, values: np.ndarray, path: Path, invert: bool | None) -> np.ndarray:
    sign = _beam_sign(dataset, invert, path)
    linear = text(dataset, "PixelIntensityRelationship") == "LIN"
    if not linear or text(dataset, "PresentationIntentType") == "FOR PRESENTATION":
        return (-sign * values).astype(np.float32)
    beam = values if sign > 0 else values.max() - values
    brightest = float(beam.max())
    if not brightest > 0.0:
        raise InputError(f"{path}: PixelIntensityRelationship is LIN but no pixel is above 0")
    return -np.log(np.clip(beam / brightest, 1e-4, None)).astype(np.float32)


def _geometry(dataset: Dataset, shape: tuple[int, int], path: Path) -> tuple[Known, tuple[str, ...]]:
    facts: dict[str, Any] = {}
    notes = [*_spacing(dataset, path, facts), *_distances(dataset, path, facts), *_angles(dataset, path, facts)]
    if "pixel_mm" in facts:
        facts["offset_mm"] = _offset(dataset, shape, facts["pixel_mm"], path)
    isocentre = numbers(dataset, "IsocenterPosition", path)
    facts["isocentre_mm"] = tuple(isocentre) if len(isocentre) == 3 else None
    oblique = [number(dataset, f"Detector{name}Angle", path) or 0.0 for name in ("Primary", "Secondary")]
    if max(map(abs, oblique)) > 1.0:
        notes.append(f"the beam meets the detector obliquely ({oblique[0]:g}, {oblique[1]:g} degrees); not modelled")
    return Known(**facts), tuple(notes)


def _spacing(dataset: Dataset, path: Path, facts: dict[str, Any]) -> list[str]:
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"):
        found = numbers(dataset, keyword, path)
        if len(found) == 2 and min(found) > 0.0:
            facts["pixel_mm" if keyword != "PixelSpacing" else "pixel_at_patient_mm"] = tuple(found)
            return [] if keyword != "PixelSpacing" else ["only PixelSpacing given: taken as calibrated at the patient"]
    return []


def _distances(dataset: Dataset, path: Path, facts: dict[str, Any]) -> list[str]:
    """Source-detector and source-axis distance; zero or negative values mean unknown."""
    detector = number(dataset, "DistanceSourceToDetector", path) or 0.0
    if detector > 0.0:
        facts["source_detector_mm"] = detector
    ratio = number(dataset, "EstimatedRadiographicMagnificationFactor", path) or 0.0
    if ratio > 1.0:
        facts["magnification"] = ratio
    axis = number(dataset, "DistanceSourceToIsocenter", path) or number(dataset, "DistanceSourceToPatient", path) or 0.0
    if axis <= 0.0:
        return []
    if detector and axis >= detector:
        return [f"DistanceSourceToPatient {axis:g} mm is not below DistanceSourceToDetector {detector:g} mm; not used"]
    if detector and ratio > 1.0 and abs(axis * ratio / detector - 1.0) > 0.01:
        return [f"DistanceSourceToPatient {axis:g} mm contradicts the magnification {ratio:g}; the latter was used"]
    facts["source_axis_mm"] = axis
    return []


def _angles(dataset: Dataset, path: Path, facts: dict[str, Any]) -> list[str]:
    position = text(dataset, "ViewPosition")
    named = VIEW_ANGLES_DEG.get(position)
    primary = number(dataset, "PositionerPrimaryAngle", path)
    c_arm = text(dataset, "Modality") in FLUOROSCOPY or text(dataset, "PositionerType") == "CARM"
    if primary is not None and (c_arm or named is None):
        if named is None or math.cos(math.radians(primary - named)) > 0.7:
            facts["angle_deg"] = primary
            facts["tilt_deg"] = 0.0 - (number(dataset, "PositionerSecondaryAngle", path) or 0.0)
            return []
        facts["angle_deg"] = named
        return [f"PositionerPrimaryAngle {primary:g} contradicts ViewPosition {position}; the latter was used"]
    if named is not None:
        facts["angle_deg"] = named
    return [f"ViewPosition {position} has no angle of its own"] if position and named is None else []


def _offset(dataset: Dataset, shape: tuple[int, int], pixel_mm: Pair, path: Path) -> Pair | None:
    """(down, right) mm from the principal ray to the image centre, where the file says where that ray hits."""
    at = numbers(dataset, "PositionOfIsocenterProjection", path)
    if len(at) != 2 or "FieldOfViewOrigin" in dataset:
        return None
    return (shape[0] / 2 - at[0]) * pixel_mm[0], (shape[1] / 2 - at[1]) * pixel_mm[1]


def _image_notes(dataset: Dataset) -> list[str]:
    notes = []
    if text(dataset, "PresentationIntentType") == "FOR PRESENTATION":
        notes.append("FOR PRESENTATION: contrast was processed for viewing, so it is not proportional to attenuation")
    if int(dataset.get("BitsStored", 16)) <= 8:
        notes.append("8-bit image: fine contrast is lost")
    syntax = dataset.file_meta.TransferSyntaxUID
    lossy = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
    if text(dataset, "LossyImageCompression") == "01" or syntax in lossy:
        notes.append("lossy compression")
    if text(dataset, "Modality") not in MODALITIES:
        notes.append("Modality is not that of a radiograph")
    return notes
