"""Fakes of what tests of the module answer for themselves: the worker, the logic, the dependencies, the DICOM database."""

from __future__ import annotations

import json
import time
import unittest

import slicer

from CLSDMReconstruction import CLSDMReconstructionLogic
from CLSDMReconstructionLib.install.Dependencies import Status
from CLSDMReconstructionLib.Logic import ReconstructionLogic
from CLSDMReconstructionLib.worker.InferenceProcess import InferenceProcess
from CLSDMReconstructionLib.worker.Runs import ReconstructionError, Run


class FakeChannel:
    """A worker's child process, see ``InferenceProcess.Channel``; ``requests`` keeps what it was sent."""

    made: list[FakeChannel] = []

    def __init__(self) -> None:
        self.onOutput = self.onErrors = lambda data: None
        self.onFinished = lambda code, crashed: None
        self.processId = 1000 + len(self.made)
        self.requests: list[dict] = []
        self.calls: list[str] = []
        self.ended = False
        self.refuses = False
        FakeChannel.made.append(self)

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        self.calls.append("start")
        self.program, self.arguments, self.folder = program, arguments, folder

    def write(self, data: bytes) -> None:
        self.requests += [json.loads(line) for line in data.splitlines()]

    def closeInput(self) -> None:
        self.calls.append("closeInput")

    def terminate(self) -> None:
        self.calls.append("terminate")

    def kill(self) -> None:
        self.calls.append("kill")
        self.end(9, True)

    def wait(self, milliseconds: int) -> bool:
        if not self.refuses:
            self.end(0, False)
        return self.ended

    def end(self, code: int, crashed: bool = False) -> None:
        if not self.ended:
            self.ended = True
            self.onFinished(code, crashed)

    def say(self, **answer: object) -> None:
        self.onOutput(json.dumps(answer).encode() + b"\n")

    def answer(self, **answer: object) -> None:
        """Answer the last request."""
        self.say(id=self.requests[-1]["id"], **answer)


class FakeWorkerCase(unittest.TestCase):
    """Starts with an empty scene and a logic whose worker is a :class:`FakeChannel`."""

    def setUp(self) -> None:
        FakeChannel.made = []
        slicer.mrmlScene.Clear(0)
        workers = [InferenceProcess(FakeChannel, python="python", later=lambda *_: None) for _ in range(2)]
        self.logic = ReconstructionLogic(workers[0], batchWorker=workers[1])
        self.addCleanup(self.logic.cleanup)


class FakeDependencies:
    """Everything is installed, or what a test names in ``missing`` is not."""

    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()
        self.canInstallTorch = True
        self.calls: list[str] = []

    def status(self) -> Status:
        return Status(
            self.missing, self.canInstallTorch, "PyTorch is missing." if self.missing else "", "python -m pip install …"
        )

    def install(self, onFinished, onLog=print) -> None:
        self.calls.append("install")
        self.onFinished, self.onLog = onFinished, onLog

    def installFromFolder(self, folder, onFinished, onLog=print) -> None:
        self.calls.append(folder)
        self.onFinished, self.onLog = onFinished, onLog

    def versions(self) -> str:
        return "torch 2.13.0, safetensors 0.6"

    def reinstall(self, onFinished, onLog=print) -> None:
        self.calls.append("reinstall")
        self.onFinished, self.onLog = onFinished, onLog

    def cancel(self) -> None:
        self.calls.append("cancel")


class FakeLogic(CLSDMReconstructionLogic):
    """The module's logic without a worker: ``runs`` keeps the runs with their ``arguments``, to be finished by a test."""

    def __init__(self) -> None:
        super().__init__(dependencies=FakeDependencies())
        self.runs: list[Run] = []
        self.previews: list[Run] = []

    def _start(self, task: str, **arguments) -> Run:
        callbacks = {name: arguments.pop(name) for name in list(arguments) if name.startswith("on")}
        run = Run(task, arguments.get("product", task), **callbacks)
        run.arguments = arguments
        run.stop = lambda: run.fail(ReconstructionError("cancelled", "Cancelled."))
        (self._batchKeeper if task == "reconstruct_many" else self._keeper)._runs.append(run)
        (self.previews if task == "preview" else self.runs).append(run)
        return run

    def reconstruct(self, frontal=None, lateral=None, **arguments) -> Run:
        return self._start("reconstruct", frontal=frontal, lateral=lateral, **arguments)

    def reconstructMany(self, pairs, folder, **arguments) -> Run:
        return self._start("reconstruct_many", pairs=pairs, folder=folder, **arguments)

    def simulate(self, ctNode, preset="chest", angles=(0.0, 90.0), **arguments) -> Run:
        return self._start("simulate", ct=ctNode, preset=preset, angles=angles, **arguments)

    def compare(self, reconstructionNode, truthNode, **arguments) -> Run:
        return self._start("compare", reconstruction=reconstructionNode, truth=truthNode, **arguments)

    def fromOthers(self, reconstructionNode, **arguments) -> Run:
        return self._start("fixed", reconstruction=reconstructionNode, **arguments)

    def preview(self, xrayInput, **arguments) -> Run:
        return self._start("preview", xray=xrayInput, **arguments)

    def hello(self, **arguments) -> Run:
        return self._start("hello", **arguments)

    def warm(self, *rest, **arguments) -> Run:
        return Run("hello")

    def inspectModel(self, source, **arguments) -> Run:
        return self._start("bundle", source=source, **arguments)

    def fetchIndex(self, url, **arguments) -> Run:
        return self._start("index", url=url, **arguments)

    def addModel(self, model, **arguments) -> Run:
        return self._start("install", model=model, **arguments)


class FakeDatabase:
    """ctkDICOMDatabase with one patient.

    Args:
        studies: for each study its date and its series, each with its modality and its files; by default two studies of
            X-rays and a CT.
        delayS: which every question takes.
    """

    isOpen = True
    STUDIES = {
        "old": ("2020-01-01", {"a": ("DX", ["a.dcm"])}),
        "new": ("2024-01-01", {"ct": ("CT", ["ct.dcm"]), "b": ("CR", ["pa.dcm", "lateral.dcm"])}),
    }

    def __init__(self, studies: dict | None = None, delayS: float = 0.0) -> None:
        self.studies, self._delayS = studies or self.STUDIES, delayS
        self.series = {name: one for _, series in self.studies.values() for name, one in series.items()}
        self.questions = 0

    def _answer(self, value):
        self.questions += 1
        time.sleep(self._delayS)
        return value

    def patients(self) -> list[str]:
        return self._answer(["1"])

    def studiesForPatient(self, patient: str) -> list[str]:
        return self._answer(list(self.studies))

    def seriesForStudy(self, study: str) -> list[str]:
        return self._answer(list(self.studies[study][1]))

    def filesForSeries(self, series: str) -> list[str]:
        return self._answer(self.series[series][1])

    def fileForInstance(self, uid: str) -> str:
        return self._answer(uid if any(uid in files for _, files in self.series.values()) else "")

    def seriesForFile(self, path: str) -> str:
        return self._answer(next(name for name, (_, files) in self.series.items() if path in files))

    def studyForSeries(self, series: str) -> str:
        return self._answer(next(name for name, (_, found) in self.studies.items() if series in found))

    def fieldForPatient(self, field: str, patient: str) -> str:
        return self._answer({"PatientsName": "Meier^Anna", "PatientID": "4711"}[field])

    def fieldForStudy(self, field: str, study: str) -> str:
        """Of "2024-01-01 10:30:00" the time is what follows the date."""
        date, _, time = self.studies[study][0].partition(" ")
        return self._answer({"StudyDate": date, "StudyTime": time}[field])

    def fieldForSeries(self, field: str, series: str) -> str:
        return self._answer(self.series[series][0] if field == "Modality" else "CHEST")

    def fileValue(self, path: str, tag: str) -> str:
        return self._answer({"pa.dcm": "PA", "lateral.dcm": "LL"}.get(path, ""))
