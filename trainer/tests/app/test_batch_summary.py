"""The table and the page of many patients, from what lies on the disk."""

import csv
import json

import pytest

from clsdm.app import batch
from clsdm.app.batch_summary import MOST_NAMED, Row, as_csv, disagreeing, write_summary
from clsdm.app.cases import Case
from clsdm.app.maker import Maker
from clsdm.app.request import Request, ViewRequest, names_for
from clsdm.errors import InputError
from clsdm.files.names import nameless


def test_a_spreadsheet_runs_nothing_of_the_summary():
    text = as_csv([Row("=1+1", "failed", problem="-2+3", worst_correlation=-0.5)])
    (row,) = csv.DictReader(text.splitlines())
    assert (row["case"], row["problem"], row["worst_correlation"]) == ("'=1+1", "'-2+3", "-0.5")


def test_of_very_many_results_that_must_not_be_trusted_some_are_named():
    rows = [Row(f"p{number}", "done", worst_correlation=0.1) for number in range(MOST_NAMED + 5)]
    assert disagreeing(rows).startswith(
        "25 of 25 results disagree with their X-rays and are not to be trusted: p0, p1, "
    )
    assert disagreeing(rows).endswith(f"p{MOST_NAMED - 1} and 5 more")
    assert disagreeing([Row("a", "failed"), Row("b", "done", worst_correlation=0.99)]) == ""


@pytest.mark.parametrize("record", [{"residuals": None}, {"residuals": [{"rmse": "much"}]}, {"provenance": 3}])
def test_a_record_that_is_none_is_a_line_of_the_summary(record, tmp_path):
    case = Case("anna", Request((ViewRequest("a.dcm"),), str(tmp_path / "anna" / "reconstruction.nii.gz"), "x"))
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "reconstruction.json").write_text(json.dumps(record), encoding="utf-8")
    write_summary([case], tmp_path)
    (row,) = csv.DictReader((tmp_path / "summary.csv").read_text(encoding="utf-8").splitlines())
    assert (row["status"], "expected a record of a reconstruction" in row["problem"]) == ("failed", True)


def test_the_overview_is_there_with_the_first_result_however_the_work_ends(tmp_path, monkeypatch):
    """A worker that is cancelled leaves at once, with nothing that could be done at the end."""
    cases = [
        Case(name, Request((ViewRequest(f"{name}.dcm"),), str(tmp_path / name / batch.VOLUME))) for name in ("a", "b")
    ]
    outcomes = ((case, batch._failed(case, InputError(f"{case.name} is no X-ray"))) for case in cases)
    monkeypatch.setattr(batch, "_outcomes", lambda *_: outcomes)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pages = []
    plan = batch.Plan(tmp_path, Maker("", "", (), lambda *_: None))
    batch.run(cases, plan, lambda *_: None, lambda case, _: pages.append((tmp_path / "index.html").read_text("utf-8")))
    assert "a is no X-ray" in pages[0]


def test_the_overview_of_thousands_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(batch.time, "monotonic", lambda: now[0])

    def write(*_: object) -> None:
        written.append(now[0])
        now[0] += 5.0

    monkeypatch.setattr(batch, "write_summary", write)
    overview = batch.Overview([], tmp_path)
    while now[0] < 1000.0:
        overview.keep_up()
        now[0] += 1.0
    assert 8 <= len(written) <= 10


def test_a_failure_names_no_file_of_a_folder(tmp_path):
    file = tmp_path / "ct" / "John Smith.dcm"
    file.parent.mkdir()
    file.touch()
    names = names_for(Request((), "r.nii.gz", localizers=str(file.parent)))
    assert nameless(f"{file}: truncated", names) == "a localizer's file: truncated"
    assert nameless(f"{file.parent}: no scout", names) == "the folder with the localizers: no scout"
