"""Packages needed before the first reconstruction: torch (by the extension PyTorch) and safetensors.

Nothing is installed, downloaded or imported without a click, and whether something is there is found out without
importing it. Slicer's own packages are never replaced: a torch that would need another numpy is refused by pip.

PyTorchUtils installs torch while Slicer waits, so it does so in a process beside it, as ``pip_ensure`` does for the
rest: see ``Installer.py``.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from CLSDMReconstructionLib.install.InstallProcess import InstallProcess, OnLog

OnFinished = Callable[[bool, str], None]

NEEDED = {"torch": "torch>=2.4", "safetensors": "safetensors", "pydicom": "pydicom>=2.4", "SimpleITK": "SimpleITK"}
"""Module to import -> what to ask pip for."""

_NO_EXTENSION = (
    "PyTorch is not installed, or not by the extension that installs it. In the Extensions Manager install PyTorch and "
    "restart Slicer; without the internet, install from a folder of wheels."
)
TORCH_VERSION = NEEDED["torch"].removeprefix("torch")


@dataclass(frozen=True)
class Status:
    """Which of the needed packages are installed.

    Attributes:
        missing: names of missing Python packages; empty when all is ready.
        canInstallTorch: whether the extension PyTorch (PyTorchUtils) is there to install torch with.
        message: one or two sentences for the panel: what is missing, what to do.
        command: the exact command an administrator can run instead, without the internet.
    """

    missing: tuple[str, ...]
    canInstallTorch: bool
    message: str
    command: str


class Dependencies:
    """Finds out what is missing and, on request, installs it.

    Args:
        findModule: the file of a module, without importing it; None where there is none.
        makeChannel: a child process for pip; ``QtChannel`` by default.
        python: the interpreter the worker runs in; ``QtChannel.findPython()`` by default.

    Attributes:
        log: every line of the installations so far.
        isElsewhere: whether another computer computes, so that nothing is needed here.
    """

    def __init__(
        self,
        findModule: Callable[[str], str | None] | None = None,
        makeChannel: Callable[[], object] | None = None,
        python: str | None = None,
    ) -> None:
        self.log: list[str] = []
        self._findModule, self._makeChannel, self._python = findModule or _find, makeChannel, python
        self._pip: InstallProcess | None = None
        self.isElsewhere: Callable[[], bool] = lambda: False

    @property
    def busy(self) -> bool:
        """Whether an installation is running."""
        return self._pip is not None

    def status(self) -> Status:
        """Find out without importing anything, in milliseconds."""
        if os.environ.get("CLSDM_PYTHON") or self.isElsewhere():  # who computes will say itself what it lacks
            return Status((), True, "", "")
        missing = tuple(name for name in NEEDED if not self._isThere(name))
        can = self._isThere("PyTorchUtils")
        return Status(missing, can, _advice(missing, can), self.offlineCommand() if missing else "")

    def offlineCommand(self, folder: str = "WHEELS_FOLDER") -> str:
        """The exact command that installs from a folder of wheels, to be run by hand."""
        parts = [self._interpreter(), "-m", "pip", "install", "--no-index", "--find-links", folder, *self._wanted()]
        return " ".join(f'"{part}"' if " " in part or ">" in part else part for part in parts)

    def downloadCommand(self, folder: str = "WHEELS_FOLDER") -> str:
        """The command that fills that folder, on a computer with internet, the same system and the same Python."""
        wanted = " ".join(f'"{what}"' if ">" in what else what for what in self._wanted())
        return f"python -m pip download --only-binary=:all: --dest {folder} {wanted}"

    def install(self, onFinished: OnFinished, onLog: OnLog = print) -> None:
        """Install what is missing from the internet, in the background. Whoever calls this has asked the user.

        Args:
            onFinished: called with whether all is there now, and a sentence.
            onLog: called with each line.
        """
        if self._isBusy(onFinished):
            return
        commands = [["ensure", *self._rest()]] if self._rest() else []
        if not self._isThere("torch"):
            extension = self._findModule("PyTorchUtils")
            if extension is None:
                onFinished(False, self.status().message)
                return
            self._say(onLog, "Installing PyTorch with the extension PyTorch ...")
            commands = [["torch", str(Path(extension).parent), TORCH_VERSION], *commands]
        self._run(commands, onFinished, onLog, self._failed)

    def installFromFolder(self, folder: str, onFinished: OnFinished, onLog: OnLog = print) -> None:
        """Install from a folder of wheels, without the internet, in the background.

        Args:
            folder: with the wheels of torch, safetensors and what they need.
            onFinished: called with whether all is there now, and a sentence.
            onLog: called with each line of pip.
        """
        if self._isBusy(onFinished):
            return
        if not any(Path(folder).glob("*.whl")):
            onFinished(
                False, f"There are no wheels (*.whl) in this folder. Fill it with: {self.downloadCommand(folder)}"
            )
            return
        command = ["wheels", folder, *self._wanted()]
        self._run([command], onFinished, onLog, lambda reason: f"pip could not install from this folder: {reason}")

    def versions(self) -> str:
        """Installed versions, in a line; "" where the worker runs in another Python."""
        if os.environ.get("CLSDM_PYTHON"):
            return ""
        return ", ".join(f"{name} {version}" for name in NEEDED if (version := _version(name)))

    def reinstall(self, onFinished: OnFinished, onLog: OnLog = print) -> None:
        """Install PyTorch, as it fits this computer today, and safetensors anew; Slicer's own packages stay.

        The worker must have ended before: what it has loaded cannot be replaced everywhere. Arguments as for :meth:`install`.
        """
        if self._isBusy(onFinished):
            return
        extension = self._findModule("PyTorchUtils")
        if extension is None:
            onFinished(False, _NO_EXTENSION)
            return
        torch = ["torch", str(Path(extension).parent), TORCH_VERSION]  # it chooses anew only where there is none
        commands = [["remove", "torch", "torchvision"], torch, ["upgrade", NEEDED["safetensors"]]]
        self._run(commands, onFinished, onLog, self._failed)

    def cancel(self) -> None:
        """Stop a running installation."""
        if self._pip is not None:
            self._pip.cancel()

    def _isBusy(self, onFinished: OnFinished) -> bool:
        """Two at once, also of Slicer's own, would damage each other's work."""
        busy = self.busy or _slicerInstalls()
        if busy:
            onFinished(False, "An installation is running already.")
        return busy

    def _run(
        self, commands: list[list[str]], onFinished: OnFinished, onLog: OnLog, failed: Callable[[str], str]
    ) -> None:
        def ended(problem: str) -> None:
            pip, self._pip = self._pip, None
            if problem == "cancelled":
                onFinished(False, "The installation was cancelled.")
            elif problem:
                onFinished(False, failed(problem))
            else:
                self._finish(onFinished, pip.lastLine)

        if self._makeChannel is None:
            from CLSDMReconstructionLib.base.QtChannel import QtChannel

            self._makeChannel = QtChannel
        self._pip = InstallProcess(self._makeChannel, self._interpreter(), lambda line: self._say(onLog, line), ended)
        self._pip.start(commands)

    def _failed(self, reason: str) -> str:
        return f"The installation failed ({reason}). The log says more; by hand: {self.offlineCommand()}"

    def _isThere(self, name: str) -> bool:
        return self._findModule(name) is not None

    def _finish(self, onFinished: OnFinished, lastLine: str) -> None:
        """Look whether all is there: light-the-torch ends with code 0 also when it fails."""
        importlib.invalidate_caches()
        missing = ", ".join(self.status().missing)
        onFinished(
            not missing, f"Still missing: {missing}. {lastLine}".strip() if missing else "Everything is installed."
        )

    def _rest(self) -> list[str]:
        return [NEEDED[name] for name in NEEDED if name != "torch" and not self._isThere(name)]

    def _wanted(self) -> list[str]:
        return [NEEDED[name] for name in NEEDED if not self._isThere(name)] or [NEEDED["torch"], NEEDED["safetensors"]]

    def _interpreter(self) -> str:
        if self._python is None:
            from CLSDMReconstructionLib.base.QtChannel import findPython

            self._python = findPython()
        return self._python

    def _say(self, onLog: OnLog, line: str) -> None:
        self.log.append(line)
        onLog(line)


def _find(name: str) -> str | None:
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        return importlib.util.find_spec(name).origin
    return None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _advice(missing: tuple[str, ...], canInstallTorch: bool) -> str:
    if not missing:
        return ""
    if "torch" in missing and not canInstallTorch:
        return _NO_EXTENSION
    names = ", ".join("PyTorch" if name == "torch" else name for name in missing)
    return f"{names} must be installed once before the first reconstruction (up to 3 GB of download)."


def _slicerInstalls() -> bool:
    """Whether Slicer is installing something for somebody else."""
    with contextlib.suppress(ImportError, AttributeError):  # Slicer 5.10 has no such module
        from slicer.packaging import isPipInstallInProgress

        return bool(isPipInstallInProgress())
    return False
