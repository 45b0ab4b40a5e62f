"""Many patients by a server: what a computer of one's own would write, and nobody's name on the way there."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from serving import KEY, SLOW, answered, serving, views
from worker_process import LIMIT_S, hear, say

from clsdm import __version__
from clsdm.app import access, remote
from clsdm.app.tasks import TASKS
from clsdm.app.worker import ArrayFolders, Voice, answer
from clsdm.errors import InputError
from clsdm.failures import ReportedError, ServerError, kind_of
from clsdm.files.strict_json import to_plain
from clsdm.model.bundle import Bundle
from clsdm.model.facts import facts_of

ENSEMBLE = {"product": "ensemble", "samples": 2, "seed": 3, "device": "cpu"}
SAME = ("reconstruction.nii.gz", "reconstruction_coverage.nii.gz", "reconstruction_spread.nii.gz", "reconstruction.json",
        "metrics.json")  # fmt: skip
FILES = {*SAME, "comparison.png", "report.html"}


def many(child: subprocess.Popen[bytes], out: Path, **request: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What a client tells of each patient, and its last answer."""
    say(child, id=1, task="reconstruct_many", out=str(out), **request)
    return said_by(lambda: hear(child))


def here(out: Path, folder: Path, bundle: Bundle, **request: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The same by this computer."""
    said: list[dict[str, Any]] = []
    asked = {"id": 1, "task": "reconstruct_many", "out": str(out), "bundle": str(bundle.path), **request}
    answer(json.dumps(asked).encode(), said.append, ArrayFolders(folder), TASKS)
    lines = iter(said)
    return said_by(lambda: next(lines))


def said_by(following: Callable[[], dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    while not {"result", "error"} & set(said := following()):
        if "told" in said:
            told[said["told"]["case"]] = said["told"]
    return told, said


def statuses(out: Path) -> dict[str, str]:
    """Of each patient in the table on the disk."""
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row["status"] for row in csv.DictReader(file)}


@pytest.fixture
def patients(films: Path, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """Two with usable X-rays, one whose X-rays are of two patients, and one without."""
    other = pydicom.dcmread(films / "lateral.dcm")
    other.PatientID = "another"
    other.save_as(tmp_path / "other.dcm")
    lost = {"file": str(tmp_path / "lost.dcm")}
    mixed = [views(films)[0], {"file": str(tmp_path / "other.dcm")}]
    return {"anna": views(films)[:1], "mixed": mixed, "bert": views(films), "lost": [lost]}


def test_a_server_makes_what_this_computer_makes_and_goes_on_where_this_one_was_cut(
    server, worker, patients, small_model, tmp_path
):
    theirs = tmp_path / "theirs"
    told, last = here(tmp_path / "ours", tmp_path, small_model, cases=patients, options=ENSEMBLE)
    assert [last["result"][name] for name in ("done", "kept", "failed")] == [2, 0, 2], last
    shutil.copytree(tmp_path / "ours" / "anna", theirs / "anna")
    with worker(server) as child:
        there, last = many(child, theirs, cases=patients, options=ENSEMBLE, bundle="small")
    assert [last["result"][name] for name in ("done", "kept", "failed")] == [1, 1, 2], last
    assert there == told | {"anna": told["anna"] | {"status": "kept"}}
    assert "two patients" in there["mixed"]["problem"]
    for name in ("summary.csv", "index.html", *(f"bert/{each}" for each in SAME)):
        assert (theirs / name).read_bytes() == (tmp_path / "ours" / name).read_bytes(), name
    assert {each.name for each in (theirs / "bert").iterdir()} == FILES
    assert "<h1>bert</h1>" in (theirs / "bert" / "report.html").read_text(encoding="utf-8")
    assert list((tmp_path / "wFalse").glob("*/*/*")) == [], "arrays of the answers stay"


def test_what_is_finished_stays_when_the_server_is_gone_and_is_not_made_again(worker, films, small_model, tmp_path):
    asked = {"cases": {f"p{number}": views(films)[:1] for number in range(5)}, "options": ENSEMBLE | {"samples": 12}}
    with serving(tmp_path / "t", "--model", str(small_model.path)) as (process, address), worker(address) as client:
        say(client, id=1, task="reconstruct_many", out=str(tmp_path / "out"), **asked)
        while "told" not in (first := hear(client)):
            assert "stage" in first, first
        process.terminate()
        told, last = said_by(lambda: hear(client))
    assert last["error"]["kind"] == "server", last
    assert "cannot be reached, or the connection was lost" in last["error"]["message"]
    assert "\n" not in last["error"]["message"]
    finished = {first["told"]["case"], *told}
    assert {name for name, status in statuses(tmp_path / "out").items() if status == "done"} == finished
    assert 1 <= len(finished) < 5
    assert set(statuses(tmp_path / "out").values()) == {"done", "waiting"}
    again, last = here(tmp_path / "out", tmp_path, small_model, **asked)
    assert {name for name, row in again.items() if row["status"] == "kept"} == finished
    assert last["result"]["done"] == 5 - len(finished)


def test_cancelling_ends_it_at_once_leaves_no_half_and_frees_the_server(server, worker, films, tmp_path):
    with worker(server) as waiting, worker(server) as leaving:
        answered(waiting, task="hello")
        cases = {"anna": views(films), "bert": views(films)}
        say(leaving, id=1, task="reconstruct_many", out=str(tmp_path / "out"), cases=cases, options=SLOW)
        while "load" not in (said := hear(leaving)) or said["stage"] != "patients":
            assert "stage" in said, said
        assert (said["i"], said["n"]) == (0, 2)
        assert leaving.stdin is not None
        leaving.stdin.close()
        leaving.wait(LIMIT_S)
        assert "result" in answered(waiting, 2, task="warm", device="cpu")[0]
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_wrong_key_is_said_once_and_nothing_is_written(server, worker, patients, tmp_path, monkeypatch):
    monkeypatch.setenv(access.KEY_VARIABLE, KEY + "x")
    with worker(server) as child:
        told, last = many(child, tmp_path / "out", cases=patients, options=ENSEMBLE)
    assert told == {}
    assert last["error"]["kind"] == "server"
    assert "does not take this key" in last["error"]["message"]
    assert not (tmp_path / "out").exists()


# --- without a connection ---


class Unconnected(remote.Server):
    """A server in this process, which keeps what is sent; of some requests it tells an error in place of an answer."""

    def __init__(self, bundle: Bundle, errors: dict[int, Exception]) -> None:
        super().__init__(access.server_address("http://127.0.0.1:9"), KEY, None)
        self.bundle, self.errors, self.sent, self.lacks = bundle, errors, b"", ""
        self.count, self.models = 0, [to_plain(facts_of(bundle.path)) | {"name": "small"}]

    def _asked(self, task, folder, report, fields, files):
        if task == "hello":
            return {"protocol": remote.PROTOCOL, "clsdm": __version__, "models": self.models}
        self.count += 1
        self.sent += json.dumps(fields).encode() + b"".join(file.name.encode() + file.read_bytes() for file in files)
        if self.count in self.errors:
            raise self.errors[self.count]
        given = fields | {"bundle": str(self.bundle.path), "sent": str(folder / "sent")}
        told = json.loads(json.dumps(TASKS[task](folder, report, **given)))
        return {name: value for name, value in told.items() if name != self.lacks}


def reconstructed_by(server: Unconnected, films: Path, folder: Path) -> list[dict[str, Any]]:
    """The rows of three patients whose names, files and tags say who they are; the results are in ``out``."""
    cases = {}
    for name in ("secret-0", "secret-1", "secret-2"):
        (folder / name).mkdir()
        tags = pydicom.dcmread(films / "frontal.dcm")
        tags.PatientID = tags.PatientName = name
        tags.save_as(folder / name / "secret.dcm")
        cases[name] = [{"file": str(folder / name / "secret.dcm")}]
    rows: list[dict[str, Any]] = []
    voice = Voice(1, lambda said: rows.append(said["told"]) if "told" in said else None)
    (folder / "w").mkdir()
    server.reconstruct_many(folder / "w", voice, cases, {"device": "cpu"}, str(folder / "out"))
    return rows


def test_a_patient_at_whom_the_server_fails_stops_nobody_and_nobody_is_named_to_it(small_model, films, tmp_path):
    failure = ReportedError({"kind": "input", "message": "X-ray 1: is constant", "details": ""})
    server = Unconnected(small_model, {2: failure})
    rows = reconstructed_by(server, films, tmp_path)
    assert {row["case"]: row["status"] for row in rows} == {
        "secret-0": "done",
        "secret-1": "failed",
        "secret-2": "done",
    }
    assert next(row["problem"] for row in rows if row["status"] == "failed") == "X-ray 1: is constant"
    assert b"secret" not in server.sent
    assert str(tmp_path).encode() not in server.sent


def test_a_server_that_is_gone_is_asked_no_more_and_what_it_made_is_written(small_model, films, tmp_path):
    server = Unconnected(small_model, {2: ServerError("it is gone")})
    with pytest.raises(ServerError, match="it is gone"):
        reconstructed_by(server, films, tmp_path)
    assert server.count == 2
    assert statuses(tmp_path / "out") == {"secret-0": "done", "secret-1": "waiting", "secret-2": "waiting"}
    assert not list((tmp_path / "out").rglob("failed.json"))


def test_an_answer_of_another_model_is_not_taken_for_that_of_the_one_that_was_asked(small_model, films, tmp_path):
    server = Unconnected(small_model, {})
    server.models[0]["sha256"] = "0" * 64
    with pytest.raises(ServerError, match="has another model small now"):
        reconstructed_by(server, films, tmp_path)
    assert set(statuses(tmp_path / "out").values()) == {"waiting"}


def test_an_answer_that_lacks_something_is_a_line(small_model, films, tmp_path):
    server = Unconnected(small_model, {})
    server.lacks = "measures"
    rows = reconstructed_by(server, films, tmp_path)
    assert {row["status"] for row in rows} == {"failed"}
    assert rows[0]["problem"] == "the server http://127.0.0.1:9: truncated or damaged answer (KeyError while reading)"


@pytest.mark.parametrize(
    ("hello", "problem"),
    [
        ({"protocol": 1}, "speaks protocol 1 of clsdm 9.9, this computer 2 of .*; update clsdm on the server"),
        ({"protocol": 3}, "update clsdm on this computer"),
        ({"protocol": None}, "update clsdm on the server"),
        ({"models": None}, "gives no answer of this program"),
        ({"models": [{"name": "small"}]}, "gives no answer of this program"),
        ({"models": [5]}, "gives no answer of this program"),
        ({"models": []}, "has no model; it has none that can be used"),
    ],
)
def test_what_a_server_cannot_do_is_said_with_what_to_do(hello, problem, small_model, films, tmp_path, monkeypatch):
    server = Unconnected(small_model, {})
    monkeypatch.setattr(server, "_asked", lambda *_: {"protocol": 2, "clsdm": "9.9", "models": server.models} | hello)
    with pytest.raises(Exception, match=problem) as refused:
        server.reconstruct_many(tmp_path, Voice(1, lambda _: None), {}, {}, str(tmp_path / "out"))
    assert kind_of(refused.value) in ("server", "input")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("names", "problem"), [(("Anna", "anna"), "'anna' is there already"), (("a", "Index.html"),
                                                  "'Index.html' has the name of a file")])  # fmt: skip
def test_two_patients_have_two_folders_and_none_that_of_a_file_on_all(names, problem, small_model, films, tmp_path):
    server, cases = Unconnected(small_model, {}), {name: views(films) for name in names}
    with pytest.raises(InputError, match=problem):
        server.reconstruct_many(tmp_path, Voice(1, lambda _: None), cases, {}, str(tmp_path / "out"))
    assert server.count == 0
    assert not (tmp_path / "out").exists()


def test_a_failure_that_cannot_be_left_word_of_is_told(small_model, films, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret-1").write_text("of the user", encoding="utf-8")
    rows = {row["case"]: row for row in reconstructed_by(Unconnected(small_model, {}), films, tmp_path)}
    assert [rows[f"secret-{number}"]["status"] for number in range(3)] == ["done", "failed", "done"]
    assert str(tmp_path / "out" / "secret-1") in rows["secret-1"]["problem"]
    assert (tmp_path / "out" / "secret-1").read_text(encoding="utf-8") == "of the user"


def test_what_this_version_read_is_not_what_another_version_here_has_read(small_model, tmp_path, monkeypatch):
    server = Unconnected(small_model, {})
    assert server._maker(tmp_path, Voice(1, print), None).version == __version__
    monkeypatch.setattr(remote, "__version__", "9.9")
    assert server._maker(tmp_path, Voice(1, print), None).version == f"{__version__}, X-rays read by 9.9"


def test_an_answer_about_one_patient_is_looked_at_too(small_model, films, tmp_path):
    server = Unconnected(small_model, {})
    server.lacks = "coverage"
    with pytest.raises(ReportedError, match="expected coverage, volume, found volume") as refused:
        server.reconstruct(tmp_path, Voice(1, lambda _: None), views(films)[:1], {"device": "cpu"})
    assert kind_of(refused.value) == "server"


def test_of_models_that_a_newer_server_says_more_of_the_rest_is_known(small_model, tmp_path):
    server = Unconnected(small_model, {})
    known = dict(server.models[0])
    server.models[0]["colour"] = "green"
    assert server.hello(tmp_path, Voice(1, print))["models"] == [known]


def test_a_model_that_the_server_has_not_is_refused_before_anything_is_read(small_model, tmp_path):
    with pytest.raises(InputError, match="has no model 'other'; it has small"):
        Unconnected(small_model, {}).reconstruct_many(tmp_path, Voice(1, print), {}, {}, str(tmp_path / "out"), "other")
