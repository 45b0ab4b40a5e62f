"""Many studies in a table."""

import shutil
from unittest import mock

import pydicom
import slicer
from fakes import FakeDatabase, FakeDependencies
from panel_case import PanelCase
from real_worker import OwnTemporaries, smallCase
from scene_case import LIMIT_S

from CLSDMReconstruction import CLSDMReconstructionLogic
from CLSDMReconstructionLib.xrays.Studies import studiesOfFolder


class BatchTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        self.batch = self.panel.batch
        (self.folder / "in").mkdir()
        self.out = self.folder / "out"
        self.out.mkdir()
        for number, views in enumerate((("PA", "LL"), ("PA", "LL"), ("PA",))):
            for view in views:
                self.xrayFile(f"in/{number}{view}.dcm", view, StudyInstanceUID=f"1.2.{number}", PatientID=str(number))
        (self.folder / "in" / "notes.txt").write_text("x")

    def found(self) -> None:
        self.batch.find(studiesOfFolder(self.folder / "in"))
        self.wait(lambda: not self.batch.isWorking("find"))

    def test_a_folder_gives_a_table_of_studies_that_names_nobody(self) -> None:
        self.assertFalse(self.batch.ui.startButton.enabled)
        self.found()
        self.assertEqual(len(self.batch.studies), 3)
        self.assertIn("3 studies, 2 with a pair", self.batch.ui.statusLabel.text)
        self.assertEqual([self.batch.state(number) for number in range(3)], ["", "", "no pair"])
        self.assertTrue(self.batch.ui.startButton.enabled)

    def test_the_database_gives_the_same(self) -> None:
        files = [str(self.folder / "in" / f"0{view}.dcm") for view in ("PA", "LL")]
        database = FakeDatabase({"new": ("2024-01-01", {"b": ("CR", files)})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.batch.ui.databaseButton.click()
            self.wait(lambda: not self.batch.isWorking("find"))
        self.assertEqual([study.isPair for study in self.batch.studies], [True])

    def test_each_study_that_has_ended_is_told_and_one_that_fails_does_not_stop_the_rest(self) -> None:
        self.found()
        self.batch.start(self.out)
        run, names = self.logic.runs[-1], [study.name for study in self.batch.studies]
        self.assertEqual((self.batch.ui.startButton.text, list(run.arguments["pairs"])), ("Cancel", names[:2]))
        row = {"status": "done", "problem": "", "worst_correlation": 0.999}
        run.tell(row | {"case": names[1]})
        run.tell(row | {"case": names[0], "status": "failed", "problem": "X-ray 2: is constant."})
        self.assertEqual(self.batch.state(0), "X-ray 2: is constant.")
        self.assertIn("explains its X-rays", self.batch.state(1))
        self.assertTrue(self.batch.ui.overviewButton.isHidden())
        run.finish({"done": 1, "kept": 0, "failed": 1, "files": ["summary.csv", "index.html"]})
        self.assertIn("1 reconstructed, 0 were there already, 1 failed", self.batch.ui.statusLabel.text)
        self.assertFalse(self.batch.ui.overviewButton.isHidden())
        self.batch.start(self.out)
        self.batch.ui.startButton.click()
        self.assertEqual(self.logic.runs[-1].state, "cancelled")
        self.assertFalse(self.batch.isRunning)
        self.assertIn("Cancelled", self.batch.ui.statusLabel.text)


class RealBatchTest(OwnTemporaries, PanelCase):
    """With the worker: what is finished is known by its content."""

    def makeLogic(self):
        return CLSDMReconstructionLogic(dependencies=FakeDependencies())

    def test_what_is_there_of_the_same_x_rays_stays_and_of_others_is_made_anew(self) -> None:
        case, batch, inside, out = smallCase(), self.panel.batch, self.folder / "in", self.folder / "out"
        inside.mkdir()
        for name in ("frontal.dcm", "lateral.dcm"):
            shutil.copy(case / name, inside / name)
        batch._arguments = lambda: self.panel.runner.arguments() | {"bundle": case / "bundle", "device": "cpu"}
        before = len(self.nodes())

        def state() -> str:
            batch.find(studiesOfFolder(inside))
            self.wait(lambda: not batch.isWorking("find"))
            batch.start(out)
            self.wait(lambda: not batch.isRunning, LIMIT_S)
            return batch.state(0)

        self.assertNotIn("already", state())
        self.assertTrue((out / batch.studies[0].name / "reconstruction.nii.gz").is_file())
        self.assertFalse(batch.ui.overviewButton.isHidden())
        self.assertIn("already", state())
        film = pydicom.dcmread(inside / "frontal.dcm")
        film.PixelData = film.PixelData[::-1]
        film.save_as(inside / "frontal.dcm")
        self.assertNotIn("already", state())
        self.assertEqual(len(self.nodes()), before, "nothing comes into the scene")
