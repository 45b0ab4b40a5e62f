"""X-rays that say little about themselves: pictures, files that are cut short, nodes whose files are gone."""

from __future__ import annotations

import numpy as np
from panel_case import PanelCase, write_picture

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene import XRayNodes
from CLSDMReconstructionLib.worker.Runs import ReconstructionError


class PicturesTest(PanelCase):
    def test_two_pictures_given_together_fill_both_slots_and_can_be_swapped(self) -> None:
        frontal, lateral = self.pictures()
        for names in (("pa.png", "lat.png"), ("IMG_1.png", "IMG_2.png")):
            files = [path.rename(self.folder / name) for path, name in zip((frontal, lateral), names, strict=True)]
            for given in (files, files[::-1]):
                with self.subTest(given=[path.name for path in given]):
                    self.panel.xrays.setXRays([None, None])
                    self.drop(self.frontal.widget, *given)
                    self.assertEqual([slot.xray.path for slot in self.panel.xrays.slots], [str(one) for one in files])
                    self.ui.swapButton.click()
                    self.assertEqual(self.frontal.xray.path, str(files[1]))
            frontal, lateral = files

    def pictures(self) -> list:
        """A frontal and a lateral film, as pictures: the one nearly its own mirror image, the other not."""
        across = np.linspace(-1.0, 1.0, 90)
        chest = 120 - 80 * np.exp(-(((np.abs(across) - 0.45) / 0.25) ** 2)) + 10 * across
        side = 120 - 80 * np.exp(-(((across - 0.3) / 0.4) ** 2)) + 90 * (across < -0.5)
        rows = 1.0 + 0.1 * np.sin(np.arange(110)[:, None] / 9.0)
        return [
            write_picture(self.folder / name, (rows * line).clip(0, 255).astype(np.uint8))
            for name, line in (("one.png", chest), ("two.png", side))
        ]

    def test_a_file_whose_pixels_cannot_be_read_is_refused_once_the_preview_has_found_out(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.assertTrue(self.ui.reconstructButton.enabled)
        self.wait(lambda: self.logic.previews)
        self.logic.previews[-1].fail(ReconstructionError("input", "The frontal X-ray is cut off."))
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("cut off", self.ui.reconstructButton.toolTip)
        self.drop(self.frontal.widget, self.xrayFile("whole.dcm"))
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_a_preview_that_fails_for_want_of_memory_refuses_nothing(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.wait(lambda: self.logic.previews)
        self.logic.previews[-1].fail(ReconstructionError("memory", "No memory."))
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_a_simulated_x_ray_without_its_file_keeps_its_view_and_brings_no_caution(self) -> None:
        view = {"angle_deg": 90.0, "tilt_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0}
        view |= {"rows": 70, "cols": 90, "pixel_mm": [4.0, 4.0], "offset_mm": [0.0, 0.0]}
        pixels = np.arange(70 * 90, dtype=np.float32).reshape(70, 90)
        node = XRayNodes.makeXRay(pixels, view, [0.0, 0.0, 5.0], "Simulated", str(self.folder / "gone.dcm"))
        Nodes.addToScene([node])
        self.drop(self.lateral.widget, node)
        self.assertEqual(self.lateral.facts.warnings, ())
        self.assertIn("left lateral", self.lateral.ui.sourceLabel.text)
