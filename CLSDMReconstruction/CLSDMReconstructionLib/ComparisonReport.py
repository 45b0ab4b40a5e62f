"""What a comparison leaves behind: a table of figures, a profile along a line, a CSV file and a picture.

The figures are the worker's (``clsdm.compare.as_json``); nothing is computed twice. Neither file names a patient.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk

from CLSDMReconstructionLib import Nodes
from CLSDMReconstructionLib.Comparison import NOTHING_SHOWN_BELOW_HU
from CLSDMReconstructionLib.CorePath import ensureCore
from CLSDMReconstructionLib.Sampling import alongLine, corners, onPlane
from CLSDMReconstructionLib.Steps import aside

TABLE_COLUMNS = ("Figure", "Whole cube", "Body only", "Unit", "Data range (HU)", "Protocol")
PROFILE_POINTS = 257
PROFILE_COLUMNS = ("Distance (mm)", "CT (HU)", "Reconstruction (HU)")
PICTURE_PLANES = {  # right and down of the picture in RAS, and the letters at its edges (left, right, top, bottom)
    "axial": ((-1, 0, 0), (0, -1, 0), "RLAP"),
    "coronal": ((-1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": ((0, -1, 0), (0, 0, -1), "APSI"),
}


def _number(value, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rmse(psnrDb, peakHu):
    """The error that a PSNR stands for."""
    return None if psnrDb is None else peakHu * 10 ** (-psnrDb / 20)


def tableRows(figures: dict, residuals=()) -> list[tuple[str, ...]]:
    """The rows of the metrics table, in the order of ``TABLE_COLUMNS``.

    Args:
        figures: the worker's answer.
        residuals: how well the reconstruction explains its X-rays, see ``Results.residualsOf``.
    """
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
            ("PSNR", _number(x2ct["psnr_3d_db"], 2), "", "dB", span, "x2ct"),
            ("SSIM, slices", _number(x2ct["ssim_slices"], 3), "", "", f"{x2ct['data_range_hu']:.0f}", "x2ct"),
        ]
    for item in residuals:
        share = f"{100 * item['rmse'] / 2:.1f}"
        rows.append((f"Reprojection, {item['angle_deg']:.0f} deg", share, "", "% of contrast", "", "X-ray"))
    if figures.get("overlap_fraction") is not None:
        rows.append(("Covered by the CT", f"{100 * figures['overlap_fraction']:.1f}", "", "%", "", ""))
    return rows


def fillTable(node, rows: list[tuple[str, ...]]) -> None:
    """Put rows of text into a table node."""
    table = vtk.vtkTable()
    for index, name in enumerate(TABLE_COLUMNS):
        column = vtk.vtkStringArray()
        column.SetName(name)
        for row in rows:
            column.InsertNextValue(row[index])
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)


def writeCsv(path: Path, rows: list[tuple[str, ...]], provenance: dict[str, str], notice: str) -> None:
    """Write the table, and below it how the reconstruction was made."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([TABLE_COLUMNS, *rows, (), ("Notice", notice), *sorted(provenance.items())])


def profile(truth, reconstruction, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n, 3) distance in mm, HU of the CT, HU of the reconstruction along a line in the world; NaN outside a volume."""
    length = float(np.linalg.norm(np.asarray(end) - np.asarray(start)))
    if length < 1e-3:
        return np.zeros((0, 3))
    values = [alongLine(node, start, end, PROFILE_POINTS) for node in (truth, reconstruction)]
    return np.column_stack([np.linspace(0.0, length, PROFILE_POINTS), *values])


def defaultLine(reconstruction, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the patient's right to the left through ``position``, as long as the reconstruction is wide."""
    box = corners(reconstruction)
    ends = [np.array(position, dtype=float), np.array(position, dtype=float)]
    ends[0][0], ends[1][0] = box[:, 0].max(), box[:, 0].min()
    return ends[0], ends[1]


class ProfilePlot:
    """Both volumes' HU along a line, as table, plot series and chart nodes of the scene."""

    COLOURS = ((0.15, 0.15, 0.15), (0.85, 0.25, 0.1))

    def __init__(self) -> None:
        self._nodes: list = []

    @property
    def chart(self):
        """The chart's node, or None before the first :meth:`show`."""
        return self._nodes[-1] if self._nodes else None

    def show(self, values: np.ndarray) -> None:
        """Plot a profile."""
        if not self._nodes or any(node.GetScene() is None for node in self._nodes):
            self.clear()
            self._make()
        table = vtk.vtkTable()
        for index, name in enumerate(PROFILE_COLUMNS):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for value in values[:, index]:
                column.InsertNextValue(float(value))
            table.AddColumn(column)
        self._nodes[0].SetAndObserveTable(table)

    def clear(self) -> None:
        """Remove the nodes."""
        nodes, self._nodes = self._nodes, []
        Nodes.remove(*reversed(nodes))

    def _make(self) -> None:
        scene = slicer.mrmlScene
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", "CLS-DM line profile")
        series = [scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name) for name in PROFILE_COLUMNS[1:]]
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "CLS-DM line profile")
        for node, name, colour in zip(series, PROFILE_COLUMNS[1:], self.COLOURS, strict=True):
            node.SetAndObserveTableNodeID(table.GetID())
            node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            node.SetXColumnName(PROFILE_COLUMNS[0])
            node.SetYColumnName(name)
            node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            node.SetColor(*colour)
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
        chart.SetTitle("Along the line")
        chart.SetXAxisTitle(PROFILE_COLUMNS[0])
        chart.SetYAxisTitle("HU")
        self._nodes = [table, *series, chart]


def picture(volumes, position, window: tuple[float, float], limitHu: float, headline: list[str]) -> Iterator[float]:
    """Paint truth, reconstruction and difference through a point, with the research notice, one plane in each step.

    The generator returns (rows, columns, 3) uint8.

    Args:
        volumes: (truth, reconstruction, difference) nodes.
        position: RAS mm where the planes cross.
        window: (window, level) in HU of the first two.
        limitHu: of the difference.
        headline: lines of text above.
    """
    ensureCore()
    from clsdm import picture as core

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
        rows.append(core.Row(name, tuple(tiles)))
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
    from clsdm import picture as core
    from clsdm.files import written_together

    with written_together(path.parent) as scratch:
        yield from aside(lambda: core.write_png(rgb, scratch / path.name))
