"""The record beside a reconstruction, ``R.json``: how the volume was made, how well it explains its X-rays, and warnings.

The command line writes it and so does 3D Slicer's export; ``clsdm compare`` reads it. It names the hash of its volume, so
that it is not taken for the record of another, and its X-rays by their hashes only: where they lie, and how their files
are called, may say whose they are. No torch.
"""

import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.files.atomic import recover
from clsdm.files.digest import sha256_of
from clsdm.files.strict_json import from_plain, read_json
from clsdm.geometry.view import MAX_VIEWS, View
from clsdm.volume.write import SUFFIXES
from clsdm.xray.image import check_view

SCHEMA = 1


class XRaysNotFoundError(InputError):
    """The X-rays of a reconstruction are not where they were looked for."""


def make_record(
    provenance: Mapping[str, Any],
    residuals: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    request: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    measures: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record as plain JSON types.

    Args:
        provenance: as in ``Reconstruction.provenance``.
        residuals: angle_deg, rmse and correlation of each view.
        warnings: what the user should know.
        request: of what X-rays, a ``clsdm.app.request.Request`` with their marks for their paths
            (``clsdm.files.digest``); None where nobody knows any more.
        files: SHA-256 of the files that belong to it, by role (:func:`companions`).
        measures: as in ``Reconstruction.measures``.
    """
    record = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "provenance": dict(provenance),
        "warnings": list(warnings),
        "residuals": [dict(each) for each in residuals],
    }
    record |= {} if files is None else {"files": dict(files)}
    record |= {} if measures is None else {"measures": dict(measures)}
    return record if request is None else record | {"request": dict(request)}


def record_text(record: Mapping[str, Any]) -> str:
    """The content of the file."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def record_of(volume: Path) -> dict[str, Any]:
    """:func:`read_record`, empty where there is none, also of what is no volume file."""
    return (read_record(volume) if volume.name.lower().endswith(SUFFIXES) else None) or {}


def read_record(volume: Path) -> dict[str, Any] | None:
    """The record beside a volume, or None where there is none.

    Raises:
        InputError: it is no JSON, or of another volume, or the name is that of no volume.
    """
    recover(volume.parent)
    path = companions(volume)["record"]
    record = _record_in(path)
    known = (record or {}).get("files", {})
    said = known.get("volume") if isinstance(known, dict) else None
    if said is not None and volume.is_file() and (found := sha256_of(volume)) != said:
        raise InputError(
            f"{path}: is the record of another volume (SHA-256 of {volume.name} is {found}, the record says {said!r:.80})"
        )
    return record


def refuse_exchanged(volume: Path, truth: Path) -> None:
    """A CT in the place of the reconstruction, and the other way round, would be compared without a word.

    Raises:
        InputError: the truth has a record of a reconstruction beside it, and the volume has none.
    """
    if record_of(volume):
        return
    try:
        made = record_of(truth)
    except InputError:  # of another volume
        return
    if made:
        raise InputError(
            f"{truth}: is a reconstruction, as the record beside it says, and {volume} has none: expected the reconstruction "
            "first, and then the CT"
        )


def recorded_views(made: Mapping[str, Any], source: str) -> tuple[View, ...]:
    """How the X-rays of a reconstruction were taken, from its record.

    Raises:
        InputError: it says nothing of that, or what no machine has; ``source`` begins the message.
    """
    described = made.get("provenance", {}).get("views")
    if not described:
        raise InputError(f"{source}: no record beside it says how its X-rays were taken; --fixed needs it")
    where = f"record of {source}: views"
    if not isinstance(described, list) or not all(isinstance(view, dict) for view in described):
        raise InputError(f"{where}: expected a list of views, found {reprlib.repr(described)}")
    if len(described) > MAX_VIEWS:
        raise InputError(f"{where}: expected 1 to {MAX_VIEWS}, found {len(described)}")
    plain = ({key: each for key, each in view.items() if key != "origins"} for view in described)
    views = tuple(from_plain(View, view, where) for view in plain)
    for view in views:
        check_view(view, where)
    return views


def _record_in(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        data = read_json(path, "record")
    except InputError as error:
        raise InputError(f"{path}: not a readable record ({str(error).removeprefix(f'{path}: ')})") from None
    return data if isinstance(data, dict) and isinstance(data.get("provenance"), dict) else None


def is_record(path: Path) -> bool:
    """Whether a file is the record of a reconstruction."""
    try:
        return _record_in(path) is not None
    except InputError:
        return False


def left_over_spread(files: Mapping[str, Path], *, damaged: bool = False) -> list[str]:
    """The name of the spread of an earlier ensemble, which must not stay beside a new volume; none where there is none.

    Args:
        files: of :func:`companions`.
        damaged: whether a volume is ours that has a record beside it, even if that says another hash.

    Raises:
        InputError: what would be replaced or removed was not written by us.
    """
    record = files["record"]
    if record.is_file() and not is_record(record):
        raise InputError(f"{record}: is there and is no record of a reconstruction; name another output")
    earlier = (_record_in(record) if record.is_file() else None) or {}
    there = [] if record.is_dir() else [role for role in ("volume", "coverage", "spread") if files[role].is_file()]
    for role in there:  # a folder in the way is found when the files are moved
        if not _is_of(earlier, role, files[role]) and not (damaged and earlier and role == "volume"):
            raise InputError(f"{files[role]}: is there and is not of an earlier reconstruction; name another output")
    return [files[role].name for role in there if role == "spread"]


def _is_of(record: Mapping[str, Any], role: str, file: Path) -> bool:
    """Whether a file is the one that a record knows; early records do not know their files' hashes."""
    known = record.get("files")
    if known is None:
        return bool(record) and (role != "spread" or record["provenance"].get("product") == "ensemble")
    return isinstance(known, dict) and known.get(role) == sha256_of(file)


def companions(volume: Path) -> dict[str, Path]:
    """The files of a reconstruction by role: volume, coverage, spread and record.

    Raises:
        InputError: not a volume format that keeps the affine.
    """
    for suffix in SUFFIXES:
        if volume.name.lower().endswith(suffix) and len(volume.name) > len(suffix):
            stem, end = volume.name[: -len(suffix)], volume.name[-len(suffix) :]
            return {
                "volume": volume,
                "coverage": volume.with_name(f"{stem}_coverage{end}"),
                "spread": volume.with_name(f"{stem}_spread{end}"),
                "record": volume.with_name(f"{stem}.json"),
            }
    raise InputError(f"{volume}: expected a name ending in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
