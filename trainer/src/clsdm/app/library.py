"""``import clsdm``: what a line of Python asks for. The command line and Slicer do the same with a ``Request``.

The model stays loaded between calls (``warm``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from clsdm.app.dicom_output import write_dicom
from clsdm.app.record import record_of, refuse_exchanged
from clsdm.app.request import Request, ViewRequest, inputs_of, read_view, record, save
from clsdm.app.views import refuse_twice
from clsdm.app.warm import WARM
from clsdm.app.words import in_python
from clsdm.errors import InputError, in_full
from clsdm.files.names import given_path
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle
from clsdm.options import Options, choose_device
from clsdm.progress import Report, silent
from clsdm.quality.compare import compare as compared
from clsdm.quality.comparison import Comparison
from clsdm.quality.measure import Measures
from clsdm.quality.measure import measure as measured
from clsdm.quality.numbers import recorded
from clsdm.reconstruction import reconstruct as from_xrays
from clsdm.result import Reconstruction
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm.xray.image import XRay
from clsdm.xray.read import GeometryOverrides
from clsdm.xray.scouts import centred

AnyXRay = str | PathLike[str] | ViewRequest | XRay
"""A file, a file with a geometry of its own, or an X-ray that was read or made of an array."""

Scan = str | PathLike[str] | CTVolume

NAME = "reconstruction.nii.gz"
"""Of the volume in a folder."""


@dataclass(frozen=True, repr=False)
class Result(Reconstruction):
    """A reconstruction that can be saved.

    Attributes:
        request: what it was made from; None where an X-ray was no file.
        inputs: files and folders that it was made from.
        recorded: the warnings in the words of the command line, for the record.
    """

    request: Request | None = None
    inputs: tuple[Path, ...] = ()
    recorded: tuple[str, ...] = ()

    def save(self, out: str | PathLike[str]) -> dict[str, str]:
        """Write the volume (HU), its coverage, the spread of an ensemble, and the record, all of them or none.

        They take the place of an earlier reconstruction of that name, and of nothing else.

        Args:
            out: a volume file (.nii.gz, .nii, .nrrd, .mha), or a folder, which gets ``reconstruction.nii.gz``.

        Returns:
            The files by role: volume, coverage, spread, record.

        Raises:
            InputError: they cannot be written, or one of them is an input, or something else of that name is there.
        """
        path = given_path(str(out), "out")
        path = path if path.suffix and not path.is_dir() else path / NAME
        request = None if self.request is None else replace(self.request, out=str(path))
        return save(self, str(path), record(replace(self, warnings=self.recorded), request), self.inputs)

    def save_dicom(self, folder: str | PathLike[str], *, keep_patient: bool = False) -> None:
        """Write a CT series and a picture of it, for a PACS.

        Args:
            folder: new or empty.
            keep_patient: file it under the patient and study of the X-rays.

        Raises:
            InputError: it cannot be written, or is not empty.
        """
        write_dicom(self, given_path(str(folder), "folder"), keep_patient)


def measure(volume: Scan, over_mm: tuple[float, float] | None = None) -> Measures:
    """Measure a reconstruction or a CT: every number as it is in the volume, corrected for nothing.

    Args:
        volume: a file, a folder of DICOM slices, or a CT that was read.
        over_mm: lowest and highest z (LPS) over which means and curves are taken; its own lungs' height if None.

    Raises:
        InputError: it cannot be read.
    """
    return measured(_scan(volume, "volume"), over_mm)


def compare(
    volume: Scan, truth: Scan | None = None, xrays: Sequence[AnyXRay] = (), preset: str = "chest"
) -> Comparison:
    """Score a reconstruction against the true CT, its X-rays, or both; numbers of a file's record keep their intervals.

    Args:
        volume: the reconstruction, a file or one that was read.
        truth: the CT on any grid, in the same patient coordinates; a file, a folder of DICOM slices, or one that was read.
        xrays: that it was made from, as for :func:`reconstruct`; frontal, lateral, others.
        preset: distances where no file knows them.

    Raises:
        InputError: something cannot be read, or cannot be compared.
    """
    if isinstance(volume, str | PathLike) and isinstance(truth, str | PathLike):
        refuse_exchanged(Path(volume), Path(truth))
    record = {} if isinstance(volume, CTVolume) else record_of(Path(volume))
    angles = (0.0, 90.0, *(None for _ in xrays))
    views = [_view(xray, angle, GeometryOverrides()) for xray, angle in zip(xrays, angles, strict=False)]
    read = centred([each if isinstance(each, XRay) else read_view(each, preset) for each in views])
    made, true = _scan(volume, "volume"), None if truth is None else _scan(truth, "truth")
    return compared(made, true, read, recorded(record), record.get("provenance"))


def _scan(given: Scan, name: str) -> CTVolume:
    if isinstance(given, CTVolume):
        return given
    if not isinstance(given, str | PathLike):
        raise InputError(f"{name}: expected a file, a folder of DICOM slices or a CTVolume, got {type(given).__name__}")
    return read_ct(given_path(str(given), name))


def reconstruct(
    frontal: AnyXRay,
    lateral: AnyXRay | None = None,
    *others: AnyXRay,
    geometry: GeometryOverrides | None = None,
    preset: str = "chest",
    bundle: str | PathLike[str] | None = None,
    report: Report = silent,
    **options: Any,  # noqa: ANN401 - the fields of Options
) -> Result:
    """Reconstruct a CT volume from one to eight X-rays of one patient.

    ``others`` are further X-rays, which must say from where they were taken; ``options`` are product, steps, samples, seed,
    device, consistency, refine and at_once of ``clsdm.reconstruction.Options``.

    Args:
        frontal: PA or AP; 0 degrees unless it says otherwise.
        lateral: 90 degrees unless it says otherwise.
        geometry: what overrules the files' geometry, of those that bring none of their own.
        preset: distances where neither file nor user knows them.
        bundle: model folder or archive; the one that comes with the program if None.
        report: progress ``(stage, done, total)``; may raise ``Cancelled``.

    Raises:
        InputError: an X-ray, the model or an option cannot be used; the message says which, and why.
    """
    if preset not in PRESETS:
        raise InputError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    opened = WARM.bundle(None if bundle is None else str(bundle))
    how = Options(**{"product": opened.manifest.default_product, **options})
    given: list[tuple[AnyXRay | None, float | None]] = [
        (frontal, 0.0),
        (lateral, 90.0),
        *((each, None) for each in others),
    ]
    views = [_view(xray, angle, geometry or GeometryOverrides()) for xray, angle in given if xray is not None]
    refuse_twice([each for each in views if isinstance(each, ViewRequest)])
    xrays = centred([each if isinstance(each, XRay) else read_view(each, preset) for each in views])
    report("read X-rays", len(xrays), len(xrays))
    made = from_xrays(xrays, opened, how, report, WARM.model(opened, choose_device(how.device), report))
    said = {"warnings": tuple(in_python(in_full(text)) for text in made.warnings), "recorded": made.warnings}
    return Result(**vars(made) | said | _sources(views, opened, preset, how))


def _view(xray: AnyXRay, default_angle_deg: float | None, geometry: GeometryOverrides) -> ViewRequest | XRay:
    if isinstance(xray, ViewRequest | XRay):
        return xray
    if not isinstance(xray, str | PathLike):
        raise InputError(
            f"X-ray: expected a file, a ViewRequest or an XRay (of an array: XRay.from_array), got {type(xray).__name__}"
        )
    return ViewRequest(str(xray), default_angle_deg=default_angle_deg, geometry=geometry)


def _sources(views: Sequence[ViewRequest | XRay], bundle: Bundle, preset: str, options: Options) -> dict[str, Any]:
    """The attributes of a :class:`Result` beyond those of a reconstruction."""
    files = tuple(view for view in views if isinstance(view, ViewRequest))
    if len(files) < len(views):
        return {"inputs": tuple(Path(view.file) for view in files)}
    request = Request(files, NAME, str(bundle.path), preset, options)
    return {"request": request, "inputs": (*inputs_of(request), *bundle.paths)}
