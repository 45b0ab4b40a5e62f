"""The record beside a reconstruction, ``R.json``: how the volume was made, how well it explains its X-rays, and warnings.

The command line writes it and so does 3D Slicer's export; ``clsdm compare`` reads it. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.volume.write import SUFFIXES

SCHEMA = 1


def make_record(
    provenance: Mapping[str, Any],
    residuals: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    request: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record as plain JSON types.

    Args:
        provenance: as in ``Reconstruction.provenance``.
        residuals: angle_deg, rmse and correlation of each view.
        warnings: what the user should know.
        request: where the X-rays are, a ``clsdm.app.request.Request``; None where nobody knows any more.
    """
    record = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "provenance": dict(provenance),
        "warnings": list(warnings),
        "residuals": [dict(each) for each in residuals],
    }
    return record if request is None else record | {"request": dict(request)}


def record_text(record: Mapping[str, Any]) -> str:
    """The content of the file."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_record(volume: Path) -> dict[str, Any] | None:
    """The record beside a volume, or None where there is none.

    Raises:
        InputError: it is no JSON, or the name is that of no volume.
    """
    path = companions(volume)["record"]
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a readable record ({error})") from None
    return data if isinstance(data, dict) and isinstance(data.get("provenance"), dict) else None


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
