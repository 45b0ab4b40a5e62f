"""Models: listed at once, checked before they are added, kept outside the extension."""

import json
import shutil
import unittest
import zipfile
from dataclasses import replace
from pathlib import Path

import qt
from fakes import FakeChannel
from real_worker import OwnTemporaries, leftovers, smallCase
from scene_case import temporaryFolder, waitFor

from clsdm.files.digest import sealed
from clsdm.model.bundle_files import embedded_bundles
from CLSDMReconstructionLib.Logic import ReconstructionError, ReconstructionLogic
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess
from CLSDMReconstructionLib.worker.ModelStore import FOLDER_SETTING, ModelStore, defaultFolder, readModel


class StoreTest(unittest.TestCase):
    """Without a worker."""

    def setUp(self) -> None:
        self.store = ModelStore(temporaryFolder(self) / "models")

    def put(self, name: str) -> Path:
        target = self.store.folder / name
        self.store.folder.mkdir(exist_ok=True)
        shutil.copytree(self.store.embedded()[0].path, target, ignore=shutil.ignore_patterns("*.safetensors"))
        return target

    def test_the_embedded_models_are_there_without_any_folder_the_default_first(self) -> None:
        models = self.store.list()
        self.assertEqual([model.path for model in models], list(embedded_bundles().values()))
        self.assertFalse(self.store.folder.exists())
        for model in models:
            self.assertTrue(model.embedded)
            self.assertTrue(model.licence)
            self.assertIn("Research only", model.notice)
            self.assertEqual(len(model.sha256), 64)
            self.assertGreater(model.bytes, 10**6)

    def test_added_models_come_after_it(self) -> None:
        self.put("b")
        self.assertEqual(self.store.list()[:-1], self.store.embedded())
        self.assertFalse(self.store.list()[-1].embedded)

    def test_what_is_damaged_is_named_and_what_is_under_way_is_not_seen(self) -> None:
        (self.put("a") / "bundle.json").write_text("{")
        self.put(".b-77.part")
        (self.store.folder / "notes.txt").write_text("x")
        self.assertEqual(self.store.list(), self.store.embedded())
        self.assertEqual(set(self.store.damaged()), {"a", "notes.txt"})

    def test_only_the_users_own_models_can_be_deleted(self) -> None:
        path = self.put("a")
        embedded, *_, own = self.store.list()
        with self.assertRaises(ValueError):
            self.store.delete(embedded)
        with self.assertRaises(ValueError):
            self.store.delete(replace(own, path=path.parent.parent / "elsewhere"))
        (path / "notes.txt").write_text("the user's")
        self.store.delete(own)
        self.assertEqual([each.name for each in path.iterdir()], ["notes.txt"])
        (path / "notes.txt").unlink()
        path.rmdir()
        self.assertFalse(path.exists())

    def test_a_manifest_that_lacks_something_is_no_model(self) -> None:
        path = self.put("a")
        table = json.loads((path / "bundle.json").read_text())
        for name in ("id", "model", "licence"):
            with self.subTest(name=name):
                left = {key: value for key, value in table.items() if key != name}
                (path / "bundle.json").write_text(json.dumps(sealed(left)))
                with self.assertRaisesRegex(ValueError, name):
                    readModel(path)

    def test_a_name_on_disk_holds_nothing_but_letters_and_digits(self) -> None:
        model = replace(self.store.embedded()[0], id="../a b", version="1/2")
        self.assertRegex(self.store.nameFor(model), r"^[A-Za-z0-9._-]+$")
        self.assertFalse(self.store.nameFor(model).startswith("."))

    def test_the_folder_lies_outside_the_extension_and_can_be_chosen(self) -> None:
        self.assertNotIn("CLSDMReconstruction", str(defaultFolder()))
        settings = qt.QSettings()
        settings.setValue(FOLDER_SETTING, str(self.store.folder))
        try:
            self.assertEqual(ModelStore().folder, self.store.folder)
        finally:
            settings.remove(FOLDER_SETTING)


class AddTest(OwnTemporaries):
    """With the real worker."""

    def setUp(self) -> None:
        self.bundle = smallCase() / "bundle"
        self.before = leftovers()
        self.folder = temporaryFolder(self)
        self.logic = ReconstructionLogic(models=ModelStore(self.folder / "models"))

    def tearDown(self) -> None:
        self.logic.cleanup()
        self.assertEqual(leftovers(), self.before)

    def archive(self) -> Path:
        path = self.folder / "small.zip"
        with zipfile.ZipFile(path, "w") as file:
            for each in self.bundle.iterdir():
                file.write(each, each.name)
        return path

    def test_licence_size_and_hash_are_known_before_a_model_is_added(self) -> None:
        path = self.archive()
        model = self.logic.inspectModel(path, wait=True).result
        self.assertEqual((model.id, model.licence), ("small", "none: random weights"))
        self.assertEqual(model.bytes, path.stat().st_size)
        self.assertEqual(len(model.fileSha256), 64)
        self.assertFalse(self.logic.models.folder.exists())
        added = self.logic.addModel(model, wait=True).result
        self.assertEqual(added.path.parent, self.logic.models.folder)
        self.assertIn(added.id, [each.id for each in self.logic.models.list()])
        for again in (model, replace(model, path=self.bundle)):  # the folder is the same model
            with self.assertRaisesRegex(ReconstructionError, "already"):
                self.logic.addModel(again, wait=True)

    def test_an_altered_model_is_refused(self) -> None:
        damaged = self.folder / "damaged"
        shutil.copytree(self.bundle, damaged)
        (damaged / "MODEL_CARD.md").write_text("altered")
        with self.assertRaises(ReconstructionError) as caught:
            self.logic.inspectModel(damaged, wait=True)
        self.assertEqual(caught.exception.kind, "input")

    def test_a_download_is_made_with_encryption_only(self) -> None:
        with self.assertRaisesRegex(ReconstructionError, "https"):
            self.logic.inspectModel("http://example.org/model.zip", wait=True)


class FetchTest(OwnTemporaries):
    """With a fake worker."""

    def fetched(self):
        """A logic and the model it has just downloaded, out of the worker's folder."""
        FakeChannel.made = []
        logic = ReconstructionLogic(InferenceProcess(FakeChannel, python="python", later=lambda *_: None))
        run = logic.inspectModel("https://example.org/model.zip")
        waitFor(lambda: FakeChannel.made)
        (channel,) = FakeChannel.made
        self.assertEqual(channel.requests[0]["task"], "fetch")
        folder = Path(channel.folder) / str(channel.requests[0]["id"])
        folder.mkdir()
        with zipfile.ZipFile(folder / "download.zip", "w") as file:
            file.write(ModelStore().embedded()[0].path / "bundle.json", "bundle.json")
        channel.answer(result={"path": str(folder / "download.zip"), "bytes": 5, "file_sha256": "ab"})
        waitFor(lambda: not run.isRunning)
        self.assertTrue(run.result.path.is_file())
        self.assertEqual(list(folder.iterdir()), [])
        return logic, run.result

    def test_a_download_lives_until_the_logic_goes(self) -> None:
        before = leftovers()
        logic, model = self.fetched()
        logic.cleanup()
        self.assertFalse(model.path.exists())
        self.assertEqual(leftovers(), before)

    def test_a_download_goes_once_it_is_added(self) -> None:
        logic, model = self.fetched()
        run = logic.addModel(model)
        (channel,) = FakeChannel.made
        waitFor(lambda: channel.requests[-1]["task"] == "install")
        self.assertEqual(channel.requests[-1]["bundle"], str(model.path))
        channel.answer(result={"path": str(ModelStore().embedded()[0].path)})
        waitFor(lambda: not run.isRunning)
        self.assertEqual(run.state, "finished")
        self.assertFalse(model.path.exists())
        logic.cleanup()
