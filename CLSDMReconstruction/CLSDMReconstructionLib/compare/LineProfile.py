"""HU of both volumes of a comparison along a line that the user moves through the views."""

from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene.Sampling import alongLine, corners

PROFILE_POINTS = 257
PROFILE_COLUMNS = ("Distance (mm)", "CT (HU)", "Reconstruction (HU)")
FONT_SIZE = 12
"""Slicer's own, 20, is for a plot of more than a twelfth of the window."""
LEGEND_ROOM = 0.5
"""Of the curves' height, left free above them: Slicer puts the legend there, over whatever is plotted."""


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
            Nodes.remove(*self.handOver())
            self._make()
        table = vtk.vtkTable()
        for index, name in enumerate(PROFILE_COLUMNS):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for value in values[:, index]:
                column.InsertNextValue(float(value))
            table.AddColumn(column)
        self._nodes[0].SetAndObserveTable(table)
        measured = values[:, 1:][np.isfinite(values[:, 1:])]
        if measured.size:
            low, height = measured.min(), max(1.0, np.ptp(measured))
            self.chart.SetYAxisRange(low - 0.05 * height, low + (1.0 + LEGEND_ROOM) * height)

    def handOver(self) -> list:
        """Give the nodes to who removes them, those that others refer to last."""
        nodes, self._nodes = self._nodes, []
        return nodes[::-1]

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
            node.SetSaveWithScene(False)
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
        chart.SetTitle("Along the line")
        chart.SetXAxisTitle(PROFILE_COLUMNS[0])
        chart.SetYAxisTitle("HU")
        chart.SetYAxisRangeAuto(False)
        chart.SetTitleFontSize(FONT_SIZE)
        chart.SetLegendFontSize(FONT_SIZE)
        chart.SetAxisTitleFontSize(FONT_SIZE)
        chart.SetAxisLabelFontSize(FONT_SIZE)
        table.SetSaveWithScene(False)
        chart.SetSaveWithScene(False)
        self._nodes = [table, *series, chart]
        Nodes.keepFromUndo(*self._nodes)


class LineProfile:
    """The line in the scene, and the plot that follows it; neither is saved with the scene.

    Attributes:
        plot: the ProfilePlot.
    """

    def __init__(self) -> None:
        self.plot = ProfilePlot()
        self._volumes, self._line, self._tag = (None, None), None, None
        self._ends: list = []  # where the user left the line, RAS mm

    @property
    def isShown(self) -> bool:
        """Whether there is a line."""
        return self._line is not None

    def show(self, truth, reconstruction, position: np.ndarray, plotView) -> Iterator[float]:
        """Plot both along a line, where it was left or else through ``position``; in steps of fractions done.

        Args:
            truth: volume node.
            reconstruction: volume node.
            position: RAS mm.
            plotView: node of the view to show the plot in, or None.
        """
        self._volumes = (truth, reconstruction)
        if self._line is None or self._line.GetScene() is None:
            Nodes.remove(*self._dropLine())
            self._line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("CLS-DM profile"))
            self._line.SetSaveWithScene(False)
            self._line.CreateDefaultDisplayNodes()
            self._line.GetDisplayNode().SetSaveWithScene(False)
            self._line.GetDisplayNode().SetPropertiesLabelVisibility(False)  # it would stand on the images
            self._line.GetDisplayNode().SetPointLabelsVisibility(False)
            Nodes.keepFromUndo(self._line)
            yield 0.2
        if self._line.GetNumberOfControlPoints() == 0:  # every view looks at the new node, and again at the first point
            self._putEnds(self._ends or defaultLine(reconstruction, position))
            yield 0.4
        self._update()
        yield 0.8
        if plotView is not None:
            plotView.SetPlotChartNodeID(self.plot.chart.GetID())

    def handOver(self, *, forget: bool = True) -> list:
        """Give the nodes of line and plot to who removes them; ``forget``: also where the line was."""
        self._ends = [] if forget else self._lineEnds() or self._ends
        return [*self._dropLine(), *self.plot.handOver()]

    def _lineEnds(self) -> list[list[float]]:
        """Both ends of the line in the world, or none where it has not two."""
        if self._line is None or self._line.GetNumberOfControlPoints() < 2:
            return []
        ends: list[list[float]] = [[0.0] * 3, [0.0] * 3]
        for number, end in enumerate(ends):
            self._line.GetNthControlPointPositionWorld(number, end)
        return ends

    def _putEnds(self, ends) -> None:
        for end in ends:
            self._line.AddControlPoint(vtk.vtkVector3d(*end))
        if self._tag is None:
            event = slicer.vtkMRMLMarkupsNode.PointModifiedEvent
            self._tag = self._line.AddObserver(event, lambda *_: self._update())

    def _update(self) -> None:
        ends = self._lineEnds()
        if ends:
            self.plot.show(profile(*self._volumes, *ends))

    def _dropLine(self) -> list:
        line, tag, self._line, self._tag = self._line, self._tag, None, None
        if tag is not None:
            line.RemoveObserver(tag)
        return [] if line is None else [line]
