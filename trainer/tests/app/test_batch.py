"""Many patients: a failing one stops nobody, what is finished is not made again, and the index shows them all."""

import csv
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_bundle import run

import clsdm
from clsdm.app import batch
from clsdm.app.cases import Case, cases_of_table
from clsdm.app.request import Request, ViewRequest
from clsdm.app.share import share
from clsdm.app.tasks import TASKS
from clsdm.app.warm import WARM
from clsdm.app.worker import ArrayFolders, answer
from clsdm.errors import InputError
from clsdm.model.bundle import Bundle

ROWS = """\
case,frontal,lateral,lateral-invert,source-detector
anna,films/frontal.dcm,films/lateral.dcm,,
bert,films/frontal.dcm,,,1700
broken,films/frontal.dcm,films/damaged.dcm,no,
"""


@pytest.fixture
def hospital(films: Path, tmp_path: Path) -> Path:
    """A folder with films, one of them damaged, and a table that names them."""
    (tmp_path / "films").mkdir()
    for name in ("frontal.dcm", "lateral.dcm"):
        shutil.copy(films / name, tmp_path / "films" / name)
    (tmp_path / "films" / "damaged.dcm").write_bytes((films / "lateral.dcm").read_bytes()[:3000])
    (tmp_path / "patients.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def many(capfd, bundle: Bundle, out: Path, *arguments: str | Path) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, the summary's rows by case, and what was said."""
    code, said, error = run(capfd, "reconstruct", *arguments, "--bundle", bundle.path, "--device", "cpu", "--out", out)
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return code, {row["case"]: row for row in csv.DictReader(file)}, said + error


def times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/reconstruction.json")}


def test_one_failing_patient_does_not_stop_the_rest_and_the_same_command_goes_on(hospital, small_model, capfd):
    out = hospital / "out"
    (out / "bert").mkdir(parents=True)
    (out / "bert" / "failed.json").write_text("{}", encoding="utf-8")
    code, rows, said = many(capfd, small_model, out, "--table", hospital / "patients.csv", "--seed", "3")
    assert code == 2
    assert "1 of 3 patients failed" in said
    assert {name: row["status"] for name, row in rows.items()} == {"anna": "done", "bert": "done", "broken": "failed"}
    assert (out / "bert" / "failed.json").read_text(encoding="utf-8") == "{}"  # somebody else's
    assert (rows["anna"]["views"], rows["bert"]["views"]) == ("2", "1")
    assert "line 4, column lateral: " in rows["broken"]["problem"]
    assert f"note: broken: line 4, column lateral ({hospital / 'films' / 'damaged.dcm'}): " in said
    assert not [path for path in out.rglob("*.*") if path.is_file() and b"films/" in path.read_bytes()]
    films = [hospital / "films" / f"{name}.dcm" for name in ("frontal", "lateral")]
    alone = clsdm.reconstruct(*films, bundle=small_model.path, device="cpu", seed=3)
    assert (clsdm.read_ct(out / "anna" / "reconstruction.nii.gz").hu == alone.volume.hu.round()).all()
    record = json.loads((out / "anna" / "reconstruction.json").read_text(encoding="utf-8"))
    assert record["measures"] == alone.measures
    first = times(out)

    shutil.copy(hospital / "films" / "lateral.dcm", hospital / "films" / "damaged.dcm")
    code, rows, _ = many(capfd, small_model, out, "--table", hospital / "patients.csv", "--seed", "3")
    assert (code, {row["status"] for row in rows.values()}) == (0, {"done"})
    assert not (out / "broken" / "failed.json").exists()
    assert {name: times(out)[name] for name in first} == first


def test_the_worker_goes_on_where_the_command_line_was_cut_and_tells_of_each(films, small_model, tmp_path, capfd):
    out = tmp_path / "out"
    pair = [
        {"file": str(films / f"{name}.dcm"), "default_angle_deg": angle}
        for name, angle in (("frontal", 0.0), ("lateral", 90.0))
    ]
    (tmp_path / "patients.csv").write_text(f"case,frontal,lateral\nanna,{pair[0]['file']},{pair[1]['file']}\n")
    many(capfd, small_model, out, "--table", tmp_path / "patients.csv")
    said: list[dict] = []
    cases = {"anna": pair, "bert": pair[:1], "lost": [{"file": str(tmp_path / "lost.dcm")}]}
    request = {"id": 1, "task": "reconstruct_many", "cases": cases, "out": str(out), "bundle": str(small_model.path)}
    request["options"] = {"device": "cpu", "steps": None}
    answer(json.dumps(request).encode(), said.append, ArrayFolders(tmp_path), TASKS)
    assert [said[-1]["result"][name] for name in ("done", "kept", "failed")] == [1, 1, 1], said[-1]
    told = {each["told"]["case"]: each["told"] for each in said if "told" in each}
    assert {name: row["status"] for name, row in told.items()} == {"anna": "kept", "bert": "done", "lost": "failed"}
    assert told["anna"]["worst_correlation"] is not None
    assert "X-ray 1: no such" in told["lost"]["problem"]


@pytest.mark.parametrize("what", ["film", "option", "volume"])
def test_what_changed_is_made_again(what, hospital, small_model, capfd):
    out, more = hospital / "out", ()
    (hospital / "patients.csv").write_text("case;frontal\nanna;films/frontal.dcm\nbert;films/lateral.dcm\n")
    many(capfd, small_model, out, "--table", hospital / "patients.csv")
    first = times(out)
    if what == "film":
        shutil.copy(hospital / "films" / "lateral.dcm", hospital / "films" / "frontal.dcm")
    elif what == "volume":
        shutil.copy(out / "bert" / "reconstruction.nii.gz", out / "anna" / "reconstruction.nii.gz")
    else:
        more = ("--product", "sample")
    many(capfd, small_model, out, "--table", hospital / "patients.csv", *more)
    changed = {name for name, at in times(out).items() if at != first[name]}
    assert changed == ({"anna"} if what in ("film", "volume") else {"anna", "bert"})


def test_a_tree_of_studies_gives_the_best_pair_of_each_and_names_nobody(films, small_model, tmp_path, capfd):
    for number, names in enumerate((("frontal", "lateral"), ("lateral", "frontal"), ("frontal",)), 1):
        for name in names:
            tags = pydicom.dcmread(films / f"{name}.dcm")
            tags.PatientID, tags.IssuerOfPatientID, tags.StudyInstanceUID = f"SECRET-{number}", "", f"1.2.3.{number}"
            place = tmp_path / "tree" / f"SECRET-{number}" / name
            place.mkdir(parents=True)
            tags.save_as(place / "IM1")
    (tmp_path / "tree" / "notes.txt").write_text("no film")
    out, dicom = tmp_path / "out", tmp_path / "dicom"
    code, rows, said = many(capfd, small_model, out, "--studies", tmp_path / "tree", "--dicom", dicom)
    assert code == 0, said
    assert sorted(row["status"] for row in rows.values()) == ["done", "done", "skipped"]
    assert all(name.startswith("study-") for name in rows)
    written = [path for folder in (out, dicom) for path in folder.rglob("*") if path.is_file()]
    assert len([path for path in written if path.suffix == ".dcm"]) == 2 * 17
    assert not [path for path in written if b"SECRET" in path.read_bytes() or b"1.2.3." in path.read_bytes()]
    assert "SECRET" not in said

    shutil.rmtree(dicom)
    first = times(out)
    code, _, said = many(capfd, small_model, out, "--studies", tmp_path / "tree", "--dicom", dicom)
    assert code == 0, said
    assert len(list(dicom.iterdir())) == 2
    assert all(at != first[name] for name, at in times(out).items())


def test_what_was_cut_between_volume_and_dicom_goes_on(hospital, small_model, capfd, monkeypatch):
    out, dicom, save = hospital / "out", hospital / "dicom", batch.save

    def cut(*arguments, **named):
        monkeypatch.setattr(batch, "save", save)
        raise OSError("the disk is away")

    (hospital / "patients.csv").write_text("case,frontal\nanna,films/frontal.dcm\n")
    monkeypatch.setattr(batch, "save", cut)
    arguments = ("--table", hospital / "patients.csv", "--dicom", dicom)
    assert many(capfd, small_model, out, *arguments)[0] == 2
    code, rows, said = many(capfd, small_model, out, *arguments)
    assert (code, rows["anna"]["status"], len(list(dicom.glob("anna/*.dcm")))) == (0, "done", 17), said
    _, rows, _ = many(capfd, small_model, out, *arguments, "--keep-patient")  # those that are there name nobody
    assert (rows["anna"]["status"], "is there already" in rows["anna"]["problem"]) == ("failed", True)


def test_a_signal_while_a_result_is_written_stops_the_command(hospital, small_model, capfd, monkeypatch):
    def stopped(*given, real=batch.save, **named):
        time.sleep(0.5)  # the main thread waits for this one
        signal.raise_signal(signal.SIGTERM)
        return real(*given, **named)

    monkeypatch.setattr(batch, "save", stopped)
    code, rows, said = many(capfd, small_model, hospital / "out", "--table", hospital / "patients.csv")
    assert (code, rows["anna"]["status"]) == (3, "done"), said
    assert not (hospital / "out" / "anna" / "failed.json").exists()


@pytest.mark.parametrize("worst", [0.2, 0.97])
def test_results_that_must_not_be_trusted_are_named_at_the_end_and_first_on_the_page(
    worst, hospital, small_model, capfd, monkeypatch
):
    shown = batch.record

    def record(result, request):  # bert's volume explains its X-ray so well
        plain = shown(result, request)
        for each in plain["residuals"]:
            each["correlation"] = worst if len(plain["residuals"]) == 1 else 0.999
        return plain

    monkeypatch.setattr(batch, "record", record)
    out, text = hospital / "out", ROWS.replace("broken,films/frontal.dcm,films/damaged.dcm,no,\n", "")
    (hospital / "patients.csv").write_text(text)
    code, rows, said = many(capfd, small_model, out, "--table", hospital / "patients.csv")
    line = "1 of 2 results disagrees with its X-rays and is not to be trusted: bert"
    page = (out / "index.html").read_text(encoding="utf-8")
    assert (code, rows["anna"]["verdict"]) == (0, "agree closely")
    assert rows["bert"]["verdict"] == ("disagree" if worst < 0.5 else "agree in the main")
    assert (f"note: {line}\n" in said, f'<p class="warning">{line}</p>\n<div' in page) == (worst < 0.5,) * 2


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("case,frontal\n", "holds no patients"),
        ("frontal\na.dcm\n", "no column case, but 'frontal'; expected"),
        ("case,frontal;lateral\na,a.dcm\n", "no column case, but 'case,frontal', 'lateral'"),
        (",frontal\na,a.dcm\n", "no column case"),
        ("case,frontal\n,a.dcm\n", "line 2: case"),
        ("case,frontal,\na,a.dcm,left\n", "line 2: 'left' stands below no column's name"),
        ('case,frontal\n"a\nb",a.dcm\n', "line 3: case: 'a\\nb' holds a control character"),
        ("case,frontal\n../x,a.dcm\n", "line 2: case"),
        ("case,frontal\nIndex.html,a.dcm\n", "line 2: case 'Index.html' has the name of a file"),
        ("case,frontal\nA,a.dcm\na,a.dcm\n", "line 3: case 'a' is there already"),
        ("case,colour\na,red\n", "line 2: unrecognized arguments: column colour"),
        ("case,frontal,spacing\na,a.dcm,wide\n", "line 2: argument column spacing"),
        ("case,frontal,spacing\na,a.dcm,1 2 3\n", "line 2: column spacing: expected one or two values"),
        ("case,frontal,source_axis,source-axis\na,a.dcm,1,2\n", "column source-axis is there twice"),
        ("case,frontal,invert\na,a.dcm,maybe\n", "column invert: expected yes or no"),
        ("case,frontal\na,a.dcm,b.dcm\n", "line 2: has more cells"),
        ("case\na\n", "line 2: no X-ray given"),
        ("case,frontal\na,\xff\n", "not a table"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_computed(table, problem, small_model, tmp_path, capfd):
    (tmp_path / "t.csv").write_bytes(table.encode("latin-1"))
    code, _, error = run(capfd, "reconstruct", "--table", tmp_path / "t.csv", "--bundle", small_model.path, "--out",
                         tmp_path / "out")  # fmt: skip
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert problem in error


@pytest.mark.parametrize("name", ["summary.csv", "index.html"])
def test_a_table_or_page_of_the_users_is_not_replaced_by_the_summary(name, hospital, small_model, capfd):
    out = hospital / "out"
    out.mkdir()
    (out / name).write_text("mine,<title>Reconstructions</title>")
    given = ("--bundle", small_model.path, "--out", out)
    code, _, error = run(capfd, "reconstruct", "--table", hospital / "patients.csv", *given)
    assert (code, f"{name}: is there and was not written by this program" in error) == (2, True), error
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "mine,<title>Reconstructions</title>")]


def test_no_file_of_the_users_in_a_patients_folder_is_replaced_and_others_go_on(hospital, small_model, capfd):
    out, names = (
        hospital / "out",
        ("report.html", "comparison.png", "metrics.json", "reconstruction.nii.gz", "failed.json"),
    )
    text = "case,frontal\n" + "".join(f"{name.replace('.', '-')},films/damaged.dcm\n" for name in names)
    (hospital / "patients.csv").write_text(text + "right,films/frontal.dcm\n")
    for name in names:
        (out / name.replace(".", "-")).mkdir(parents=True)
        (out / name.replace(".", "-") / name).write_text("{}")
    code, rows, said = many(capfd, small_model, out, "--table", hospital / "patients.csv")
    assert (code, rows["right"]["status"]) == (2, "done"), said
    for name in names:
        assert (out / name.replace(".", "-") / name).read_text() == "{}"
        of_whom = (
            "is not of an earlier reconstruction" if name.endswith(".nii.gz") else "was not written by this program"
        )
        assert f"{name}: is there and {of_whom}" in said
    assert many(capfd, small_model, out, "--table", hospital / "patients.csv")[1]["right"]["status"] == "done"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffcase,frontal\r\n\r\na,x.dcm\r\n  \r\n,,\r\nb,y.dcm,\r\n",
        "case;frontal;\n;;\na;x.dcm;\nb;y.dcm\n",
        "case\tfrontal\ra\tx.dcm\rb\ty.dcm",
        '"case","frontal"\n"a","x.dcm"\n"b","y.dcm"\n',
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it_with_lines_that_they_left_empty(text, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode())
    found = {case.name: [Path(view.file).name for view in case.request.views] for case in _cases(tmp_path / "t.csv")}
    assert found == {"a": ["x.dcm"], "b": ["y.dcm"]}


@pytest.mark.parametrize("letter", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_the_end_of_a_line_ends_a_row(letter, tmp_path):
    (tmp_path / "t.csv").write_text(f"case,frontal\na,x{letter}y.dcm\n", encoding="utf-8")
    (case,) = _cases(tmp_path / "t.csv")
    assert case.request.views[0].file.endswith(f"x{letter}y.dcm")


def test_names_that_are_one_folder_on_a_mac_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("case,frontal\nJos\u00e9,x.dcm\nJOSE\u0301,y.dcm\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 3: case .* is there already"):
        _cases(tmp_path / "t.csv")


def _cases(table: Path) -> list[Case]:
    return cases_of_table(table, lambda name, own: Request((ViewRequest(own["frontal"]),), f"{name}.nii.gz"))


@pytest.mark.parametrize(
    ("table", "film"),
    [
        ("out/summary.csv", "film.dcm"),
        ("t.csv", "out/a/comparison.png"),
        ("t.csv", "out/a/reconstruction.nii.gz"),
        ("t.csv", "out/index.html"),
    ],
)
def test_no_result_takes_the_place_of_the_table_or_a_film(table, film, small_model, tmp_path, capfd):
    for name in (table, film):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / film).write_bytes(b"film")
    (tmp_path / table).write_text(f"case,frontal,lateral\na,{tmp_path / 'none.dcm'},\nb,{tmp_path / film},\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, error = run(capfd, "reconstruct", "--table", tmp_path / table, "--bundle", small_model.path, "--out",
                         tmp_path / "out")  # fmt: skip
    assert (code, "which is an input" in error) == (2, True), error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "abcdefg"),
        ({"RANK": "1", "WORLD_SIZE": "3"}, "be"),
        ({"SLURM_ARRAY_TASK_ID": "11", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "2"}, "bdf"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "RANK": "1", "WORLD_SIZE": "2"}, "d"),
        ({"RANK": "3", "WORLD_SIZE": "3"}, None),
        ({"RANK": "one", "WORLD_SIZE": "3"}, None),
    ],
)
def test_processes_share_the_patients_as_torchrun_and_slurm_say(environ, expected):
    cases = [Case(name, None) for name in "abcdefg"]
    if expected is None:
        with pytest.raises(InputError, match="RANK"):
            share(cases, environ)
    else:
        assert "".join(case.name for case in share(cases, environ)) == expected


def test_two_processes_leave_one_summary_of_all(hospital, small_model, capfd, monkeypatch):
    for rank, waiting in (("0", {"bert"}), ("1", set())):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        _, rows, _ = many(capfd, small_model, hospital / "out", "--table", hospital / "patients.csv")
        assert {name for name, row in rows.items() if row["status"] == "waiting"} == waiting


def test_the_model_is_loaded_once_and_the_result_is_that_of_one_patient_alone(
    hospital, small_model, capfd, monkeypatch
):
    out, loads, load = hospital / "out", [], Bundle.model
    monkeypatch.setattr(Bundle, "model", lambda *arguments: loads.append(arguments) or load(*arguments))
    WARM.forget()
    many(capfd, small_model, out, "--table", hospital / "patients.csv")
    alone = clsdm.reconstruct(hospital / "films" / "frontal.dcm", hospital / "films" / "lateral.dcm",
                              bundle=small_model.path, device="cpu")  # fmt: skip
    assert len(loads) == 1
    files = alone.save(hospital / "alone" / "reconstruction.nii.gz")
    for role in ("volume", "coverage"):
        assert Path(files[role]).read_bytes() == (out / "anna" / Path(files[role]).name).read_bytes()
    records = [
        json.loads((folder / "reconstruction.json").read_text()) for folder in (out / "anna", hospital / "alone")
    ]
    assert records[0].pop("asked")
    assert records[0]["provenance"] == records[1]["provenance"]
    np.testing.assert_equal(records[0]["residuals"], records[1]["residuals"])


@pytest.mark.parametrize("more", [("--frontal", "a.dcm"), ("--studies", "tree")])
def test_one_patient_beside_many_contradicts_itself(more, tmp_path, capfd):
    code, _, error = run(capfd, "reconstruct", "--table", "t.csv", *more, "--out", tmp_path / "out")
    assert code == 2
    assert "beside --table" in error
