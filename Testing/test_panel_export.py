"""A reconstruction as files that others read, and that say what it is."""

import errno
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pydicom
import SimpleITK as sitk
import slicer
from fakes import FakeDatabase
from scene_case import SceneCase, waitFor
from volumes import add_volume, turned

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.panel.ExportPanel import ExportPanel
from CLSDMReconstructionLib.scene import SessionFiles, XRaySources
from CLSDMReconstructionLib.scene.Attributes import provenanceOf, setAttributes
from CLSDMReconstructionLib.scene.Sampling import asArray, ijkToWorld
from CLSDMReconstructionLib.scene.VolumeExport import DICOM, FORMATS, toSitk, writeDicom, writeVolume

ensureCore()
from clsdm.app.record import read_record  # noqa: E402
from clsdm.errors import InputError  # noqa: E402

PROVENANCE = {
    "CLSDM.role": "volume",
    "CLSDM.model": "openkbp64",
    "CLSDM.product": "mean",
    "CLSDM.model_sha256": "ab" * 32,
}


class ExportTest(SceneCase):
    def setUp(self) -> None:
        super().setUp()
        self.node = add_volume("R", size=(9, 11, 13), spacing=(2.0, 3.0, 4.0), centre=(7, -5, 3), axes=turned(12.0))
        for name, value in PROVENANCE.items():
            self.node.SetAttribute(name, value)

    def assertSamePlace(self, image: sitk.Image) -> None:
        """The voxel at every corner of the node lies where the file says, and holds the same HU."""
        array = slicer.util.arrayFromVolume(self.node)
        grid = asArray(ijkToWorld(self.node))
        for k, j, i in ((0, 0, 0), (12, 0, 0), (0, 10, 0), (0, 0, 8), (12, 10, 8)):
            ras = grid @ np.array([i, j, k, 1.0])
            index = image.TransformPhysicalPointToIndex([-ras[0], -ras[1], ras[2]])
            self.assertEqual(image.GetPixel(index), array[k, j, i])

    def xray(self, patient: str = "P1", name: str = "frontal", uid: str = "") -> str:
        """A DICOM file with nothing but what identifies it."""
        path = self.folder / f"{name}.dcm"
        from clsdm.files.dicom import new_dicom, save_dicom

        dataset = new_dicom(
            pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.1.1"), pydicom.uid.UID(uid or f"1.2.3.{len(name)}")
        )
        dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID = patient, "Doe^Jane", "1.2.840.1"
        save_dicom(dataset, path)
        return str(path)

    def madeFrom(self, *files: str) -> None:
        """Let the reconstruction be of these X-rays."""
        setAttributes(self.node, {XRaySources.SOURCES: [XRaySources.noted(Path(file)) for file in files]})


class WritingTest(ExportTest):
    def test_nifti_and_nrrd_hold_every_voxel_at_its_place_in_the_patient(self) -> None:
        for name in ("R.nii.gz", "R.nrrd"):
            with self.subTest(name):
                written = atOnce(writeVolume(self.node, self.folder / name))
                self.assertSamePlace(sitk.ReadImage(str(written[0])))

    def test_beside_the_file_is_the_record_that_the_core_reads(self) -> None:
        """As the command line writes it: see trainer/tests/app/test_record.py."""
        residuals = [{"angle_deg": 0.0, "rmse": 0.1, "correlation": 0.9}]
        setAttributes(
            self.node, {"residuals": residuals, "warnings": ["only one view"], "seed": 5, "model_version": "1.0"}
        )
        volume, _ = atOnce(writeVolume(self.node, self.folder / "R.nii.gz"))
        record = read_record(volume)
        self.assertIn("Research only", record["notice"])
        self.assertEqual((record["residuals"], record["warnings"]), (residuals, ["only one view"]))
        self.assertEqual(record["provenance"]["model"], "openkbp64")
        self.assertEqual((record["provenance"]["seed"], record["provenance"]["model_version"]), (5, "1.0"))

    def test_what_has_the_records_name_and_is_none_stays_and_a_record_is_replaced(self) -> None:
        """Slicer's dialog asks about the volume alone."""
        foreign = self.folder / "R.json"
        foreign.write_text('{"of": "the user"}')
        with self.assertRaisesRegex(InputError, r"R\.json: is there and was not written by this program"):
            atOnce(writeVolume(self.node, self.folder / "R.nii.gz"))
        self.assertEqual([path.name for path in self.folder.iterdir() if path.name.startswith("R.")], ["R.json"])
        self.assertEqual(foreign.read_text(), '{"of": "the user"}')
        for _ in range(2):
            atOnce(writeVolume(self.node, self.folder / "again.nii.gz"))

    def test_a_name_that_is_no_volume_format_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "nrrd"):
            atOnce(writeVolume(self.node, self.folder / "R.png"))

    def test_a_dicom_series_holds_every_voxel_at_its_place_in_the_patient(self) -> None:
        for _ in writeDicom(self.node, self.folder / "series", keepPatient=False):
            pass
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(self.folder / "series")))
        self.assertSamePlace(reader.Execute())

    def test_a_dicom_series_points_to_its_x_rays_and_names_model_and_purpose(self) -> None:
        (self.folder / "picture.png").write_bytes(b"a picture")
        self.madeFrom(self.xray(), str(self.folder / "picture.png"))
        for _ in writeDicom(self.node, self.folder / "series"):
            pass
        tags = pydicom.dcmread(next((self.folder / "series").iterdir()))
        self.assertEqual([item.ReferencedSOPInstanceUID for item in tags.SourceImageSequence], ["1.2.3.7"])
        self.assertEqual((tags.PatientID, tags.StudyInstanceUID), ("P1", "1.2.840.1"))
        self.assertIn("openkbp64", tags.DerivationDescription)
        self.assertEqual(tags.ContentQualification, "RESEARCH")

    def test_the_validator_of_dicom3tools_finds_no_error(self) -> None:
        validator = shutil.which("dciodvfy")
        if validator is None:
            self.skipTest("needs dciodvfy: apt-get install dicom3tools")
        self.madeFrom(self.xray())
        for _ in writeDicom(self.node, self.folder / "series"):
            pass
        for path in (self.folder / "series").iterdir():
            done = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False, timeout=60)
            self.assertNotIn("Error", done.stdout + done.stderr)

    def test_a_transform_above_the_volume_is_part_of_its_place(self) -> None:
        before = toSitk(self.node).GetOrigin()
        moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, 3] = (10.0, 20.0, 30.0)
        moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        self.node.SetAndObserveTransformNodeID(moved.GetID())
        np.testing.assert_allclose(np.subtract(toSitk(self.node).GetOrigin(), before), (-10.0, -20.0, 30.0))

    def test_provenance_is_what_the_nodes_attributes_say(self) -> None:
        self.node.SetAttribute("Other.key", "x")
        self.assertEqual(set(provenanceOf(self.node)), {"model", "product", "model_sha256"})


class WithPanel(ExportTest):
    def setUp(self) -> None:
        super().setUp()
        self.panel = ExportPanel(None)
        self.addCleanup(self.panel.cleanup)
        self.panel.setMRMLScene(slicer.mrmlScene)
        self.ui = self.panel.ui


class PanelTest(WithPanel):
    def choose(self, name: str) -> None:
        self.ui.formatComboBox.setCurrentIndex(FORMATS.index(name))

    def test_without_a_reconstruction_there_is_nothing_to_export(self) -> None:
        self.panel.setReconstruction(None)
        self.assertFalse(self.ui.exportButton.enabled)
        self.panel.setReconstruction(self.node)
        self.assertTrue(self.ui.exportButton.enabled)

    def test_a_scan_is_not_offered_and_a_spread_is_no_ct_series(self) -> None:
        self.panel.setReconstruction(add_volume("CT"))
        self.assertIsNone(self.ui.volumeSelector.currentNode())
        self.node.SetAttribute("CLSDM.role", "spread")
        self.panel.setReconstruction(self.node)
        self.choose(DICOM)
        self.assertFalse(self.ui.exportButton.enabled)
        self.assertIn("spread", self.ui.exportButton.toolTip)

    def test_a_volume_is_written_and_the_panel_says_where(self) -> None:
        self.panel.setReconstruction(self.node)
        self.choose("NRRD")
        self.panel.exportTo(str(self.folder / "R.nrrd"))
        self.assertEqual(self.ui.exportButton.text, "Cancel")
        waitFor(lambda: not self.panel.isRunning)
        self.assertTrue((self.folder / "R.nrrd").is_file())
        self.assertIn("R.nrrd", self.ui.statusLabel.text)

    def test_a_series_is_written_in_the_background_with_the_x_rays_it_was_made_from(self) -> None:
        self.madeFrom(self.xray())
        self.panel.setReconstruction(self.node)
        self.choose(DICOM)
        self.panel.exportTo(str(self.folder / "series"))
        self.assertEqual(self.ui.exportButton.text, "Cancel")
        waitFor(lambda: not self.panel.isRunning)
        files = list((self.folder / "series").iterdir())
        self.assertEqual(pydicom.dcmread(files[0]).PatientID, "P1")
        self.assertIn("series", self.ui.statusLabel.text)

    def test_when_the_reconstruction_is_deleted_no_other_volume_takes_its_place(self) -> None:
        self.panel.setReconstruction(self.node)
        slicer.mrmlScene.RemoveNode(self.node)
        self.assertIsNone(self.ui.volumeSelector.currentNode())
        self.assertFalse(self.ui.exportButton.enabled)

    def test_the_patient_can_be_left_out(self) -> None:
        self.madeFrom(self.xray())
        self.panel.setReconstruction(self.node)
        self.choose(DICOM)
        self.ui.patientCheckBox.setChecked(False)
        self.panel.exportTo(str(self.folder / "series"))
        waitFor(lambda: not self.panel.isRunning)
        for path in (self.folder / "series").iterdir():
            self.assertNotIn(b"Jane", path.read_bytes())

    def test_a_cancelled_export_leaves_no_file(self) -> None:
        self.panel.setReconstruction(self.node)
        for name in ("NRRD", DICOM):
            with self.subTest(name), mock.patch("clsdm.volume.write.PIECE_VOXELS", 99):
                self.choose(name)
                self.panel.exportTo(str(self.folder / ("R.nrrd" if name == "NRRD" else "series")))
                for _ in range(3):
                    self.panel._work["export"]._step()  # three slices of 9 x 11 are written
                self.assertEqual(len(list(self.folder.iterdir())), 1)
                self.ui.exportButton.click()
                self.assertEqual(list(self.folder.iterdir()), [])
                self.assertFalse(self.panel.isRunning)

    def test_a_disk_that_is_full_is_said_and_no_file_is_left(self) -> None:
        self.panel.setReconstruction(self.node)
        self.choose("NIfTI")
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch("gzip.GzipFile.write", side_effect=full):
            self.panel.exportTo(str(self.folder / "R.nii.gz"))
            waitFor(lambda: not self.panel.isRunning)
        self.assertIn("No space left on device", self.ui.statusLabel.text)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertTrue(self.ui.exportButton.enabled)

    def test_a_folder_that_cannot_be_used_is_named_and_the_panel_stays_usable(self) -> None:
        (self.folder / "other.txt").touch()
        self.panel.setReconstruction(self.node)
        self.choose(DICOM)
        self.panel.exportTo(str(self.folder))
        waitFor(lambda: not self.panel.isRunning)
        self.assertIn("new or empty folder", self.ui.statusLabel.text)
        self.assertTrue(self.ui.exportButton.enabled)


class WhoseTest(WithPanel):
    """Under whom a series is filed."""

    def setUp(self) -> None:
        super().setUp()
        self.ui.formatComboBox.setCurrentIndex(FORMATS.index(DICOM))

    def exported(self) -> object:
        """The tags of the series, or None where none was written."""
        self.panel.exportTo(str(self.folder / "series"))
        waitFor(lambda: not self.panel.isRunning)
        files = sorted((self.folder / "series").glob("*.dcm"))
        return pydicom.dcmread(files[0]) if files else None

    def assertNobodys(self, reason: str) -> None:
        """The box cannot be ticked, the panel says why, and what is written is of nobody and says so."""
        self.assertFalse(self.ui.patientCheckBox.enabled)
        self.assertFalse(self.ui.patientCheckBox.checked)
        self.assertFalse(self.ui.patientLabel.isHidden())
        self.assertIn(reason, self.ui.patientLabel.text)
        self.assertEqual(self.exported().PatientID, "CLS-DM")
        self.assertIn("without patient and study", self.ui.statusLabel.text)

    def test_after_the_scene_was_closed_a_volume_of_the_same_id_is_not_filed_under_the_earlier_patient(self) -> None:
        self.madeFrom(self.xray("MEIER", "meier", "1.2.3.1"))
        self.panel.setReconstruction(self.node)
        known = self.node.GetID()
        slicer.mrmlScene.Clear(0)
        self.panel.forget()
        self.node = add_volume("R", size=(9, 11, 13))
        for name, value in PROVENANCE.items():
            self.node.SetAttribute(name, value)
        self.assertEqual(self.node.GetID(), known)
        self.madeFrom(self.xray("HUBER", "huber", "1.2.3.2"))
        self.ui.volumeSelector.setMRMLScene(slicer.mrmlScene)  # it looks at the attributes of a node when it comes
        self.panel.setReconstruction(self.node)
        self.assertEqual(self.exported().PatientID, "HUBER")

    def test_a_volume_that_does_not_say_its_x_rays_is_filed_under_nobody_and_that_is_said_before(self) -> None:
        self.panel.setReconstruction(self.node)
        self.assertNobodys("does not say which X-rays")

    def test_a_file_that_was_replaced_meanwhile_is_refused_and_not_named(self) -> None:
        self.madeFrom(self.xray("MEIER", "frontal", "1.2.3.1"))
        self.panel.setReconstruction(self.node)
        self.xray("HUBER", "frontal", "1.2.3.2")
        self.assertIsNone(self.exported())
        self.assertIn("X-ray 1 is not the one that this volume was made from", self.ui.statusLabel.text)
        self.assertNotIn("frontal.dcm", self.ui.statusLabel.text)

    def test_the_database_gives_the_x_ray_whose_file_was_replaced(self) -> None:
        self.madeFrom(self.xray("MEIER", "frontal", "1.2.3.1"))
        self.panel.setReconstruction(self.node)
        kept = self.xray("MEIER", "kept", "1.2.3.1")
        self.xray("HUBER", "frontal", "1.2.3.2")
        with mock.patch.object(slicer, "dicomDatabase", mock.Mock(fileForInstance={"1.2.3.1": kept}.get), create=True):
            self.assertEqual(self.exported().PatientID, "MEIER")

    def test_deleted_files_and_another_slicer_are_said_before(self) -> None:
        file = self.xray()
        self.madeFrom(file)
        Path(file).unlink()
        self.panel.setReconstruction(self.node)
        self.assertNobodys("not there any more")
        self.xray()
        self.panel.enter()
        self.assertTrue(self.ui.patientCheckBox.checked)  # as the user had it
        with mock.patch.dict(SessionFiles._PATHS, clear=True):
            self.panel.enter()
            self.assertIn("not known to this Slicer", self.ui.patientLabel.text)
            with mock.patch.object(slicer, "dicomDatabase", FakeDatabase(), create=True):  # another one
                self.panel.enter()
                self.assertIn("Import them", self.ui.patientLabel.text)

    def test_pictures_name_nobody_and_that_is_said_before(self) -> None:
        (self.folder / "picture.png").write_bytes(b"a picture")
        self.madeFrom(str(self.folder / "picture.png"))
        self.panel.setReconstruction(self.node)
        self.assertNobodys("no DICOM files")

    def test_files_that_go_after_the_box_was_seen_are_not_made_up_for_by_leaving_the_patient_out(self) -> None:
        file = self.xray()
        self.madeFrom(file)
        self.panel.setReconstruction(self.node)
        Path(file).unlink()
        self.assertIsNone(self.exported())
        self.assertIn("not there any more", self.ui.statusLabel.text)
        self.assertFalse(self.ui.patientCheckBox.enabled)

    def test_nodes_of_earlier_versions_are_found_by_their_instance_uids(self) -> None:
        self.node.SetAttribute("CLSDM.source_instance_uids", "1.2.3.7")
        file = self.xray()
        with mock.patch.object(slicer, "dicomDatabase", mock.Mock(fileForInstance={"1.2.3.7": file}.get), create=True):
            self.panel.setReconstruction(self.node)
            self.assertEqual(self.exported().PatientID, "P1")
