"""Many studies in a table."""

import shutil
import threading
from unittest import mock

import pydicom
import qt
import slicer
from fakes import FakeDatabase, FakeDependencies
from panel_case import PanelCase
from real_worker import OwnTemporaries, smallCase
from scene_case import LIMIT_S

from CLSDMReconstruction import CLSDMReconstructionLogic
from CLSDMReconstructionLib.base.Appearance import TONES
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.panel import BatchPanel
from CLSDMReconstructionLib.xrays.Studies import studiesOfFolder

ensureCore()
from clsdm.app.batch_summary import write_summary  # noqa: E402
from clsdm.app.cases import Case  # noqa: E402

NARROW_PIXELS, CELL_MARGINS, DOUBTFUL = 320, 6, 0.9


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

    def test_a_database_of_many_studies_gives_all_of_them_whole(self) -> None:
        studies = {}
        for number in range(35):
            tags = {"StudyInstanceUID": f"1.3.{number}", "PatientID": f"many {number}"}
            files = [str(self.xrayFile(f"many{number}{view}.dcm", view, **tags)) for view in ("PA", "LL")]
            studies[f"{number}"] = ("2024-01-01", {f"s{number}": ("CR", files)})
        with mock.patch.object(slicer, "dicomDatabase", FakeDatabase(studies), create=True):
            self.batch.ui.databaseButton.click()
            self.wait(lambda: not self.batch.isWorking("find"))
        self.assertEqual([study.isPair for study in self.batch.studies], [True] * 35)

    def test_a_study_with_a_repeat_says_which_was_chosen(self) -> None:
        self.xrayFile(
            "in/0again.dcm", "LL", StudyInstanceUID="1.2.0", PatientID="0", AcquisitionDateTime="20240101103000"
        )
        self.found()
        self.assertEqual(self.batch.studies[0].lateral.path, str(self.folder / "in" / "0again.dcm"))
        self.assertEqual(self.cell(0, 1).text(), "pair, chosen")
        self.assertIn("the last exposed is taken", self.cell(0, 1).toolTip())

    def test_each_study_that_has_ended_is_told_and_one_that_fails_does_not_stop_the_rest(self) -> None:
        self.found()
        self.batch.start(self.out)
        run, names = self.logic.runs[-1], [study.name for study in self.batch.studies]
        self.assertEqual((self.batch.ui.startButton.text, list(run.arguments["pairs"])), ("Cancel", names[:2]))
        row = {"status": "done", "problem": "", "worst_correlation": 0.999}
        run.tell(row | {"case": names[1]})
        run.tell(row | {"case": names[0], "status": "failed", "problem": "X-ray 2: is constant."})
        self.assertEqual([self.batch.state(number) for number in range(2)], ["failed: X-ray 2: is constant.", "good"])
        self.assertTrue(self.batch.ui.overviewButton.isHidden())
        run.finish({"done": 1, "kept": 0, "failed": 1, "files": ["summary.csv", "index.html"]})
        self.assertIn("1 reconstructed, 0 were there already, 1 failed", self.batch.ui.statusLabel.text)
        self.assertFalse(self.batch.ui.overviewButton.isHidden())
        self.batch.start(self.out)
        self.batch.ui.startButton.click()
        self.assertEqual(self.logic.runs[-1].state, "cancelled")
        self.assertFalse(self.batch.isRunning)
        self.assertIn("Cancelled", self.batch.ui.statusLabel.text)

    def test_the_studies_are_files_and_go_on_when_the_scene_is_closed(self) -> None:
        self.found()
        self.batch.start(self.out)
        run = self.logic.runs[-1]
        slicer.mrmlScene.Clear(0)
        self.assertTrue(run.isRunning and self.batch.isRunning)
        self.assertEqual(self.batch.ui.statusLabel.text, "Reconstructing…")
        run.tell({"case": self.batch.studies[0].name, "status": "done", "problem": "", "worst_correlation": 0.999})
        self.assertEqual(self.batch.state(0), "good")
        run.finish({"done": 2, "kept": 0, "failed": 0, "files": []})
        slicer.mrmlScene.Clear(0)
        self.assertIn("2 reconstructed", self.batch.ui.statusLabel.text)

    def cell(self, number: int, column: int = 2):
        return self.batch.ui.studiesTable.item(number, column)

    def tell(self, number: int, status: str, correlation: float | None = None, problem: str = "") -> None:
        row = {"case": self.batch.studies[number].name, "status": status, "problem": problem}
        self.logic.runs[-1].tell(row | {"worst_correlation": correlation})

    def test_in_a_narrow_panel_a_good_result_and_one_not_to_be_trusted_are_told_apart(self) -> None:
        self.host.resize(NARROW_PIXELS, 900)
        self.ui.batchSection.collapsed = False
        self.found()
        self.batch.start(self.out)
        for status, correlation, text, tone, told in (
            ("done", 0.999, "good", "good", "The volume explains its X-rays."),
            ("done", DOUBTFUL, "in part", "caution", "The volume explains its X-rays only in part"),
            ("done", None, "do not trust", "error", "do not trust it."),
            ("kept", 0.999, "kept, good", "good", "Is there already: The volume explains its X-rays."),
            ("kept", 0.1, "kept, do not trust", "error", "Is there already: The volume does not explain"),
        ):
            with self.subTest(text):
                self.tell(0, status, correlation)
                self.assertEqual(self.batch.state(0), text)
                self.assertIn(told, self.cell(0).toolTip())
                self.assertIn(self.colour(0), TONES[tone])
        self.tell(1, "failed", problem="X-ray 2: is constant.")
        self.assertEqual(self.batch.state(1), "failed: X-ray 2: is constant.")
        self.assertIn(self.colour(1), TONES["error"])
        slicer.app.processEvents()
        table = self.batch.ui.studiesTable
        self.assertEqual(table.horizontalScrollBar().maximum, 0)
        for column in range(3):
            wide = qt.QFontMetrics(table.font).horizontalAdvance(self.cell(0, column).text())
            self.assertGreaterEqual(table.columnWidth(column), wide + CELL_MARGINS, self.cell(0, column).text())

    def colour(self, number: int) -> str:
        return self.cell(number).foreground().color().name()

    def test_the_tones_of_the_results_follow_the_style(self) -> None:
        self.found()
        self.batch.start(self.out)
        self.tell(0, "done", None)
        before, dark = slicer.app.palette(self.batch.widget), qt.QPalette()
        dark.setColor(qt.QPalette.Window, qt.QColor("#353535"))
        for palette, colour in ((dark, TONES["error"][1]), (before, TONES["error"][0])):
            slicer.app.setPalette(palette)
            slicer.app.processEvents()
            self.assertEqual(self.colour(0), colour)

    def test_a_second_run_begins_with_no_results(self) -> None:
        self.found()
        self.batch.start(self.out)
        self.tell(0, "kept", None)
        self.tell(1, "failed", problem="X-ray 2: is constant.")
        self.batch.cancel()
        self.assertEqual(self.batch.state(0), "kept, do not trust", "what a cancelled run has told stays")
        self.batch.start(self.out)
        self.assertEqual([self.batch.state(number) for number in range(3)], ["", "", "no pair"])
        self.assertEqual(self.cell(0).toolTip(), "")

    def test_after_a_cancelled_run_the_overview_is_offered_where_there_is_one(self) -> None:
        self.found()
        page = self.out / "index.html"
        offered = lambda: not self.batch.ui.overviewButton.isHidden()  # noqa: E731
        page.write_text("<p>Somebody else's page</p>")

        def cancelled() -> None:
            self.batch.start(self.out)
            self.assertFalse(offered())
            self.batch.cancel()
            self.wait(lambda: not self.batch.isWorking("overview"))

        cancelled()
        self.assertFalse(offered())
        page.unlink()
        cancelled()
        self.assertFalse(offered())
        write_summary([Case("a", None, "no pair")], self.out)
        cancelled()
        self.assertTrue(offered())
        with mock.patch.object(qt.QDesktopServices, "openUrl") as opened:
            self.batch.ui.overviewButton.click()
        self.assertTrue(opened.call_args.args[0].toLocalFile().endswith("out/index.html"))

    def test_what_a_cancelled_run_left_is_looked_for_aside(self) -> None:
        self.found()
        write_summary([Case("a", None, "no pair")], self.out)
        threads = []
        look = lambda folder: threads.append(threading.current_thread())  # noqa: E731
        with mock.patch.object(BatchPanel, "_overviewIn", look):
            self.batch.start(self.out)
            self.batch.cancel()
            self.wait(lambda: not self.batch.isWorking("overview"))
            self.assertNotIn(threading.main_thread(), threads)
            self.assertEqual(len(threads), 1)
            self.batch.start(self.out)
            self.panel.batch.cleanup()
            self.assertFalse(self.batch.isWorking("overview"))


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

        self.assertNotIn("kept", state())
        self.assertTrue((out / batch.studies[0].name / "reconstruction.nii.gz").is_file())
        self.assertFalse(batch.ui.overviewButton.isHidden())
        self.assertIn("kept", state())
        film = pydicom.dcmread(inside / "frontal.dcm")
        film.PixelData = film.PixelData[::-1]
        film.save_as(inside / "frontal.dcm")
        self.assertNotIn("kept", state())
        self.assertEqual(len(self.nodes()), before, "nothing comes into the scene")
