"""The products of a comparison: a table of figures, a CSV file and a picture.

The figures are the worker's (``clsdm.quality.compare.as_json``); nothing is computed twice. Both files are the user's own and
name the volumes as the scene does, which may be by a patient's name; no line of a log does.
"""

import csv
import json
import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.compare.Difference import NOTHING_SHOWN_BELOW_HU
from CLSDMReconstructionLib.scene.Sampling import corners, onPlane
from CLSDMReconstructionLib.scene.Volumes import geometryOf

TABLE_COLUMNS = ("Figure", "Whole cube", "Body only", "Unit", "Data range (HU)", "Protocol")
SHOWN_FIGURES = ("MAE", "RMSE", "PSNR", "SSIM")
PICTURE_PLANES = {  # right and down of the picture in RAS, and the letters at its edges (left, right, top, bottom)
    "axial": ((-1, 0, 0), (0, -1, 0), "RLAP"),
    "coronal": ((-1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": ((0, -1, 0), (0, 0, -1), "APSI"),
}


def _number(value, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rmse(psnrDb, peakHu):
    """The root mean square error of a PSNR."""
    return None if psnrDb is None else peakHu * 10 ** (-psnrDb / 20)


def tableRows(figures: dict, residuals=()) -> list[tuple[str, ...]]:
    """The rows of the metrics table, in the order of ``TABLE_COLUMNS``.

    Args:
        figures: the worker's answer.
        residuals: how well the reconstruction explains its X-rays, the node's attribute "residuals".
    """
    ensureCore()
    from clsdm.geometry.view import view_name
    from clsdm.quality.agreement import Agreement

    rows = []
    honest, x2ct = (figures.get("protocols", {}).get(name) for name in ("honest", "x2ct"))
    if honest:
        span = _number(honest["data_range_hu"], 0)
        psnrBody = honest.get("psnr_body_db")
        rows += [
            ("MAE", _number(honest["mae_hu"]), _number(honest["mae_body_hu"]), "HU", "", "honest"),
            ("RMSE", _number(honest["rmse_hu"]), _number(_rmse(psnrBody, honest["peak_hu"])), "HU", "", "honest"),
            ("PSNR", _number(honest["psnr_3d_db"], 2), _number(psnrBody, 2), "dB", span, "honest"),
            ("SSIM", _number(honest["ssim_3d"], 3), _number(honest["ssim_body"], 3), "", span, "honest"),
        ]
        rows += [
            (f"MAE {name.replace('_', ' ')}", "", _number(honest.get(f"mae_{name}_hu")), "HU", "", "honest")
            for name in ("lung", "soft_tissue", "bone")
        ]
    if x2ct:
        span = f"{x2ct['data_range_hu']:.0f}, peak {x2ct['peak_hu']:.0f}"
        rows += [
            ("PSNR, X2CT", _number(x2ct["psnr_3d_db"], 2), "", "dB", span, "x2ct"),
            ("SSIM, X2CT slices", _number(x2ct["ssim_slices"], 3), "", "", f"{x2ct['data_range_hu']:.0f}", "x2ct"),
        ]
    for item in residuals:
        share = f"{100 * Agreement(item['rmse'], item['correlation']).contrast_fraction:.1f}"
        rows.append((f"Reprojection, {view_name(item['angle_deg'])}", share, "", "% of contrast", "", "X-ray"))
    if figures.get("overlap_fraction") is not None:
        rows.append(("Covered by the CT", f"{100 * figures['overlap_fraction']:.1f}", "", "%", "", ""))
    return rows


def mainFigures(figures: dict) -> list[tuple[str, str, str, str]]:
    """(name, of the whole cube, of the body, unit) of the figures that are shown first."""
    return [row[:4] for row in tableRows(figures) if row[0] in SHOWN_FIGURES and row[5] == "honest"]


def headlineOf(figures: dict) -> str:
    """The main figures of the whole cube in a line."""
    return ", ".join(f"{name} {cube} {unit}".strip() for name, cube, _body, unit in mainFigures(figures))


def figuresHtml(figures: dict) -> str:
    """The main figures for a label."""
    head = f"<tr><td></td><th align=left>{_('whole cube')}&nbsp;&nbsp;</th><th align=left>{_('body only')}</th></tr>"
    body = "".join(
        f"<tr><td>{name}&nbsp;</td><td>{escape(f'{cube} {unit}')}&nbsp;&nbsp;</td><td>{escape(f'{inside} {unit}')}</td></tr>"
        for name, cube, inside, unit in mainFigures(figures)
    )
    span = figures["protocols"]["honest"]["data_range_hu"] if figures.get("protocols") else 0
    note = _("PSNR and SSIM for a data range of {hu} HU").format(hu=f"{span:.0f}")
    return f"<table>{head}{body}</table><p>{note}</p>"


def fillTable(node, rows: list[tuple[str, ...]]) -> None:
    """Put what a narrow view can show of the rows into a table node; CSV has the rest."""
    table = vtk.vtkTable()
    for index, name in enumerate(TABLE_COLUMNS[:3]):
        column = vtk.vtkStringArray()
        column.SetName(name)
        for row in rows:
            unit = f" ({row[3]})" if row[3] and index == 0 else ""
            column.InsertNextValue(f"{row[index]}{unit}")
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)


def about(truth, reconstruction, window: tuple[float, float], limitHu: float) -> list[tuple[str, str]]:
    """What a comparison is of and how it is shown: names of the volumes, their grids, window and limit of the difference.

    Args:
        truth: volume node.
        reconstruction: volume node.
        window: (window, level) in HU of both.
        limitHu: of the difference.
    """
    low, high = window[1] - window[0] / 2, window[1] + window[0] / 2
    return [
        ("CT", truth.GetName()),
        ("CT grid", _grid(truth)),
        ("Reconstruction", reconstruction.GetName()),
        ("Reconstruction grid", _grid(reconstruction)),
        ("Window", f"from {low:.0f} to {high:.0f} HU"),
        ("Difference", f"reconstruction minus CT, from blue at -{limitHu:.0f} HU to red at +{limitHu:.0f} HU"),
    ]


def _grid(node) -> str:
    sides = (f"{count}" for count in node.GetImageData().GetDimensions())
    edges = (f"{edge:.4g}" for edge in geometryOf(node)["spacing_mm"])
    return f"{' x '.join(sides)} voxels of {' x '.join(edges)} mm"


def terms(rows: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    """What the words in the columns of these rows mean."""
    ensureCore()
    from clsdm.quality.comparison import PROTOCOLS
    from clsdm.volume.hu import WINDOW_HU

    meant = PROTOCOLS | {
        "X-ray": "The reconstruction projected like an X-ray it was made from, held against that X-ray; no CT needed."
    }
    low, high = WINDOW_HU
    return [
        ("Whole cube", "All voxels of the reconstruction; where the CT does not reach, it counts as air."),
        ("Body only", "Voxels inside the body that the CT shows."),
        (
            "Data range (HU)",
            f"The span of HU that a figure reckons with: both volumes are cut off at {low:.0f} and {high:.0f} HU before. The "
            "peak is that of the PSNR, where it is another.",
        ),
        *((f"Protocol {name}", text) for name, text in meant.items() if any(row[5] == name for row in rows)),
    ]


def writeCsv(path: Path, rows: list[tuple[str, ...]], provenance: dict[str, Any], told=()) -> None:
    """Write the table, and below it what it is of, what its words mean, and how the reconstruction was made; whole or not at all.

    Args:
        path: of the file.
        rows: of the table.
        provenance: of the reconstruction.
        told: the lines of :func:`about`.

    Raises:
        InputError: it cannot be written there.
    """
    ensureCore()
    from clsdm import NOTICE
    from clsdm.errors import no_formula
    from clsdm.files.atomic import write_atomically

    made = [
        (name, no_formula(value) if isinstance(value, str) else json.dumps(value))
        for name, value in sorted(provenance.items())
    ]

    below = [("Notice", NOTICE), *((name, no_formula(value)) for name, value in told), *terms(rows), *made]

    def write(scratch: Path) -> None:
        with scratch.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([TABLE_COLUMNS, *rows, (), *below])

    write_atomically(path, write)


def picture(volumes, position, window: tuple[float, float], limitHu: float, headline: list[str]) -> Iterator[float]:
    """Paint truth, reconstruction and difference through a point, with their scales and the research notice, a plane in a step.

    The generator returns (rows, columns, 3) uint8.

    Args:
        volumes: (truth, reconstruction, difference) nodes.
        position: RAS mm where the planes cross.
        window: (window, level) in HU of the first two.
        limitHu: of the difference.
        headline: lines of text above.
    """
    ensureCore()
    from clsdm.quality import picture as core

    low = window[1] - window[0] / 2
    grey = core.Painter(low, low + window[0])
    paints = (grey, grey, core.Painter(-limitHu, limitHu, diverging=True))
    box = corners(volumes[1])
    middle = box.mean(0)
    pixelMm = float(np.ptp(box, axis=0).max()) / core.TILE_PIXELS
    rows = []
    for name, node, paint in zip(("CT", "Reconstruction", "Difference"), volumes, paints, strict=True):
        tiles = []
        for plane, (right, down, letters) in PICTURE_PLANES.items():
            at = _inPlane(middle, position, right, down)
            values = onPlane(node, at, np.array(right), np.array(down), core.TILE_PIXELS, pixelMm)
            values[values < NOTHING_SHOWN_BELOW_HU] = math.nan  # no difference there
            tiles.append(core.Tile(plane, core.marked(paint(values), letters)))
            yield (3 * len(rows) + len(tiles)) / 9
        rows.append(core.Row(name, tuple(tiles), paint=paint))
    return core.sheet(rows, headline)


def _inPlane(middle: np.ndarray, position: np.ndarray, right, down) -> np.ndarray:
    """The middle of a picture of the plane through ``position`` that is as central as ``middle``."""
    normal = np.cross(right, down)
    return middle + normal * float(np.dot(normal, np.asarray(position) - middle))


def writePng(path: Path, rgb: np.ndarray) -> Iterator[float]:
    """Write a picture, whole or not at all.

    Raises:
        InputError: it cannot be written there.
    """
    ensureCore()
    from clsdm.files.atomic import written_together
    from clsdm.quality import picture as core

    with written_together(path.parent) as scratch:
        yield from aside(lambda: core.write_png(rgb, scratch / path.name))
