"""InferenceProcess: one warm worker, one job after the other, and never an orphan."""

import os
import re
import signal
import sys
import unittest
from pathlib import Path
from unittest import mock

from fakes import FakeChannel
from real_worker import OwnTemporaries, alive, leftovers, smallCase
from scene_case import LIMIT_S, waitFor

from CLSDMReconstructionLib.base.QtChannel import findPython
from CLSDMReconstructionLib.worker.InferenceProcess import GRACE_MS, InferenceProcess


class Later:
    """Time that a test lets pass."""

    def __init__(self) -> None:
        self.due: list[tuple[int, object]] = []

    def __call__(self, milliseconds: int, function: object) -> None:
        self.due.append((milliseconds, function))

    def passes(self) -> None:
        due, self.due = self.due, []
        for _, function in due:
            function()


class FakeWorkerTest(unittest.TestCase):
    """With a fake worker."""

    def setUp(self) -> None:
        FakeChannel.made = []
        self.later, self.ended, self.heard, self.lines, self.loads = Later(), [], [], [], []
        self.process = InferenceProcess(FakeChannel, python="python", later=self.later)
        self.addCleanup(self.process.stop)

    def submit(self, task: str = "reconstruct", **payload):
        return self.process.submit(
            task,
            payload,
            onProgress=lambda *step: self.heard.append(step),
            onLog=self.lines.append,
            onDone=self.ended.append,
            onLoad=self.loads.append,
        )

    @property
    def channel(self) -> FakeChannel:
        return FakeChannel.made[-1]

    def test_nothing_starts_before_it_is_needed(self) -> None:
        assert not self.process.isRunning
        assert FakeChannel.made == []

    def test_a_request_is_one_line_and_its_answers_find_their_job(self) -> None:
        job = self.submit(views=[1])
        assert self.channel.requests == [{"id": job.number, "task": "reconstruct", "views": [1]}]
        self.channel.answer(stage="sample", i=1, n=4)
        self.channel.answer(log="a line")
        self.channel.answer(stage="sample", i=1, n=4, load={"processors": 0.5})
        self.channel.answer(result={"x": 1})
        assert self.heard == [("start", 0, 1), ("sample", 1, 4), ("sample", 1, 4)]
        assert self.loads == [{"processors": 0.5}]
        assert self.lines == ["a line"]
        assert (job.state, job.result) == ("finished", {"x": 1})
        assert self.ended == [job]

    def test_answers_may_come_in_pieces(self) -> None:
        job = self.submit()
        text = f'{{"id": {job.number}, "result": {{}}}}\n'.encode()
        for at in range(len(text)):
            self.channel.onOutput(text[at : at + 1])
        assert job.state == "finished"

    def test_jobs_wait_for_each_other_and_share_a_worker(self) -> None:
        first, second = self.submit(), self.submit("preview")
        assert (first.state, second.state) == ("running", "waiting")
        assert len(self.channel.requests) == 1
        self.channel.answer(result={})
        assert second.state == "running"
        assert len(FakeChannel.made) == 1

    def test_an_error_ends_its_job_and_no_other(self) -> None:
        first, second = self.submit(), self.submit()
        self.channel.answer(error={"kind": "input", "message": "no", "details": ""})
        assert (first.state, first.failure["kind"]) == ("failed", "input")
        assert second.state == "running"

    def test_cancelling_asks_then_kills_and_the_next_job_gets_a_fresh_worker(self) -> None:
        first, second = self.submit(), self.submit()
        old = self.channel
        old.say(pid=old.processId, protocol=1)
        self.process.cancel(first)
        assert (first.state, second.state) == ("cancelled", "running")
        assert old.calls == ["start", "closeInput", "terminate"]
        assert self.channel is not old
        assert [milliseconds for milliseconds, _ in self.later.due] == [GRACE_MS]
        old.say(id=first.number, result={})
        assert self.ended == [first]
        self.later.passes()
        assert "kill" in old.calls
        assert not Path(old.folder).exists()
        assert Path(self.channel.folder).exists()

    def test_a_worker_that_went_when_asked_is_not_killed(self) -> None:
        self.process.cancel(self.submit())
        self.channel.end(0)
        self.later.passes()
        assert "kill" not in self.channel.calls

    def test_a_waiting_job_is_taken_back_without_a_word_to_the_worker(self) -> None:
        self.submit()
        second = self.submit()
        self.process.cancel(second)
        assert second.state == "cancelled"
        assert self.channel.calls == ["start"]

    def test_a_crash_fails_the_job_with_the_last_lines_and_others_go_on(self) -> None:
        first, second = self.submit(), self.submit()
        old = self.channel
        old.say(pid=old.processId, protocol=1)
        old.onErrors(b"Segmentation fault\n")
        old.end(139, True)
        assert (first.state, first.failure["kind"]) == ("failed", "crash")
        assert "Segmentation fault" in first.failure["details"]
        assert not Path(old.folder).exists()
        assert second.state == "running"
        assert self.channel is not old

    def test_a_worker_whose_idle_time_was_over_is_replaced_unnoticed(self) -> None:
        job = self.submit()
        old = self.channel
        old.end(0)
        assert job.state == "running"
        assert self.channel is not old
        self.channel.end(0)
        assert job.failure["kind"] == "start"

    def test_going_idle_leaves_nothing(self) -> None:
        self.submit()
        self.channel.answer(result={})
        self.channel.end(0)
        assert not self.process.isRunning
        assert not Path(self.channel.folder).exists()

    def test_stopping_leaves_no_process_even_if_it_does_not_want_to_go(self) -> None:
        job = self.submit()
        self.channel.refuses = True
        self.process.stop()
        assert job.state == "cancelled"
        assert self.channel.calls[-1] == "kill"
        assert not Path(self.channel.folder).exists()

    def test_the_worker_behind_a_launcher_is_killed_too(self) -> None:
        killed = []
        with mock.patch("os.kill", lambda pid, how: killed.append(pid)):
            self.submit()
            self.channel.say(pid=77, protocol=1)
            assert self.process.processId == 77
            self.channel.refuses = True
            self.process.stop()
        assert killed == [77]
        assert "terminate" not in self.channel.calls  # it would go and leave its child behind
        assert self.process.processId == 0

    def test_the_folder_names_nobody(self) -> None:
        self.submit()
        assert re.search(r"^clsdm-[a-z0-9_]+$", Path(self.channel.folder).name)

    def test_a_callback_that_raises_does_not_stop_the_others(self) -> None:
        def broken(job) -> None:
            raise RuntimeError("of the caller")

        self.process.submit("hello", {}, onDone=broken)
        second = self.submit()
        with self.assertRaises(RuntimeError):
            self.channel.answer(result={})
        self.channel.answer(result={})
        assert second.state == "finished"


class RealWorkerTest(OwnTemporaries):
    """With the real one."""

    def setUp(self) -> None:
        self.before = leftovers()
        self.process = InferenceProcess()
        self.addCleanup(self.process.stop)

    def tearDown(self) -> None:
        self.process.stop()
        assert leftovers() == self.before

    def done(self, task: str, **payload):
        job = self.process.submit(task, payload)
        waitFor(lambda: job.state not in ("waiting", "running"))
        return job

    def reconstruct(self):
        views = [{"file": str(smallCase() / f"{name}.dcm")} for name in ("frontal", "lateral")]
        return {"views": views, "bundle": str(smallCase() / "bundle"), "options": {"device": "cpu"}}

    def sampling(self):
        """A job in the middle of a long reconstruction."""
        asked, started = self.reconstruct(), []
        asked["options"] |= {"product": "ensemble", "samples": 1000}
        job = self.process.submit("reconstruct", asked, onProgress=lambda *step: started.append(step))
        waitFor(lambda: any(step[0] == "sample" for step in started))
        return job

    def pid(self) -> int:
        return self.process.processId

    def test_it_greets_and_stays_warm(self) -> None:
        hello = self.done("hello")
        assert hello.result["devices"][0]["name"] == "cpu"
        pid = self.pid()
        assert self.done("reconstruct", **self.reconstruct()).state == "finished"
        assert self.pid() == pid

    def test_cancelling_ends_the_process_and_the_next_job_works(self) -> None:
        self.done("hello")
        pid = self.pid()
        job = self.sampling()
        self.process.cancel(job)
        assert job.state == "cancelled"
        waitFor(lambda: not alive(pid), 10.0)
        assert self.done("hello").state == "finished"

    @unittest.skipIf(sys.platform == "win32", "signals")
    def test_killing_it_from_outside_is_noticed_and_the_next_job_works(self) -> None:
        self.done("hello")
        job = self.sampling()
        os.kill(self.pid(), signal.SIGKILL)
        waitFor(lambda: job.state == "failed")
        assert job.failure["kind"] == "crash"
        assert self.done("hello").state == "finished"

    def test_an_interpreter_that_is_not_there_is_reported(self) -> None:
        process = InferenceProcess(python=str(smallCase() / "no_python_here"))
        job = process.submit("hello", {})
        waitFor(lambda: job.state == "failed")
        assert job.failure["kind"] == "start"
        assert "cannot be started" in job.failure["details"]

    def test_two_at_once_do_not_meet(self) -> None:
        other = InferenceProcess(python=findPython())
        try:
            jobs = [each.submit("reconstruct", self.reconstruct()) for each in (self.process, other)]
            waitFor(lambda: all(job.state == "finished" for job in jobs), 2 * LIMIT_S)
            assert self.process.folder != other.folder
        finally:
            other.stop()

    def test_an_idle_worker_goes_and_comes_again(self) -> None:
        self.process.stop()
        self.process = InferenceProcess(idleSeconds=0.3)
        assert self.done("hello").state == "finished"
        waitFor(lambda: not self.process.isRunning, 10.0)
        assert self.done("hello").state == "finished"
