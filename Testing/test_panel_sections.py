"""Samples, dependencies and models in the panel, with a fake logic."""

import dataclasses
import json
import sys
import types
import unittest
from pathlib import Path
from unittest import mock

import slicer
from panel_case import PanelCase
from scene_case import waitFor
from volumes import add_volume

import CLSDMReconstruction
from CLSDMReconstructionLib.panel.ModelSearch import WIDEST_PIXELS
from CLSDMReconstructionLib.worker.Runs import ReconstructionError


class SampleTest(PanelCase):
    def test_the_phantom_fills_both_slots_and_is_the_ground_truth(self) -> None:
        self.panel.samples.loadPhantom()
        waitFor(lambda: not self.panel.samples.isLoading)
        run = self.logic.runs[-1]
        ct = run.arguments["ct"]
        self.assertIn("no patient", ct.GetName())
        xrays = [add_volume(f"X-ray {angle}", size=(90, 70, 1)) for angle in (0, 90)]
        run.finish(mock.Mock(nodes=xrays, files=["a", "b"], angles=[0.0, 90.0]))
        self.assertEqual([slot.xray.node for slot in self.panel.xrays.slots], xrays)
        self.assertEqual(self.panel.parameters.groundTruth, ct)

    def test_without_a_main_window_a_tile_fills_the_panel_too(self) -> None:
        shown = types.SimpleNamespace(panel=self.panel)
        widget = mock.patch("slicer.util.getModuleWidget", return_value=shown)
        window = mock.patch("slicer.util.mainWindow", return_value=None)
        select = mock.patch("slicer.util.selectModule", side_effect=RuntimeError("no main window"))
        with widget, window, select:
            CLSDMReconstruction.loadPhantom()
        waitFor(lambda: not self.panel.samples.isLoading)
        self.assertEqual(self.logic.runs[-1].task, "simulate")

    def test_the_public_case_is_downloaded_only_with_consent(self) -> None:
        asks = mock.Mock(return_value=False)
        with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
            self.panel.samples.loadPublicCase()
        self.assertIn("CC BY 3.0", asks.call_args_list[0].args[0])
        self.assertEqual(self.logic.runs, [])


class SampleTilesTest(unittest.TestCase):
    def test_two_tiles_are_registered_in_the_way_that_sample_data_asks_for(self) -> None:
        tiles = []

        def register(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileType=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ) -> None:  # the arguments of Slicer 5.10
            tiles.append((category, sampleName, thumbnailFileName, customDownloader))
            self.assertEqual({len(part) for part in (uris, fileNames, nodeNames, loadFiles, checksums)}, {1})

        data = types.SimpleNamespace(SampleDataLogic=types.SimpleNamespace(registerCustomSampleDataSource=register))
        with mock.patch.dict(sys.modules, {"SampleData": data}):
            CLSDMReconstruction.registerSampleData()
        self.assertEqual([tile[1] for tile in tiles], ["X-rays of a chest CT", "X-rays of a phantom"])
        for _category, _name, thumbnail, load in tiles:
            self.assertTrue(Path(thumbnail).is_file())
            self.assertTrue(callable(load))


class DependenciesTest(PanelCase):
    def missTorch(self) -> None:
        self.logic.dependencies.missing = ("torch",)
        self.panel.enter()

    def test_what_is_missing_is_said_and_nothing_happens_without_consent(self) -> None:
        self.assertFalse(self.ui.dependencyFrame.visible)
        self.missTorch()
        self.assertTrue(self.ui.dependencyFrame.visible)
        others = (
            self.panel.compare.ui.compareButton,
            self.panel.simulate.ui.simulateButton,
            self.panel.batch.ui.startButton,
        )
        for button in (self.ui.reconstructButton, *others):
            self.assertIn("First install", button.toolTip)
            self.assertFalse(button.enabled)
        asks = mock.Mock(return_value=False)
        with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
            self.ui.installButton.click()
        self.assertEqual(self.logic.dependencies.calls, [])
        for words in ("torch", "pytorch.org", "3 GB", "go on working"):
            self.assertIn(words, asks.call_args_list[0].args[0])

    def test_without_the_extension_that_installs_torch_the_button_leads_to_it_and_downloads_nothing(self) -> None:
        self.logic.dependencies.canInstallTorch = False
        self.missTorch()
        self.assertIn("Extensions Manager", self.ui.installButton.text)
        opens = mock.Mock()
        with mock.patch.object(type(slicer.app), "openExtensionsManagerDialog", opens, create=True):
            self.ui.installButton.click()
        self.assertEqual((opens.call_count, self.logic.dependencies.calls), (1, []))

    def test_an_installation_shows_its_log_and_makes_the_panel_ready(self) -> None:
        self.missTorch()
        self.fillSlots()
        with mock.patch("slicer.util.confirmOkCancelDisplay", mock.Mock(return_value=True)):
            self.ui.installButton.click()
        self.assertEqual(self.logic.dependencies.calls, ["install"])
        self.logic.dependencies.onLog("Collecting torch")
        self.assertIn("Collecting torch", self.ui.dependencyLog.plainText)
        self.logic.dependencies.missing = ()
        self.logic.dependencies.onFinished(True, "Everything is installed.")
        self.assertFalse(self.ui.dependencyFrame.visible)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_versions_are_shown_and_can_be_installed_anew_with_consent(self) -> None:
        self.assertIn("torch 2.13.0", self.ui.packagesLabel.text)
        for agrees, calls in ((False, []), (True, ["reinstall"])):
            with mock.patch("slicer.util.confirmOkCancelDisplay", mock.Mock(return_value=agrees)):
                self.ui.reinstallButton.click()
            self.assertEqual(self.logic.dependencies.calls, calls)
        self.assertTrue(self.ui.dependencyFrame.visible)
        self.assertFalse(self.ui.reinstallButton.enabled)
        self.logic.dependencies.onFinished(True, "Everything is installed.")
        self.assertFalse(self.ui.dependencyFrame.visible)
        self.assertTrue(self.ui.reinstallButton.enabled)

    def test_a_failed_installation_leaves_its_reason_and_the_command(self) -> None:
        self.missTorch()
        with mock.patch("slicer.util.confirmOkCancelDisplay", mock.Mock(return_value=True)):
            self.ui.installButton.click()
        self.logic.dependencies.onFinished(False, "The proxy refused.")
        self.assertIn("The proxy refused.", self.ui.dependencyLabel.text)
        self.ui.copyCommandButton.click()
        self.assertIn("pip install", slicer.app.clipboard().text())


class ModelTest(PanelCase):
    def test_a_model_is_added_only_after_licence_size_and_hash_were_shown(self) -> None:
        model = dataclasses.replace(self.panel.model.model, version="2")
        for agrees, tasks in ((False, ["bundle"]), (True, ["bundle", "install"])):
            self.logic.runs.clear()
            asks = mock.Mock(return_value=agrees)
            with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
                self.panel.model.add("https://example.org/model.zip")
                self.logic.runs[0].finish(model)
            for part in (model.licence, model.sha256, "MB"):
                self.assertIn(part, asks.call_args_list[0].args[0])
            self.assertEqual([run.task for run in self.logic.runs], tasks)
        self.logic.runs[-1].finish(model)
        self.assertEqual(self.ui.stageLabel.text, f"The model {model.id} 2 was added.")

    def test_each_embedded_model_says_what_it_is_for_and_the_scene_keeps_the_choice(self) -> None:
        default = self.logic.models.embedded()[0]
        other = dataclasses.replace(default, id="other", anatomy="heads", voxels=32, spacingMm=12.0, sha256="0" * 64)
        with mock.patch.object(self.logic.models, "embedded", return_value=[default, other]):
            self.panel.model.refresh()
            for index, model, kept in ((1, other, other.key), (0, default, "")):
                self.ui.modelSelector.setCurrentIndex(index)
                self.assertEqual(self.panel.model.bundle(), str(model.path))
                self.assertEqual(self.panel.parameters.model, kept)
                self.assertFalse(self.panel.model._deleteAction.enabled)
                words = f"Has seen: {model.anatomy}. {model.voxels}³ voxels of {model.spacingMm:g} mm"
                self.assertEqual(self.ui.modelDetails.text, words)
                self.assertIn(words.split(".")[0], self.ui.modelSelector.toolTip)

    def test_an_added_version_of_an_embedded_model_is_used_once_it_is_chosen_and_told_from_it(self) -> None:
        default = self.logic.models.embedded()[0]
        added = dataclasses.replace(default, version="2", path=self.folder / "2", embedded=False)
        retrained = dataclasses.replace(added, sha256="0" * 64, path=self.folder / "3")
        models, section = [default, added, retrained], self.panel.model
        with mock.patch.object(self.logic.models, "list", return_value=models):
            section.refresh()
            labels = [self.ui.modelSelector.itemText(index) for index in range(3)]
            hashes = [model.sha256[:8] for model in models]
            self.assertEqual(
                labels,
                [
                    f"{default.id} {default.version} (embedded)",
                    *(f"{default.id} 2 {each}" for each in hashes[1:]),
                ],
            )
            for index, model in ((2, retrained), (1, added)):
                self.ui.modelSelector.setCurrentIndex(index)
                self.assertEqual(section.bundle(), str(model.path))
                self.panel.exit()
                self.panel.enter()
                self.assertEqual(section.bundle(), str(model.path))
            self.panel.parameters.model = default.id  # as scenes of earlier versions have it
            self.assertEqual(section.bundle(), str(default.path))

    def test_a_scenes_model_that_is_not_here_is_named_and_stays_the_scenes(self) -> None:
        key = dataclasses.replace(self.panel.model.model, id="theirs").key
        self.panel.parameters.model = key
        self.assertIn("The model theirs that was chosen is not here", self.ui.modelDetails.text)
        self.ui.deviceSelector.setCurrentIndex(1)
        self.assertEqual(self.panel.parameters.model, key)
        self.panel.parameters.model = ""
        self.assertNotIn("not here", self.ui.modelDetails.text)

    def test_a_model_that_is_here_is_not_added_again(self) -> None:
        asks = mock.Mock(return_value=True)
        with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
            self.panel.model.add("/somewhere/copy.zip")
            self.logic.runs[-1].finish(dataclasses.replace(self.panel.model.model, path=Path("/somewhere/copy.zip")))
        self.assertIn("is here already", self.ui.stageLabel.text)
        self.assertFalse(asks.called)
        self.assertEqual(self.logic.runs[-1].task, "bundle")

    def test_the_product_is_explained_with_the_time_it_takes(self) -> None:
        self.assertIn("Closest to the truth", self.ui.productDetails.text)
        self.assertRegex(self.ui.productDetails.text, r"About \d+ s")
        self.ui.productSelector.setCurrentIndex(2)
        self.assertIn("where they differ", self.ui.productDetails.text)

    def test_devices_are_listed_with_free_memory_when_advanced_is_opened(self) -> None:
        self.ui.advancedSection.collapsed = False
        self.assertGreater(self.ui.memoryGauge.value, 0)
        devices = [
            {"name": "cpu", "label": "CPU"},
            {"name": "cuda", "label": "GPU X", "free_bytes": 8e9, "total_bytes": 1e10},
        ]
        self.logic.runs[-1].finish({"devices": devices})
        self.assertEqual(self.ui.deviceSelector.itemText(2), "GPU X (8.0 of 10.0 GB free)")
        self.ui.deviceSelector.setCurrentIndex(2)
        self.assertEqual(self.panel.model.device, "cuda")
        self.assertTrue(self.ui.memoryGauge.visible)
        self.assertEqual((self.ui.memoryGauge.value, self.ui.memoryGauge.format), (20, "GPU: 2.0 of 10.0 GB"))
        self.ui.deviceSelector.setCurrentIndex(1)
        self.assertRegex(self.ui.memoryGauge.format, r"^Memory: \d+\.\d of \d+\.\d GB$")
        self.assertGreater(self.ui.memoryGauge.value, 0)

    def test_while_a_reconstruction_runs_the_processors_and_the_memory_are_shown_as_they_are_now(self) -> None:
        self.fillSlots()
        self.ui.advancedSection.collapsed = False
        self.assertTrue(self.ui.processorGauge.isHidden())
        self.ui.reconstructButton.click()
        run, gauges = self.logic.runs[-1], self.panel.model.gauges
        self.assertTrue(self.ui.advancedSection.enabled and self.ui.memoryGauge.enabled)
        self.assertFalse(self.ui.deviceSelector.enabled)
        run.progress("sample", 1, 9)
        self.assertTrue(self.ui.processorGauge.isHidden())
        run.take({"processors": 0.634})
        run.progress("sample", 1, 9)
        self.assertTrue(self.ui.processorGauge.visible)
        self.assertEqual((self.ui.processorGauge.value, self.ui.processorGauge.format), (63, "Processors: 63 %"))
        self.assertRegex(self.ui.memoryGauge.format, r"^Memory: ")
        self.ui.memoryGauge.setFormat("old")
        self.wait(lambda: self.ui.memoryGauge.format != "old", 10.0)  # without any progress
        run.take({"processors": 0.1, "free_bytes": 8e9, "total_bytes": 1e10})
        run.progress("sample", 2, 9)
        self.assertEqual(self.ui.memoryGauge.format, "GPU: 2.0 of 10.0 GB")
        run.cancel()
        self.assertTrue(self.ui.processorGauge.isHidden())
        self.assertTrue(self.ui.deviceSelector.enabled)
        self.assertFalse(gauges._timer.active)

    def test_of_a_server_its_processors_are_shown_and_not_this_computers_memory(self) -> None:
        gauges = self.panel.model.gauges
        self.ui.advancedSection.collapsed = False
        self.assertTrue(self.ui.memoryGauge.visible)
        self.logic.server.choose(used=True)
        gauges.setDevice("auto", [])
        gauges.show({"processors": 1.0})
        self.assertEqual(self.ui.processorGauge.format, "Server's processors: 100 %")
        self.assertFalse(self.ui.memoryGauge.visible)
        gauges.show({"processors": 1.0, "free_bytes": 8e9, "total_bytes": 1e10})
        self.assertTrue(self.ui.memoryGauge.visible)


class ModelSearchTest(PanelCase):
    OFFER = {
        "id": "knees", "anatomy": "knees of adults", "voxels": 96, "spacing_mm": 2.0, "licence": "CC BY 4.0",
        "bytes": 25_000_000, "sha256": "ab" * 32, "url": "https://example.org/knees.zip",
    }  # fmt: skip

    def setUp(self) -> None:
        super().setUp()
        self.search = self.panel.search
        self.search.open()

    def find(self, words: str) -> list[str]:
        self.search.ui.searchEdit.setText(words)
        return [each.id for each in self.search.shown]

    def takeIndex(self, offer: dict) -> None:
        index = self.folder / "index.json"
        index.write_text(json.dumps({"offers": [offer], "samples": {"knees": "phantom"}}))
        self.search.ui.indexEdit.setText(str(index))
        self.press(self.search.ui.indexEdit, "\r")

    def test_models_are_found_by_words_and_say_what_they_have_seen_and_on_which_grid(self) -> None:
        self.takeIndex(self.OFFER)
        self.assertEqual(self.find(""), ["body128", "body64", "openkbp64", "knees"])
        for words, found in (
            ("knee 96", ["knees"]),
            ("adults CC by", ["body128", "body64", "knees"]),
            ("radiotherapy abdomen", ["body128", "body64"]),
            ("heart", []),
        ):
            self.assertEqual(self.find(words), found)
        self.assertIn("No model has all of these words", self.search.ui.indexLabel.text)
        self.assertIn("No model", self.search.ui.tryButton.toolTip)
        self.find("knees")
        self.assertIn("offered for download", self.search.ui.indexLabel.text)
        self.assertIn("Add this model first.", self.search.ui.tryButton.toolTip)
        heads = [self.search.ui.modelsTable.horizontalHeaderItem(column).text() for column in range(7)]
        self.assertEqual(heads[1:5], ["Version", "Trained on", "Volume it makes", "Size of the file"])
        cells = [self.search.ui.modelsTable.item(0, column).text() for column in range(7)]
        self.assertEqual(
            cells, ["knees", "", "knees of adults", "96³ voxels of 2 mm", "25 MB", "CC BY 4.0", "to download"]
        )

    def test_a_long_text_leaves_the_other_columns_in_sight(self) -> None:
        self.takeIndex(self.OFFER | {"anatomy": "knees of adults, " * 20})
        self.assertLessEqual(self.search.ui.modelsTable.columnWidth(2), WIDEST_PIXELS)

    def test_another_version_of_a_model_that_is_here_is_offered(self) -> None:
        here = self.panel.model.model
        for version, found in (("", 1), (here.version, 1), ("99", 2)):
            self.takeIndex(self.OFFER | {"id": here.id, "version": version})
            self.find("")
            self.assertEqual(sum(each.id == here.id for each in self.search.shown), found)

    def test_what_an_index_says_is_text_and_no_markup(self) -> None:
        self.takeIndex(self.OFFER | {"anatomy": "<b>knees</b>"})
        self.find("knees")
        self.assertEqual(self.search.ui.modelsTable.item(0, 2).toolTip(), "<qt>&lt;b&gt;knees&lt;/b&gt;</qt>")

    def test_one_that_is_offered_is_added_with_the_hash_that_the_index_promises(self) -> None:
        self.takeIndex(self.OFFER)
        self.find("knees")
        self.assertFalse(self.search.ui.tryButton.enabled)
        self.search.ui.useButton.click()
        run = self.logic.runs[-1]
        self.assertEqual(run.task, "bundle")
        self.assertEqual(run.arguments["source"], f"https://example.org/knees.zip#sha256={'ab' * 32}")

    def test_an_index_that_is_none_is_said_in_a_line(self) -> None:
        self.takeIndex(self.OFFER | {"url": "http://example.org/knees.zip"})
        self.assertIn("begins with https://", self.search.ui.indexLabel.text)
        self.assertEqual(self.find(""), ["body128", "body64", "openkbp64"])
        self.search.ui.indexEdit.setText("http://example.org/index.json")
        self.press(self.search.ui.indexEdit, "\r")
        self.assertEqual(self.logic.runs[-1].task, "index")
        self.logic.runs[-1].fail(ReconstructionError("input", "Expected https.", "Another address."))
        self.assertIn("Expected https", self.search.ui.indexLabel.text)

    def test_a_model_is_tried_with_its_sample(self) -> None:
        self.assertIn("public chest CT", self.search.ui.tryButton.toolTip)
        refuses = mock.Mock(return_value=False)
        with mock.patch("slicer.util.confirmOkCancelDisplay", refuses):
            self.search.ui.tryButton.click()
        self.assertEqual(refuses.call_count, 1)
        self.assertFalse(self.panel.runner.isTrying)
        self.takeIndex(self.OFFER)  # which names no sample of the embedded one
        self.find("openkbp64")
        self.search.ui.tryButton.click()
        waitFor(lambda: not self.panel.samples.isLoading)
        self.assertEqual(self.logic.runs[-1].task, "simulate")
        xrays = [add_volume(f"X-ray {angle}", size=(90, 70, 1)) for angle in (0, 90)]
        for node in xrays:
            node.SetSpacing(4.0, 4.0, 1.0)
        self.logic.runs[-1].finish(mock.Mock(nodes=xrays, files=["a", "b"], angles=[0.0, 90.0]))
        self.assertEqual(self.logic.runs[-1].task, "reconstruct")
        self.assertFalse(self.panel.runner.isTrying)
