"""Table, CSV file, picture and line profile of a comparison."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import slicer
from compare_case import FIGURES, SceneTest
from volumes import add_volume, linear_hu, turned

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare import ComparisonReport, LineProfile
from CLSDMReconstructionLib.compare.Difference import makeDifference
from CLSDMReconstructionLib.scene.Sampling import alongLine


class ReportTest(SceneTest):
    def test_the_table_states_unit_range_and_region_of_every_figure(self) -> None:
        rows = {
            (row[0], row[5]): row
            for row in ComparisonReport.tableRows(FIGURES, [{"angle_deg": 0.0, "rmse": 0.1, "correlation": 0.9}])
        }
        self.assertEqual(rows["MAE", "honest"][1:4], ("45.7", "130.2", "HU"))
        self.assertEqual(rows["RMSE", "honest"][1:3], ("110.4", "250.0"))  # 20 dB below a peak of 2500
        self.assertEqual(rows["PSNR", "honest"][4], "2500")
        self.assertEqual(rows["PSNR, X2CT", "x2ct"][4], "2500, peak 4095")
        self.assertEqual(rows["SSIM", "honest"][1:3], ("0.812", "0.710"))
        self.assertEqual(rows["MAE bone", "honest"][2], "")
        self.assertEqual(rows["Reprojection, PA", "X-ray"][1], "5.0")

    def test_the_table_node_holds_what_the_csv_file_holds(self) -> None:
        rows = ComparisonReport.tableRows(FIGURES)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
        ComparisonReport.fillTable(node, rows)
        self.assertEqual((node.GetNumberOfRows(), node.GetNumberOfColumns()), (len(rows), 3))
        self.assertEqual(node.GetCellText(0, 0), "MAE (HU)")
        names = [node.GetCellText(row, 0) for row in range(len(rows))]
        self.assertEqual(len(set(names)), len(names), "no figure is there twice")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.csv"
            ComparisonReport.writeCsv(path, rows, {"model": "=m", "views": [{"angle_deg": 90.0}]})
            with path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))
        self.assertEqual(tuple(lines[0]), ComparisonReport.TABLE_COLUMNS)
        self.assertEqual([tuple(line) for line in lines[1 : len(rows) + 1]], rows)
        self.assertIn("RESEARCH ONLY", dict(lines[len(rows) + 2 :])["Notice"].upper())
        self.assertIn(["model", "'=m"], lines)
        self.assertIn(["views", '[{"angle_deg": 90.0}]'], lines)

    def test_a_profile_reads_both_volumes_at_the_same_points(self) -> None:
        truth = add_volume("CT", axes=turned(30.0), size=(40, 40, 40))
        reconstruction = add_volume("R", lambda at: linear_hu(at) + 10.0)
        start, end = np.array([20.0, -10.0, 5.0]), np.array([-15.0, 12.0, -8.0])
        values = LineProfile.profile(truth, reconstruction, start, end)
        self.assertAlmostEqual(values[-1, 0], np.linalg.norm(end - start))
        at = start + np.linspace(0, 1, len(values))[:, None] * (end - start)
        np.testing.assert_allclose(values[:, 1], linear_hu(at), atol=1.0)
        np.testing.assert_allclose(values[:, 2], linear_hu(at) + 10.0, atol=1.0)

    def test_beyond_a_volume_a_profile_holds_nothing(self) -> None:
        values = alongLine(add_volume("CT"), np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, 400.0]), 11)
        self.assertTrue(np.isfinite(values[0]))
        self.assertTrue(np.isnan(values[-1]))

    def test_a_plot_shows_two_curves_and_leaves_nothing_behind(self) -> None:
        Nodes.subjectHierarchy()  # makes the node that every scene has
        before = slicer.mrmlScene.GetNumberOfNodes()
        plot = LineProfile.ProfilePlot()
        plot.show(np.zeros((5, 3)))
        plot.show(np.ones((7, 3)))
        self.assertEqual(plot.chart.GetNumberOfPlotSeriesNodes(), 2)
        self.assertEqual(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode").GetNumberOfRows(), 7)
        Nodes.remove(*plot.handOver())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_the_legend_of_a_plot_covers_no_curve(self) -> None:
        plot = LineProfile.ProfilePlot()
        plot.show(np.array([[0.0, -1000.0, np.nan], [1.0, 200.0, 400.0]]))
        self.assertFalse(plot.chart.GetYAxisRangeAuto())
        low, high = plot.chart.GetYAxisRange()
        self.assertLess(low, -1000.0)
        self.assertAlmostEqual(high, 400.0 + LineProfile.LEGEND_ROOM * 1400.0)
        plot.show(np.zeros((0, 3)))  # a line without length: the axis stays
        self.assertEqual(plot.chart.GetYAxisRange(), (low, high))
        Nodes.remove(*plot.handOver())

    def test_a_line_that_was_stopped_before_it_had_ends_gets_them_the_next_time(self) -> None:
        volumes, profile = (add_volume("CT"), add_volume("R")), LineProfile.LineProfile()
        stopped = profile.show(*volumes, np.zeros(3), None)
        next(stopped)
        stopped.close()
        line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
        self.assertEqual(line.GetNumberOfControlPoints(), 0)
        atOnce(profile.show(*volumes, np.zeros(3), None))
        self.assertEqual(line.GetNumberOfControlPoints(), 2)
        self.assertIsNotNone(line.GetDisplayNode())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode"), 1)
        Nodes.remove(*profile.handOver())

    def test_the_picture_shows_the_patients_right_at_the_left_and_the_head_on_top(self) -> None:
        def ball(at: np.ndarray) -> np.ndarray:
            return np.where(np.linalg.norm(at - np.array([-30.0, 25.0, 20.0]), axis=1) < 12, 1000.0, -1000.0)

        volumes = [add_volume(name, ball, size=(30, 30, 30)) for name in ("CT", "R")]
        volumes.append(atOnce(makeDifference(*volumes)))
        rgb = atOnce(ComparisonReport.picture(volumes, (-30.0, 25.0, 20.0), (2000.0, 0.0), 500.0, ["text"]))
        bar = rgb[100 + 2 * 388 : 420 + 2 * 388, 12 + 3 * 332 + 4].astype(int)  # of the difference, the third row
        self.assertEqual((bar[0].tolist(), bar[-1].tolist()), ([255, 0, 0], [0, 0, 255]))
        tiles = [rgb[100:420, 12 + 332 * column : 332 * (column + 1)].astype(int) for column in range(3)]
        for tile, (right, down) in zip(tiles, ((True, False), (True, False), (False, False)), strict=True):
            grey = np.where(np.ptp(tile, axis=2) == 0, tile[..., 0], 0)  # the letters are coloured
            row, column = np.argwhere(grey == 255).mean(0)
            self.assertEqual((column > 160, row > 160), (right, down))
