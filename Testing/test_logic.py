"""The logic without a GUI: from two X-rays to a volume in the scene, blocking and with callbacks."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import slicer
from fakes import FakeChannel, FakeWorkerCase
from real_worker import OwnTemporaries, leftovers, scene, smallCase
from scene_case import waitFor

from clsdm.app.record import make_record, record_text
from clsdm.files.digest import sha256_of
from clsdm.quality.place import NO_PLACE
from CLSDMReconstructionLib.Logic import ReconstructionError, ReconstructionLogic
from CLSDMReconstructionLib.scene import Attributes, Volumes, XRayNodes
from CLSDMReconstructionLib.scene.Attributes import COVERAGE_ROLE, OTHERS_ROLE, SPREAD_ROLE
from CLSDMReconstructionLib.scene.ExposureScene import ExposureScene
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess
from CLSDMReconstructionLib.xrays.Inputs import XRayInput

CENTRE_LPS_MM = (12.0, -30.0, 250.0)  # of trainer/tests/small_bundle.py


class RealTest(OwnTemporaries):
    """With the real worker, warm from test to test, and a tiny model; no test leaves a temporary file."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.warm, cls.case = InferenceProcess(), smallCase()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.warm.stop()
        assert not cls.warm.isRunning
        assert not leftovers()

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = ReconstructionLogic(self.warm)
        self.seen: list[float] = []

    def tearDown(self) -> None:
        self.tidyUp(self.logic)
        waitFor(lambda: not self.warm._leaving)
        self.assertEqual(leftovers(), {self.warm.folder} - {None})

    def tidyUp(self, logic: ReconstructionLogic) -> None:
        """``cleanup``, but for the worker, if that is the one that stays warm."""
        logic.cancel()
        if logic.worker is self.warm:
            logic._keeper.worker = InferenceProcess(FakeChannel)
        logic.cleanup()

    def reconstruct(self, frontal="frontal.dcm", lateral="lateral.dcm", **options):
        options = {"bundle": self.case / "bundle", "device": "cpu", "wait": True, **options}
        pair = [str(self.case / each) if isinstance(each, str) else each for each in (frontal, lateral)]
        return self.logic.reconstruct(*pair, **options)

    def withoutPlace(self):
        """A reconstruction whose X-rays do not say where the patient lay."""
        with tempfile.TemporaryDirectory() as folder:
            films = [Path(folder) / name for name in ("frontal.dcm", "lateral.dcm")]
            for film in films:
                placed = pydicom.dcmread(self.case / film.name)
                del placed.IsocenterPosition
                placed.save_as(film)
            return self.reconstruct(*films)


class ReconstructTest(RealTest):
    def test_two_files_become_a_volume_in_hu_around_the_isocentre(self) -> None:
        result = self.reconstruct().result
        geometry = Volumes.geometryOf(result.volumeNode)
        array = Volumes.voxels(result.volumeNode)
        middle = np.array(geometry["origin_mm"]) + (np.array(array.shape) - 1) / 2 * geometry["spacing_mm"]
        self.assertTrue(np.allclose(middle, CENTRE_LPS_MM, atol=1e-3), middle)
        self.assertTrue(np.allclose(geometry["direction"], np.eye(3)))
        self.assertEqual(result.volumeNode.GetVoxelValueUnits().GetCodeMeaning(), "Hounsfield unit")
        self.assertEqual(result.volumeNode.GetDisplayNode().GetAutoWindowLevel(), 0)
        self.assertEqual(Volumes.voxels(result.coverageNode).max(), 2)
        self.assertIsNone(result.spreadNode)
        self.assertEqual([each["angle_deg"] for each in result.residuals], [0.0, 90.0])
        self.assertEqual([each["input"].shape for each in result.reprojections], [(128, 128)] * 2)
        self.assertEqual(result.reprojections[0]["view"]["rows"], 32)

    def test_the_nodes_say_how_they_were_made_and_that_they_are_for_research(self) -> None:
        result = self.reconstruct(product="sample", seed=5).result
        noted = Attributes.provenanceOf(result.volumeNode)
        self.assertIn("research only", result.volumeNode.GetName())
        self.assertIn("Research only", noted["notice"])
        self.assertEqual((noted["product"], noted["seed"], noted["model"]), ("sample", 5, "small"))
        self.assertEqual(len(noted["model_sha256"]), 64)
        self.assertEqual(noted["steps"], 2)
        self.assertEqual(noted, {name: value for name, value in result.provenance.items() if value is not None})
        self.assertEqual(Attributes.attributeOf(result.volumeNode, "residuals"), result.residuals)
        self.assertIs(result.volumeNode.GetNodeReference(COVERAGE_ROLE), result.coverageNode)

    def test_an_ensemble_comes_with_its_spread(self) -> None:
        result = self.reconstruct(product="ensemble", samples=3).result
        self.assertGreater(Volumes.voxels(result.spreadNode).max(), 0)
        self.assertIs(result.volumeNode.GetNodeReference(SPREAD_ROLE), result.spreadNode)
        self.assertEqual(result.provenance["samples"], 3)

    def test_what_came_from_other_patients_is_a_volume_of_its_own(self) -> None:
        volume = self.reconstruct().result.volumeNode
        hu = np.full(Volumes.voxels(volume).shape, -1000, np.int16)
        hu[(slice(2, -2),) * 3] = 200  # a body, which the small model does not show
        slicer.util.updateVolumeFromArray(volume, hu)
        node = self.logic.fromOthers(volume, wait=True).result
        self.assertIs(volume.GetNodeReference(OTHERS_ROLE), node)
        self.assertEqual(Volumes.voxels(node).shape, Volumes.voxels(volume).shape)
        self.assertGreater(Volumes.voxels(node).max(), 0)
        legend = node.GetAttribute("CLSDM.legend")
        self.assertTrue(legend.startswith("How much of each voxel leaves no trace in the X-rays"), legend)
        self.assertIn("Of the contrast inside the body the X-rays fix", legend)

    def test_same_input_same_bits(self) -> None:
        first, second = (self.reconstruct(product="sample", seed=3).result for _ in range(2))
        self.assertTrue(np.array_equal(*(Volumes.voxels(each.volumeNode) for each in (first, second))))

    def test_one_view_is_enough_and_warned_of(self) -> None:
        result = self.logic.reconstruct(
            str(self.case / "frontal.dcm"), bundle=self.case / "bundle", device="cpu", wait=True
        ).result
        self.assertTrue(any("one view" in text for text in result.warnings), result.warnings)

    def test_pictures_need_what_dicom_knows(self) -> None:
        with self.assertRaisesRegex(ReconstructionError, "spacing"):
            self.reconstruct("frontal.png", "lateral.png")
        pair = [
            XRayInput(path=str(self.case / f"{role}.png"), role=role, entered={"spacingMm": (6.75, 6.75)})
            for role in ("frontal", "lateral")
        ]
        result = self.reconstruct(*pair).result
        self.assertEqual([view["origins"]["pixel_mm"] for view in result.views], ["user", "user"])

    def test_callbacks_come_after_the_call_and_in_order(self) -> None:
        calls, lines = [], []
        run = self.reconstruct(
            wait=False,
            onProgress=lambda run: (calls.append("progress"), self.seen.append(run.fraction)),
            onFinished=lambda run: calls.append(("finished", run.result is not None)),
            onError=lambda run: calls.append("error"),
            onLog=lines.append,
        )
        self.assertEqual(calls, [])
        self.assertTrue(run.isRunning)
        waitFor(lambda: not run.isRunning)
        self.assertEqual(run.state, "finished")
        self.assertEqual((calls[0], calls[-1]), ("progress", ("finished", True)))
        self.assertEqual(calls.count(("finished", True)), 1)
        self.assertEqual(self.seen, sorted(self.seen))
        self.assertEqual(lines, run.log)

    def test_cancelling_leaves_the_scene_as_it_was_and_the_logic_usable(self) -> None:
        before, said = scene(), []
        run = self.reconstruct(
            wait=False, product="ensemble", samples=1000, onError=lambda run: said.append(run.error.kind)
        )
        waitFor(lambda: run.fraction > 0.21)
        run.cancel()
        self.assertEqual((run.state, said), ("cancelled", ["cancelled"]))
        self.assertEqual(scene(), before)
        run.cancel()
        self.assertEqual(said, ["cancelled"])
        self.assertEqual(self.reconstruct().state, "finished")

    def test_closing_the_scene_ends_the_run(self) -> None:
        run = self.reconstruct(wait=False, product="ensemble", samples=1000)
        waitFor(lambda: run.fraction > 0.21)
        slicer.mrmlScene.Clear()
        self.assertEqual(run.state, "cancelled")
        waitFor(lambda: not self.logic.worker.isRunning)
        self.assertEqual([each for each in scene() if "ScalarVolume" in each], [])

    def test_two_calls_wait_for_each_other(self) -> None:
        runs = [self.reconstruct(wait=False, seed=seed, product="sample") for seed in (1, 2)]
        waitFor(lambda: not any(run.isRunning for run in runs))
        self.assertEqual([run.result.provenance["seed"] for run in runs], [1, 2])

    def test_no_observer_is_left(self) -> None:
        event = slicer.vtkMRMLScene.StartCloseEvent
        before = slicer.mrmlScene.HasObserver(event)
        self.reconstruct()
        self.assertEqual(slicer.mrmlScene.HasObserver(event), before)

    def test_torch_stays_out_of_this_process(self) -> None:
        loaded = "torch" in sys.modules
        self.reconstruct()
        self.assertEqual("torch" in sys.modules, loaded)


class OtherTasksTest(RealTest):
    def ct(self):
        node = slicer.util.loadVolume(str(self.case / "ct.nii.gz"))
        node.SetName("truth")
        return node

    def test_simulated_x_rays_give_the_same_volume_as_nodes_as_files_and_without_their_files(self) -> None:
        made = self.logic.simulate(self.ct(), wait=True).result
        self.assertEqual(made.angles, [0.0, 90.0])
        self.assertTrue(all(Path(file).is_file() for file in made.files))
        by_file = self.reconstruct(*map(Path, made.files)).result
        by_node = self.reconstruct(*made.nodes).result
        for node in made.nodes:
            node.RemoveAttribute(XRayNodes.FILE_ATTRIBUTE)
        without = self.reconstruct(*made.nodes).result
        truth = Volumes.voxels(by_file.volumeNode)
        for other in (by_node, without):
            self.assertLessEqual(np.abs(Volumes.voxels(other.volumeNode).astype(int) - truth).max(), 1)
            for name, value in Volumes.geometryOf(by_file.volumeNode).items():
                self.assertTrue(np.allclose(Volumes.geometryOf(other.volumeNode)[name], value, atol=1e-3))

    def test_a_failed_simulation_leaves_nothing(self) -> None:
        ct, before = self.ct(), scene()
        with self.assertRaisesRegex(ReconstructionError, "preset"):
            self.logic.simulate(ct, "nonsense", wait=True)
        self.assertEqual(scene(), before)

    def test_only_volumes_are_simulated(self) -> None:
        with self.assertRaisesRegex(ReconstructionError, "volume"):
            self.logic.simulate(None, wait=True)

    def test_a_volume_equals_itself(self) -> None:
        ct = self.ct()
        figures = self.logic.compare(ct, ct, wait=True).result
        self.assertLess(figures["protocols"]["honest"]["mae_hu"], 1e-6)
        self.assertEqual(figures["overlap_fraction"], 1.0)

    def test_a_volume_whose_x_rays_tell_no_place_is_not_compared_without_a_word_unless_it_was_moved(self) -> None:
        def noted(node) -> bool:
            return NO_PLACE in self.logic.compare(node, node, wait=True).result["warnings"]

        self.assertFalse(noted(self.reconstruct().result.volumeNode))
        result = self.withoutPlace().result
        self.assertTrue(noted(result.volumeNode))
        shown = ExposureScene()
        list(shown.show(result))  # around 0, as the volume
        self.assertEqual(len(shown.nodes), 6)
        list(shown.clear())
        origin = result.volumeNode.GetOrigin()
        result.volumeNode.SetOrigin(origin[0], origin[1] + 40.0, origin[2])
        self.assertFalse(noted(result.volumeNode))

    def test_a_volume_read_from_a_file_has_its_place_from_the_record_beside_it(self) -> None:
        result = self.withoutPlace().result
        with tempfile.TemporaryDirectory() as folder:
            file, record = (Path(folder) / f"made.{suffix}" for suffix in ("nii.gz", "json"))
            slicer.util.saveNode(result.volumeNode, str(file))
            node = slicer.util.loadVolume(str(file))

            def noted() -> bool:
                return NO_PLACE in self.logic.compare(node, node, wait=True).result["warnings"]

            self.assertFalse(noted(), "nobody knows how it was made")
            made = make_record(result.provenance, result.residuals, [], files={"volume": sha256_of(file)})
            record.write_text(record_text(made), encoding="utf-8")
            self.assertTrue(noted())
            record.write_text(record_text(made | {"files": {"volume": "0" * 64}}), encoding="utf-8")
            self.assertFalse(noted(), "it is the record of another volume")
            record.write_text("{", encoding="utf-8")
            self.assertFalse(noted())
            node.GetStorageNode().SetFileName(str(file.with_name("n" * 251 + ".nii")))  # no name of a record is so long
            self.assertFalse(noted())

    def test_a_preview_is_what_the_network_sees(self) -> None:
        seen = self.logic.preview(
            XRayInput(path=str(self.case / "frontal.dcm")), bundle=self.case / "bundle", wait=True
        ).result
        self.assertEqual((seen.image.shape, seen.image.dtype, seen.mask.dtype), ((32, 32), np.uint8, np.bool_))

    def test_devices_are_named(self) -> None:
        self.assertEqual(self.logic.hello(wait=True).result["devices"][0]["name"], "cpu")

    def test_a_model_can_be_loaded_in_advance(self) -> None:
        self.logic.warm(self.case / "bundle", "cpu", wait=True)
        self.assertNotIn("Loading the model", self.reconstruct().log)


class FakeWorkerTest(FakeWorkerCase):
    def setUp(self) -> None:
        super().setUp()
        self.ends: list[tuple[str, str]] = []

    def preview(self, role: str, name: str):
        xray = XRayInput(path=str(smallCase() / f"{role}.dcm"), role=role)
        heard = {each: lambda run, each=each: self.ends.append((name, each)) for each in ("onFinished", "onError")}
        run = self.logic.preview(xray, **heard)
        waitFor(lambda: run.job is not None or not run.isRunning)
        return run

    def test_a_newer_preview_takes_the_place_of_one_that_waits(self) -> None:
        first, second, third = (self.preview("frontal", name) for name in "abc")
        self.assertTrue(first.isAtWork)
        self.assertEqual(second.state, "cancelled")
        self.assertTrue(third.isRunning)
        self.assertEqual(self.ends, [])
        self.assertEqual(len(FakeChannel.made), 1)

    def test_many_studies_hold_up_nobody_and_end_with_the_rest(self) -> None:
        many = self.logic.reconstructMany({"one": (smallCase() / "frontal.dcm", None)}, "out")
        waitFor(lambda: many.job is not None)
        self.preview("frontal", "preview")
        self.assertEqual(
            [channel.requests[-1]["task"] for channel in FakeChannel.made], ["reconstruct_many", "preview"]
        )
        self.logic.stopWorkers()
        self.assertEqual((many.state, self.ends), ("cancelled", [("preview", "onError")]))
        self.assertTrue(all(channel.ended for channel in FakeChannel.made))

    def test_many_studies_outlive_the_scene_and_what_is_of_it_does_not(self) -> None:
        many = self.logic.reconstructMany({"one": (smallCase() / "frontal.dcm", None)}, "out")
        waitFor(lambda: many.job is not None)
        preview = self.preview("frontal", "preview")
        slicer.mrmlScene.Clear(0)
        self.logic.cancelOfScene()
        self.assertEqual((many.state, preview.state), ("running", "cancelled"))

    def test_slots_do_not_disturb_each_other(self) -> None:
        first, second = self.preview("frontal", "a"), self.preview("lateral", "b")
        self.assertTrue(first.isRunning and second.isRunning)

    def answer(self) -> None:
        """A preview, as the worker would give it."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "picture.npy")
            np.save(path, np.zeros((2, 2), np.uint8))
            FakeChannel.made[-1].answer(result={"image": path, "mask": path, "view": {}, "warnings": []})

    def test_the_caller_hears_of_a_result_in_a_turn_of_its_own(self) -> None:
        run = self.preview("frontal", "a")
        self.answer()
        self.assertEqual(self.ends, [])
        waitFor(lambda: self.ends)
        self.assertEqual((run.state, self.ends), ("finished", [("a", "onFinished")]))

    def test_once_its_result_is_in_the_scene_a_run_cannot_be_cancelled(self) -> None:
        run = self.preview("frontal", "a")
        self.answer()
        run.cancel()
        waitFor(lambda: self.ends)
        self.assertEqual(self.ends, [("a", "onFinished")])

    def test_a_scene_that_closes_before_the_caller_has_heard_ends_the_run_as_cancelled(self) -> None:
        run = self.preview("frontal", "a")
        self.answer()
        slicer.mrmlScene.Clear()
        self.assertEqual((run.state, self.ends), ("cancelled", [("a", "onError")]))
        slicer.app.processEvents()
        self.assertEqual(len(self.ends), 1)

    def test_an_answer_that_makes_no_sense_is_an_error_not_a_hang(self) -> None:
        run = self.preview("frontal", "a")
        FakeChannel.made[-1].answer(result={"image": "nowhere"})
        self.assertEqual((run.state, run.error.kind), ("failed", "defect"))
