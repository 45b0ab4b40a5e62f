"""A worker played by a test: what it is told is remembered, what it answers is said by the test."""

from __future__ import annotations

import json


class FakeChannel:
    """See ``InferenceProcess.Channel``."""

    made: list[FakeChannel] = []

    def __init__(self) -> None:
        self.onOutput = self.onErrors = lambda data: None
        self.onFinished = lambda code, crashed: None
        self.processId = 1000 + len(self.made)
        self.told: list[dict] = []
        self.calls: list[str] = []
        self.ended = False
        self.refuses = False
        FakeChannel.made.append(self)

    def start(self, program: str, arguments: list[str], folder: str) -> None:
        self.calls.append("start")
        self.program, self.arguments, self.folder = program, arguments, folder

    def write(self, data: bytes) -> None:
        self.told += [json.loads(line) for line in data.splitlines()]

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
        self.say(id=self.told[-1]["id"], **answer)
