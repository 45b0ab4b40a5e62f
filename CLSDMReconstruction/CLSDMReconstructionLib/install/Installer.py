"""A script: installs packages into the Python that runs it, which is PythonSlicer's, while Slicer itself goes on.

``python Installer.py CONSTRAINTS torch FOLDER REQUIREMENT``
    by PyTorchUtils of the extension PyTorch, which lies in that folder: it chooses the build that fits the GPU's driver.
``python Installer.py CONSTRAINTS ensure REQUIREMENT ...``
    by Slicer's ``pip_ensure``.
``python Installer.py CONSTRAINTS remove NAME ...`` and ``python Installer.py CONSTRAINTS upgrade REQUIREMENT ...``
    by pip, for what is there already.
``python Installer.py CONSTRAINTS wheels FOLDER REQUIREMENT ...``
    by pip, from a folder and nowhere else.

PyTorchUtils and ``pip_ensure`` wait for what they run, and PyTorchUtils imports torch in the end: in Slicer that stops the
window for minutes. All is done in this one process, which ends when its standard input closes: of what it started as
another, Slicer could only kill the launcher in between.
"""

import importlib
import os
import runpy
import subprocess
import sys
import threading
import types
from pathlib import Path

STOPPED = 9
"""Exit code when standard input closed."""


def main(constraints: str, command: str, *arguments: str) -> None:
    """Do what the command line says.

    Raises:
        subprocess.CalledProcessError: if pip fails.
        Exception: whatever else PyTorchUtils raises.
    """
    _endWithInput()
    own = Path(__file__).resolve().parent  # its names are not for pip
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != own]
    theirs = os.environ.get("PIP_CONSTRAINT", "")
    os.environ["PIP_CONSTRAINT"] = f"{Path(constraints).as_uri()} {theirs}".strip()  # blanks stand between two
    commands = {"torch": installTorch, "remove": remove, "ensure": ensure, "upgrade": upgrade, "wheels": installWheels}
    commands[command](*arguments)


def installTorch(folder: str, requirement: str) -> None:
    """By PyTorchUtils: its module asks for Slicer's window when it is imported, what installs does not."""
    for name in ("qt", "ctk"):
        sys.modules[name] = types.ModuleType(name)
    sys.path.append(folder)
    _useThisProcess()
    from PyTorchUtils import PyTorchUtilsLogic

    PyTorchUtilsLogic().installTorch(torchVersionRequirement=requirement)


def remove(*names: str) -> None:
    """By pip; what is not there is passed over."""
    runModule("pip", ["uninstall", "--yes", *names])


def upgrade(*requirements: str) -> None:
    """By pip, to the newest that the constraints allow."""
    runModule("pip", ["install", "--upgrade", *requirements])


def ensure(*requirements: str) -> None:
    """By ``pip_ensure``; by pip where there is none: in Slicer 5.10, and in a Python that is not Slicer's."""
    try:
        _useThisProcess()
        from slicer.packaging import pip_ensure
    except ImportError:
        runModule("pip", ["install", *requirements])
    else:
        pip_ensure(list(requirements))  # asks nothing: only Slicer's own process has a window for that


def installWheels(folder: str, *requirements: str) -> None:
    """By pip, without the internet."""
    runModule("pip", ["install", "--no-index", "--find-links", folder, *requirements])


def runModule(module: str, arguments: list[str], *_args: object, **_options: object) -> None:
    """``slicer.util.executePythonModule``, in this process."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise subprocess.CalledProcessError(end.code if isinstance(end.code, int) else 1, [module]) from None
    finally:
        importlib.invalidate_caches()


def _useThisProcess() -> None:
    import slicer.util

    slicer.util.executePythonModule = slicer.util._executePythonModule = runModule


def _endWithInput() -> None:
    """Watch standard input. What is started from here gets an empty one: on Windows a process waits for a pipe being read."""
    watched = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def watch() -> None:
        while os.read(watched, 65536):
            pass
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as problem:  # pip has said why
        sys.exit(str(problem))
