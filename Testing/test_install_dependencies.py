"""Missing packages are found without importing it, and installed only on request."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import slicer
from scene_case import temporaryFolder, waitFor

from CLSDMReconstructionLib.base.QtChannel import QtChannel, findPython, usesOtherPython
from CLSDMReconstructionLib.install.Dependencies import Dependencies
from CLSDMReconstructionLib.install.InstallProcess import INSTALLER, InstallProcess


class FakePip:
    """pip, a child process that a test ends."""

    made: list[FakePip] = []

    def __init__(self) -> None:
        self.closed = self.killed = False
        FakePip.made.append(self)

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        self.command = [program, *arguments]
        self.constraints, self.asked = Path(arguments[2]), arguments[3:]  # behind -u and the script
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
        find = lambda name: f"/extensions/{name}.py" if name in self.there else None  # noqa: E731
        self.all = Dependencies(find, FakePip, "/opt/Slicer/bin/PythonSlicer")
        patch = mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop("CLSDM_PYTHON", None)
        self.folder = str(temporaryFolder(self))

    def finished(self, ok: bool, message: str) -> None:
        self.said.append((ok, message))

    def pipEnds(self, code: int, errors: bytes = b"") -> None:
        """The latest pip has said this, and ends."""
        FakePip.made[-1].onErrors(errors)
        FakePip.made[-1].onFinished(code, False)

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

    def test_without_the_extension_pytorch_the_way_to_it_is_named(self) -> None:
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

    def test_torch_is_installed_by_pytorch_utils_and_the_rest_by_pip_ensure_beside_slicer(self) -> None:
        self.all.install(self.finished, self.lines.append)
        for asked, comes in (
            (["torch", str(Path("/extensions")), ">=2.4"], "torch"),
            (["ensure", "safetensors"], "safetensors"),
        ):
            self.assertEqual(FakePip.made[-1].asked, asked)
            self.assertRegex(FakePip.made[-1].kept, r"(?m)^numpy==")
            self.assertEqual(self.said, [])
            self.there.add(comes)
            self.pipEnds(0)
        self.assertEqual(self.said, [(True, "Everything is installed.")])
        self.assertFalse(FakePip.made[-1].constraints.exists())

    def test_what_is_missing_in_the_end_is_told_with_the_last_error(self) -> None:
        self.there.add("safetensors")
        self.all.install(self.finished, self.lines.append)
        missing = "ERROR: No matching distribution found for torch>=2.4"
        self.pipEnds(0, f"{missing}\nnotice: a new pip is there\n".encode())
        self.assertEqual(self.said, [(False, f"Still missing: torch. {missing}")])

    def test_after_a_failure_nothing_more_is_installed_and_the_manual_command_is_shown(self) -> None:
        self.all.install(self.finished, self.lines.append)
        self.pipEnds(1, b"ERROR: no route to host\n")
        self.assertEqual(len(FakePip.made), 1)
        ((ok, message),) = self.said
        self.assertFalse(ok)
        self.assertIn("no route to host", message)
        self.assertIn("--no-index", message)

    def test_it_can_be_cancelled_between_two_of_its_processes(self) -> None:
        self.all.install(self.finished, self.lines.append)
        self.pipEnds(0)
        self.all.cancel()
        self.assertEqual([pip.killed for pip in FakePip.made], [False, True])
        self.assertEqual(self.said, [(False, "The installation was cancelled.")])
        self.assertFalse(self.all.busy)

    def test_without_the_extension_pytorch_nothing_is_installed(self) -> None:
        self.there.discard("PyTorchUtils")
        self.all.install(self.finished, self.lines.append)
        self.assertEqual(FakePip.made, [])
        self.assertFalse(self.said[0][0])
        self.assertIn("Extensions Manager", self.said[0][1])

    def test_where_torch_is_there_only_the_rest_is_installed(self) -> None:
        self.there.add("torch")
        self.all.install(self.finished, self.lines.append)
        self.assertEqual([pip.asked for pip in FakePip.made], [["ensure", "safetensors"]])

    def test_torch_is_installed_anew_by_pytorch_utils_after_it_was_removed(self) -> None:
        self.there |= {"torch", "safetensors"}
        self.all.reinstall(self.finished, self.lines.append)
        for _ in range(3):
            self.pipEnds(0)
        torch = ["torch", str(Path("/extensions")), ">=2.4"]
        expected = [["remove", "torch", "torchvision"], torch, ["upgrade", "safetensors"]]
        self.assertEqual([pip.asked for pip in FakePip.made], expected)
        self.assertEqual(self.said, [(True, "Everything is installed.")])

    def test_without_the_extension_pytorch_nothing_is_removed(self) -> None:
        self.there = {"torch", "safetensors", "pydicom", "SimpleITK"}
        self.all.reinstall(self.finished, self.lines.append)
        self.assertEqual((FakePip.made, self.said[0][0]), ([], False))
        self.assertIn("Extensions Manager", self.said[0][1])

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
        self.assertEqual(pip.asked, ["wheels", self.folder, "torch>=2.4", "safetensors"])
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
        self.pipEnds(1, b"ERROR: No matching distribution found for torch\n")
        said = "pip could not install from this folder: ERROR: No matching distribution found for torch"
        self.assertEqual(self.said, [(False, said)])

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

    def run_(self, *command: str) -> tuple[list[str], list[str], InstallProcess]:
        lines, ends = [], []
        pip = InstallProcess(QtChannel, findPython(), lines.append, ends.append)
        pip.start([list(command)])
        return lines, ends, pip

    def test_a_package_that_is_not_in_a_folder_is_told_by_pips_last_error(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            lines, ends, _ = self.run_("wheels", folder, "clsdm-there-is-no-such-package")
            waitFor(lambda: ends, 60.0)
        self.assertRegex(ends[0], "ERROR: No matching distribution")
        self.assertTrue(lines)

    def waiting(self) -> tuple[list[str], InstallProcess]:
        """A pip that asks a server which does not answer."""
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        self.addCleanup(server.close)
        page = f"http://127.0.0.1:{server.getsockname()[1]}/"
        _, ends, pip = self.run_("wheels", page, "clsdm-there-is-no-such-package")

        def isAsked() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.addCleanup(server.accept()[0].close)
                return True
            return False

        waitFor(isAsked, 60.0)
        return ends, pip

    def test_a_process_that_loses_its_parent_ends(self) -> None:
        ends, pip = self.waiting()
        pip._channel.closeInput()  # as when Slicer is gone
        waitFor(lambda: ends, 60.0)

    def test_a_process_that_is_cancelled_ends_and_leaves_no_file(self) -> None:
        ends, pip = self.waiting()
        folder = Path(pip._folder.name)
        self.assertTrue((folder / "constraints.txt").exists())
        pip.cancel()
        waitFor(lambda: ends, 60.0)
        self.assertEqual(ends, ["cancelled"])
        self.assertFalse(folder.exists())


PYTHON_SLICER = Path(findPython()).stem == "PythonSlicer"
"""A launcher stands before it, and Slicer's own packages are found first."""

PYTORCH_UTILS = """
import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

class PyTorchUtilsLogic(ScriptedLoadableModuleLogic):
    def __init__(self):
        pass

    def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
        assert not askConfirmation
        slicer.util._executePythonModule("clsdm_echo", ["torch" + torchVersionRequirement])
"""
ECHO = """
import json, os, sys
print("echo", json.dumps({"arguments": sys.argv[1:], "process": os.getpid(), "input": sys.stdin.read()}))
sys.exit(os.environ.get("CLSDM_FAILS"))
"""


class InstallerTest(unittest.TestCase):
    """The script itself, with a PyTorchUtils written for Slicer's window as the real one is."""

    def setUp(self) -> None:
        self.folder = temporaryFolder(self, "with blanks ")
        self.constraints = self.folder / "constraints.txt"
        self.constraints.write_text("clsdm-there-is-no-such-package==7.0\n")
        for name, source in {
            "PyTorchUtils": PYTORCH_UTILS,
            "clsdm_echo": ECHO,
            "slicer/__init__": "",
            "slicer/util": "",
            "slicer/ScriptedLoadableModule": "import ctk, qt\nclass ScriptedLoadableModuleLogic: pass",
        }.items():  # Slicer's own come first where the Python is Slicer's
            path = self.folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)

    def run_(self, *command: str, **more: str) -> tuple[subprocess.Popen, str, str]:
        environment = slicer.util.startupEnvironment() if usesOtherPython() else dict(os.environ)
        environment |= {"PYTHONPATH": str(self.folder), "PYTHONIOENCODING": "utf-8", **more}
        command = [findPython(), str(INSTALLER), str(self.constraints), *command]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8")
        try:
            process.wait(60.0)  # its input stays open: what closes ends it
        finally:
            process.kill()
        said, errors = process.stdout.read(), process.stderr.read()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        return process, said, errors

    def test_pytorch_utils_installs_torch_without_slicers_window_and_in_the_one_process(self) -> None:
        process, said, errors = self.run_("torch", str(self.folder), ">=2.4")
        self.assertEqual(process.returncode, 0, errors)
        echo = json.loads(said.partition("echo ")[2])
        self.assertEqual((echo["arguments"], echo["input"]), (["torch>=2.4"], ""))
        if not PYTHON_SLICER:
            self.assertEqual(echo["process"], process.pid)

    def test_a_failure_is_an_exit_code_and_a_last_line(self) -> None:
        process, _, errors = self.run_("torch", str(self.folder), ">=2.4", CLSDM_FAILS="no route to host")
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("clsdm_echo", errors.strip().splitlines()[-1])

    def test_pip_keeps_to_the_constraints_whatever_their_path(self) -> None:
        theirs = self.folder / "theirs.txt"
        theirs.write_text("clsdm-neither-is-this==8.0\n")
        names = ("clsdm-there-is-no-such-package", "clsdm-neither-is-this")
        for name, version in zip(names, ("7.0", "8.0"), strict=True):
            process, said, _ = self.run_("wheels", str(self.folder), name, PIP_CONSTRAINT=theirs.as_uri())
            self.assertNotEqual(process.returncode, 0)
            self.assertIn(f"{name}=={version}", said)

    def test_what_is_not_there_is_removed_without_an_error(self) -> None:
        process, _, errors = self.run_("remove", "clsdm-there-is-no-such-package")
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("not installed", errors)

    def test_what_is_there_is_not_installed_again(self) -> None:
        process, _, errors = self.run_("ensure", "pip", PIP_NO_INDEX="1")
        self.assertEqual(process.returncode, 0, errors)

    @unittest.skipIf(PYTHON_SLICER, "its own pip_ensure comes first")
    def test_what_is_to_be_ensured_goes_to_slicers_pip_ensure(self) -> None:
        (self.folder / "slicer" / "packaging.py").write_text("def pip_ensure(what): print('echo', what)")
        process, said, errors = self.run_("ensure", "pip", "clsdm>1")
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("echo ['pip', 'clsdm>1']", said)
