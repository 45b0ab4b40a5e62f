"""A reconstruction as a file: what the command line and 3D Slicer hand over, and what is written for it.

``Request`` is the JSON of ``python -m clsdm reconstruct request.json``. :func:`run` reads the X-rays, reconstructs, and
writes the volume with its companions, all of them or none: beside ``R.nii.gz`` stand ``R_coverage.nii.gz``, for an
ensemble ``R_spread.nii.gz``, and ``R.json`` with residuals, warnings and provenance, from which ``clsdm compare`` finds
the X-rays again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clsdm.app.record import companions, make_record, record_text
from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.strict_json import from_plain, to_plain
from clsdm.geometry.view import PRESETS, View
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.progress import Report, silent
from clsdm.reconstruct import Options, Reconstruction, reconstruct
from clsdm.volume.ct import CTVolume
from clsdm.volume.write import write_ct
from clsdm.xray.preprocess import XRay
from clsdm.xray.read import GeometryOverrides, read_xray
from clsdm.xray.scouts import centred, read_localizers

SCHEMA = 1


@dataclass(frozen=True)
class ViewRequest:
    """One X-ray file.

    Attributes:
        file: its path.
        angle_deg: overrules the file (0 PA, 90 left lateral).
        default_angle_deg: used where the file names no angle.
        geometry: what overrules the file's geometry.
    """

    file: str
    angle_deg: float | None = None
    default_angle_deg: float | None = None
    geometry: GeometryOverrides = field(default_factory=GeometryOverrides)


@dataclass(frozen=True)
class Request:
    """What to reconstruct, how, and where to put it.

    Attributes:
        views: the X-rays.
        out: volume to write (.nii.gz, .nii, .nrrd, .mha).
        bundle: folder or archive; the embedded one if None.
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
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    return from_plain(Request, data, str(path))


def read_views(request: Request) -> list[XRay]:
    """The X-rays of a request.

    Raises:
        InputError: one of them cannot be used.
    """
    xrays = [
        read_xray(view.file, view.angle_deg, view.geometry, request.preset, default_angle_deg=view.default_angle_deg)
        for view in request.views
    ]
    if request.localizers is not None:
        return centred([*xrays, *read_localizers(Path(request.localizers), request.series)])
    return centred(xrays)


def run(request: Request, report: Report = silent) -> tuple[Reconstruction, dict[str, str]]:
    """Reconstruct and write the files.

    Returns:
        The reconstruction, and the written files by role (volume, coverage, spread, record).

    Raises:
        InputError: unusable input, or the files cannot be written.
    """
    files = companions(Path(request.out))
    bundle = Bundle.open(request.bundle or default_bundle_path())
    xrays = read_views(request)
    report("read X-rays", len(xrays), len(xrays))
    options = request.options
    result = reconstruct(xrays, bundle, options, report)
    volumes = {"volume": result.volume, "coverage": result.coverage}
    if result.spread is not None:
        volumes["spread"] = result.spread
    _write_together(files, volumes, record(request, result))
    report("write", 1, 1)
    return result, {role: str(files[role]) for role in (*volumes, "record")}


def record(request: Request, result: Reconstruction) -> dict[str, Any]:
    """The content of ``R.json``."""
    residuals = [
        {"angle_deg": item.angle_deg, "rmse": item.rmse, "correlation": item.correlation} for item in result.residuals
    ]
    folder = None if request.localizers is None else str(Path(request.localizers).resolve())
    views = tuple(_absolute(view) for view in request.views)
    if request.options.refine:  # so that whoever reads the record sees the X-rays where they were found
        views = tuple(_found(view, used) for view, used in zip(views, result.views, strict=False))
    found = to_plain(replace(request, views=views, localizers=folder))
    return make_record(result.provenance, residuals, result.warnings, found)


def _found(asked: ViewRequest, used: View) -> ViewRequest:
    pose = {"source_axis_mm": used.source_axis_mm, "tilt_deg": used.tilt_deg, "offset_mm": used.offset_mm}
    return replace(asked, angle_deg=used.angle_deg, geometry=replace(asked.geometry, **pose))  # type: ignore[arg-type]


def _absolute(view: ViewRequest) -> ViewRequest:
    return replace(view, file=str(Path(view.file).resolve()))


def _write_together(files: dict[str, Path], volumes: dict[str, CTVolume], text: dict[str, Any]) -> None:
    """All of the files or none, and no ``spread`` of an earlier ensemble, which would belong to another volume."""
    with written_together(files["volume"].parent) as scratch:
        for role, volume in volumes.items():
            write_ct(volume, scratch / files[role].name)
        (scratch / files["record"].name).write_text(record_text(text), encoding="utf-8")
    if "spread" in volumes:
        return
    try:
        files["spread"].unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{files['spread']}: of an earlier ensemble, cannot be removed ({error.strerror})") from error
