"""The worker's task ``reconstruct_many``, whoever makes the volumes: this computer (``tasks``), or a server (``remote``)."""

from dataclasses import asdict
from typing import Any

from clsdm.app import batch
from clsdm.app.batch_summary import row_of
from clsdm.app.cases import Case
from clsdm.app.maker import Maker
from clsdm.app.request import Request
from clsdm.app.worker import Answer, Voice
from clsdm.files.names import given_path, plain_name
from clsdm.files.strict_json import from_plain


def many(cases: dict[str, Any], shared: dict[str, Any], out: str, maker: Maker, report: Voice) -> Answer:
    """Reconstruct many patients into a folder; see ``tasks.reconstruct_many``.

    Args:
        cases: the views of each, by its name.
        shared: the fields of ``clsdm.app.request.Request`` that are the same for all.
        out: the folder.
        maker: makes the volumes.
        report: is told of each that has ended.

    Raises:
        InputError: what is asked for cannot be meant.
        ServerError: the server that makes them is gone; what it has made is written.
    """
    into = given_path(out, "out")

    def case_of(name: str, views: Any) -> Case:  # noqa: ANN401 - untrusted JSON
        volume = str(into / plain_name(name, "request.cases") / batch.VOLUME)
        return Case(name, from_plain(Request, shared | {"views": views, "out": volume}, "request.cases"))

    def ended(case: Case, outcome: batch.Outcome) -> None:
        row = asdict(row_of(case)) | {"status": outcome.status}
        report.tell(row | ({"problem": outcome.problem} if outcome.problem else {}))  # no word of it may be on the disk

    return batch.run([case_of(*each) for each in cases.items()], batch.Plan(into, maker), report, ended)
