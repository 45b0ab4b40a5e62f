"""The facts about an X-ray before its pixels are read."""

import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
from scene_case import SceneCase

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.scene import Volumes
from CLSDMReconstructionLib.xrays.Facts import Field, FolderError, checkTogether, inspect, suggestPair
from CLSDMReconstructionLib.xrays.Inputs import FIELDS, XRayInput

ensureCore()
import pydicom  # noqa: E402 - Slicer brings it

from clsdm.files.dicom import new_dicom, save_dicom  # noqa: E402

DX = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.1.1.1")


def dicom(path: Path, pixels: np.ndarray | None = None, **tags) -> Path:
    """A DX file of 64 x 80 pixels with these tags over a frontal chest's."""
    dataset = new_dicom(DX, pydicom.uid.UID(f"1.2.3.{abs(hash(path.name)) % 10**6}"))
    known = {
        "Modality": "DX",
        "PatientName": "Doe^Jane",
        "PatientID": "12345",
        "StudyInstanceUID": "1.2.3.4",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "ImagerPixelSpacing": [4.0, 2.0],
        "DistanceSourceToDetector": 1800,
        "DistanceSourceToPatient": 1500,
        "ViewPosition": "PA",
    }
    for name, value in {**known, **tags}.items():
        if value is not None:
            setattr(dataset, name, value)
    pixels = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80) if pixels is None else pixels
    dataset.Rows, dataset.Columns, dataset.PixelData = *pixels.shape, pixels.tobytes()
    save_dicom(dataset, path)
    return path


class InputsTest(SceneCase):
    def picture(self, name: str = "pa.png") -> Path:
        image = sitk.GetImageFromArray(np.arange(64 * 80, dtype=np.uint8).reshape(64, 80))
        sitk.WriteImage(image, str(self.folder / name))
        return self.folder / name

    def test_every_field_says_where_it_is_from(self) -> None:
        facts = inspect(XRayInput(path=str(dicom(self.folder / "pa.dcm"))))
        self.assertEqual(set(facts.fields), set(FIELDS) - {"frame"})
        self.assertEqual(facts.fields["spacingMm"], Field((4.0, 2.0), "tag"))
        self.assertEqual(facts.fields["sourceDetectorMm"], Field(1800.0, "tag"))
        self.assertEqual(facts.fields["sourceAxisMm"], Field(1500.0, "tag"))
        self.assertEqual(facts.fields["angleDeg"], Field(0.0, "tag"))
        self.assertEqual(facts.fields["flip"], Field(False, "default"))
        self.assertEqual((facts.header.rows, facts.header.cols, facts.problem), (64, 80, ""))

    def test_what_was_entered_wins_and_can_be_taken_back(self) -> None:
        xray = XRayInput(path=str(dicom(self.folder / "pa.dcm")))
        xray.enter("sourceAxisMm", 1400.0)
        self.assertEqual(inspect(xray).fields["sourceAxisMm"], Field(1400.0, "entered"))
        xray.enter("sourceAxisMm", None)
        self.assertEqual(inspect(xray).fields["sourceAxisMm"], Field(1500.0, "tag"))
        with self.assertRaises(KeyError):
            xray.enter("sourceAxis", 1.0)

    def test_a_preset_gives_what_nobody_knows(self) -> None:
        file = dicom(self.folder / "pa.dcm", DistanceSourceToDetector=None, DistanceSourceToPatient=None)
        facts = inspect(XRayInput(path=str(file)), "c-arm")
        self.assertEqual(facts.fields["sourceDetectorMm"], Field(1100.0, "default"))
        self.assertTrue(any("assumed" in text for text in facts.warnings), facts.warnings)

    def test_unknown_spacing_is_refused_until_it_is_entered(self) -> None:
        xray = XRayInput(path=str(self.picture()))
        facts = inspect(xray)
        self.assertEqual((facts.missing, facts.fields["spacingMm"].value), ("spacingMm", None))
        self.assertIn("spacing", facts.problem)
        xray.enter("spacingMm", (4.0, 4.0))
        self.assertEqual(inspect(xray).problem, "")

    def test_a_slot_names_the_angle_where_the_file_does_not(self) -> None:
        file = str(dicom(self.folder / "x.dcm", ViewPosition=None))
        self.assertEqual(inspect(XRayInput(path=file, role="lateral")).fields["angleDeg"], Field(90.0, "default"))
        self.assertEqual(inspect(XRayInput(path=file, role="view")).missing, "angleDeg")

    def test_distances_that_cannot_be_are_a_problem(self) -> None:
        xray = XRayInput(path=str(dicom(self.folder / "pa.dcm")), entered={"sourceAxisMm": 2000.0})
        self.assertIn("source-axis", inspect(xray).problem)

    def test_inversion_and_window_are_shown_as_the_tags_say(self) -> None:
        file = dicom(
            self.folder / "pa.dcm", PhotometricInterpretation="MONOCHROME1", WindowCenter=2000, WindowWidth=1000
        )
        facts = inspect(XRayInput(path=str(file)))
        self.assertEqual(facts.fields["invert"], Field(False, "tag"))
        self.assertEqual(facts.fields["window"], Field((1500.0, 2500.0), "tag"))

    def test_no_message_names_the_patient(self) -> None:
        for name, content in (("DOE_JANE.dcm", b"nonsense"), ("DOE_JANE.png", b"nonsense"), ("DOE_JANE.txt", b"x")):
            with self.subTest(name=name):
                (self.folder / name).write_bytes(content)
                facts = inspect(XRayInput(path=str(self.folder / name)))
                self.assertNotEqual(facts.problem, "")
                self.assertNotIn("DOE", facts.problem)
                self.assertNotIn(str(self.folder), facts.problem)
        self.assertNotIn("DOE", inspect(XRayInput(path=str(self.folder / "DOE_JANE_gone.dcm"))).problem)

    def test_a_damaged_header_is_a_problem_not_an_exception(self) -> None:
        file = dicom(self.folder / "pa.dcm")
        file.write_bytes(file.read_bytes()[:300])
        self.assertNotEqual(inspect(XRayInput(path=str(file))).problem, "")

    def test_a_node_is_read_like_the_file_it_came_from(self) -> None:
        node = slicer.util.loadVolume(str(self.picture("pa.nrrd")), {"singleFile": True})
        facts = inspect(XRayInput.of(node, "frontal"))
        self.assertEqual(facts.missing, "spacingMm")
        node.SetSpacing(4.0, 4.0, 1.0)
        self.assertEqual(inspect(XRayInput.of(node, "frontal")).fields["spacingMm"], Field((4.0, 4.0), "tag"))

    def test_a_node_with_the_spacing_that_stands_for_none_is_refused(self) -> None:
        geometry = {"spacing_mm": [1.0, 1.0, 1.0], "origin_mm": [0.0] * 3, "direction": np.eye(3).tolist()}
        node = Volumes.makeVolume(np.ones((1, 64, 80), np.uint16), geometry, "x")
        Nodes.addToScene([node])
        self.assertEqual(inspect(XRayInput.of(node, "frontal")).missing, "spacingMm")

    def test_a_node_that_is_gone_is_a_problem(self) -> None:
        self.assertIn("no longer in the scene", inspect(XRayInput(nodeId="vtkMRMLScalarVolumeNode77")).problem)

    def test_it_survives_being_saved(self) -> None:
        xray = XRayInput(path="x.dcm", role="lateral", entered={"spacingMm": (0.1, 0.2), "flip": True})
        plain = xray.toPlain()
        self.assertEqual(XRayInput.fromPlain({**plain, "entered": {"spacingMm": [0.1, 0.2], "flip": True}}), xray)

    def test_something_else_is_no_x_ray(self) -> None:
        with self.assertRaises(TypeError):
            XRayInput.of(7, "frontal")

    def test_two_patients_are_refused_and_views_too_close_are_warned_of(self) -> None:
        pa = XRayInput(path=str(dicom(self.folder / "pa.dcm")))
        other = XRayInput(path=str(dicom(self.folder / "o.dcm", PatientID="2", ViewPosition="LL")), role="lateral")
        self.assertIn("two patients", checkTogether([inspect(pa), inspect(other)])[0])
        oblique = dicom(self.folder / "ob.dcm", PositionerPrimaryAngle=30, PositionerType="CARM", ViewPosition=None)
        problem, warnings = checkTogether([inspect(pa), inspect(XRayInput(path=str(oblique), role="lateral"))])
        self.assertEqual(problem, "")
        self.assertIn("30 degrees apart", warnings[0])

    def test_one_file_or_volume_for_two_exposures_is_refused_under_any_name(self) -> None:
        pa = dicom(self.folder / "pa.dcm")
        (self.folder / "link.dcm").hardlink_to(pa)
        shutil.copy(pa, self.folder / "same.dcm")
        geometry = {"spacing_mm": [3.0] * 3, "origin_mm": [0.0] * 3, "direction": np.eye(3).tolist()}
        node = Volumes.makeVolume(np.ones((1, 64, 80), np.uint16), geometry, "x")
        Nodes.addToScene([node])
        for one, other in ((pa, pa), (pa, self.folder / "link.dcm"), (pa, self.folder / "same.dcm"), (node, node)):
            pair = [XRayInput.of(source, role) for source, role in ((one, "frontal"), (other, "lateral"))]
            for xray in pair:
                xray.enter("spacingMm", (3.0, 3.0))
            facts = [inspect(xray) for xray in pair]
            self.assertEqual([each.problem for each in facts], ["", ""])
            self.assertIn("The same X-ray is chosen twice", checkTogether(facts)[0])
        copy = dicom(self.folder / "copy.dcm", ViewPosition="LL")
        self.assertEqual(checkTogether([inspect(XRayInput(path=str(each))) for each in (pa, copy)])[0], "")

    def test_a_pair_is_found_in_any_order(self) -> None:
        pa, lateral = dicom(self.folder / "a.dcm"), dicom(self.folder / "b.dcm", ViewPosition="LL")
        for files in ((pa, lateral), (lateral, pa)):
            found = atOnce(suggestPair(files))
            self.assertEqual([(one.path, one.role) for one in found], [(str(pa), "frontal"), (str(lateral), "lateral")])

    def test_a_pair_is_of_one_study(self) -> None:
        pa = dicom(self.folder / "a.dcm")
        other = dicom(self.folder / "b.dcm", ViewPosition="LL", StudyInstanceUID="9.9")
        same = dicom(self.folder / "c.dcm", ViewPosition="RL")
        self.assertEqual(atOnce(suggestPair([pa, other, same]))[1].path, str(same))
        found = atOnce(suggestPair([other, pa]))  # all there is: the user knows that they belong together
        self.assertEqual([one.path for one in found], [str(pa), str(other)])
        self.assertIn("two studies", checkTogether([inspect(one) for one in found])[1][0])

    def test_a_pair_is_found_in_a_folder_at_any_depth_among_other_files(self) -> None:
        study = self.folder / "disk" / "study"
        study.mkdir(parents=True)
        (study / "notes.txt").write_text("x")
        pa, lateral = dicom(study / "a.dcm"), dicom(study.parent / "b.dcm", ViewPosition="LL")
        found = atOnce(suggestPair([str(study.parent)]))
        self.assertEqual([one.path for one in found], [str(pa), str(lateral)])
        with mock.patch("clsdm.limits.SERIES_FILES", 2), self.assertRaisesRegex(FolderError, "more than 2 files"):
            atOnce(suggestPair([study.parent]))

    def test_patient_orientation_stands_in_for_a_missing_view_position(self) -> None:
        pa = dicom(self.folder / "a.dcm", ViewPosition=None, PatientOrientation=["L", "F"])
        lateral = dicom(self.folder / "b.dcm", ViewPosition=None, PatientOrientation=["P", "F"])
        found = atOnce(suggestPair([lateral, pa]))
        self.assertEqual([one.path for one in found], [str(pa), str(lateral)])

    def test_what_is_no_radiograph_is_passed_over(self) -> None:
        (self.folder / "notes.txt").write_text("x")
        pa = dicom(self.folder / "a.dcm")
        self.assertEqual(atOnce(suggestPair([self.folder / "notes.txt", self.picture(), pa]))[0].path, str(pa))
        self.assertEqual(atOnce(suggestPair([])), (None, None))

    def test_a_file_that_is_not_used_is_named_with_its_folder_where_another_has_its_name(self) -> None:
        folders = [self.folder / name for name in ("first", "second", "third")]
        for folder, view in zip(folders, ("PA", "LL", "LL"), strict=True):
            folder.mkdir()
            dicom(folder / "a.dcm", ViewPosition=view)
        (self.folder / "notes.txt").write_text("x")
        notes: list[str] = []
        atOnce(suggestPair([*(folder / "a.dcm" for folder in folders), self.folder / "notes.txt"], notes))
        self.assertIn("Not used: third/a.dcm, notes.txt.", notes)
