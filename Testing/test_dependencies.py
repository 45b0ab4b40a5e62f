"""What must be installed is found without importing it, and installed only on request."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from volumes import wait_until

from CLSDMReconstructionLib.Dependencies import Dependencies
from CLSDMReconstructionLib.PipProcess import PipProcess
from CLSDMReconstructionLib.QtChannel import QtChannel, findPython


class FakePip:
    """pip, played by the test."""

    made: list[FakePip] = []

    def __init__(self) -> None:
        self.closed = self.killed = False
        FakePip.made.append(self)

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        self.command = [program, *arguments]
        self.asked = arguments[2 : arguments.index("--constraint")]  # behind -u and the script that runs a module
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

    def pyTorchUtils(self, **functions) -> None:
        """The extension's module, with these functions for the rest of the test."""
        module = types.SimpleNamespace(PyTorchUtilsLogic=type("PyTorchUtilsLogic", (), functions))
        patch = mock.patch.dict(sys.modules, PyTorchUtils=module)
        patch.start()
        self.addCleanup(patch.stop)

    def knownPyTorchUtils(self, arguments=None) -> None:
        """As it is: it tells light-the-torch what to install. It must not be asked to do so itself."""
        told = arguments or (lambda forceComputationBackend=None, torchVersionRequirement=None: [
            "install", f"torch{torchVersionRequirement}", "torchvision"])  # fmt: skip
        self.pyTorchUtils(
            _getPipInstallArguments=staticmethod(told),
            _installLightTheTorch=staticmethod(self.fail),
            installTorch=lambda logic, **options: self.fail("it stops Slicer"),
        )

    def test_torch_is_installed_as_pytorch_utils_would_but_in_processes_of_their_own(self) -> None:
        self.knownPyTorchUtils()
        self.assertTrue(self.all.staysUsable())
        self.all.install(self.finished, self.lines.append)
        for asked, comes in (
            (["pip", "install", "light-the-torch>=0.5"], "light_the_torch"),
            (["light_the_torch", "install", "torch>=2.4", "torchvision"], "torch"),
            (["pip", "install", "safetensors"], "safetensors"),
        ):
            self.assertEqual(FakePip.made[-1].asked, asked)
            self.assertRegex(FakePip.made[-1].kept, r"(?m)^numpy==")
            self.assertEqual(self.said, [])
            self.there.add(comes)
            FakePip.made[-1].onFinished(0, False)
        self.assertEqual(self.said, [(True, "Everything is installed.")])
        self.assertFalse(FakePip.made[-1].constraints.exists())

    def test_light_the_torch_is_not_installed_twice(self) -> None:
        self.knownPyTorchUtils()
        self.there |= {"light_the_torch", "safetensors"}
        self.all.install(self.finished, self.lines.append)
        self.assertEqual(FakePip.made[0].asked[0], "light_the_torch")

    def test_a_light_the_torch_that_fails_and_says_it_did_not_is_found_out(self) -> None:
        """It ends with code 0 whatever happens."""
        self.knownPyTorchUtils()
        self.there |= {"light_the_torch", "safetensors"}
        self.all.install(self.finished, self.lines.append)
        FakePip.made[0].onErrors(b"ERROR: No matching distribution found for torch>=2.4\nnotice: a new pip is there\n")
        FakePip.made[0].onFinished(0, False)
        self.assertEqual(
            self.said, [(False, "Still missing: torch. ERROR: No matching distribution found for torch>=2.4")]
        )

    def test_after_a_failure_nothing_more_is_installed_and_the_manual_command_is_told(self) -> None:
        self.knownPyTorchUtils()
        self.all.install(self.finished, self.lines.append)
        FakePip.made[0].onErrors(b"ERROR: no route to host\n")
        FakePip.made[0].onFinished(1, False)
        self.assertEqual(len(FakePip.made), 1)
        ((ok, message),) = self.said
        self.assertFalse(ok)
        self.assertIn("no route to host", message)
        self.assertIn("--no-index", message)

    def test_it_can_be_cancelled_between_two_of_its_processes(self) -> None:
        self.knownPyTorchUtils()
        self.all.install(self.finished, self.lines.append)
        FakePip.made[0].onFinished(0, False)
        self.all.cancel()
        self.assertEqual([pip.killed for pip in FakePip.made], [False, True])
        self.assertEqual(self.said, [(False, "The installation was cancelled.")])
        self.assertFalse(self.all.busy)

    def test_a_pytorch_utils_that_says_something_unknown_installs_torch_itself_without_a_second_question(self) -> None:
        asked = []

        def installTorch(logic, askConfirmation=True):
            asked.append(askConfirmation)
            self.there.add("torch")
            return object()

        self.there.add("safetensors")
        known = staticmethod(lambda: None)
        for functions in (
            {},
            {"_getPipInstallArguments": staticmethod(lambda: ["torch"]), "_installLightTheTorch": known},
            {
                "_getPipInstallArguments": staticmethod(lambda cuda: ["install", "torch"]),
                "_installLightTheTorch": known,
            },
            {"_getPipInstallArguments": staticmethod(lambda: ["install", "torch"])},
        ):
            with self.subTest(functions=list(functions)):
                self.there.discard("torch")
                self.pyTorchUtils(**functions, installTorch=installTorch)
                self.assertFalse(self.all.staysUsable())
                self.all.install(self.finished, self.lines.append)
                self.assertEqual((asked[-1], FakePip.made), (False, []))
                self.assertEqual(self.said[-1], (True, "Everything is installed."))

    def test_failing_there_is_told_with_the_manual_command(self) -> None:
        for outcome, expected in ((None, "did not succeed"), (RuntimeError("no route to host"), "no route to host")):
            with self.subTest(outcome=outcome):
                self.pyTorchUtils(installTorch=mock.Mock(return_value=None, side_effect=outcome))
                self.all.install(self.finished, self.lines.append)
                ok, message = self.said[-1]
                self.assertFalse(ok)
                self.assertIn(expected, message)
                self.assertIn("--no-index", message)

    def test_where_torch_is_there_only_the_rest_is_installed(self) -> None:
        self.there.add("torch")
        self.all.install(self.finished, self.lines.append)
        self.assertEqual([pip.asked for pip in FakePip.made], [["pip", "install", "safetensors"]])

    def test_while_slicer_installs_something_else_nothing_is_begun(self) -> None:
        busy = types.SimpleNamespace(isPipInstallInProgress=lambda: True)
        with mock.patch.dict(sys.modules, {"slicer.packaging": busy}):
            self.all.install(self.finished, self.lines.append)
            self.all.installFromFolder(self.wheels(), self.finished, self.lines.append)
        self.assertEqual(self.said, [(False, "An installation is running already.")] * 2)
        self.assertEqual(FakePip.made, [])

    def test_wheels_are_installed_without_internet_and_keep_slicers_own_packages(self) -> None:
        self.all.installFromFolder(self.wheels(), self.finished, self.lines.append)
        (pip,) = FakePip.made
        self.assertIn("--no-index", pip.command)
        self.assertFalse(pip.closed, "it ends when its input does")
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
        self.assertTrue(FakePip.made[0].closed and FakePip.made[0].killed)
        self.assertEqual(self.said, [(False, "The installation was cancelled.")])


class RealPipTest(unittest.TestCase):
    """In real processes, of the Python that the worker runs in; nothing is installed."""

    def run_(self, *command: str) -> tuple[list[str], list[str], PipProcess]:
        lines, ends = [], []
        pip = PipProcess(QtChannel, findPython(), lines.append, ends.append)
        pip.start([list(command)])
        return lines, ends, pip

    def test_a_package_that_is_not_in_a_folder_is_told_by_pips_last_error(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            offline = ["--no-index", "--find-links", folder, "clsdm-there-is-no-such-package"]
            lines, ends, _ = self.run_("pip", "install", *offline)
            wait_until(lambda: ends, 60.0)
        self.assertRegex(ends[0], "ERROR: No matching distribution")
        self.assertTrue(lines)

    def waiting(self) -> tuple[list[str], PipProcess]:
        """A pip that asks a server which does not answer."""
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        self.addCleanup(server.close)
        index = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        asked = ["--index-url", index, "--timeout", "600", "--retries", "0", "clsdm-there-is-no-such-package"]
        _, ends, pip = self.run_("pip", "install", *asked)

        def isAsked() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.addCleanup(server.accept()[0].close)
                return True
            return False

        wait_until(isAsked, 60.0)
        return ends, pip

    def test_a_process_that_loses_its_parent_ends(self) -> None:
        ends, pip = self.waiting()
        pip._channel.closeInput()  # as when Slicer is gone
        wait_until(lambda: ends, 60.0)

    def test_a_process_that_is_cancelled_ends_and_leaves_no_file(self) -> None:
        ends, pip = self.waiting()
        folder = Path(pip._folder.name)
        self.assertTrue((folder / "constraints.txt").exists())
        pip.cancel()
        wait_until(lambda: ends, 60.0)
        self.assertEqual(ends, ["cancelled"])
        self.assertFalse(folder.exists())


if __name__ == "__main__":
    unittest.main()
