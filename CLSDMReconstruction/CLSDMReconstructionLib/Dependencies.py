"""What must be installed before the first reconstruction: torch (by the extension PyTorch) and safetensors.

Nothing is installed, downloaded or imported without a click, and whether something is there is found out without
importing it. Slicer's own packages are never replaced: a torch that would need another numpy is refused by pip.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OnFinished = Callable[[bool, str], None]
OnLog = Callable[[str], None]

NEEDED = {"torch": "torch>=2.4", "safetensors": "safetensors", "pydicom": "pydicom>=2.4", "SimpleITK": "SimpleITK"}
"""Module to import -> what to ask pip for."""

KEPT = ("numpy", "SimpleITK", "requests", "pydicom", "vtk")
"""Slicer's own; never replaced."""


@dataclass(frozen=True)
class Status:
    """What is there.

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
        isThere: whether a module can be found, without importing it.
        makeChannel: a child process for pip; ``QtChannel`` by default.
        python: the interpreter the worker runs in; ``QtChannel.findPython()`` by default.

    Attributes:
        log: every line of the installations so far.
    """

    def __init__(
        self,
        isThere: Callable[[str], bool] | None = None,
        makeChannel: Callable[[], object] | None = None,
        python: str | None = None,
    ) -> None:
        self.log: list[str] = []
        self._isThere, self._makeChannel, self._python = isThere or _found, makeChannel, python
        self._channel = None
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether an installation is running."""
        return self._channel is not None

    def status(self) -> Status:
        """What is missing, without importing anything; milliseconds."""
        if os.environ.get("CLSDM_PYTHON"):  # the worker runs elsewhere, and will say itself what it lacks
            return Status((), True, "", "")
        missing = tuple(name for name in NEEDED if not self._isThere(name))
        can = self._isThere("PyTorchUtils")
        return Status(missing, can, _advice(missing, can), self.offlineCommand() if missing else "")

    def offlineCommand(self, folder: str = "WHEELS_FOLDER") -> str:
        """The exact command that installs from a folder of wheels, to be run by hand."""
        return " ".join(f'"{part}"' if " " in part or ">" in part else part for part in self._command(folder))

    def downloadCommand(self, folder: str = "WHEELS_FOLDER") -> str:
        """The command that fills that folder, on a computer with internet, the same system and the same Python."""
        wanted = " ".join(f'"{what}"' if ">" in what else what for what in self._wanted())
        return f"python -m pip download --only-binary=:all: --dest {folder} {wanted}"

    def install(self, onFinished: OnFinished, onLog: OnLog = print) -> None:
        """Install what is missing from the internet, torch through PyTorchUtils. Whoever calls this has asked the user.

        Args:
            onFinished: called with whether all is there now, and a sentence.
            onLog: called with each line.
        """
        try:
            if not self._isThere("torch"):
                self._say(onLog, "Installing PyTorch with the extension PyTorch ...")
                if not _installTorch():
                    onFinished(False, "PyTorch was not installed: the extension PyTorch did not succeed.")
                    return
            rest = [NEEDED[name] for name in NEEDED if name != "torch" and not self._isThere(name)]
            if rest:
                self._say(onLog, f"Installing {', '.join(rest)} ...")
                _pipInstall(rest)
        except Exception as error:  # noqa: BLE001 - pip, ltt and the network fail in every way there is
            self._say(onLog, f"{type(error).__name__}: {error}")
            onFinished(
                False,
                f"The installation failed ({_lastLine(error)}). The log says more; by hand: {self.offlineCommand()}",
            )
            return
        self._finish(onFinished)

    def installFromFolder(self, folder: str, onFinished: OnFinished, onLog: OnLog = print) -> None:
        """Install from a folder of wheels, without the internet, in a process of its own.

        Args:
            folder: with the wheels of torch, safetensors and what they need.
            onFinished: called with whether all is there now, and a sentence.
            onLog: called with each line of pip.
        """
        if self.busy:
            onFinished(False, "An installation is running already.")
            return
        if not any(Path(folder).glob("*.whl")):
            onFinished(
                False, f"There are no wheels (*.whl) in this folder. Fill it with: {self.downloadCommand(folder)}"
            )
            return
        if self._makeChannel is None:
            from .QtChannel import QtChannel

            self._makeChannel = QtChannel
        constraints = _constraintsFile()
        channel = self._channel = self._makeChannel()
        self._stopped = False
        channel.onOutput = channel.onErrors = lambda data: self._sayLines(onLog, data)
        channel.onFinished = lambda code, crashed: self._pipEnded(code, crashed, constraints, onFinished)
        python, *arguments = self._command(folder)
        channel.start(python, [*arguments, "--constraint", str(constraints)], folder)
        channel.closeInput()

    def cancel(self) -> None:
        """Stop a running installation."""
        if self._channel is not None:
            self._stopped = True
            self._channel.kill()

    def _pipEnded(self, code: int, crashed: bool, constraints: Path, onFinished: OnFinished) -> None:
        self._channel = None
        constraints.unlink(missing_ok=True)
        if self._stopped:
            onFinished(False, "The installation was cancelled.")
        elif crashed or code != 0:
            last = self.log[-1] if self.log else f"code {code}"
            onFinished(False, f"pip could not install from this folder: {last}")
        else:
            self._finish(onFinished)

    def _finish(self, onFinished: OnFinished) -> None:
        importlib.invalidate_caches()
        missing = self.status().missing
        onFinished(not missing, f"Still missing: {', '.join(missing)}." if missing else "Everything is installed.")

    def _wanted(self) -> list[str]:
        return [NEEDED[name] for name in NEEDED if not self._isThere(name)] or [NEEDED["torch"], NEEDED["safetensors"]]

    def _command(self, folder: str) -> list[str]:
        if self._python is None:
            from .QtChannel import findPython

            self._python = findPython()
        return [self._python, "-m", "pip", "install", "--no-index", "--find-links", folder, *self._wanted()]

    def _say(self, onLog: OnLog, line: str) -> None:
        self.log.append(line)
        onLog(line)

    def _sayLines(self, onLog: OnLog, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._say(onLog, line)


def _found(name: str) -> bool:
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(name) is not None
    return False


def _advice(missing: tuple[str, ...], canInstallTorch: bool) -> str:
    if not missing:
        return ""
    if "torch" in missing and not canInstallTorch:
        return (
            "PyTorch is not installed, nor is the extension that installs it. In the Extensions Manager install "
            "PyTorch and restart Slicer; without the internet, install from a folder of wheels."
        )
    names = ", ".join("PyTorch" if name == "torch" else name for name in missing)
    return f"{names} must be installed once before the first reconstruction (up to 3 GB of download)."


def _installTorch() -> bool:
    """By the extension, which chooses the build that fits the GPU's driver; the user has agreed already."""
    import PyTorchUtils

    install = PyTorchUtils.PyTorchUtilsLogic().installTorch
    return install(**_taken(install, askConfirmation=False, torchVersionRequirement=">=2.4")) is not None


def _taken(function: Callable, **options: object) -> dict[str, object]:
    """Those of the options that this version of a function takes."""
    known = inspect.signature(function).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    return {name: value for name, value in options.items() if anything or name in known}


def _pipInstall(requirements: list[str]) -> None:
    import slicer

    with contextlib.suppress(ImportError):  # no attribute of slicer before somebody imports it
        from slicer.packaging import pip_ensure

        pip_ensure(requirements, **_taken(pip_ensure, prompt_install=False, requester="CLS-DM Reconstruction"))
        return
    for each in requirements:  # Slicer 5.10
        slicer.util.pip_install(f"--no-deps {each}")


def _constraintsFile() -> Path:
    """A file that tells pip to keep Slicer's own packages as they are."""
    lines = []
    for name in KEPT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
    descriptor, path = tempfile.mkstemp(prefix="clsdm-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)
    return Path(path)


def _lastLine(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
