"""X-rays that say little about themselves: pictures, files that are cut short, nodes whose files are gone."""

import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from fakes import FakeDatabase
from panel_case import PanelCase, write_picture
from volumes import add_volume

from clsdm.geometry.view import preset
from clsdm.xray.image import XRay
from clsdm.xray.write_localizer import write_localizer
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

    def test_a_picture_says_of_which_view_it_is_taken_to_be_until_somebody_says_so(self) -> None:
        self.drop(self.frontal.widget, self.png("a.png"), self.png("b.png"))
        for slot, view in zip(self.panel.xrays.slots, ("PA", "left lateral"), strict=True):
            self.assertIn(f" · {view} (assumed) · ", slot.ui.sourceLabel.text)
        self.lateral.xray.enter("angleDeg", -90.0)
        self.lateral.refresh()
        self.assertIn(" · right lateral · ", self.lateral.ui.sourceLabel.text)
        view = self.panel.xrays.addView()
        self.drop(view.widget, self.png("third.png"))
        self.assertNotIn("assumed", view.ui.sourceLabel.text)

    def test_files_dropped_between_the_slots_are_taken_too(self) -> None:
        self.assertTrue(self.drop(self.ui.slotArea, *self.pictures()))
        self.assertTrue(all(slot.xray is not None for slot in self.panel.xrays.slots))

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

    def test_the_notes_of_a_pair_are_said_once(self) -> None:
        self.drop(self.frontal.widget, self.png("pa.png"), self.png("lat.png"))
        for slot in self.panel.xrays.slots:
            self.type(slot.geometry.spacing, "2.5")
            self.assertFalse(slot.ui.problemLabel.visible)
        lines = self.ui.pairLabel.text.splitlines()
        self.assertLessEqual(len(lines), 4, lines)
        self.assertEqual(len(lines), len(set(lines)))
        self.assertEqual(sum("8-bit" in line for line in lines), 1, lines)

    def test_an_unknown_spacing_is_found_by_the_size_of_the_film(self) -> None:
        slot, path = self.frontal, self.folder / "film.png"
        write_picture(path, (np.arange(430 * 350).reshape(430, 350) % 251).astype(np.uint8))
        self.drop(slot.widget, path)
        self.assertTrue(slot.ui.spacingButton.visible)
        slot.spacingHelp.byFilm((43, 43))
        self.assertIn("350 × 430 pixels, which is not the shape", slot.ui.problemLabel.text)
        self.assertIn("350 × 430", slot.ui.sourceLabel.text)
        self.assertNotIn("spacingMm", slot.xray.entered)
        slot.spacingHelp.byFilm((35, 43))
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (1.0, 1.0))
        self.assertFalse(slot.ui.problemLabel.visible)
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)
        with mock.patch.object(qt.QInputDialog, "getText", return_value="17,5"):
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5))
        with mock.patch.object(qt.QInputDialog, "getText", return_value=""):
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5))

    def test_a_film_that_fits_nearly_is_taken_with_a_caution(self) -> None:
        slot, path = self.frontal, self.folder / "film.png"
        write_picture(path, (np.arange(430 * 411).reshape(430, 411) % 251).astype(np.uint8))
        self.drop(slot.widget, path)
        slot.spacingHelp.byFilm((43, 43))
        self.assertIn("spacingMm", slot.xray.entered)
        self.assertTrue(slot.ui.problemLabel.visible)
        self.assertIn("4.6% off that of this film", slot.ui.problemLabel.text)
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_an_unknown_spacing_is_found_by_two_clicks_on_a_ruler(self) -> None:
        slot, path = self.frontal, self.folder / "film.png"
        write_picture(path, (np.arange(400 * 400).reshape(400, 400) % 251).astype(np.uint8))
        self.drop(slot.widget, path)
        self.wait(slot.hasPreview)
        slot.spacingHelp.startRuler()
        label = slot.ui.previewLabel
        shown = label.pixmap.width()
        middle, half = (label.width / 2, label.height / 2), shown / 4
        with mock.patch.object(qt.QInputDialog, "getText", return_value="100"):
            for x in (middle[0] - half, middle[0] + half):  # half of the image's 400 pixels
                how = (qt.Qt.LeftButton, qt.Qt.LeftButton, qt.Qt.NoModifier)
                press = qt.QMouseEvent(qt.QEvent.MouseButtonPress, qt.QPointF(x, middle[1]), *how)
                qt.QCoreApplication.sendEvent(label, press)
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5), rtol=0.02)

    def test_films_that_hang_the_wrong_way_are_named_after_a_run_and_righted_with_a_click(self) -> None:
        self.drop(self.frontal.widget, self.png("pa.png"), self.png("lat.png"))
        for slot in self.panel.xrays.slots:
            self.type(slot.geometry.spacing, "2.5")
        frontal, lateral = (slot.xray for slot in self.panel.xrays.slots)
        self.ui.reconstructButton.click()
        self.logic.runs[-1].finish(self.result())
        self.assertFalse(self.ui.foundArea.visible)
        hangs = [
            dict.fromkeys(("turned", "mirrored", "inverted"), False) | {name: True} for name in ("turned", "mirrored")
        ]
        hangs[1]["inverted"] = True
        found = {"hangs": hangs, "swapped": True, "residual_before": 0.27, "residual_after": 0.04}
        self.ui.reconstructButton.click()
        self.logic.runs[-1].finish(dataclasses.replace(self.result(), hanging=found))
        for words in ("swapped", "Frontal is upside down", "Lateral is mirrored, inverted", "27.0 %"):
            self.assertIn(words, self.ui.foundLabel.text)
        page = (Path(__file__).resolve().parents[1] / "trainer" / "docs" / "slicer.md").read_text(encoding="utf-8")
        self.assertTrue(f"*{self.ui.foundButton.text}* takes it" in page, "the page calls the button otherwise")
        self.ui.foundButton.click()
        self.assertEqual(frontal.entered["rotateQuarters"], 2)
        self.assertIs(lateral.entered["flip"], True)
        self.assertIn("invert", lateral.entered)
        self.assertEqual([slot.xray.path for slot in self.panel.xrays.slots], [lateral.path, frontal.path])
        self.assertFalse(self.ui.foundArea.visible)

    def test_the_localizers_of_a_loaded_ct_fill_both_slots_with_one_click(self) -> None:
        files = [str(self.localizer("frontal.dcm", 0.0)), str(self.localizer("lateral.dcm", 90.0))]
        ct = add_volume("CT", size=(20, 20, 40))
        database = FakeDatabase({"new": ("2024-01-01", {"scout": ("CT", files[::-1]), "ct": ("CT", ["ct.dcm"])})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            ct.SetAttribute("DICOM.instanceUIDs", "ct.dcm ct2.dcm")
            self.panel.xrays.pair.fromLocalizers()
            self.wait(lambda: not self.panel.xrays.pair.isLooking)
        self.assertEqual([slot.xray.path for slot in self.panel.xrays.slots], files)
        self.assertEqual([slot.geometry.badges["angleDeg"].text for slot in self.panel.xrays.slots], ["tag", "tag"])
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_a_ct_without_localizers_is_said(self) -> None:
        add_volume("CT")
        self.panel.xrays.pair.fromLocalizers()
        self.wait(lambda: not self.panel.xrays.pair.isLooking)
        self.assertIn("No X-ray was found", self.ui.pairLabel.text)

    def localizer(self, name: str, angle: float) -> Path:
        view = preset("localizer").view(angle, 108)
        image = np.random.default_rng(0).random((view.rows, view.cols), dtype=np.float32)
        write_localizer(XRay(image, view, patient_key="a"), self.folder / name)
        return self.folder / name

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
