"""A child process with its three streams, on Qt's QProcess: the worker's, and pip's."""

import os
import shutil
import sys
from pathlib import Path

import qt
import slicer

QUIT_MS = 2000


class QtChannel:
    """See ``InferenceProcess.Channel``.

    Attributes:
        onOutput: called with bytes from standard output.
        onErrors: called with bytes from standard error.
        onFinished: called once with the exit code and whether the process crashed, was killed or did not start.
    """

    def __init__(self) -> None:
        self.onOutput = self.onErrors = lambda data: None
        self.onFinished = lambda code, crashed: None
        self._ended = False
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._readOutput)
        self._process.connect("readyReadStandardError()", self._readErrors)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onError)

    @property
    def processId(self) -> int:
        """Of the process that was started; with Slicer's launcher in between, the worker's own is another."""
        return int(self._process.processId())

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        """Start in ``folder`` and return at once."""
        slicer.app.connect("aboutToQuit()", self._onQuit)
        self._process.setWorkingDirectory(folder)
        if usesOtherPython():
            self._process.setProcessEnvironment(slicer.app.startupEnvironment())
        self._process.start(program, arguments)

    def write(self, data: bytes) -> None:
        """Send to standard input."""
        self._process.write(data)

    def closeInput(self) -> None:
        """Close standard input once everything is sent."""
        self._process.closeWriteChannel()

    def terminate(self) -> None:
        """Ask it to end; without effect on Windows, where a console program cannot be asked."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def wait(self, milliseconds: int) -> bool:
        """Whether it has ended, at most after this time."""
        return self._ended or bool(self._process.waitForFinished(milliseconds)) or self._ended

    def _readOutput(self) -> None:
        data = self._process.readAllStandardOutput().data()
        if data:
            self.onOutput(data)

    def _readErrors(self) -> None:
        data = self._process.readAllStandardError().data()
        if data:
            self.onErrors(data)

    def _onQuit(self) -> None:
        self.closeInput()
        if not self.wait(QUIT_MS):
            self.kill()

    def _onFinished(self, code, status) -> None:
        self._readOutput()
        self._readErrors()
        self._end(code, status == qt.QProcess.CrashExit)

    def _onError(self, error) -> None:
        if error == qt.QProcess.FailedToStart:
            self.onErrors(f"cannot be started: {self._process.errorString()}\n".encode())
            self._end(-1, True)

    def _end(self, code: int, crashed: bool) -> None:
        if not self._ended:
            self._ended = True
            slicer.app.disconnect("aboutToQuit()", self._onQuit)
            self._process.deleteLater()  # with its connections, which hold this object as it holds the process
            self.onFinished(code, crashed)


def findPython() -> str:
    """The Python that the worker runs in: CLSDM_PYTHON, Slicer's own PythonSlicer, or the one that runs this."""
    if usesOtherPython():
        return os.environ["CLSDM_PYTHON"]
    return shutil.which("PythonSlicer") or _besideSlicer() or _ownPython()


def usesOtherPython() -> bool:
    """Whether CLSDM_PYTHON names a Python that is not Slicer's.

    It has to start without what Slicer's launcher sets for Slicer's own (PYTHONHOME, library paths); with
    ``subprocess``, by ``env=slicer.util.startupEnvironment()``.
    """
    return bool(os.environ.get("CLSDM_PYTHON"))


def _besideSlicer() -> str | None:
    home = getattr(slicer.app, "slicerHome", None)
    return shutil.which("PythonSlicer", path=f"{home}/bin") if home else None


def _ownPython() -> str:
    """Of a Slicer without PythonSlicer (built upon the system's Python): ``sys.executable`` is then empty, or Slicer."""
    if "python" in Path(sys.executable or "").name.lower():
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return shutil.which(name, path=f"{sys.base_prefix}/bin") or shutil.which(name) or "PythonSlicer"
