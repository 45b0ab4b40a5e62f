"""A reconstruction for a PACS: the CT series, and a picture of it beside its X-rays."""

from pathlib import Path

from clsdm.app.request import Request
from clsdm.errors import InputError
from clsdm.quality.comparison import Comparison
from clsdm.quality.numbers import numbers
from clsdm.quality.write import comparison_picture
from clsdm.result import Reconstruction
from clsdm.volume.write_dicom import Source, read_source, write_ct_series
from clsdm.xray.dicom import is_dicom


def write_dicom(result: Reconstruction, folder: Path, keep_patient: bool, key: str | None = None) -> Path:
    """Write all of the files, or none.

    Args:
        result: to write.
        folder: new or empty.
        keep_patient: file it under the patient and study of those X-rays that are DICOM; else of nobody.
        key: of :func:`clsdm.volume.write_dicom.ct_series_in_steps`.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be written, or is not empty; or the patient is to be kept, and no X-ray is a DICOM file, or
            the file of one is not any more the one that was read.
    """
    sources = _sources(result) if keep_patient else []
    write_ct_series(
        result.volume.to_sitk(),
        folder,
        sources=sources,
        provenance=result.provenance,
        keep_patient=keep_patient,
        picture=comparison_picture(comparison_of(result)),
        key=key,
    )
    return folder


def refuse_nobody(request: Request) -> None:
    """Look, before anything is computed, for an X-ray that says whose the volume will be. Of files that are there alone.

    Raises:
        InputError: none is a DICOM file.
    """
    files = [Path(view.file) for view in request.views]
    if request.localizers is None and not any(not path.is_file() or is_dicom(path) for path in files):
        raise _of_nobody()


def _of_nobody() -> InputError:
    return InputError("no X-ray is a DICOM file: patient and study are not known", "leave out --keep-patient")


def _sources(result: Reconstruction) -> list[Source]:
    """The DICOM files of the X-rays, which still are those that were read: another patient's may have come in their place."""
    found = []
    for item in result.residuals:
        source = read_source(item.source)
        now = "" if source is None else source.sop_instance
        if now != item.sop_instance:
            raise InputError(
                f"{item.source}: is not the file any more that the volume was made from (its SOP Instance UID was "
                f"{item.sop_instance or 'none'}, now it is {now or 'none'}): whose the volume is, is not known"
            )
        found += [] if source is None else [source]
    if not found:
        raise _of_nobody()
    return found


def comparison_of(result: Reconstruction) -> Comparison:
    """The comparison of a reconstruction without a true CT."""
    measures = numbers(result.volume, None) if result.measures is None else result.measures
    return Comparison(result.volume, None, result.residuals, result.warnings, measures, None)
