"""X-rays that say little about themselves: pictures, files that are cut short, nodes whose files are gone."""

import contextlib
import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from fakes import FakeDatabase
from panel_case import PanelCase, write_dicom, write_picture
from volumes import add_volume

from clsdm.geometry.view import preset
from clsdm.xray.image import XRay
from clsdm.xray.write_localizer import write_localizer
from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene import XRayNodes
from CLSDMReconstructionLib.worker.Runs import ReconstructionError
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


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
        with self.answering("17,5"):
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5))
        with self.answering(None):
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5))

    def test_an_answer_that_is_no_width_is_said_and_the_question_asked_again(self) -> None:
        slot = self.film(430, 350)
        typed = ("abc", "-3", "0", "", "inf", "1,234", "350", "3 furlongs", "35 cm")
        with self.answering(*typed) as questions:
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (1.0, 1.0))
        said = (
            "“abc” is no",
            "more than 0",
            "more than 0",
            "Nothing",
            "“inf” is no",
            "or 1234",
            "3500 × 4300 mm",
            "no length",
        )
        for question, words in zip(questions[1:], said, strict=True):
            self.assertIn(words, question)
            self.assertNotIn("--", question)
        with self.answering("350 mm"):
            slot.spacingHelp.askWidth()
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (1.0, 1.0))

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
        slot = self.film(400, 400)
        self.startRuler(slot)
        quarter = slot.ui.previewLabel.pixmap.width() / 4
        self.clickAt(slot, -quarter)
        self.clickAt(slot, -quarter + 1)
        self.assertIn("too close together", slot.ui.problemLabel.text)
        with self.answering("1", "100"):
            self.clickAt(slot, quarter)  # half of the image's 400 pixels
        np.testing.assert_allclose(slot.xray.entered["spacingMm"], (0.5, 0.5), rtol=0.02)
        self.assertFalse(slot.spacingHelp.isMeasuring)
        self.assertFalse(slot.ui.problemLabel.visible)

    def test_a_ruler_is_not_finished_on_another_image(self) -> None:
        for change in (
            lambda: self.frontal.take(XRayInput(path=str(self.png("other.png")))),
            self.ui.swapButton.click,
            lambda: self.frontal.take(None),
            lambda: self.panel.xrays.setXRays([None, None]),
            lambda: self.type(self.frontal.geometry.spacing, "0.7"),
            lambda: self.frontal.spacingHelp.byFilm((24, 30)),
        ):
            slot = self.film(400, 400)
            self.startRuler(slot)
            self.clickAt(slot, -40)
            self.assertIn("second point", slot.ui.problemLabel.text)
            change()
            self.assertFalse(slot.spacingHelp.isMeasuring)
            self.assertNotIn("point", slot.ui.problemLabel.text)

    def test_an_answer_for_an_image_that_was_replaced_meanwhile_is_not_taken(self) -> None:
        slot, other = self.film(400, 400), XRayInput(path=str(self.png("other.png")))
        with self.answering(lambda: slot.take(other) or "35"):
            slot.spacingHelp.askWidth()
        self.assertIs(slot.xray, other)
        self.assertNotIn("spacingMm", other.entered)

    def test_a_preview_waits_until_the_ruler_is_measured(self) -> None:
        slot = self.film(400, 400)
        self.type(slot.geometry.spacing, "0.7")
        slot.setPreview(self.preview().image)
        self.startRuler(slot)
        stored = slot.ui.previewLabel.pixmap.toImage()
        slot.setPreview(self.preview().image)
        slot.refresh()
        self.assertEqual(slot.ui.previewLabel.pixmap.toImage(), stored)
        self.assertIn("two points", slot.ui.problemLabel.text)
        self.clickAt(slot, -40)
        with self.answering(None):
            self.clickAt(slot, 40)
        self.assertFalse(slot.ui.problemLabel.visible, slot.ui.problemLabel.text)
        self.assertNotEqual(slot.ui.previewLabel.pixmap.toImage(), stored)
        self.assertEqual(slot.xray.entered["spacingMm"], (0.7, 0.7))
        self.assertFalse(slot.spacingHelp.isMeasuring)

    def test_a_cancelled_ruler_leaves_no_prompt(self) -> None:
        slot = self.film(400, 400)
        before = slot.ui.problemLabel.text
        self.startRuler(slot)
        self.clickAt(slot, -40)
        with self.answering(None):
            self.clickAt(slot, 40)
        self.assertEqual(slot.ui.problemLabel.text, before)
        self.assertFalse(slot.spacingHelp.isMeasuring)

    def test_a_ruler_in_an_image_that_cannot_be_read_is_refused(self) -> None:
        slot = self.film(400, 400)
        slot._storedSize = None
        Path(slot.xray.path).write_bytes(b"")
        slot.spacingHelp.startRuler()
        self.wait(lambda: not slot.spacingHelp.isMeasuring)
        self.assertIn("cannot be read", slot.ui.problemLabel.text)

    def test_a_ruler_in_one_image_of_a_run_ends_when_another_is_chosen(self) -> None:
        run = np.stack([np.tile(np.arange(70, dtype=np.uint16) * each, (90, 1)) for each in (1, 2)])
        slot, path = self.frontal, self.folder / "run.dcm"
        self.drop(slot.widget, write_dicom(path, run, NumberOfFrames=2, Rows=90, Columns=70, ImagerPixelSpacing=None))
        for frame in ("1", "2"):
            self.type(slot.geometry.frame, frame)
            self.assertFalse(slot.spacingHelp.isMeasuring)
            self.startRuler(slot)
            self.clickAt(slot, -20)
            self.assertIn("second point", slot.ui.problemLabel.text)

    def test_a_comma_typed_into_a_number_is_its_point(self) -> None:
        slot = self.film(400, 400)
        geometry = slot.geometry
        for box, text, value in (
            (geometry.spacing, "0,5", 0.5),
            (geometry.angle, "12,5", 12.5),
            (geometry.detector, "1800", 1800.0),
            (geometry.detector, "950,5", 950.0),
            (geometry.detector, "960.5", 960.0),
            (geometry.window[0], "1,5", 1.0),
        ):
            slicer.util.findChild(box, "qt_spinbox_lineedit").selectAll()
            self.press(box, f"{text}\r")
            self.assertEqual(box.value, value)

    def test_a_pasted_text_with_a_comma_is_no_other_number(self) -> None:
        geometry = self.film(400, 400).geometry
        for box, text in ((geometry.detector, "150,5"), (geometry.angle, "0,143"), (geometry.spacing, "0,5")):
            line, before = slicer.util.findChild(box, "qt_spinbox_lineedit"), box.value
            qt.QApplication.clipboard().setText(text)
            line.selectAll()
            line.paste()
            self.press(box, "\r")
            self.assertEqual(box.value, before)

    def film(self, rows: int, cols: int):
        """The frontal slot, with a picture in it that is shown as it is stored."""
        self.folder.joinpath("film.png").unlink(missing_ok=True)
        path = write_picture(
            self.folder / "film.png", (np.arange(rows * cols).reshape(rows, cols) % 251).astype(np.uint8)
        )
        self.drop(self.frontal.widget, path)
        self.wait(self.frontal.hasPreview)
        return self.frontal

    def startRuler(self, slot) -> None:
        slot.spacingHelp.startRuler()
        self.wait(lambda: slot._storedSize is not None)

    @staticmethod
    def clickAt(slot, across: float) -> None:
        """Click on a slot's picture, so many pixels of the screen right of its middle."""
        label = slot.ui.previewLabel
        how = (qt.Qt.LeftButton, qt.Qt.LeftButton, qt.Qt.NoModifier)
        at = qt.QPointF(label.width / 2 + across, label.height / 2)
        qt.QCoreApplication.sendEvent(label, qt.QMouseEvent(qt.QEvent.MouseButtonPress, at, *how))

    @contextlib.contextmanager
    def answering(self, *answers):
        """Answer the next questions, None by Cancel, and a function by what it returns; gives the questions."""
        questions, left = [], list(answers)

        def answer() -> None:
            dialog = slicer.app.activeModalWidget()
            if dialog is None:
                timer.start()
                return
            label = next(each.text for each in slicer.util.findChildren(dialog, className="QLabel"))
            questions.append(label)
            given = left.pop(0)
            given = given() if callable(given) else given
            if left:
                timer.start()
            if given is None:
                dialog.reject()
            else:
                dialog.setTextValue(given)
                dialog.accept()

        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(20)
        timer.connect("timeout()", answer)
        timer.start()
        yield questions
        timer.stop()
        self.assertEqual(left, [])

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

    def test_where_nothing_is_found_it_is_said_what_was_looked_for(self) -> None:
        pair, database = self.panel.xrays.pair, FakeDatabase({})

        def said(look) -> str:
            look()
            self.wait(lambda: not pair.isLooking)
            return self.ui.pairLabel.text

        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.assertEqual(said(pair.fromLocalizers), "Load the CT first.")
            self.assertIn("No X-ray is loaded", said(pair.fromNodes))
            self.assertIn("database holds no X-ray", said(pair.fromDatabase))
            add_volume("CT")
            self.assertIn("No localizers were found", said(pair.fromLocalizers))
        self.assertIn("No X-ray was found there", said(lambda: pair.among([str(self.folder)])))

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
