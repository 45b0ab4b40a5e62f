"""The panel's X-rays as a user meets them: slots, pairs, geometry, the DICOM database."""

import unittest
from unittest import mock

import numpy as np
import qt
import slicer
from fakes import FakeDatabase
from panel_case import PanelCase

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.worker.Runs import ReconstructionError
from CLSDMReconstructionLib.xrays.DicomSeries import xraySeries
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


class XRaysTest(PanelCase):
    def test_an_empty_panel_says_what_to_do_first(self) -> None:
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("Choose a frontal or a lateral X-ray", self.ui.reconstructButton.toolTip)
        self.assertIn("Drop an X-ray here", self.frontal.ui.previewLabel.text)
        self.assertIn("Research only", self.ui.noticeLabel.text)

    def test_a_dropped_file_fills_the_slot_it_is_dropped_on(self) -> None:
        self.assertTrue(self.drop(self.lateral.widget, self.xrayFile("lateral.dcm", "LL")))
        self.assertIsNone(self.frontal.xray)
        self.assertEqual(self.lateral.geometry.angle.value, 90.0)
        self.assertEqual(self.lateral.geometry.badges["angleDeg"].text, "tag")
        self.assertIn("With one view, depth", self.ui.pairLabel.text)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_geometry_is_shown_where_a_file_leaves_some_of_it_open_and_folds_on_request(self) -> None:
        self.assertFalse(self.ui.geometryCheckBox.checked)
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", DistanceSourceToDetector=None))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "default")
        self.assertTrue(self.frontal.ui.geometryArea.visible)
        self.ui.geometryCheckBox.checked = False
        self.assertFalse(self.frontal.ui.geometryArea.visible)

    def test_geometry_that_is_all_said_by_the_files_takes_no_room(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "tag")
        self.assertFalse(self.frontal.ui.geometryArea.visible)
        self.ui.geometryCheckBox.checked = True
        self.assertTrue(self.frontal.ui.geometryArea.visible)

    def test_files_dropped_together_find_their_slots(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("b.dcm", "LL"), self.xrayFile("a.dcm"))
        self.assertEqual([slot.geometry.angle.value for slot in self.panel.xrays.slots], [0.0, 90.0])
        self.assertNotIn("degrees", self.ui.pairLabel.text)

    def test_the_same_file_in_both_slots_is_said_before_anything_is_started(self) -> None:
        for slot in (self.frontal, self.lateral):
            self.drop(slot.widget, self.xrayFile("pa.dcm"))
        self.assertFalse(self.ui.reconstructButton.enabled)
        for text in (self.ui.reconstructButton.toolTip, self.ui.pairLabel.text):
            self.assertIn("The same X-ray is chosen twice", text)
        self.drop(self.lateral.widget, self.xrayFile("lateral.dcm", "LL"))
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_a_dropped_folder_is_searched_for_a_pair(self) -> None:
        study = self.folder / "study"
        study.mkdir()
        files = self.xrayFile("study/a.dcm"), self.xrayFile("study/b.dcm", "LL")
        for widget in (self.ui.slotArea, self.lateral.widget):
            self.assertTrue(self.drop(widget, study))
            self.assertEqual([slot.xray.path for slot in self.panel.xrays.slots], [str(file) for file in files])
            self.panel.xrays.setXRays([])
        with mock.patch("clsdm.limits.SERIES_FILES", 1):
            self.drop(self.ui.slotArea, study)
        self.assertIn("more than 1 files", self.ui.pairLabel.text)

    def test_a_folder_with_one_x_ray_fills_the_slot_it_is_dropped_on_and_leaves_the_other(self) -> None:
        for folder, slot in (("one", self.frontal), ("two", self.lateral)):
            (self.folder / folder).mkdir()
            self.xrayFile(f"{folder}/x.dcm", "PA" if folder == "one" else "LL")
            self.drop(slot.widget, self.folder / folder)
        paths = [slot.xray.path for slot in self.panel.xrays.slots]
        self.assertEqual(paths, [str(self.folder / name / "x.dcm") for name in ("one", "two")])

    def test_a_node_can_be_dragged_from_the_data_module_or_chosen_in_the_selector(self) -> None:
        node = self.xrayNode()
        self.drop(self.frontal.widget, node)
        self.assertEqual(self.frontal.xray.nodeId, node.GetID())
        self.assertEqual(self.frontal.ui.nodeSelector.currentNode(), node)
        self.lateral.ui.nodeSelector.setCurrentNode(node)
        self.assertEqual(self.lateral.xray.nodeId, node.GetID())
        self.lateral.ui.nodeSelector.setCurrentNode(None)
        self.assertIsNone(self.lateral.xray)

    def test_something_that_is_no_file_is_not_taken(self) -> None:
        mime = qt.QMimeData()
        mime.setText("hello")
        self.assertFalse(self.dropMime(self.frontal.widget, mime))
        self.assertIsNone(self.frontal.xray)

    def test_an_unknown_pixel_spacing_is_refused_until_it_is_typed(self) -> None:
        self.drop(self.frontal.widget, self.png())
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("spacing", self.ui.reconstructButton.toolTip)
        self.assertEqual(self.frontal.geometry.badges["spacingMm"].text, "?")
        self.type(self.frontal.geometry.spacing, "2.5")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (2.5, 2.5))
        self.assertIn("entered", self.frontal.geometry.badges["spacingMm"].text)
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_a_spacing_of_no_radiograph_is_refused_and_can_be_taken_back(self) -> None:
        self.drop(self.frontal.widget, self.png())
        self.type(self.frontal.geometry.spacing, "0.01")
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("mm", self.ui.reconstructButton.toolTip)
        self.assertIn("entered", self.frontal.geometry.badges["spacingMm"].text)
        self.frontal.geometry.badges["spacingMm"].click()
        self.assertEqual(self.frontal.geometry.badges["spacingMm"].text, "?")

    def test_a_length_in_the_wrong_unit_is_refused_with_all_its_digits(self) -> None:
        """Qt would drop the digit that leads beyond a box's range, and make 3 of 35."""
        self.drop(self.frontal.widget, self.png())
        self.type(self.frontal.geometry.spacing, "35")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (35.0, 35.0))
        self.assertIn("35 mm", self.frontal.problem())
        self.type(self.frontal.geometry.spacing, "2.5")
        self.type(self.frontal.geometry.detector, "18000")
        self.assertIn("18000 mm", self.frontal.problem())
        self.type(self.frontal.geometry.detector, "1800")
        self.assertEqual(self.frontal.problem(), "")

    def test_a_click_on_its_badge_takes_an_entry_back(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "tag")
        xray = self.frontal.xray
        self.type(self.frontal.geometry.detector, "2000")
        self.assertIs(self.frontal.xray, xray, "what was typed must not build the slot anew")
        self.assertEqual(self.frontal.facts.fields["sourceDetectorMm"].value, 2000.0)
        self.frontal.geometry.badges["sourceDetectorMm"].click()
        self.assertEqual(self.frontal.geometry.detector.value, 1500.0)
        self.assertEqual(self.frontal.xray.entered, {})

    def test_what_neither_file_nor_user_says_comes_from_the_preset_and_is_marked_so(self) -> None:
        self.drop(
            self.frontal.widget, self.xrayFile("pa.dcm", DistanceSourceToDetector=None, DistanceSourceToPatient=None)
        )
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "default")
        self.assertEqual(self.frontal.geometry.detector.value, 1800.0)
        self.ui.presetSelector.setCurrentIndex(2)
        self.assertEqual(self.frontal.geometry.detector.value, 1100.0)

    def test_a_machine_is_called_the_same_wherever_it_can_be_chosen(self) -> None:
        boxes = (self.ui.presetSelector, self.panel.simulate.ui.presetComboBox)
        names, others = ({box.itemText(index) for index in range(box.count)} for box in boxes)
        self.assertEqual(names, others)
        self.assertIn("Chest radiography (180 cm)", names)

    def test_pixels_that_are_not_square_show_both_spacings_and_one_entry_makes_them_square(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", ImagerPixelSpacing=[2.0, 2.5]))
        spacing = self.frontal.geometry.spacing
        self.assertEqual(spacing.text, "2.0000 × 2.5000")
        self.assertIn("2.5 mm between columns", spacing.toolTip)
        self.type(spacing, "3.0")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (3.0, 3.0))
        self.assertEqual(spacing.text, "3.0000")
        self.frontal.geometry.badges["spacingMm"].click()
        self.assertEqual(spacing.text, "2.0000 × 2.5000")

    def test_the_number_of_the_rows_typed_again_makes_the_pixels_square_and_passing_by_does_not(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", ImagerPixelSpacing=[2.0, 2.5]))
        spacing = self.frontal.geometry.spacing
        self.press(spacing, "\r")
        self.assertEqual(self.frontal.xray.entered, {})
        slicer.util.findChild(spacing, "qt_spinbox_lineedit").selectAll()
        self.press(spacing, "2.0\r")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (2.0, 2.0))
        self.assertEqual(spacing.text, "2.0000")

    def test_an_image_of_a_run_is_chosen_by_its_number(self) -> None:
        run = np.stack([np.full((90, 70), 100, np.uint16), np.arange(90 * 70, dtype=np.uint16).reshape(90, 70)])
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", NumberOfFrames=2, PixelData=run.tobytes()))
        geometry = self.frontal.geometry
        self.assertIn("several images", self.frontal.ui.problemLabel.text)
        self.assertEqual((geometry.frame.visible, geometry.badges["frame"].text), (True, "?"))
        self.type(geometry.frame, "3")
        self.assertIn("holds images 1 to 2", self.frontal.problem())
        self.assertTrue(geometry.frame.visible)
        self.type(geometry.frame, "2")
        self.assertEqual(self.frontal.xray.entered, {"frame": 2})
        self.assertEqual(self.frontal.problem(), "")
        geometry.badges["frame"].click()
        self.assertIn("several images", self.frontal.problem())
        self.drop(self.frontal.widget, self.xrayFile("other.dcm"))
        self.assertFalse(geometry.frame.visible)

    def test_orientation_and_inversion_can_be_entered(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        geometry = self.frontal.geometry
        geometry.rotate[0].setCurrentIndex(1)
        geometry.flip[0].setCurrentIndex(1)
        geometry.invert[0].setCurrentIndex(1)
        self.assertEqual(self.frontal.xray.entered, {"rotateQuarters": 1, "flip": True, "invert": True})
        self.assertIn("70 × 90", self.frontal.ui.sourceLabel.text)

    def test_swap_exchanges_the_x_rays(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("lateral.dcm", "LL"))
        self.ui.swapButton.click()
        self.assertIsNone(self.frontal.xray)
        self.assertEqual(self.lateral.xray.role, "lateral")

    def test_x_rays_of_two_patients_are_refused_in_words(self) -> None:
        self.fillSlots()
        self.assertTrue(self.ui.reconstructButton.enabled)
        self.drop(self.lateral.widget, self.xrayFile("other.dcm", "LL", PatientID="another"))
        self.assertIn("two patients", self.ui.pairLabel.text)
        self.assertIn("two patients", self.ui.reconstructButton.toolTip)
        self.assertFalse(self.ui.reconstructButton.enabled)

    def test_views_that_see_no_depth_get_a_warning_not_a_refusal(self) -> None:
        self.fillSlots()
        self.type(self.lateral.geometry.angle, "20")
        self.assertIn("20 degrees apart", self.ui.pairLabel.text)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_a_damaged_file_is_named_as_the_x_ray_it_should_be_never_by_its_name(self) -> None:
        path = self.folder / "Doe_Jane.dcm"
        path.write_bytes(self.xrayFile("pa.dcm").read_bytes()[:200])
        self.drop(self.frontal.widget, path)
        self.assertNotIn("Doe", self.ui.reconstructButton.toolTip)
        self.assertNotIn("Doe", self.frontal.ui.problemLabel.text)
        self.assertTrue(self.frontal.ui.problemLabel.text)

    def test_the_preview_is_shown_and_follows_what_is_entered(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.wait(lambda: self.logic.previews)
        run = self.logic.previews[-1]
        run.finish(self.preview())
        self.assertTrue(self.frontal.hasPreview())
        self.frontal.geometry.flip[0].setCurrentIndex(1)
        self.wait(lambda: self.logic.previews[-1] is not run)
        self.assertIs(self.logic.previews[-1].arguments["xray"].entered["flip"], True)

    def test_a_preview_that_fails_says_why_in_its_place(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.wait(lambda: self.logic.previews)
        self.logic.previews[-1].fail(ReconstructionError("input", "The image is constant."))
        self.assertEqual(self.frontal.ui.previewLabel.text, "The image is constant.")

    def test_up_to_eight_views_can_be_added_and_taken_away(self) -> None:
        for _number in range(6):
            self.ui.addViewButton.click()
        self.assertFalse(self.ui.addViewButton.enabled)
        third = self.panel.xrays.slots[2]
        self.drop(third.widget, self.xrayFile("oblique.dcm", PositionerPrimaryAngle=45.0, ViewPosition=None))
        self.assertEqual(third.xray.role, "view")
        self.panel.xrays.slots[3].ui.clearButton.click()
        self.assertEqual(len(self.panel.xrays.slots), 7)
        self.assertTrue(self.ui.addViewButton.enabled)

    def test_a_deleted_node_leaves_its_slot_empty(self) -> None:
        first, second = self.xrayNode(), self.xrayNode()
        self.drop(self.frontal.widget, first)
        self.drop(self.lateral.widget, second)
        slicer.mrmlScene.RemoveNode(second)
        self.assertIsNone(self.lateral.xray)  # and not the other node, to which a combo box turns by itself
        self.assertEqual(self.frontal.xray.nodeId, first.GetID())
        slicer.mrmlScene.RemoveNode(first)
        slicer.app.processEvents()
        self.assertIsNone(self.frontal.xray)
        self.assertFalse(self.ui.reconstructButton.enabled)

    def xrayNode(self) -> object:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "X-ray")
        slicer.util.updateVolumeFromArray(node, np.arange(70 * 90, dtype=np.int16).reshape(1, 70, 90))
        node.SetSpacing(2.0, 2.0, 1.0)
        return node


class InputOfNodesTest(unittest.TestCase):
    def test_an_x_ray_goes_through_the_parameter_node_unchanged(self) -> None:
        xray = XRayInput(path="a.dcm", role="view", entered={"spacingMm": (0.1, 0.2), "flip": True})
        self.assertEqual(XRayInput.fromPlain(xray.toPlain()), xray)


class DatabaseTest(PanelCase):
    def test_the_menu_lists_x_rays_of_the_dicom_database_newest_first_and_says_whose_they_are(self) -> None:
        with mock.patch.object(slicer, "dicomDatabase", FakeDatabase(), create=True):
            found = atOnce(xraySeries())
        self.assertEqual([series.path for series in found], ["pa.dcm", "lateral.dcm", "a.dcm"])
        self.assertEqual((found[0].whose, found[0].label), ("Meier^Anna (4711) · 2024-01-01", "CR · PA · CHEST"))

    def test_the_newest_study_of_the_database_can_fill_both_slots(self) -> None:
        files = [str(self.xrayFile("b.dcm", "LL")), str(self.xrayFile("a.dcm"))]
        database = FakeDatabase({"new": ("2024-01-01", {"b": ("CR", files)})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.panel.xrays.pair.fromDatabase()
            self.wait(lambda: not self.panel.xrays.pair.isLooking)
        self.assertEqual([slot.geometry.angle.value for slot in self.panel.xrays.slots], [0.0, 90.0])

    def test_of_two_studies_of_one_day_the_later_is_the_newest_and_it_is_said_which(self) -> None:
        files = {
            hour: [
                str(self.xrayFile(f"{hour}{view}.dcm", view, StudyInstanceUID=f"1.2.{hour}")) for view in ("PA", "LL")
            ]
            for hour in (9, 14)
        }
        studies = {
            "z": ("20240101 093000", {"z1": ("CR", files[9])}),
            "a": ("20240101 140500.5", {"a1": ("CR", files[14])}),
        }
        with mock.patch.object(slicer, "dicomDatabase", FakeDatabase(studies), create=True):
            self.panel.xrays.pair.fromDatabase()
            self.wait(lambda: not self.panel.xrays.pair.isLooking)
        self.assertEqual([slot.xray.path for slot in self.panel.xrays.slots], files[14])
        self.assertIn("The newest study: Meier^Anna (4711) · 2024-01-01 14:05.", self.ui.pairLabel.text)
        self.assertNotIn("Not used", self.ui.pairLabel.text)

    def test_a_slot_says_whose_x_ray_it_holds(self) -> None:
        whose = {"PatientName": "Meier^Anna", "PatientID": "4711", "StudyDate": "20240101", "StudyTime": "1405"}
        self.drop(self.frontal.widget, self.xrayFile("a.dcm", **whose))
        self.assertIn("Meier^Anna (4711) · 2024-01-01 14:05", self.frontal.ui.sourceLabel.toolTip)
        self.drop(self.frontal.widget, self.png())
        said = self.frontal.ui.sourceLabel.toolTip
        self.assertIn(str(self.folder / "picture.png"), said)
        self.assertNotIn("Meier", said)

    def test_a_menu_of_very_many_says_that_it_shows_the_newest(self) -> None:
        database = FakeDatabase(
            {f"{number}": (f"{2000 + number}0101", {f"{number}.1": ("DX", ["a.dcm"])}) for number in range(70)}
        )
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.frontal._fillSeriesMenu()
            self.wait(lambda: "Looking" not in self.frontal._seriesMenu.actions()[0].text)
        texts = [action.text for action in self.frontal._seriesMenu.actions()]
        self.assertEqual(len(texts), 61)
        self.assertEqual(texts[0], "Meier^Anna (4711) · 2069-01-01 · DX · CHEST")
        self.assertIn("The newest 60 only", texts[-1])
        self.assertFalse(self.frontal._seriesMenu.actions()[-1].enabled)

    def test_of_repeats_the_last_exposure_is_taken_and_said(self) -> None:
        chest = {"BodyPartExamined": "CHEST", "AcquisitionDate": "20240101"}
        files = [
            self.xrayFile("0.dcm", "PA", BodyPartExamined="KNEE"),
            self.xrayFile("1.dcm", "LL", BodyPartExamined="KNEE"),
            *(
                self.xrayFile(f"{2 + at}.dcm", view, AcquisitionTime=f"10{20 - at}00", **chest)
                for at, view in enumerate(("PA", "PA", "LL"))
            ),
        ]
        self.drop(self.frontal.widget, *files)
        self.assertEqual([slot.xray.path[-5:] for slot in self.panel.xrays.slots], ["2.dcm", "4.dcm"])
        self.assertIn("Of 2 frontal X-rays of the study the last exposed is taken.", self.ui.pairLabel.text)
        self.assertIn("Frontal: CHEST is taken before KNEE.", self.ui.pairLabel.text)

    def test_a_large_database_is_asked_a_little_at_a_time(self) -> None:
        database = FakeDatabase({f"{number}": ("", {f"{number}.1": ("DX", ["a.dcm"])}) for number in range(40)})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            search = xraySeries()
            next(search)
            self.assertLess(database.questions, 5)
            self.assertEqual(len(atOnce(search)), 40)

    def test_what_was_dropped_and_is_not_taken_is_named_until_something_changes(self) -> None:
        text = self.folder / "notes.txt"
        text.write_text("x")
        files = [self.xrayFile("a.dcm"), self.xrayFile("b.dcm", "LL"), self.xrayFile("c.dcm", "LL")]
        self.drop(self.frontal.widget, *files, text)
        self.assertIn("Not used: c.dcm, notes.txt.", self.ui.pairLabel.text)
        self.panel.xrays.refresh()  # another model
        self.assertIn("notes.txt", self.ui.pairLabel.text)
        self.panel.xrays.swap()
        self.assertNotIn("notes.txt", self.ui.pairLabel.text)
        self.drop(self.frontal.widget, *files, *(self.png(f"{number}.png") for number in range(4)))
        self.assertRegex(self.ui.pairLabel.text, r"Not used: c\.dcm, \S+\.png, \S+\.png and 2 more\.")

    def test_further_studies_in_a_folder_are_said(self) -> None:
        (self.folder / "in").mkdir()
        for number in range(3):
            for view in ("PA", "LL"):
                self.xrayFile(f"in/{number}{view}.dcm", view, StudyInstanceUID=f"1.2.{number}")
            self.drop(self.frontal.widget, self.folder / "in")
            said = ("", "X-rays of 1 further study are there", "X-rays of 2 further studies are there")[number]
            self.assertIn(said, self.ui.pairLabel.text)
            self.assertEqual("further" in self.ui.pairLabel.text, number > 0)
            self.assertNotIn("Not used:", self.ui.pairLabel.text)

    def test_a_slot_that_is_filled_by_hand_meanwhile_keeps_its_x_ray(self) -> None:
        self.panel.xrays.pair.among([str(self.xrayFile("a.dcm")), str(self.xrayFile("b.dcm", "LL"))])
        self.assertTrue(self.panel.xrays.pair.isLooking)
        self.drop(self.lateral.widget, self.xrayFile("mine.dcm", "LL"))
        self.assertEqual(self.lateral.xray.path, str(self.folder / "mine.dcm"))
        self.assertIsNone(self.frontal.xray)

    def test_a_menu_entry_fills_its_slot(self) -> None:
        database = FakeDatabase({"new": ("2024-01-01", {"b": ("CR", [str(self.xrayFile("a.dcm"))])})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.frontal._fillSeriesMenu()
            self.assertIn("Looking", self.frontal._seriesMenu.actions()[0].text)
            self.wait(lambda: "Looking" not in self.frontal._seriesMenu.actions()[0].text)
        self.frontal._seriesMenu.actions()[0].trigger()
        self.assertEqual(self.frontal.xray.path, str(self.folder / "a.dcm"))
