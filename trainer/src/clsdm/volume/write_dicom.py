"""Writing a reconstruction as a DICOM CT series that says everywhere what it is: derived, secondary, research only.

A PACS must be able to file it and nobody may take it for a scan. So every slice is DERIVED\\SECONDARY with
ContentQualification RESEARCH, a derivation in words, references to the X-rays it was made from, and new UIDs; it lies
in the patient and study of those X-rays, unless they are to be left out. A picture of the result may lie beside it, as a
Secondary Capture, for viewers that show no volumes.

Takes a SimpleITK image (LPS mm, HU), because 3D Slicer calls this in its own process, where torch must not be loaded.
"""

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, generate_uid

from clsdm import NOTICE, __version__
from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.dicom import decimal, new_dicom, save_dicom
from clsdm.files.digest import mark_of
from clsdm.volume.capture import capture

How = ParamSpec("How")
Made = TypeVar("Made")

STUDY_TAGS = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Taken from the X-rays, so that the series is filed beside them."""

UID_MARK = "uid:"
"""Begins the identity of a DICOM file."""

EMPTY = ("KVP", "AcquisitionNumber", "PatientPosition", "PositionReferenceIndicator", "Laterality")
"""Type 2 attributes of a scan; here nobody knows them."""

SERIES_NUMBER = 9001  # behind what modalities number
WINDOWS = {"SOFT TISSUE": (40, 400), "LUNG": (-500, 1500)}  # (centre, width) in HU
HU_TYPE = np.int16


@dataclass(frozen=True)
class Source:
    """One DICOM image that the volume was made from.

    Attributes:
        sop_class: SOP Class UID.
        sop_instance: SOP Instance UID.
        study: its patient and study, by keyword.
    """

    sop_class: str
    sop_instance: str
    study: Mapping[str, Any]


def read_source(path: str | os.PathLike[str]) -> Source | None:
    """The identity of a DICOM file, or None for a file of another format."""
    try:
        wanted = [*STUDY_TAGS, "SOPClassUID", "SOPInstanceUID"]
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        study = {name: tags[name].value for name in STUDY_TAGS if name in tags}
        return Source(str(tags.SOPClassUID), str(tags.SOPInstanceUID), study)
    except (InvalidDicomError, OSError, AttributeError):
        return None


def identity_of(path: Path) -> str:
    """What tells an X-ray's file from one that takes its name later: ``uid:`` and its SOP Instance UID, else its mark.

    Args:
        path: of any format; one that is no DICOM file is read whole, for its :func:`clsdm.files.digest.mark_of`.

    Raises:
        OSError: it cannot be read.
    """
    source = read_source(path)
    return mark_of(path) if source is None else f"{UID_MARK}{source.sop_instance}"


def ct_series_in_steps(
    image: sitk.Image,
    folder: str | os.PathLike[str],
    *,
    sources: Sequence[Source] = (),
    provenance: Mapping[str, Any] | None = None,
    keep_patient: bool = True,
    picture: np.ndarray | None = None,
    now: datetime | None = None,
    key: str | None = None,
) -> Generator[float, None, list[Path]]:
    """Write a volume as one axial CT series in steps; all of its files or, on failure, none.

    Args:
        image: HU; turned to LPS axis order, not resampled.
        folder: new or empty; gets one file per slice.
        sources: the X-rays.
        provenance: how the volume was made, as in ``Reconstruction.provenance``.
        keep_patient: file it under the patient and study of the X-rays; otherwise nothing of theirs is written, not
            even their UIDs.
        picture: (rows, columns, 3) uint8, which becomes a series of its own of one image.
        now: time of creation; the present where None.
        key: says what the volume is; of the same key, all UIDs are the same again, so that no archive holds it twice.

    Yields:
        The fraction done; closing it leaves nothing.

    Returns:
        The files, from feet to head, and the picture last.

    Raises:
        InputError: no finite 3-D volume, the sources are of two patients, or the folder cannot be used.
    """
    folder = Path(folder)
    image = _oriented(image)
    used = sources if keep_patient else ()
    uids = new_uids(key)
    common = _common(_study(used), provenance or {}, used, now or datetime.now(), uids)
    refuse_full(folder)
    count = image.GetSize()[2]
    names = [f"CT{number:04d}.dcm" for number in range(1, count + 1)]
    with written_together(folder) as scratch:
        for index, name in enumerate(names):
            save_dicom(_slice(image, index, common, next(uids)), scratch / name)
            yield (index + 1) / count
        if picture is not None:
            names.append("PICTURE.dcm")
            save_dicom(capture(picture, common, uids), scratch / names[-1])
    return [folder / name for name in names]


def new_uids(key: str | None) -> Iterator[UID]:
    """UIDs without end, of a key always the same ones."""
    for number in itertools.count():
        yield generate_uid(entropy_srcs=None if key is None else [key, str(number)])


def _finished(steps: Callable[How, Generator[float, None, Made]]) -> Callable[How, Made]:
    """The function that takes all steps at once."""

    def finish(*given: How.args, **named: How.kwargs) -> Made:
        going = steps(*given, **named)
        while True:
            try:
                next(going)
            except StopIteration as done:
                made: Made = done.value
                return made

    return finish


write_ct_series = _finished(ct_series_in_steps)


def derivation(provenance: Mapping[str, Any], views: int | None = None) -> str:
    """How the volume was made, in one sentence of at most 1024 characters."""
    known = {key: value for key, value in provenance.items() if value not in (None, "", "None")}
    made_from = f"{views} X-ray{'s' if views != 1 else ''}" if views else "X-rays"
    parts = [f"CT volume estimated from {made_from} by latent diffusion (CLS-DM), not scanned"]
    parts += [f"{name} {known[name]}" for name in ("product", "samples", "steps", "seed") if name in known]
    if "model" in known:
        parts.append(f"model {known['model']} {known.get('model_version', '')} sha256 {known.get('model_sha256', '?')}")
    parts.append(str(known.get("software", f"clsdm {__version__}")))
    return _ascii(f"{'; '.join(parts)}. {NOTICE}", 1024)


def _ascii(text: object, length: int = 64) -> str:
    """Text that any character set of the X-rays' file can hold, as long as a tag may be."""
    return str(text).encode("ascii", "replace").decode("ascii")[:length]


def _oriented(image: sitk.Image) -> sitk.Image:
    """The image as HU of DICOM's integers, axes in the order of LPS."""
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"DICOM: expected a 3-D scalar volume, found {image.GetDimension()}-D")
    hu = sitk.GetArrayViewFromImage(image)
    if not np.isfinite(hu).all():
        raise InputError("DICOM: the volume holds NaN or infinite voxels")
    span = np.iinfo(HU_TYPE)
    return sitk.Cast(sitk.Round(sitk.Clamp(sitk.DICOMOrient(image, "LPS"), sitk.sitkFloat64, span.min, span.max)),
                     sitk.sitkInt16)  # fmt: skip


def _study(sources: Sequence[Source]) -> dict[str, Any]:
    """Patient and study of the series: that of the X-rays, or a new one of nobody."""
    new = dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"), "")
    new |= {"PatientName": "CLS-DM^Research", "PatientID": "CLS-DM", "ReferringPhysicianName": ""}
    new |= {"StudyInstanceUID": generate_uid()}
    if not sources:
        return new | {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "Nothing of the X-rays' was copied"}
    named = [source for source in sources if source.study.get("PatientID")] or sources
    patients = {tuple(str(each.study.get(name, "")) for name in ("PatientID", "IssuerOfPatientID")) for each in named}
    if len(patients) > 1:
        raise InputError("DICOM: the X-rays are of two patients (their PatientIDs differ); expected one")
    first = named[0].study
    missing = {name: "" for name in new if name != "StudyInstanceUID"} | {"StudyInstanceUID": new["StudyInstanceUID"]}
    return missing | dict(first)


def _common(
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    sources: Sequence[Source],
    now: datetime,
    uids: Iterator[UID],
) -> Dataset:
    """All that the slices share; types 1 and 2 of the CT Image IOD."""
    common = Dataset()
    for keyword, value in study.items():
        setattr(common, keyword, value)
    for keyword in EMPTY:
        setattr(common, keyword, None)
    common.Modality = "CT"
    common.SeriesInstanceUID, common.FrameOfReferenceUID = next(uids), next(uids)
    common.SeriesNumber = SERIES_NUMBER
    common.SeriesDescription = _ascii(f"CLS-DM {provenance.get('product', '')} (research only)").replace("  ", " ")
    common.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    common.ContentQualification = "RESEARCH"
    common.DerivationDescription = derivation(provenance, len(sources) or None)
    common.ImageComments = NOTICE
    common.Manufacturer, common.ManufacturerModelName = "CLS-DM", _ascii(provenance.get("model", "clsdm"))
    common.SoftwareVersions = _ascii(provenance.get("software", f"clsdm {__version__}"))
    common.BurnedInAnnotation, common.LossyImageCompression = "NO", "00"
    if sources:
        common.SourceImageSequence = pydicom.Sequence([_reference(each) for each in sources])
    for kind in ("Series", "Content", "InstanceCreation"):
        setattr(common, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(common, f"{kind}Time", now.strftime("%H%M%S"))
    return common


def _reference(source: Source) -> Dataset:
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.sop_class, source.sop_instance
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = pydicom.Sequence([purpose])
    return item


def refuse_full(folder: Path) -> None:
    """Refuse a folder for a series that holds files already.

    Raises:
        InputError: it does, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; expected a new or empty folder, so that two series do not mix")


def _slice(image: sitk.Image, index: int, common: Dataset, uid: UID) -> FileDataset:
    """One file: what all share, and the place and voxels of this slice."""
    dataset = new_dicom(CTImageStorage, uid)
    dataset.update(common)
    columns, rows, _ = image.GetSize()
    step = image.GetSpacing()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [decimal(x) for x in image.TransformIndexToPhysicalPoint((0, 0, index))]
    dataset.ImageOrientationPatient = [decimal(x) for x in (*direction[:, 0], *direction[:, 1])]
    dataset.PixelSpacing = [decimal(step[1]), decimal(step[0])]
    dataset.SliceThickness = decimal(step[2])
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = ([each[at] for each in WINDOWS.values()] for at in (0, 1))
    dataset.WindowCenterWidthExplanation = list(WINDOWS)
    dataset.PixelData = sitk.GetArrayViewFromImage(image)[index].astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
