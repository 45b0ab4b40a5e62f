"""A reconstruction as a worker's answer, JSON types and arrays in .npy files, and back. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.app.record import recorded_views
from clsdm.app.sent import read_array, save_array
from clsdm.app.worker import Answer
from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain
from clsdm.geometry.view import View
from clsdm.options import Options
from clsdm.quality.agreement import Reprojection
from clsdm.quality.numbers import recorded
from clsdm.result import Reconstruction
from clsdm.volume.ct import CTVolume, Point
from clsdm.volume.read import check_geometry
from clsdm.volume.write import rounded
from clsdm.xray.image import XRay

ROUNDING = 1e-4
"""Beyond 1 a correlation may come to."""
_WORDS = ("notice", "software", "model", "model_version", "device")
"""Texts in a provenance."""


def pack_reconstruction(folder: Path, result: Reconstruction, seen: list[View]) -> Answer:
    """A reconstruction as an answer; ``seen`` are the views on the virtual detector."""
    volumes = {"volume": result.volume, "coverage": result.coverage, "spread": result.spread}
    return {
        **{name: placed(folder, name, each) for name, each in volumes.items() if each is not None},
        "views": result.provenance["views"],
        "residuals": [
            {"angle_deg": each.angle_deg, "rmse": each.rmse, "correlation": each.correlation}
            for each in result.residuals
        ],
        "reprojections": [
            {
                "angle_deg": each.angle_deg,
                "view": view.to_plain(),
                "input": saved(folder, f"input{at}", each.xray),
                "reprojected": saved(folder, f"reprojected{at}", each.reprojected),
                "difference": saved(folder, f"difference{at}", each.difference),
            }
            for at, (each, view) in enumerate(zip(result.residuals, seen, strict=True))
        ],
        "warnings": list(result.warnings),
        "measures": result.measures,
        "hanging": result.hanging and result.hanging.to_plain(),
        "provenance": result.provenance,
    }


@dataclass(frozen=True)
class _Residual:
    """As ``Reprojection``, without its images."""

    angle_deg: float
    rmse: float
    correlation: float | None

    def __post_init__(self) -> None:
        if self.rmse < 0.0 or abs(self.correlation or 0.0) > 1.0 + ROUNDING:
            raise InputError(f"no rmse and correlation of two images: {self.rmse:g}, {self.correlation}")


@dataclass(frozen=True)
class _Placed:
    """As :func:`placed` gives it."""

    array: str
    spacing_mm: Point
    origin_mm: Point
    direction: tuple[Point, Point, Point]


def unpack_reconstruction(
    answer: Answer, folder: Path, xrays: Sequence[XRay], options: Options, where: str
) -> Reconstruction:
    """The inverse of :func:`pack_reconstruction`, as far as files are made of it: in whole HU, and without ``hanging``.

    Args:
        answer: untrusted; its paths are those of the arrays.
        folder: where these were received.
        xrays: what was asked about.
        options: how it was asked.
        where: begins messages.

    Raises:
        KeyError, TypeError, ValueError, OSError: no such answer.
        InputError: likewise, or it is one to another question.
    """
    made = answer["provenance"]
    _check_asked(made, len(xrays), options, where)
    volumes = {
        name: _volume(answer[name], folder, f"{where}: {name}")
        for name in ("volume", "coverage", "spread")
        if answer.get(name) is not None
    }
    _check_alike(volumes, options, where)
    measures = answer["measures"]
    if (measures is not None) != options.measure or (measures is not None and recorded(answer) is None):
        raise InputError(f"{where}: measures: expected {'those of this version' if options.measure else 'none'}")
    return Reconstruction(
        volumes["volume"],
        volumes["coverage"],
        volumes.get("spread"),
        tuple(_reprojections(answer, folder, xrays, where)),
        tuple(_texts(answer["warnings"], f"{where}: warnings")),
        made,
        recorded_views({"provenance": made}, where),
        measures,
    )


def _check_asked(made: Any, views: int, options: Options, where: str) -> None:  # noqa: ANN401 - untrusted JSON
    """A provenance says what was asked for, of so many X-rays."""
    expected = {name: value for name, value in options.recorded.items() if name != "steps" or value is not None}
    wrong = next((name for name, value in expected.items() if made[name] != value), None)
    if wrong is not None:
        raise InputError(f"{where}: {wrong}: expected {expected[wrong]!r}, found {made[wrong]!r:.60}")
    _texts([made[name] for name in _WORDS], f"{where}: provenance")
    if not isinstance(made["views"], list) or len(made["views"]) != views:
        raise InputError(f"{where}: views: expected {views}, found {made['views']!r:.60}")


def _check_alike(volumes: Mapping[str, CTVolume], options: Options, where: str) -> None:
    """A volume comes with its coverage, of an ensemble with its spread, and they lie on the same voxels."""
    expected = {"volume", "coverage"} | ({"spread"} if options.product == "ensemble" else set())
    if set(volumes) != expected:
        raise InputError(f"{where}: expected {', '.join(sorted(expected))}, found {', '.join(sorted(volumes))}")
    first = volumes["volume"]
    for name, each in volumes.items():
        if each.hu.shape != first.hu.shape or not np.array_equal(each.affine, first.affine):
            raise InputError(f"{where}: {name}: lies on other voxels than the volume")


def _reprojections(answer: Answer, folder: Path, xrays: Sequence[XRay], where: str) -> Iterator[Reprojection]:
    for xray, plain, seen in zip(xrays, answer["residuals"], answer["reprojections"], strict=True):
        each = from_plain(_Residual, plain, f"{where}: residuals")
        images = [_array(seen[name], folder, f"{where}: {name}", 2) for name in ("input", "reprojected", "difference")]
        if len({image.shape for image in images}) > 1:
            raise InputError(f"{where}: an X-ray and its reprojection have {images[0].shape} and other pixels")
        figures = (each.angle_deg, each.rmse, each.correlation)
        yield Reprojection(xray.source, *figures, images[0], images[1], images[2], xray.sop_instance)


def _texts(plain: Any, where: str) -> list[str]:  # noqa: ANN401 - untrusted JSON
    if not isinstance(plain, list) or not all(isinstance(each, str) for each in plain):
        raise InputError(f"{where}: expected texts, found {plain!r:.60}")
    return plain


def placed(folder: Path, name: str, volume: CTVolume) -> Answer:
    """A volume with the same numbers as in the command line's file, but without the time that compression takes."""
    return {
        "array": saved(folder, name, sitk.GetArrayFromImage(rounded(volume))),
        "spacing_mm": list(volume.spacing_mm),
        "origin_mm": list(volume.origin_mm),
        "direction": volume.direction.tolist(),
    }


def _volume(plain: Any, folder: Path, where: str) -> CTVolume:  # noqa: ANN401 - untrusted JSON
    """The inverse of :func:`placed`."""
    said = from_plain(_Placed, plain, where)
    voxels = _array(said.array, folder, where, 3)
    if voxels.dtype != np.int16:
        raise InputError(f"{where}: expected whole numbers of 16 bits, found {voxels.dtype}")
    volume = CTVolume(voxels.astype(np.float32), said.spacing_mm, said.origin_mm, np.array(said.direction), where)
    check_geometry(volume)
    return replace(volume, source=CTVolume.source)


def _array(path: str, folder: Path, where: str, axes: int) -> np.ndarray:
    if (
        not isinstance(path, str) or Path(path).parent != folder
    ):  # else a server could have a file of this computer shown
        raise InputError(f"{where}: names a file that was not received")
    return read_array(folder, Path(path).name, where, axes)


def saved(folder: Path, name: str, array: np.ndarray) -> str:
    """The path of an array that is written there."""
    path = folder / f"{name}.npy"
    save_array(path, array)
    return str(path)
