"""From a CT over its X-rays to a reconstruction, its figures, its exposures and its files: with the real worker."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import pydicom
import slicer
from real_worker import smallCase
from scene_case import waitFor

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare.ComparePanel import ComparePanel
from CLSDMReconstructionLib.Logic import ReconstructionLogic
from CLSDMReconstructionLib.panel.ExportPanel import ExportPanel
from CLSDMReconstructionLib.scene.ExposureScene import ExposureScene
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.scene.VolumeExport import DICOM, FORMATS
from CLSDMReconstructionLib.scene.XRaySources import dicomFiles
from CLSDMReconstructionLib.xrays.SimulatePanel import SimulatePanel


class WholeWayTest(unittest.TestCase):
    def setUp(self) -> None:
        self.case = smallCase()  # skips without torch
        slicer.mrmlScene.Clear(0)
        self.logic = ReconstructionLogic()
        self.addCleanup(self.logic.cleanup)
        self.ct = slicer.util.loadVolume(str(self.case / "ct.nii.gz"))

    def panel(self, kind, *arguments):
        panel = kind(self.logic, *arguments)
        self.addCleanup(panel.cleanup)
        panel.setMRMLScene(slicer.mrmlScene)
        return panel

    def test_the_x_rays_of_a_ct_give_a_reconstruction_that_is_compared_shown_and_exported(self) -> None:
        xrays = self.simulated()
        result = self.logic.reconstruct(*xrays.nodes, bundle=self.case / "bundle", wait=True).result
        self.compared(result)
        self.shown(result, xrays)
        self.exported(result, xrays)

    def test_the_example_in_the_documents_does_what_it_says(self) -> None:
        page = Path(__file__).resolve().parents[1] / "trainer" / "docs" / "slicer.md"
        text = page.read_text(encoding="utf-8")
        code = text.split("<!-- slicer-example:begin -->")[1].split("```python\n")[1].split("```")[0]
        code = code.replace("slicer.util.exit()\n", "").replace("ct.nii.gz", (self.case / "ct.nii.gz").as_posix())
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "reconstruction.nii.gz"
            space = {"__name__": "example"}
            exec(code.replace('"reconstruction.nii.gz"', repr(str(target))), space)
            self.assertTrue(target.is_file())
        self.assertGreater(space["figures"]["protocols"]["honest"]["mae_hu"], 0.0)

    def simulated(self):
        panel, made = self.panel(SimulatePanel), []
        panel.onXRays(made.append)
        panel.setTruth(self.ct)
        panel.ui.simulateButton.click()
        waitFor(lambda: made or not panel.isRunning)
        self.assertEqual(made[0].angles, [0.0, 90.0], panel.ui.statusLabel.text)
        return made[0]

    def compared(self, result) -> None:
        panel = self.panel(ComparePanel, HeldViews())
        panel.setTruth(self.ct)
        panel.setReconstruction(result.volumeNode)
        panel.ui.compareButton.click()
        waitFor(lambda: not panel.isRunning)
        self.assertEqual(set(panel.shown.figures["protocols"]), {"honest", "x2ct"}, panel.ui.statusLabel.text)
        figures = [panel.shown.table.GetCellText(row, 0) for row in range(panel.shown.table.GetNumberOfRows())]
        self.assertIn("Reprojection, left lateral (% of contrast)", figures)
        error = slicer.util.arrayFromVolume(panel.shown.difference).astype(float)
        honest = panel.shown.figures["protocols"]["honest"]
        self.assertLess(honest["mae_hu"], np.abs(error[error > -5000]).max())

    def shown(self, result, xrays) -> None:
        exposures = ExposureScene()
        self.addCleanup(lambda: atOnce(exposures.clear()))
        atOnce(exposures.show(result))
        self.assertEqual(len(exposures.nodes), 6)
        for plane, xray in zip(exposures.nodes[0::3], xrays.nodes, strict=True):
            bounds, there = np.zeros(6), np.zeros(6)
            xray.GetRASBounds(bounds)
            plane.GetRASBounds(there)
            middle, expected = bounds.reshape(3, 2).mean(1), there.reshape(3, 2).mean(1)
            np.testing.assert_allclose(middle, expected, atol=30.0)  # the network's pixels are coarse

    def exported(self, result, xrays) -> None:
        self.assertEqual([str(file) for file in atOnce(dicomFiles(result.volumeNode))], xrays.files)
        panel = self.panel(ExportPanel)
        panel.setReconstruction(result.volumeNode)
        panel.ui.formatComboBox.setCurrentIndex(FORMATS.index(DICOM))
        with tempfile.TemporaryDirectory() as folder:
            panel.exportTo(str(Path(folder) / "series"))
            waitFor(lambda: not panel.isRunning)
            tags = pydicom.dcmread(next((Path(folder) / "series").iterdir()))
        sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in xrays.files]
        self.assertEqual(
            [item.ReferencedSOPInstanceUID for item in tags.SourceImageSequence],
            [source.SOPInstanceUID for source in sources],
        )
        self.assertEqual(tags.StudyInstanceUID, sources[0].StudyInstanceUID)
        self.assertIn("product mean", tags.DerivationDescription)
