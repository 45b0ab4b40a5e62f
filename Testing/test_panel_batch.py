"""Many studies in a table."""

from unittest import mock

import slicer
from fakes import FakeDatabase
from panel_case import PanelCase

from CLSDMReconstructionLib.worker.Runs import ReconstructionError
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

    def test_one_after_the_other_is_written_and_one_that_fails_does_not_stop_the_rest(self) -> None:
        self.found()
        before = len(self.nodes())
        self.batch.start(self.out)
        self.assertEqual(self.batch.ui.startButton.text, "Cancel")
        self.logic.runs[-1].fail(ReconstructionError("input", "The image is constant."))
        self.assertEqual(len(self.logic.runs), 2)
        self.logic.runs[-1].finish(self.result())
        self.wait(lambda: not self.batch.isRunning)
        self.assertEqual(self.batch.state(0), "The image is constant.")
        self.assertIn("explains its X-rays", self.batch.state(1))
        written = self.out / f"{self.batch.studies[1].name}.nii.gz"
        self.assertTrue(written.is_file())
        self.assertEqual(len(self.nodes()), before, "nothing piles up in the scene")
        self.batch.start(self.out)
        self.assertEqual(self.batch.state(1), "is there already")
        self.assertEqual(len(self.logic.runs), 3)
        self.batch.ui.startButton.click()
        self.assertEqual(self.logic.runs[-1].state, "cancelled")
        self.assertFalse(self.batch.isRunning)
