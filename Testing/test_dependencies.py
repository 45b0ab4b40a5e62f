"""What must be installed is found without importing it, and installed only on request."""

from __future__ import annotations

import os
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from CLSDMReconstructionLib.Dependencies import Dependencies


class FakePip:
    """pip, played by the test."""

    made: list[FakePip] = []

    def __init__(self) -> None:
        self.closed = self.killed = False
        FakePip.made.append(self)

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        self.command = [program, *arguments]
        self.constraints = Path(arguments[arguments.index("--constraint") + 1])
        self.kept = self.constraints.read_text()

    def closeInput(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.killed = True
        self.onFinished(9, True)


class DependenciesTest(unittest.TestCase):
    def setUp(self) -> None:
        FakePip.made = []
        self.there = {"pydicom", "SimpleITK", "PyTorchUtils"}
        self.said, self.lines = [], []
        self.all = Dependencies(lambda name: name in self.there, FakePip, "/opt/Slicer/bin/PythonSlicer")
        patch = mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop("CLSDM_PYTHON", None)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def finished(self, ok: bool, message: str) -> None:
        self.said.append((ok, message))

    def wheels(self) -> str:
        (Path(self.folder) / "torch-2.9.0-cp312-none-any.whl").write_bytes(b"")
        return self.folder

    def test_nothing_is_missing_where_all_is_there(self) -> None:
        self.there |= {"torch", "safetensors"}
        status = self.all.status()
        self.assertEqual((status.missing, status.message, status.command), ((), "", ""))

    def test_what_is_missing_is_named_with_what_to_do(self) -> None:
        status = self.all.status()
        self.assertEqual(status.missing, ("torch", "safetensors"))
        self.assertTrue(status.canInstallTorch)
        self.assertIn("PyTorch", status.message)
        self.assertEqual(
            status.command,
            "/opt/Slicer/bin/PythonSlicer -m pip install --no-index --find-links WHEELS_FOLDER"
            ' "torch>=2.4" safetensors',
        )

    def test_without_the_extension_pytorch_the_way_to_it_is_told(self) -> None:
        self.there.discard("PyTorchUtils")
        status = self.all.status()
        self.assertFalse(status.canInstallTorch)
        self.assertIn("Extensions Manager", status.message)

    def test_looking_does_not_import(self) -> None:
        before = set(sys.modules)
        Dependencies().status()
        self.assertNotIn("torch", set(sys.modules) - before)

    def test_a_worker_that_runs_elsewhere_is_not_asked(self) -> None:
        os.environ["CLSDM_PYTHON"] = "/elsewhere/python"
        self.assertEqual(self.all.status().missing, ())

    def test_torch_is_installed_by_pytorch_utils_without_a_second_question(self) -> None:
        asked = {}

        class PyTorchUtilsLogic:
            def installTorch(logic, **options):
                asked.update(options)
                self.there.add("torch")
                return object()

        self.there.add("safetensors")
        with mock.patch.dict(sys.modules, PyTorchUtils=types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)):
            self.all.install(self.finished, self.lines.append)
        self.assertEqual(asked, {"askConfirmation": False, "torchVersionRequirement": ">=2.4"})
        self.assertEqual(self.said, [(True, "Everything is installed.")])
        self.assertTrue(self.lines)

    def test_a_pytorch_utils_of_another_version_is_told_only_what_it_takes(self) -> None:
        asked = []

        class PyTorchUtilsLogic:
            def installTorch(logic, askConfirmation=True):
                asked.append(askConfirmation)
                self.there.add("torch")
                return object()

        self.there.add("safetensors")
        with mock.patch.dict(sys.modules, PyTorchUtils=types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)):
            self.all.install(self.finished, self.lines.append)
        self.assertEqual(asked, [False])
        self.assertTrue(self.said[0][0], self.said)

    def test_the_other_packages_are_installed_without_a_second_question_too(self) -> None:
        asked = {}

        def pip_ensure(requirements, prompt_install=True, requester=None):
            asked.update(requirements=requirements, prompt_install=prompt_install)
            self.there.add("safetensors")

        self.there.add("torch")
        with mock.patch.dict(sys.modules, {"slicer.packaging": types.SimpleNamespace(pip_ensure=pip_ensure)}):
            self.all.install(self.finished, self.lines.append)
        self.assertEqual(asked, {"requirements": ["safetensors"], "prompt_install": False})
        self.assertTrue(self.said[0][0], self.said)

    def test_failing_is_told_with_the_manual_command(self) -> None:
        for outcome, expected in ((None, "did not succeed"), (RuntimeError("no route to host"), "no route to host")):
            with self.subTest(outcome=outcome):

                class PyTorchUtilsLogic:
                    def installTorch(logic, **options):
                        if outcome is not None:  # noqa: B023
                            raise outcome  # noqa: B023

                module = types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
                with mock.patch.dict(sys.modules, PyTorchUtils=module):
                    self.all.install(self.finished, self.lines.append)
                ok, message = self.said[-1]
                self.assertFalse(ok)
                self.assertIn(expected, message)

    def test_wheels_are_installed_without_internet_and_keep_slicers_own_packages(self) -> None:
        self.all.installFromFolder(self.wheels(), self.finished, self.lines.append)
        (pip,) = FakePip.made
        self.assertIn("--no-index", pip.command)
        self.assertTrue(pip.closed)
        self.assertRegex(pip.kept, r"(?m)^numpy==")
        self.assertTrue(self.all.busy)
        pip.onOutput(b"Successfully installed torch\n")
        self.there |= {"torch", "safetensors"}
        pip.onFinished(0, False)
        self.assertEqual(self.said, [(True, "Everything is installed.")])
        self.assertEqual(self.lines, ["Successfully installed torch"])
        self.assertFalse(pip.constraints.exists())
        self.assertFalse(self.all.busy)

    def test_a_failing_pip_is_told_with_its_last_line(self) -> None:
        self.all.installFromFolder(self.wheels(), self.finished, self.lines.append)
        FakePip.made[0].onErrors(b"ERROR: No matching distribution found for torch\n")
        FakePip.made[0].onFinished(1, False)
        self.assertEqual(
            self.said,
            [(False, "pip could not install from this folder: ERROR: No matching distribution found for torch")],
        )

    def test_an_empty_folder_is_told_how_to_fill_it(self) -> None:
        self.all.installFromFolder(self.folder, self.finished, self.lines.append)
        self.assertFalse(self.said[0][0])
        self.assertIn("pip download", self.said[0][1])
        self.assertEqual(FakePip.made, [])

    def test_it_can_be_cancelled(self) -> None:
        self.all.installFromFolder(self.wheels(), self.finished, self.lines.append)
        self.all.cancel()
        self.assertTrue(FakePip.made[0].killed)
        self.assertEqual(self.said, [(False, "The installation was cancelled.")])


if __name__ == "__main__":
    unittest.main()
