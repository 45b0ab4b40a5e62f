"""A comparison as files: figures as JSON, a picture and the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.files.names import nameless, refuse_replacing
from clsdm.files.strict_json import read_json
from clsdm.quality import picture, report
from clsdm.quality.comparison import Comparison

SCHEMA, SCHEMA_VERSION = "clsdm-comparison", 1
FILES = ("metrics.json", "comparison.png", "report.html")


def is_comparison(file: Path) -> bool:
    """Whether one of :data:`FILES` is of a comparison: the figures beside it say so, which are written first."""
    try:
        data = read_json(file.with_name(FILES[0]), "comparison")
    except InputError:
        return False
    return isinstance(data, dict) and data.get("schema") == SCHEMA


def as_json(comparison: Comparison, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The figures as plain JSON types, under a versioned schema; files are named by what they are."""
    comparison = _nameless(comparison)
    recon, scores = comparison.recon, comparison.scores
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "grid": {
            "voxels_xyz": list(recon.hu.shape[::-1]),
            "spacing_mm": list(recon.spacing_mm),
            "centre_lps_mm": list(recon.centre_mm),
        },
        "overlap_fraction": None if scores is None else scores.overlap_fraction,
        "protocols": {} if scores is None else {"honest": scores.honest, "x2ct": scores.x2ct},
        "reprojection": [
            {key: value for key, value in asdict(item).items() if key in ("source", "angle_deg", "rmse", "correlation")}
            | {
                "residual_fraction": item.agreement.contrast_fraction,
                "pixels_compared": int(np.isfinite(item.difference).sum()),
            }
            for item in comparison.reprojections
        ],
        "measures": dict(comparison.measures),
        "true_measures": None if comparison.true is None else comparison.true.to_plain(),
        "warnings": list(comparison.warnings),
        "provenance": dict(provenance or {}),
    }


def comparison_picture(comparison: Comparison) -> np.ndarray:
    """The planes, the X-rays and the main figures as one picture, (rows, columns, 3) uint8, that names no file."""
    return _sheet(comparison, report.rows_of(comparison))


def write_comparison(
    comparison: Comparison,
    out_dir: str | Path,
    provenance: Mapping[str, Any] | None = None,
    title: str = "CT reconstructed from X-rays",
) -> list[Path]:
    """Write ``metrics.json``, ``comparison.png`` and ``report.html``, each of them whole or not at all.

    Args:
        comparison: what to write.
        out_dir: made if it is not there.
        provenance: how the reconstruction was made (bundle id and hash, seed, product, steps ...), of JSON types.
        title: heading of the report.

    Returns:
        The three paths.

    Raises:
        InputError: a file cannot be written, or is there and was not written here.
    """
    paths = [Path(out_dir) / name for name in FILES]
    refuse_replacing(paths, is_comparison)
    comparison = _nameless(comparison)
    rows = report.rows_of(comparison)
    rgb = _sheet(comparison, rows)
    text = json.dumps(as_json(comparison, provenance), indent=2, allow_nan=False, default=str) + "\n"
    html = report.html(comparison, rows, provenance or {}, title)
    write_atomically(paths[0], lambda path: _write(path, text))
    write_atomically(paths[1], lambda path: picture.write_png(rgb, path))
    write_atomically(paths[2], lambda path: _write(path, html))
    return paths


def _sheet(comparison: Comparison, rows: Sequence[picture.Row]) -> np.ndarray:
    return picture.sheet(rows, report.headline(comparison), report.alarm(comparison))


def _nameless(comparison: Comparison) -> Comparison:
    """Without the paths of the files, which may say whose they are."""
    names = {item.source: f"X-ray {number}" for number, item in enumerate(comparison.reprojections, 1)}
    scores, recon = comparison.scores, comparison.recon
    names |= {} if scores is None else {scores.truth.source: "the CT"}
    names |= {recon.source: "the reconstruction"}
    return replace(
        comparison,
        recon=replace(recon, source=names[recon.source]),
        scores=None
        if scores is None
        else replace(scores, truth=replace(scores.truth, source=names[scores.truth.source])),
        reprojections=tuple(replace(item, source=names[item.source]) for item in comparison.reprojections),
        warnings=tuple(nameless(text, names) for text in comparison.warnings),
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
