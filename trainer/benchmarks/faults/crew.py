"""Processes that judge damaged inputs one after the other, each within its memory and its time.

A judge that hangs or dies costs the input it was at; the next gets a new process. Memory: each process may take 2 GB of
address space beyond what it has when it starts to judge (where the system can limit that).
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S, PATIENCE_S = 10.0, 300.0
"""For judging an input, after which it counts as a hang, and for making it before. Of a process that computes its own seconds
count, not those that others had the processor; of one that waits, those of the clock."""
LIMIT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Judgement:
    """The fate of one damaged input."""

    kind: str
    number: int
    column: str
    how: str
    said: str
    seconds: float


def judged(cases: Iterable[tuple[str, int]], workers: int = 1) -> Iterator[Judgement]:
    """Judge inputs by kind and number, in the order in which they are done."""
    waiting = iter(cases)
    crew = [Worker() for _ in range(workers)]
    try:
        busy = [worker for worker in crew if worker.take(next(waiting, None))]
        while busy:
            wait([worker.pipe for worker in busy], timeout=0.5)
            for worker in list(busy):
                judgement = worker.done()
                if judgement is None:
                    continue
                yield judgement
                if not worker.take(next(waiting, None)):
                    busy.remove(worker)
    finally:
        for worker in crew:
            worker.end()


class Worker:
    """One process, restarted when it has to be."""

    def __init__(self) -> None:
        self.case: tuple[str, int] | None = None
        self._start()

    def _start(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="faults-")
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._scratch), daemon=True)
        self._process.start()
        theirs.close()
        self.pipe.recv()  # "ready", with everything imported and every undamaged input made

    def take(self, case: tuple[str, int] | None) -> bool:
        """Begin with the next input; False where there is none."""
        self.case, self._since, self._how, self._worked = case, time.monotonic(), None, 0.0
        if case is not None:
            self.pipe.send(case)
        return case is not None

    def done(self) -> Judgement | None:
        """The fate of the input, or None as long as it is being judged."""
        assert self.case is not None
        seconds = time.monotonic() - self._since
        try:
            while self.pipe.poll():
                answer = self.pipe.recv()
                if isinstance(answer, Judgement):
                    return answer
                self._since, self._how = time.monotonic(), answer  # made; now it is judged
                self._worked = cpu_seconds(self._process.pid)
        except (EOFError, OSError):
            self._process.join(5)
            judgement = Judgement(*self.case, "died", self._how or "", f"exit code {self._process.exitcode}", seconds)
            self._restart()
            return judgement
        if self._how is None and seconds < PATIENCE_S:
            return None
        if self._how is not None and not self._hangs(seconds):
            return None
        judgement = Judgement(*self.case, "over 10 s", self._how or "", "no answer", seconds)
        self._restart()
        return judgement

    def _hangs(self, seconds: float) -> bool:
        if seconds < 1.1 * LIMIT_S:
            return False
        worked = cpu_seconds(self._process.pid) - self._worked
        waits = worked < 0.02 * seconds and seconds > 3.0 * LIMIT_S and not runnable(self._process.pid)
        return worked > LIMIT_S or waits or seconds > PATIENCE_S

    def _restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        """Stop the process and remove what it left."""
        self.pipe.close()
        self._process.kill()
        self._process.join(5)
        shutil.rmtree(self._scratch, ignore_errors=True)


def work(pipe: Connection, scratch: str) -> None:
    """Judge what is sent, until the pipe closes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(HERE))
    import torch
    from hostile_inputs import Inputs
    from judging import Verdict, judge

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C say there what they do not raise
    inputs = Inputs(Path(scratch))
    for number in range(900_000, 900_002):  # warm: libraries load and reserve what they need
        for kind in ("film", "scan", "bundle", "request", "store"):
            _judge_one(kind, number, inputs, judge)
    pipe.send("ready")
    while True:
        try:
            kind, number = pipe.recv()
        except EOFError:
            return
        how, verdict, seconds = _judge_one(kind, number, inputs, judge, pipe)
        if seconds > LIMIT_S:
            verdict = Verdict("over 10 s", verdict.said)
        pipe.send(Judgement(kind, number, verdict.column, how, verdict.said, seconds))


def _judge_one(kind, number, inputs, judge, pipe=None):
    with tempfile.TemporaryDirectory(dir=inputs.folder, prefix="case-", ignore_cleanup_errors=True) as where:
        hostile = inputs.make(kind, number, Path(where))
        if pipe is not None:
            pipe.send(hostile.how)
            limit_memory()
        started = time.process_time()
        verdict = judge(kind, hostile, inputs, Path(where))
        seconds = time.process_time() - started
        if pipe is not None:
            lift_limit()
    return hostile.how, verdict, seconds


def cpu_seconds(pid: int | None) -> float:
    """Seconds that a process has computed, or those of the clock where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic()


def runnable(pid: int | None) -> bool:
    """Whether a process would work if others left it the processor; False where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"
    except (OSError, IndexError):
        return False


def limit_memory() -> None:
    """2 GB more than now, and no more."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LIMIT_BYTES, -1))
    except (ImportError, OSError, ValueError):  # not Linux
        return


def lift_limit() -> None:
    """As much as there is."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    except (ImportError, OSError, ValueError):
        return
