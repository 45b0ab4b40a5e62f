"""A reconstruction for a PACS: the CT series, and a picture of it beside its X-rays."""

from pathlib import Path

from clsdm.quality.comparison import Comparison
from clsdm.quality.numbers import numbers
from clsdm.quality.write import comparison_picture
from clsdm.result import Reconstruction
from clsdm.volume.write_dicom import read_source, write_ct_series


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
        InputError: it cannot be written, or is not empty.
    """
    found = [read_source(item.source) for item in result.residuals]
    write_ct_series(
        result.volume.to_sitk(),
        folder,
        sources=[source for source in found if source is not None],
        provenance=result.provenance,
        keep_patient=keep_patient,
        picture=comparison_picture(comparison_of(result)),
        key=key,
    )
    return folder


def comparison_of(result: Reconstruction) -> Comparison:
    """The comparison of a reconstruction without a true CT."""
    measures = numbers(result.volume, None) if result.measures is None else result.measures
    return Comparison(result.volume, None, result.residuals, result.warnings, measures, None)
