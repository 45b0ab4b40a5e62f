"""When something goes wrong: a message that says what and what to do, the scene as before, the logic usable."""

import os
import shutil
import signal
import sys
import tempfile
import unittest
from pathlib import Path

import slicer
from fakes import FakeChannel, FakeWorkerCase
from real_worker import scene
from scene_case import temporaryFolder, waitFor
from test_logic import RealTest
from volumes import add_volume

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.QtChannel import findPython
from CLSDMReconstructionLib.Logic import ReconstructionError, ReconstructionLogic
from CLSDMReconstructionLib.worker import Faults
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess


class ExplainedTest(unittest.TestCase):
    """Every kind of failure."""

    def test_each_says_what_happened_and_what_to_do(self) -> None:
        ensureCore()
        from clsdm.app.worker import KINDS

        for kind in (*KINDS, "start", "crash"):
            with self.subTest(kind=kind):
                error = Faults.explain(kind, "something")
                self.assertRegex(error.message, r"^[A-Z].*\.$")
                self.assertRegex(error.advice, r"^[A-Z].*\.$")

    def test_a_worker_that_never_greeted_is_not_said_to_lack_memory(self) -> None:
        details = "Traceback\nModuleNotFoundError: No module named 'clsdm'"
        error = Faults.explain(
            "start", "the worker ended with code 1", details, {"product": "sample", "device": "cuda"}
        )
        self.assertIn("could not be started (ModuleNotFoundError", error.message)
        self.assertNotIn("memory", str(error))
        self.assertEqual(error.offers, ())

    def test_no_wording_of_a_worker_that_did_not_start_is_taken_for_the_servers_settings(self) -> None:
        for last in ("clsdm: /usr/lib/libtorch.so: no such file", "clsdm: x: expected a key of 16 or more letters"):
            error = Faults.explain("start", "the worker ended with code 2", last)
            self.assertIn("could not be started", error.message)
            self.assertNotIn("server", str(error))

    def test_each_of_the_servers_settings_is_named_as_in_the_panel(self) -> None:
        ensureCore()
        from clsdm.failures import SETTINGS

        for field in SETTINGS:
            error = Faults.explain("settings", "something", field=field)
            self.assertRegex(error.message, r"^[A-Z].*omething\.$")
            self.assertIn("under Advanced", error.advice)

    def test_a_certificate_that_is_not_trusted_leads_to_the_authority_and_not_to_the_key(self) -> None:
        error = Faults.explain("server", "the server x has a certificate that is not to be trusted", field="authority")
        self.assertEqual(error.kind, "server")
        self.assertRegex(error.message, "^The server x has a certificate")
        self.assertIn("“Own authority” under Advanced", error.advice)
        self.assertNotIn("key", error.advice)
        self.assertEqual(error.offers, (Faults.COMPUTE_HERE,))

    def test_what_to_do_about_an_input_depends_on_what_it_is_about_and_not_on_its_words(self) -> None:
        ensureCore()
        from clsdm.failures import FIELDS

        words = "bundle, model.safetensors, steps: device: http://a.b/c"
        for field, advice in (
            ("", "another file"),
            ("model", "add it again"),
            ("offer", "a model is a folder with bundle.json"),
            ("options", "under Advanced"),
            ("device", "Automatic or CPU"),
        ):
            error = Faults.explain("input", words, field=field)
            self.assertIn(advice, error.advice)
            self.assertRegex(error.message, r"^[A-Z].*\.$")
        self.assertEqual({"", *FIELDS}, set(Faults._INPUT))

    def test_without_memory_or_a_fitting_driver_what_is_lighter_is_offered(self) -> None:
        gpu, cpu = "OutOfMemoryError: CUDA out of memory", "MemoryError"
        for kind, message, arguments, offers in (
            ("memory", gpu, {"device": "auto", "product": "ensemble"}, [{"device": "cpu"}, {"product": "mean"}]),
            ("memory", cpu, {"device": "cpu", "product": "sample"}, [{"product": "mean"}]),
            ("memory", cpu, {"product": "mean"}, []),
            ("device", "CUDA error: no kernel image", {"device": "cuda", "product": "mean"}, [{"device": "cpu"}]),
        ):
            with self.subTest(arguments=arguments):
                error = Faults.explain(kind, message, arguments=arguments)
                self.assertEqual([changes for _, changes in error.offers], offers)
                self.assertEqual("GPU" in error.message, "CUDA" in message)

    def test_a_missing_torch_leads_to_the_dependencies(self) -> None:
        error = Faults.explain("missing", "No module named 'torch'")
        self.assertIn("PyTorch", error.message)
        self.assertIn("Dependencies", error.advice)


class FakeWorkerTest(FakeWorkerCase):
    """Faults that only a fake worker can have."""

    def test_out_of_gpu_memory_reaches_the_caller_with_its_offers(self) -> None:
        from real_worker import smallCase

        before = scene()
        run = self.logic.reconstruct(str(smallCase() / "frontal.dcm"), product="ensemble", device="cuda")
        waitFor(lambda: FakeChannel.made)
        FakeChannel.made[0].answer(
            error={"kind": "memory", "message": "OutOfMemoryError: CUDA out of memory", "details": "Traceback ..."}
        )
        self.assertEqual(run.state, "failed")
        self.assertEqual([changes for _, changes in run.error.offers], [{"device": "cpu"}, {"product": "mean"}])
        self.assertIn("Traceback ...", run.log)
        self.assertEqual(scene(), before)


class RealFaultsTest(RealTest):
    """Faults that really happen."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = temporaryFolder(self)

    def fails(self, **options) -> ReconstructionError:
        """The error of a run that must fail; the scene must be as before, and the next run must work."""
        before = scene()
        with self.assertRaises(ReconstructionError) as caught:
            self.reconstruct(**options)
        self.assertEqual(scene(), before)
        self.assertTrue(caught.exception.message)
        return caught.exception

    def startWorkersBy(self, script: str) -> None:
        """With a shell script in place of Python."""
        python = self.folder / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        self.logic = ReconstructionLogic(InferenceProcess(python=str(python)))

    def usable(self) -> None:
        self.assertEqual(self.reconstruct().state, "finished")

    @unittest.skipIf(sys.platform == "win32", "signals")
    def test_a_worker_that_is_killed(self) -> None:
        before = scene()
        run = self.reconstruct(wait=False, product="ensemble", samples=1000)
        waitFor(lambda: run.fraction > 0.21)
        os.kill(self.logic.worker.processId, signal.SIGKILL)
        waitFor(lambda: not run.isRunning)
        self.assertEqual((run.state, run.error.kind), ("failed", "crash"))
        self.assertIn({"product": "mean"}, [changes for _, changes in run.error.offers])
        self.assertEqual(scene(), before)
        self.usable()

    @unittest.skipIf(sys.platform == "win32", "signals")
    def test_a_worker_that_crashes(self) -> None:
        run = self.reconstruct(wait=False, product="ensemble", samples=1000)
        waitFor(lambda: run.fraction > 0.21)
        os.kill(self.logic.worker.processId, signal.SIGSEGV)
        waitFor(lambda: not run.isRunning)
        self.assertEqual(run.error.kind, "crash")
        self.assertTrue(run.error.advice)
        self.usable()

    @unittest.skipIf(sys.platform == "win32", "needs a shell to start Python without torch")
    def test_a_python_without_torch(self) -> None:
        start = "import sys; sys.modules['torch'] = None; exec(sys.argv.pop(1))"
        self.startWorkersBy(f'shift\nexec "{findPython()}" -c "{start}" "$@"')
        self.assertEqual(self.fails().kind, "missing")

    def test_a_bundle_that_is_deleted_meanwhile(self) -> None:
        bundle = self.folder / "bundle"
        shutil.copytree(self.case / "bundle", bundle)
        self.reconstruct(bundle=bundle)
        shutil.rmtree(bundle)
        error = self.fails(bundle=bundle)
        self.assertEqual(error.kind, "input")
        self.assertIn("model", error.advice)
        self.usable()

    @unittest.skipIf(sys.platform == "win32", "needs ulimit to make a disk that is full")
    def test_a_disk_that_is_full(self) -> None:
        self.startWorkersBy(f'ulimit -f 8\nexec "{findPython()}" "$@"')
        error = self.fails()
        self.assertEqual(error.kind, "disk")
        self.assertIn("room", error.advice)

    def test_a_damaged_dicom_file(self) -> None:
        whole = (self.case / "frontal.dcm").read_bytes()
        for cut in (100, 400, len(whole) // 2):
            with self.subTest(cut=cut):
                damaged = self.folder / "DOE_JANE.dcm"
                damaged.write_bytes(whole[:cut])
                error = self.fails(frontal=damaged)
                self.assertEqual(error.kind, "input")
                self.assertIn("rontal X-ray", error.message)
                self.assertNotIn("DOE", str(error))
        self.usable()

    def test_a_volume_of_the_users_gives_no_place_to_a_result(self) -> None:
        ct = add_volume("CT")
        self.assertIn("Only a reconstruction", self.fails(into=ct).message)
        self.assertIs(ct.GetScene(), slicer.mrmlScene)
        Nodes.remove(ct)

    def test_two_patients(self) -> None:
        error = self.fails(lateral="other_patient.dcm")
        self.assertIn("two patients", error.message)

    def test_an_x_ray_node_that_is_deleted_while_it_is_read(self) -> None:
        made = self.logic.simulate(slicer.util.loadVolume(str(self.case / "ct.nii.gz")), wait=True).result
        run = self.reconstruct(*made.nodes, wait=False, product="sample")
        waitFor(lambda: run.stage != "")
        Nodes.removeFromScene(made.nodes[1])
        waitFor(lambda: not run.isRunning)
        self.assertEqual(run.state, "finished")
        self.assertTrue(any("removed from the scene" in text for text in run.result.warnings), run.result.warnings)

    def test_a_node_that_was_deleted_before(self) -> None:
        node = slicer.util.loadVolume(str(self.case / "ct.nii.gz"))
        Nodes.removeFromScene(node)
        error = self.fails(frontal=node)
        self.assertEqual(error.kind, "input")

    def test_a_second_slicer_at_the_same_time(self) -> None:
        other = ReconstructionLogic()
        try:
            runs = [
                logic.reconstruct(
                    str(self.case / "frontal.dcm"), bundle=self.case / "bundle", device="cpu", product="sample"
                )
                for logic in (self.logic, other)
            ]
            waitFor(lambda: not any(run.isRunning for run in runs))
            self.assertEqual([run.state for run in runs], ["finished"] * 2)
        finally:
            other.cleanup()

    def test_nothing_names_the_patient(self) -> None:
        folder = self.folder / "DOE^JANE 1970"
        folder.mkdir()
        for name in ("frontal", "lateral"):
            shutil.copy(self.case / f"{name}.dcm", folder / f"DOE_JANE_{name}.dcm")
        seen: set[str] = set()

        def look(run) -> None:
            roots = (self.logic.worker.folder, Path(tempfile.gettempdir()))
            seen.update(str(path) for root in roots if root for path in root.glob("clsdm-*/**/*"))
            seen.update(str(path) for path in self.logic.worker.folder.rglob("*"))

        run = self.reconstruct(
            folder / "DOE_JANE_frontal.dcm", folder / "DOE_JANE_lateral.dcm", product="sample", onProgress=look
        )
        result = run.result
        texts = [*run.log, *result.warnings, *seen, result.volumeNode.GetName()]
        texts += [result.volumeNode.GetAttribute(name) for name in result.volumeNode.GetAttributeNames()]
        self.assertTrue(seen)
        for text in texts:
            self.assertNotIn("DOE", text)
            self.assertNotIn("1970", text)
        (folder / "DOE_JANE_frontal.dcm").write_bytes(b"DICM")
        with self.assertRaises(ReconstructionError) as caught:
            self.reconstruct(folder / "DOE_JANE_frontal.dcm")
        self.assertNotIn("DOE", str(caught.exception))

    def test_options_that_make_no_sense(self) -> None:
        for options in ({"product": "best"}, {"steps": 0}, {"samples": 1}, {"preset": "none"}, {"device": "tpu"}):
            with self.subTest(options=options):
                self.assertEqual(self.fails(**options).kind, "input")
        with self.assertRaises(ReconstructionError):
            self.logic.reconstruct(wait=True)
        self.usable()
