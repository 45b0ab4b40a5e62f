"""Many patients in one process: the model is loaded once, and while its networks work, the next X-rays are read, and the last
results measured, checked and written. The networks are this computer's, or a server's (``maker``).

Each patient has a folder with the volume, its record and a report. What is finished is known by the record, which names
a hash of the request, of the X-rays' contents, of the model and of this program's version; the rest is made anew, so the
same command goes on where it was cut. A patient that fails has ``failed.json`` in its folder and does not stop the
others; the next run tries it again.

Several processes share the patients, see ``share``.
"""

import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsdm.app.batch_summary import FAILED, disagreeing, failure_in, is_summary, row_of, write_summary
from clsdm.app.cases import SUMMARY, Case
from clsdm.app.dicom_output import comparison_of, refuse_nobody, write_dicom
from clsdm.app.maker import Look, Maker
from clsdm.app.record import companions, read_record
from clsdm.app.request import (
    UNNAMED_FOLDER,
    Request,
    inputs_of,
    nameless_request,
    names_for,
    read_views,
    ready,
    record,
    save,
)
from clsdm.app.share import share
from clsdm.app.words import in_table
from clsdm.errors import Cancelled, InputError, Remark, in_full, way_out_of
from clsdm.failures import ServerError, described
from clsdm.files.atomic import write_atomically
from clsdm.files.digest import sha256_of
from clsdm.files.names import files_below, nameless, refuse_overwriting, refuse_replacing, regular_file
from clsdm.files.strict_json import to_plain
from clsdm.limits import SERIES_FILES
from clsdm.progress import Report
from clsdm.quality.write import FILES, is_comparison, write_comparison
from clsdm.volume.write_dicom import refuse_full
from clsdm.xray.image import XRay

VOLUME = "reconstruction.nii.gz"
AHEAD = 2
"""Patients whose X-rays are read, and results that wait to be written: each takes the memory of these."""
WRITERS = min(AHEAD + 1, os.cpu_count() or 1)
"""Results that are measured and written at once."""
SUMMARY_SHARE = 0.05
"""Of the time, for the page of what has ended: it is there however the work ends, and thousands do not wait for it."""
Writing = tuple[Case, "Outcome", Future[None]]
"""A result that is being written."""
_DICOM = threading.Lock()
"""Readers note what decoders warn of, and Python's warnings are the whole process's: one patient's must not become another's."""
_DELIVERY = threading.Lock()
"""A server is talked to by one at a time."""


@dataclass(frozen=True)
class Plan:
    """The settings that all patients share.

    Attributes:
        out: folder of the patients' folders, the summary and the index page.
        maker: makes the volumes.
        dicom: folder of the patients' DICOM folders, or None.
        keep_patient: whether those name the patient.
        deliver: hands a patient's DICOM folder on, also where it was there before; the same one twice does no harm.
        table: file that the patients were read from.
    """

    out: Path
    maker: Maker
    dicom: Path | None = None
    keep_patient: bool = False
    deliver: Callable[[Path], None] | None = None
    table: Path | None = None

    def dicom_of(self, case: Case) -> Path | None:
        """The DICOM folder of a patient."""
        return None if self.dicom is None else self.dicom / case.name

    def inputs(self, request: Request) -> list[Path]:
        """What is read, and must not be written over."""
        return [*inputs_of(request), *self.maker.files]


@dataclass(frozen=True)
class Ready:
    """A patient whose X-rays are read; None where the result is there already."""

    key: str
    xrays: list[XRay] | None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a patient: "done", "kept" or "failed", why it failed, and the network's seconds."""

    status: str
    problem: str = ""
    seconds: float = 0.0


def run(cases: Sequence[Case], plan: Plan, report: Report, ended: Callable[[Case, Outcome], None]) -> dict[str, Any]:
    """Reconstruct this process's share of the patients.

    Args:
        cases: all of them, also those of other processes.
        plan: what they share.
        report: progress, in patients.
        ended: called with each patient's row, as soon as its result is on the disk; no problem names a file.

    Returns:
        How many were done, kept and failed, the seconds of the networks and of all, where the summary is, and "disagreeing",
        a line that names those whose result is not to be trusted, "" where there are none.

    Raises:
        InputError: a file that would be written is the table or an X-ray.
        ServerError: the server that makes the volumes is gone, for all of them; what it has made is written.
    """
    _refuse_overwriting_any(cases, plan)
    refuse_replacing((plan.out / name for name in SUMMARY), is_summary)
    mine = [case for case in share(cases, os.environ) if case.request is not None]
    count, began = {"done": 0, "kept": 0, "failed": 0}, time.perf_counter()
    overview, seconds = Overview(cases, plan.out), 0.0
    try:
        with closing(_outcomes(mine, plan)) as outcomes:
            for number, (case, outcome) in enumerate(outcomes, 1):
                count[outcome.status] += 1
                seconds += outcome.seconds
                overview.keep_up()
                ended(case, outcome)
                report("patients", number, len(mine))
    finally:
        files = write_summary(cases, plan.out)
    times = {"network_seconds": round(seconds, 3), "seconds": round(time.perf_counter() - began, 3)}
    doubted = disagreeing([row_of(case) for case in mine])
    return count | times | {"files": [str(file) for file in files], "disagreeing": doubted}


class Overview:
    """The summary while the work goes on, which may be cut at any time: written again after a result, where it costs little."""

    def __init__(self, cases: Sequence[Case], out: Path) -> None:
        self._cases, self._out, self._due = cases, out, 0.0

    def keep_up(self) -> None:
        """Write it, unless that would take more than :data:`SUMMARY_SHARE` of the time."""
        began = time.monotonic()
        if began >= self._due:
            write_summary(self._cases, self._out)
            ended = time.monotonic()
            self._due = ended + (ended - began) / SUMMARY_SHARE


def _refuse_overwriting_any(cases: Sequence[Case], plan: Plan) -> None:
    """No patient's X-rays lie where another's results, or the summary, would be written."""
    requests = [case.request for case in cases if case.request is not None]
    outputs = [plan.out / name for name in SUMMARY]
    outputs += [Path(request.out).parent / name for request in requests for name in (*FILES, FAILED)]
    outputs += [file for request in requests for file in companions(Path(request.out)).values()]
    xrays = [Path(view.file) for request in requests for view in request.views]
    refuse_overwriting(outputs, xrays if plan.table is None else [*xrays, plan.table])


def _outcomes(cases: Sequence[Case], plan: Plan) -> Generator[tuple[Case, Outcome], None, None]:
    """Each patient with what became of it, as soon as that is on the disk."""
    waiting: deque[Writing] = deque()
    with _pool(1) as readers, _pool(WRITERS) as writers:  # decoders of images are not made for several
        for case, reading in _ahead(readers, cases, plan):
            began = time.perf_counter()
            try:
                ready_case = reading.result()
                look = None if ready_case.xrays is None else plan.maker.work(ready_case.xrays, _request(case).options)
            except Cancelled:
                raise
            except ServerError:
                yield from _all_written(waiting)
                raise
            except Exception as error:  # noqa: BLE001 - one patient must not stop the others
                yield case, _failed(case, error)
                continue
            if look is None:
                waiting.append((case, Outcome("kept"), writers.submit(_deliver, case, plan)))
            else:
                outcome = Outcome("done", seconds=time.perf_counter() - began)
                waiting.append((case, outcome, writers.submit(_write, case, look, ready_case.key, plan)))
            while len(waiting) > AHEAD or (waiting and waiting[0][2].done()):
                yield _written(*waiting.popleft())
        yield from _all_written(waiting)


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads; what has not begun is left when the work is stopped."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, cases: Sequence[Case], plan: Plan) -> Iterator[tuple[Case, Future[Ready]]]:
    """Each patient, while the X-rays of the next ones are being read."""
    waiting: deque[tuple[Case, Future[Ready]]] = deque()
    for case in cases:
        waiting.append((case, pool.submit(_read, case, plan)))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _read(case: Case, plan: Plan) -> Ready:
    request = _request(case)
    for view in request.views:
        regular_file(view.file, "X-ray image file")
    key = key_of(request, plan)
    if _finished(case, key, plan):
        return Ready(key, None)
    ready(request.out, plan.inputs(request), damaged=True)
    refuse_replacing((Path(request.out).with_name(name) for name in FILES), is_comparison)
    if (folder := plan.dicom_of(case)) is not None:
        refuse_full(folder)
        if plan.keep_patient:
            refuse_nobody(request)
    with _DICOM:
        return Ready(key, read_views(request))


def _write(case: Case, look: Look, key: str, plan: Plan) -> None:
    """The DICOM folder comes last: it is never written over, and one without a record would be in the way of the next try."""
    request, result = _request(case), look()
    folder = Path(request.out).parent
    write_comparison(comparison_of(result), folder, result.provenance, title=case.name)
    save(result, request.out, record(result, request) | {"asked": key}, plan.inputs(request), damaged=True)
    if (dicom := plan.dicom_of(case)) is not None:
        with _DICOM:
            write_dicom(result, dicom, plan.keep_patient, key if plan.keep_patient else None)
    _deliver(case, plan)


def _deliver(case: Case, plan: Plan) -> None:
    if plan.deliver is not None and (dicom := plan.dicom_of(case)) is not None:
        with _DELIVERY:
            plan.deliver(dicom)
    failed = Path(_request(case).out).parent / FAILED
    if failure_in(failed) is not None:
        failed.unlink()


def _all_written(waiting: deque[Writing]) -> Iterator[tuple[Case, Outcome]]:
    while waiting:
        yield _written(*waiting.popleft())


def _written(case: Case, outcome: Outcome, writing: Future[None]) -> tuple[Case, Outcome]:
    try:
        writing.result()
    except Cancelled:  # a signal, while this waits
        raise
    except Exception as error:  # noqa: BLE001 - likewise
        return case, _failed(case, error)
    return case, outcome


def _failed(case: Case, error: Exception) -> Outcome:
    """Leave word of a failure, without the names of files, which may say whose they are."""
    request = _request(case)
    names, fault = names_for(request) | case.cells, described(error)
    problem = Remark(fault["message"], way_out_of(fault["message"])).changed(lambda text: nameless(text, names))
    problem = Remark(in_table(in_full(problem))) if case.cells else problem
    fault |= {"message": problem, "details": nameless(fault["details"], names)}
    text, word = json.dumps(fault, indent=1) + "\n", Path(request.out).parent / FAILED
    try:
        refuse_replacing([word], lambda file: failure_in(file) is not None)
        write_atomically(word, lambda path: path.write_text(text, encoding="utf-8"))
    except InputError as second:
        problem = Remark(f"{problem}; {second}", problem.way_out)
    return Outcome("failed", problem)


def _finished(case: Case, key: str, plan: Plan) -> bool:
    """Whether the result of exactly this is there, whole."""
    folder = plan.dicom_of(case)
    try:
        made = read_record(Path(_request(case).out))
    except InputError:
        return False
    volume = Path(_request(case).out)
    there = volume.is_file() and (folder is None or (folder.is_dir() and any(folder.iterdir())))
    return bool(made is not None and made.get("asked") == key and there)


def key_of(request: Request, plan: Plan) -> str:
    """A hash of what is asked for: options, geometry, the contents of the X-rays' files, DICOM and of whom, model, program."""
    plain = to_plain(nameless_request(request))
    if request.localizers is not None:
        plain[UNNAMED_FOLDER] = sorted(map(sha256_of, files_below(Path(request.localizers), SERIES_FILES)))
    dicom = None if plan.dicom is None else {"keep_patient": plan.keep_patient}
    return hashlib.sha256(
        json.dumps([plain, dicom, plan.maker.sha256, plan.maker.version], sort_keys=True).encode()
    ).hexdigest()


def _request(case: Case) -> Request:
    assert case.request is not None  # those without are left out at the beginning
    return case.request
