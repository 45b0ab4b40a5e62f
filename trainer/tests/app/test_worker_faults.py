"""What a worker is asked, or how it ends, never takes anything with it that it did not make, nor takes it down."""

import inspect
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from worker_process import LIMIT_S, greeted, hear, say

from clsdm.app import lines, tasks, worker
from clsdm.app.cli import main
from clsdm.limits import REQUEST_LINE_BYTES, REQUESTS_WAITING


def answers(folder: Path, line: bytes) -> list[dict[str, Any]]:
    own = folder / "own"
    own.mkdir(exist_ok=True)
    said: list[dict[str, Any]] = []
    worker.answer(line, said.append, worker.ArrayFolders(own), tasks.TASKS)
    return said


@pytest.mark.parametrize("inside", [True, False], ids=["an end", "a kill"])
def test_what_was_in_its_folder_stays_however_it_ends(tmp_path, inside):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("years of work")
    with greeted(tmp_path) as (child, own):
        say(child, b'{"id": 1, "task": "hello"}')
        while "stage" in hear(child):
            pass
        if inside:
            assert child.stdin is not None
            child.stdin.close()
        else:
            child.kill()
        child.wait(LIMIT_S)
    assert (tmp_path / "thesis" / "text.txt").read_text() == "years of work"
    assert own.exists() is not inside


@pytest.mark.parametrize("folder", ["", "nowhere", "file", "a\0b"])
def test_what_is_no_folder_is_refused_and_nothing_is_touched(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert main(["serve", "--folder", folder]) == 2
    assert worker.main(["--folder", folder]) == 2
    lines_said = capfd.readouterr().err.splitlines()
    assert len(lines_said) == 2
    assert all(line.startswith("clsdm: --folder") for line in lines_said)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("idle", ["0", "-1", "nan", "inf", "1e300"])
def test_a_waiting_time_that_is_none_is_refused(idle, tmp_path):
    assert main(["serve", "--folder", str(tmp_path), "--idle", idle]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there, a process is ended without being told")
@pytest.mark.parametrize("how", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_told_to_terminate_it_goes_at_once_with_its_folder(tmp_path, how):
    if signal.getsignal(how) == signal.SIG_IGN:
        pytest.skip(f"these tests were started with {how.name} ignored, as nohup does, and children inherit that")
    busy = "import threading\nTASKS['busy'] = lambda folder, report: threading.Lock().acquire() and time.sleep(1000)"
    with greeted(tmp_path, busy) as (child, own):
        say(child, b'{"id": 1, "task": "busy"}')
        while not (own / "1").exists():
            time.sleep(0.01)
        child.send_signal(how)
        assert child.wait(5.0) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there, a process is ended without being told")
def test_told_to_terminate_it_goes_even_from_inside_a_long_computation(tmp_path):
    code = "import torch\nx = torch.ones(5000, 5000)\ntorch.set_num_threads(1)\n"
    code += "TASKS['busy'] = lambda folder, report: report('begun', 0, 1) or torch.linalg.matrix_power(x, 2**62)"
    with greeted(tmp_path, code) as (child, _):
        say(child, b'{"id": 1, "task": "busy"}')
        assert hear(child)["stage"] == "begun"
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(LIMIT_S) == 0
        assert time.monotonic() - began < LIMIT_S / 2  # one call to torch of several minutes
    assert list(tmp_path.iterdir()) == []


def test_the_next_worker_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    (tmp_path / f"{worker.PREFIX}mine").mkdir()
    (tmp_path / f"{worker.PREFIX}mine" / "x").write_text("x")
    with greeted(tmp_path) as (first, left), greeted(tmp_path) as (living, lives):
        say(living, b'{"id": 1, "task": "hello"}')
        hear(living)  # it has looked for what was left, and does so no more
        first.kill()
        first.wait(LIMIT_S)
        assert left.exists()
        with greeted(tmp_path) as (second, own):
            say(second, b'{"id": 1, "task": "hello"}')
            hear(second)
            assert sorted(tmp_path.iterdir()) == sorted([own, lives, tmp_path / f"{worker.PREFIX}mine"])
        living.kill()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected an object, found list"),
        (b"7", "expected an object, found int"),
        (b'{"id": NaN, "task": "hello"}', "NaN is no number"),
        (b'{"id": 1e400, "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": "\\ud800", "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": "../../x", "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": true, "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": 1.5, "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": -1, "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": ' + b"9" * 4000 + b', "task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": ' + b"9" * 5000 + b', "task": "hello"}', "not JSON"),
        (b'{"task": "hello"}', "request.id: expected a whole number"),
        (b'{"id": 1}', "request.task: expected one of"),
        (b'{"id": 1, "task": ["hello"]}', "request.task: expected one of"),
        (b'{"id": 1, "task": "hello", "folder": "x"}', "request.folder: unknown field; expected one of none"),
        (b'{"id": 1, "task": "preview"}', "request.view: missing"),
        (b'{"id": 1, "task": "preview", "view": 3}', "request.view: expected dict, found 3"),
        (b'{"id": 1, "task": "reconstruct", "views": 3, "options": {}}', "request.views: expected a list, found 3"),
        (b'{"id": 1, "task": "reconstruct", "views": [3], "options": {}}', "request.views[0]: expected dict, found 3"),
        (b'{"id": 1, "task": "simulate", "ct": 3, "out": "x"}', "request.ct: expected str, found 3"),
        (b'{"id": 1, "task": "simulate", "ct": "x", "out": "x", "angles": ["x"]}', "request.angles[0]: expected float"),
        (b'{"id": 1, "task": "warm", "bundle": ""}', "bundle: is empty"),
        (b'{"id": 1, "task": "warm", "bundle": "a\\u0000b"}', "bundle: 'a\\x00b' holds a character"),
        (b'{"id": 1, "task": "bundle", "bundle": "\\ud800"}', "holds a character that no path can hold"),
        (b'{"id": 1, "task": "fetch", "url": 3}', "request.url: expected str"),
        (b'{"id": 1, "task": "simulate", "ct": "ct.nii", "out": ""}', "out: is empty"),
        (b'{"id": 1, "task": "simulate", "ct": "ct.nii", "out": "a\\u0000"}', "out: 'a\\x00' holds"),
        (b'{"id": 1, "task": "simulate", "ct": "ct.nii", "out": "\\ud800"}', "out: '\\ud800' holds"),
    ],
)
def test_a_malformed_request_is_a_clean_error_and_no_defect(line, named, tmp_path):
    last = answers(tmp_path, line)[-1]
    assert last["error"]["kind"] == "input", last
    assert named in last["error"]["message"]
    assert last["error"]["details"] == ""
    assert len(last["error"]["message"]) < 1000
    json.dumps(last, allow_nan=False).encode("ascii")
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../outside", "..", "a/../../outside", "/tmp/outside", "a\\b", "", "x\n", "C:x", "NUL"]
)
def test_a_name_to_install_under_does_not_lead_out_of_the_store(name, small_model, tmp_path):
    (tmp_path / "store").mkdir()
    asked = {"bundle": str(small_model.path), "into": str(tmp_path / "store"), "name": name}
    last = answers(tmp_path, json.dumps({"id": 1, "task": "install", **asked}).encode())[-1]
    assert last["error"]["kind"] == "input", last
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["own", "store"]


FOREIGN = "/x" if os.name == "nt" else "C:\\x"


@pytest.mark.parametrize(
    ("task", "field"),
    [("warm", "bundle"), ("bundle", "bundle"), ("install", "bundle"), ("install", "into"), ("simulate", "ct"),
     ("simulate", "out"), ("compare", "reconstruction"), ("compare", "truth"), ("preview", "view"), ("reconstruct", "views")],
)  # fmt: skip
def test_a_path_of_another_system_is_refused_in_every_field(task, field, small_model, films, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    view, ct, model = {"file": str(films / "frontal.dcm")}, str(films / "ct.nii.gz"), str(small_model.path)
    given = {"bundle": model, "into": "store", "name": "m", "ct": ct, "out": "out", "reconstruction": ct, "truth": ct,
             "view": view, "views": [view], "options": {"device": "cpu"}}  # fmt: skip
    named = [each.name for each in list(inspect.signature(tasks.TASKS[task]).parameters.values())[2:]]
    wrong = {"view": view | {"file": FOREIGN}, "views": [view | {"file": FOREIGN}]}.get(field, FOREIGN)
    asked = {name: given[name] for name in named if name in given} | {field: wrong}
    last = answers(tmp_path, json.dumps({"id": 1, "task": task, **asked}).encode())[-1]
    assert last["error"]["kind"] == "input", last
    assert f"{FOREIGN!r} is a path of another system" in last["error"]["message"]
    assert [each.name for each in tmp_path.iterdir()] == ["own"]


def test_a_line_without_end_takes_neither_memory_nor_the_worker(tmp_path):
    with greeted(tmp_path, "import tracemalloc; tracemalloc.start()") as (child, _):
        before = _resident(child.pid)
        began = time.monotonic()
        sender = threading.Thread(target=lambda: say(child, b"x" * 100_000_000))
        sender.start()
        refused = hear(child)
        sender.join()
        assert refused["id"] is None
        assert refused["error"]["kind"] == "input"
        assert f"more than {REQUEST_LINE_BYTES:,} bytes" in refused["error"]["message"]
        assert time.monotonic() - began < LIMIT_S
        assert _resident(child.pid) - before < 50e6
        say(child, b'{"id": 2, "task": "bundle", "bundle": "nowhere"}')
        assert (hear(child), hear(child)["id"])[1] == 2


def _resident(pid: int) -> float:
    """Bytes of memory of a process; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def test_more_requests_than_can_wait_are_refused_one_by_one():
    read, write = os.pipe()
    refused: list[str] = []
    ended = threading.Event()
    requests = lines.Requests(read, ended.set, refused.append)
    os.write(write, b"{}\n" * (REQUESTS_WAITING + 3) + b"half a line")
    os.close(write)
    assert ended.wait(LIMIT_S)
    assert len(refused) == 3
    assert [requests.next(1.0) for _ in range(REQUESTS_WAITING + 1)] == [*[b"{}"] * REQUESTS_WAITING, None]
    os.close(read)


def test_arrays_of_old_answers_are_freed(small_model, films, tmp_path):
    line = {"id": 1, "task": "preview", "view": {"file": str(films / "frontal.dcm")}, "bundle": str(small_model.path)}
    own = tmp_path / "own"
    own.mkdir()
    arrays = worker.ArrayFolders(own)
    said: list[dict[str, Any]] = []
    for number in range(6):
        worker.answer(json.dumps(line | {"id": number}).encode(), said.append, arrays, tasks.TASKS)
        last = said[-1]["result"]
        assert Path(last["image"]).exists()
        assert len(list(own.iterdir())) <= worker.KEPT_ANSWERS
    worker.answer(json.dumps(line | {"view": {"file": "nowhere"}}).encode(), said.append, arrays, tasks.TASKS)
    assert "error" in said[-1]
    assert len(list(own.iterdir())) == worker.KEPT_ANSWERS - 1
