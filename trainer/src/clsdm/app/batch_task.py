"""The worker's task ``reconstruct_many``, whoever makes the volumes: this computer (``tasks``), or a server (``remote``)."""

from dataclasses import asdict
from typing import Any

from clsdm.app import batch
from clsdm.app.batch_summary import row_of
from clsdm.app.cases import Case, folded, folder_name
from clsdm.app.maker import Maker
from clsdm.app.request import Request
from clsdm.app.worker import Answer, Voice
from clsdm.files.names import given_path
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

    named: dict[str, Case] = {}
    for name, views in cases.items():
        volume = str(into / folder_name(name, named, "request.cases:") / batch.VOLUME)
        request = from_plain(Request, shared | {"views": views, "out": volume}, f"request.cases[{len(named)}]")
        named[folded(name)] = Case(name, request)

    def ended(case: Case, outcome: batch.Outcome) -> None:
        row = asdict(row_of(case)) | {"status": outcome.status}
        report.tell(row | ({"problem": outcome.problem} if outcome.problem else {}))  # no word of it may be on the disk

    return batch.run(list(named.values()), batch.Plan(into, maker), report, ended)
