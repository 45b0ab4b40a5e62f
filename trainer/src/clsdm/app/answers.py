"""A reconstruction as a worker's answer, JSON types and arrays in .npy files, and back. No torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.app.record import recorded_views
from clsdm.app.worker import Answer
from clsdm.files.atomic import room_for
from clsdm.geometry.view import View
from clsdm.quality.agreement import Reprojection
from clsdm.result import Reconstruction
from clsdm.volume.ct import CTVolume, point
from clsdm.volume.write import rounded


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


def unpack_reconstruction(answer: Answer, sources: Sequence[str]) -> Reconstruction:
    """The inverse of :func:`pack_reconstruction`, as far as files are made of it: in whole HU, and without ``hanging``.

    Args:
        answer: its paths are those of the arrays.
        sources: where the X-rays came from.

    Raises:
        KeyError, TypeError, ValueError, OSError, InputError: no such answer.
    """
    made, spread = answer["provenance"], answer.get("spread")
    residuals = []
    for source, each, seen in zip(sources, answer["residuals"], answer["reprojections"], strict=True):
        images = (np.load(seen[name]) for name in ("input", "reprojected", "difference"))
        residuals.append(Reprojection(source, each["angle_deg"], each["rmse"], each["correlation"], *images))
    return Reconstruction(
        _volume(answer["volume"]),
        _volume(answer["coverage"]),
        None if spread is None else _volume(spread),
        tuple(residuals),
        tuple(answer["warnings"]),
        made,
        recorded_views({"provenance": made}, "answer"),
        answer["measures"],
    )


def placed(folder: Path, name: str, volume: CTVolume) -> Answer:
    """A volume with the same numbers as in the command line's file, but without the time that compression takes."""
    return {
        "array": saved(folder, name, sitk.GetArrayFromImage(rounded(volume))),
        "spacing_mm": list(volume.spacing_mm),
        "origin_mm": list(volume.origin_mm),
        "direction": volume.direction.tolist(),
    }


def _volume(plain: Answer) -> CTVolume:
    """The inverse of :func:`placed`."""
    spacing_mm, origin_mm = (point(np.array(plain[name], dtype=float)) for name in ("spacing_mm", "origin_mm"))
    return CTVolume(np.load(plain["array"]).astype(np.float32), spacing_mm, origin_mm, np.array(plain["direction"]))


def saved(folder: Path, name: str, array: np.ndarray) -> str:
    """The path of an array that is written there."""
    path = folder / f"{name}.npy"
    with room_for(path, array.nbytes):
        np.save(path, array)
    return str(path)
