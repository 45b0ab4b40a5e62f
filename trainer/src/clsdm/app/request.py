"""A reconstruction as a file: what the command line and 3D Slicer hand over, and what is written for it.

``Request`` is the JSON of ``python -m clsdm reconstruct request.json``. :func:`run` reads the X-rays, reconstructs, and
writes the volume with its companions, all of them or none: beside ``R.nii.gz`` stand ``R_coverage.nii.gz``, for an
ensemble ``R_spread.nii.gz``, and ``R.json`` with residuals, warnings and provenance, from which ``clsdm compare`` finds
the X-rays again. Only :func:`run` needs torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clsdm.app.record import XRaysNotFoundError, companions, left_over_spread, make_record, record_text
from clsdm.app.views import ViewRequest, read_view, refuse_twice
from clsdm.errors import InputError
from clsdm.files.atomic import recover, written_together
from clsdm.files.digest import find, is_mark, mark_of, sha256_of
from clsdm.files.names import files_below, given_path, nameless, refuse_overwriting
from clsdm.files.strict_json import from_plain, read_json, to_plain
from clsdm.geometry.view import PRESETS, View
from clsdm.limits import SERIES_FILES
from clsdm.options import Options
from clsdm.progress import Report, silent
from clsdm.result import Reconstruction
from clsdm.volume.containers import files_of
from clsdm.volume.ct import CTVolume
from clsdm.volume.write import write_ct
from clsdm.xray.image import XRay
from clsdm.xray.scouts import centred, read_localizers

SCHEMA = 1
UNNAMED_FOLDER = "folder"
"""In a record, for a folder that only the user knows."""


@dataclass(frozen=True)
class Request:
    """A reconstruction to be made: of which X-rays, how, and where to put it.

    Attributes:
        views: the X-rays.
        out: volume to write (.nii.gz, .nii, .nrrd, .mha).
        bundle: folder or archive, or the name of an embedded one; the default if None.
        preset: geometry for what neither file nor user says.
        options: product, steps, samples, seed, device.
        localizers: folder of a CT study whose localizers (scouts) are further X-rays.
        series: of that study's scan, where the folder holds several; its heights say where the volume is to be.
        schema: version of this format.
    """

    views: tuple[ViewRequest, ...]
    out: str
    bundle: str | None = None
    preset: str = "chest"
    options: Options = field(default_factory=Options)
    localizers: str | None = None
    series: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise InputError(f"request: schema version {self.schema} is unknown; this program reads {SCHEMA}")
        if not self.views and self.localizers is None:
            raise InputError("request: no X-ray given; name at least one view, or a folder with localizers")
        if self.preset not in PRESETS:
            raise InputError(f"request.preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}")


def read_request(path: str | Path) -> Request:
    """A request from a JSON file.

    Raises:
        InputError: missing, not JSON, or a field that does not belong or fit.
    """
    path = Path(path)
    return from_plain(Request, _renamed(read_json(path, "request")), str(path))


def _renamed(data: Any) -> Any:  # noqa: ANN401 - untrusted JSON
    """Requests and records of earlier versions call the pixel size of a view ``spacing_mm``."""
    views = data.get("views") if isinstance(data, dict) else None
    for view in views if isinstance(views, list) else ():
        geometry = view.get("geometry") if isinstance(view, dict) else None
        if isinstance(geometry, dict) and "spacing_mm" in geometry and "pixel_mm" not in geometry:
            geometry["pixel_mm"] = geometry.pop("spacing_mm")
    return data


def read_views(request: Request) -> list[XRay]:
    """The X-rays of a request.

    Raises:
        InputError: one of them cannot be used.
    """
    refuse_twice(request.views)
    xrays = [read_view(view, request.preset) for view in request.views]
    if request.localizers is not None:
        folder = given_path(request.localizers, "localizers")
        return centred([*xrays, *read_localizers(folder, request.series)])
    return centred(xrays)


def xrays_of(views: list[Any], preset: str) -> list[XRay]:
    """The X-rays of a worker's request, whose views are JSON types.

    Raises:
        InputError: one of them cannot be used.
    """
    plain = {"views": views, "preset": preset, "out": "answered in arrays"}
    return read_views(from_plain(Request, plain, "request"))


def run(
    request: Request, report: Report = silent, inputs: Iterable[Path] = ()
) -> tuple[Reconstruction, dict[str, str]]:
    """Reconstruct and write the files.

    Args:
        request: what to reconstruct.
        report: progress.
        inputs: further files that must not be written over.

    Returns:
        The reconstruction, and the written files by role (volume, coverage, spread, record).

    Raises:
        InputError: unusable input, or the files cannot be written, or one of them is an input, or is there and is of no
            earlier reconstruction.
    """
    from clsdm.model.bundle import Bundle
    from clsdm.reconstruction import reconstruct

    bundle = Bundle.open(request.bundle)
    kept = [*inputs, *inputs_of(request), *bundle.paths]
    ready(request.out, kept)
    xrays = read_views(request)
    report("read X-rays", len(xrays), len(xrays))
    result = reconstruct(xrays, bundle, request.options, report)
    files = save(result, request.out, record(result, request), kept)
    report("write", 1, 1)
    return result, files


def ready(out: str, inputs: Iterable[Path], *, damaged: bool = False) -> tuple[dict[str, Path], list[str]]:
    """The files of a reconstruction by role, and the names of those that must not stay beside them.

    Args:
        out: volume to write.
        inputs: files that must not be written over.
        damaged: whether a volume that is not what its record says is replaced too: under a name that this program chose.

    Raises:
        InputError: one of the files is an input, or the volume or what stands beside it is of no earlier reconstruction.
    """
    files = companions(given_path(out, "out"))
    recover(files["volume"].parent)
    refuse_overwriting(files.values(), inputs)
    return files, left_over_spread(files, damaged=damaged)


def save(
    result: Reconstruction, out: str, text: dict[str, Any], inputs: Iterable[Path] = (), *, damaged: bool = False
) -> dict[str, str]:
    """Write the volume and what belongs beside it: all of the files or none.

    Args:
        result: to write.
        out: volume to write.
        text: of :func:`record`.
        inputs: files that must not be written over.
        damaged: see :func:`ready`.

    Returns:
        The written files by role (volume, coverage, spread, record).

    Raises:
        InputError: the files cannot be written, or one of them is an input, or is there and is of no earlier reconstruction.
    """
    files, gone = ready(out, inputs, damaged=damaged)
    volumes = {"volume": result.volume, "coverage": result.coverage}
    if result.spread is not None:
        volumes["spread"] = result.spread
    _write_together(files, volumes, text, gone if result.spread is None else ())
    return {role: str(files[role]) for role in (*volumes, "record")}


def inputs_of(request: Request) -> list[Path]:
    """Every file and folder with its X-rays."""
    folder = [Path(request.localizers)] if request.localizers is not None else []
    of_study = [each for place in folder if place.is_dir() for each in files_below(place, SERIES_FILES)]
    of_views = [file for view in request.views for file in files_of(given_path(view.file, "X-ray image file"))]
    return [*of_views, *folder, *of_study]


def record(result: Reconstruction, request: Request | None = None) -> dict[str, Any]:
    """The content of ``R.json``, but for the hashes of its files; without a request where the X-rays are no files."""
    residuals = [
        {"angle_deg": item.angle_deg, "rmse": item.rmse, "correlation": item.correlation} for item in result.residuals
    ]
    numbers = {item.source: f"X-ray {number}" for number, item in enumerate(result.residuals, 1)}
    warnings = [nameless(text, numbers) for text in result.warnings]
    asked = None if request is None else to_plain(nameless_request(request, result.views))
    return make_record(result.provenance, residuals, warnings, asked, measures=result.measures)


def nameless_request(request: Request, used: Sequence[View] = ()) -> Request:
    """A request that names no file; with the views where they were found, if ``used`` says so."""
    views = tuple(replace(view, file=mark_of(Path(view.file))) for view in request.views)
    if request.options.refine and used:  # so that whoever reads the record sees the X-rays where they were found
        views = tuple(_where_found(view, at) for view, at in zip(views, used, strict=False))
    folder = None if request.localizers is None else UNNAMED_FOLDER
    return replace(request, views=views, out=Path(request.out).name, bundle=None, localizers=folder)


def names_for(request: Request) -> dict[str, str]:
    """Words in place of each path of a request to somebody who must not learn whose files they are."""
    names = {view.file: f"X-ray {number}" for number, view in enumerate(request.views, 1)}
    if request.localizers is not None:
        with contextlib.suppress(InputError):
            names |= dict.fromkeys(map(str, files_below(Path(request.localizers), SERIES_FILES)), "a localizer's file")
        names[request.localizers] = "the folder with the localizers"
    return names


def _where_found(asked: ViewRequest, used: View) -> ViewRequest:
    pose = {"source_axis_mm": used.source_axis_mm, "tilt_deg": used.tilt_deg, "offset_mm": used.offset_mm}
    return replace(asked, angle_deg=used.angle_deg, geometry=replace(asked.geometry, **pose))  # type: ignore[arg-type]


def found_again(recorded: Any, volume: Path, named: Sequence[Path] = ()) -> Request:  # noqa: ANN401 - untrusted JSON
    """The request in a record, with the files that its X-rays lie in now.

    Args:
        recorded: as it stands in the record of ``volume``.
        volume: the reconstruction; its folder, those beside and in it, and the current one are searched.
        named: files and folders to try first.

    Raises:
        InputError: not a request, or an X-ray is not found.
    """
    request = from_plain(Request, _renamed(recorded), f"record of {volume}: request")
    beside = volume.absolute().parent
    places = [*named, beside, Path.cwd()] + ([beside.parent] if beside.parent != beside.parent.parent else [])
    found = find([view.file for view in request.views if is_mark(view.file)], places)
    views = tuple(replace(view, file=str(found.get(view.file, view.file))) for view in request.views)
    folder = request.localizers
    if folder == UNNAMED_FOLDER:
        folder = next((str(each) for each in named if each.is_dir()), None)
    lost = [number for number, view in enumerate(views, 1) if is_mark(view.file)]
    if lost or (not views and folder is None):
        if not lost:
            said = "was made from localizers, and its record does not say which folder they lie in"
            raise XRaysNotFoundError(f"{volume}: {said}; name it with --xrays FOLDER")
        searched = f"{', '.join(map(str, named))} or " if named else ""
        searched += f"{beside} and the folders in and beside it, or the current folder"
        raise XRaysNotFoundError(
            f"{volume}: X-ray {lost[0]} of {len(views)} is not in {searched}; name the files, or the folder that holds them, "
            "with --xrays"
        )
    return replace(request, views=views, localizers=folder)


def _write_together(
    files: dict[str, Path], volumes: dict[str, CTVolume], text: dict[str, Any], gone: Iterable[str]
) -> None:
    """All of the files or none, and no ``spread`` of an earlier ensemble, which would belong to another volume."""
    needed = sum(2 * volume.hu.size for volume in volumes.values())
    with written_together(files["volume"].parent, gone, needed) as scratch:
        for role, volume in volumes.items():
            write_ct(volume, scratch / files[role].name)
        hashes = {role: sha256_of(scratch / files[role].name) for role in volumes}
        (scratch / files["record"].name).write_text(record_text(text | {"files": hashes}), encoding="utf-8")
