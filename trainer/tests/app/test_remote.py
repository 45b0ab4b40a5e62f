"""A server and its clients, in real processes on loopback: the same bits as here, and nothing that a client does hurts others."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from certificates import certificate_for_localhost
from serving import KEY, LONG_S, SLOW, answered, serving, views
from worker_process import LIMIT_S, hear, say

from clsdm.app import access
from clsdm.app import server as front
from clsdm.app.child import Child
from clsdm.app.load import figures_in
from clsdm.app.sent import message_of, pack_xray, unpack_xray
from clsdm.errors import InputError
from clsdm.files.scratch import OwnFolder
from clsdm.xray.read import read_xray


def arrays_in(plain: Any) -> Any:
    """An answer with the arrays in place of their files."""
    if isinstance(plain, dict):
        return {name: arrays_in(value) for name, value in plain.items() if name != "seconds"}
    if isinstance(plain, list):
        return [arrays_in(value) for value in plain]
    return np.load(plain).tobytes() if isinstance(plain, str) and plain.endswith(".npy") else plain


def requests_of(films: Path, made: Path, bundle: str) -> dict[str, dict[str, Any]]:
    """One request of each kind, of a worker and of its server alike."""
    ct = str(films / "ct.nii.gz")
    ensemble = {"product": "ensemble", "samples": 2, "seed": 3, "device": "cpu"}
    angles = {"views": [read_xray(films / f"{name}.dcm").view.to_plain() for name in ("frontal", "lateral")]}
    return {
        "reconstruct": {"views": views(films), "options": ensemble, "bundle": bundle},
        "preview": {"view": views(films)[0], "bundle": bundle},
        "simulate": {"ct": ct, "out": str(made), "angles": [0.0, 90.0]},
        "compare": {"reconstruction": ct, "truth": ct},
        "fixed": {"reconstruction": ct, **angles},
        "warm": {"bundle": bundle, "device": "cpu"},
    }


def test_a_server_answers_every_request_with_the_bits_that_this_computer_gives(
    server, worker, films, small_model, tmp_path
):
    made = [tmp_path / "here", tmp_path / "there"]
    with worker() as here, worker(server) as there:
        theirs = requests_of(films, made[1], small_model.manifest.id)
        for task, request in requests_of(films, made[0], str(small_model.path)).items():
            mine, yours = answered(here, task=task, **request), answered(there, task=task, **theirs[task])
            assert "result" in yours[0], yours
            local, remote = (arrays_in(each[0]) for each in (mine, yours))
            if task == "simulate":
                for folder, answer in zip(made, (local, remote), strict=True):
                    assert [Path(file).parent for file in answer["result"].pop("files")] == [folder] * 2
            assert local == remote, task
    pixels = [
        [pydicom.dcmread(folder / f"{name}.dcm").pixel_array for name in ("frontal", "lateral")] for folder in made
    ]
    assert np.array_equal(*pixels)


def test_an_xray_that_travels_is_the_same_and_names_nobody(films, tmp_path):
    xray = read_xray(films / "frontal.dcm")
    valid = np.ones(xray.image.shape, bool)
    xray = replace(xray, valid=valid, source="/home/anna/mueller.dcm", warnings=("/home/anna/mueller.dcm is dark",))
    sent = json.loads(json.dumps(pack_xray(xray, 1, tmp_path)))
    assert "mueller" not in json.dumps(sent)
    assert xray.patient_key
    assert xray.sop_instance
    for identity in (xray.patient_key, xray.sop_instance):
        assert identity not in json.dumps(sent)
    back = unpack_xray(sent, tmp_path, "request")
    assert back.image.dtype == np.float32
    assert np.array_equal(back.image, xray.image)
    assert np.array_equal(back.valid, valid)
    assert back.warnings == ("X-ray 1 is dark",)
    same = replace(back, image=xray.image, valid=valid, source=xray.source, warnings=xray.warnings)
    assert replace(same, patient_key=xray.patient_key, sop_instance=xray.sop_instance) == xray


def test_an_archive_in_place_of_an_array_is_refused_in_words(films, tmp_path):
    sent = json.loads(json.dumps(pack_xray(read_xray(films / "frontal.dcm"), 1, tmp_path)))
    with (tmp_path / sent["image"]).open("wb") as file:
        np.savez(file, np.zeros((100, 100)))
    with pytest.raises(InputError, match="X-ray 1: image: expected an array, found NpzFile"):
        unpack_xray(sent, tmp_path, "request")


def test_hello_says_what_the_server_is_and_how_long_it_took(server, worker, small_model):
    with worker(server) as child:
        hello = answered(child, task="hello")[0]["result"]
    assert [each["name"] for each in hello["models"]] == [small_model.manifest.id]
    assert (hello["models"][0]["voxels"], hello["models"][0]["spacing_mm"]) == (16, 24.0)
    assert hello["devices"][0]["name"] == "cpu"
    assert hello["reached_s"] > 0.0
    assert hello["clsdm"]


def test_a_wrong_key_is_refused_before_anything_is_taken(server, worker, films, monkeypatch):
    monkeypatch.setenv(access.KEY_VARIABLE, KEY + "x")
    with worker(server) as child:
        answer = answered(child, task="reconstruct", views=views(films), options={})[0]
    assert answer["error"]["kind"] == "server"
    assert "does not take this key" in answer["error"]["message"]
    assert KEY not in json.dumps(answer)


def test_what_cannot_be_used_is_said_in_this_computers_words(server, worker, films, tmp_path):
    (tmp_path / "text.dcm").write_text("no film")
    other = tmp_path / "other.dcm"
    film = pydicom.dcmread(films / "lateral.dcm")
    film.PatientID = "another"
    film.save_as(other)
    with worker(server) as child:
        both, text = views(films), [{"file": str(tmp_path / "text.dcm")}]
        for wrong, about, said in (
            ({"views": text, "options": {}}, "", re.escape(f"{tmp_path / 'text.dcm'}: ")),
            ({"views": both, "options": {"steps": 0}}, "options", "steps: expected 1 to 1000"),
            ({"views": both, "options": {}, "bundle": "other"}, "model", "no model 'other'; it has small"),
            ({"views": [both[0], {"file": str(other)}], "options": {}}, "", "two patients"),
        ):
            error = answered(child, task="reconstruct", **wrong)[0]["error"]
            assert error["kind"] == "input", error
            assert error.get("field", "") == about, error
            assert re.search(said, error["message"]), error
        assert "result" in answered(child, task="warm", bundle="small", device="cpu")[0]


def post(address: str, line: bytes, body: bytes = b"", length: int | None = None, key: str = KEY) -> tuple[int, bytes]:
    """What the server says to a message that no client of ours would send."""
    connection = http.client.HTTPConnection(address.partition("//")[2], timeout=LIMIT_S)
    size = len(line) + len(body) if length is None else length
    connection.request("POST", "/v1/work", line + body, {"Authorization": f"Bearer {key}", "Content-Length": str(size)})
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff\n", "not JSON"),
        (b"[]\n", "expected an object"),
        (b'{"task": "install"}\n', "request.task: expected one of"),
        (b'{"task": ["hello"]}\n', "request.task: expected one of"),
        (b'{"task": "reconstruct", "views": [{"file": "/etc/passwd"}], "options": {}}\n', "file: unknown field"),
        (b'{"task": "reconstruct", "views": [], "options": {}, "sent": "/"}\n', "request.sent: unknown field"),
        (b'{"task": "reconstruct", "views": [], "options": {}}\n', "expected 1 to 8"),
        (b'{"task": "reconstruct", "views": [], "options": {}, "bundle": "/etc"}\n', "no model '/etc'"),
        (b'{"task": "compare", "reconstruction": "/etc/passwd", "truth": "x"}\n', "expected the plain name"),
        (b'{"task": "compare", "reconstruction": "../x", "truth": "x"}\n', "expected the plain name"),
        (b'{"task": "compare", "reconstruction": "x.mha", "truth": "x.mha"}\n', "x.mha: no such file"),
        (b'{"task": "simulate", "ct": "x.mha", "out": "/tmp/here"}\n', "request.out: unknown field"),
        (b'{"task": "warm", "device": 1e999}\n', "not JSON"),
        (b'{"task": "warm", "device": "' + 300_000 * "é".encode() + b'"}\n', "a line of more than"),
        (b'{"task": "warm", "files": {"../x": 1}}\n', "expected the plain name"),
        (b'{"task": "warm", "files": {"x": -1}}\n', "expected at most 64 sizes"),
        (b'{"task": "warm", "files": {"x": 3000000000}}\n', "bytes of arrays; expected at most"),
    ],
)  # fmt: skip
def test_a_message_that_no_client_sends_is_refused_and_the_next_one_is_answered(line, said, server):
    _, answer = post(server, line)
    error = json.loads(answer.splitlines()[-1])["error"]
    assert error["kind"] == "input"
    assert said in error["message"]
    assert "clsdm-server" not in error["message"]


def test_a_file_that_is_no_array_and_one_of_another_shape_are_refused(server, films, tmp_path):
    sent = pack_xray(read_xray(films / "frontal.dcm"), 1, tmp_path)
    (tmp_path / "pickle.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    )
    np.save(tmp_path / "huge.npy", np.zeros((1, 20_000), np.uint8))
    np.save(tmp_path / "small.npy", np.zeros((9, 9), np.uint8))
    for name, said in (("pickle", "array"), ("huge", "1 x 20000 pixels"), ("small", "9"), ("lost", "No such file")):
        asked = {"task": "preview", "view": {**sent, "image": f"{name}.npy"}}
        file = [] if name == "lost" else [tmp_path / f"{name}.npy"]
        _, blocks = message_of(asked, file)
        error = json.loads(post(server, b"".join(blocks))[1].splitlines()[-1])["error"]
        assert error["kind"] == "input", error
        assert said in error["message"]


def test_a_text_of_a_client_that_comes_back_names_no_file_of_the_server(server, films, tmp_path, tmp_path_factory):
    (own,) = tmp_path_factory.getbasetemp().glob("server0/temporary/clsdm-server-*")
    secret = own.parent / "secret"
    secret.write_text("of another user")
    sent = pack_xray(read_xray(films / "frontal.dcm"), 1, tmp_path)
    asked = {"task": "preview", "view": {**sent, "origins": {"pixel_mm": f"{own}/../secret"}}}
    answer = post(server, b"".join(message_of(asked, [tmp_path / sent["image"]])[1]))[1]
    assert b'"result"' in answer
    assert b"of another user" not in answer
    secret.unlink()


def test_what_was_made_for_somebody_who_went_away_is_gone(small_model, tmp_path):
    child = Child(tmp_path, LONG_S)
    with closing(child.ask({"task": "bundle", "bundle": str(small_model.path)})) as answers:
        heard = (answer for answer in answers if answer is not None)
        assert "stage" in next(heard)
        assert any("result" in answer for answer in heard)
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_without_a_key_or_no_message_at_all_is_not_taken(server):
    assert post(server, b"", length=3 * 2**30)[0] == 400
    assert post(server, b'{"task": "hello"}\n', key="wrong")[0] == 401
    connection = http.client.HTTPConnection(server.partition("//")[2], timeout=LIMIT_S)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.headers.get_content_type()) == (404, "text/plain")  # what a browser shows
    assert b"ask it with 3D Slicer" in answer.read()
    host, port = server.partition("//")[2].rsplit(":", 1)
    with socket.create_connection((host, int(port)), LIMIT_S) as raw:
        raw.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert b"400" in raw.recv(1000)


@pytest.mark.parametrize("said", [b"", b"POST /v1/work HTTP/1.0\r\n"])
def test_who_shows_no_key_keeps_no_connection(said, tmp_path, monkeypatch):
    monkeypatch.setattr(front, "GREETING_S", 0.5)
    own = OwnFolder(tmp_path, front.PREFIX)
    listening = front.Front(access.listening("127.0.0.1:0", encrypted=False), KEY, {}, None, own, 1.0)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    with socket.create_connection(listening.server_address[:2], LIMIT_S) as raw:
        raw.sendall(said)
        assert raw.recv(1000) == b""
    listening.shutdown()
    listening.server_close()
    own.remove()


def test_who_goes_away_frees_the_server_for_those_who_wait(server, worker, films):
    with worker(server) as waiting:
        answered(waiting, task="hello")
        with worker(server) as leaving:
            say(leaving, id=1, task="reconstruct", views=views(films), options=SLOW)
            while hear(leaving).get("stage") != "sample":
                pass
            say(waiting, id=2, task="warm", device="cpu")
            while (answer := hear(waiting)).get("stage") != "queue":
                pass
            assert answer["n"] == 1
        began = time.monotonic()
        while "stage" in (answer := hear(waiting)):
            pass
        assert "result" in answer
        assert time.monotonic() - began < LIMIT_S


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_of_the_server_that_is_killed_ends_one_request_and_nothing_else(worker, films, small_model, tmp_path):
    with serving(tmp_path / "t", "--model", str(small_model.path)) as (child, address), worker(address) as client:
        say(client, id=1, task="reconstruct", views=views(films), options=SLOW)
        while hear(client).get("stage") != "sample":
            pass
        (pid,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split() or ["0"]
        os.kill(int(pid), signal.SIGKILL)
        while "stage" in (answer := hear(client)):
            pass
        assert (answer["error"]["kind"], "lack of memory" in answer["error"]["message"]) == ("server", True)
        assert "result" in answered(client, task="warm", device="cpu")[0]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("group", [False, True], ids=["the server alone", "its worker before it"])
def test_a_server_that_is_stopped_at_work_says_so_and_not_that_memory_lacks(
    group, worker, films, small_model, tmp_path
):
    with serving(tmp_path / "t", "--model", str(small_model.path)) as (child, address), worker(address) as client:
        say(client, id=1, task="reconstruct", views=views(films), options=SLOW)
        while hear(client).get("stage") != "sample":
            pass
        (pid,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill(int(pid) if group else child.pid, signal.SIGTERM)
        while "stage" in (answer := hear(client)):
            pass
        assert answer["error"]["kind"] == "server"
        assert "the connection to the server was lost" in answer["error"]["message"]


def test_what_the_server_takes_of_its_computer_is_told_with_its_progress(server, worker, films):
    with worker(server) as client:
        say(client, id=1, task="reconstruct", views=views(films), options=SLOW)
        while "load" not in (answer := hear(client)):
            assert "stage" in answer, answer
        assert 0.0 <= answer["load"].pop("processors") <= 1.0
        assert set(answer["load"]) in (set(), {"free_bytes", "total_bytes"})
        assert "stage" in answer


@pytest.mark.parametrize(
    ("plain", "figures"),
    [
        ({"processors": 0.5, "path": "/etc"}, {"processors": 0.5}),
        ({"processors": "0.5"}, None),
        ({"processors": 1e18, "total_bytes": 1}, {"total_bytes": 1.0}),  # which a gauge could not show
        ({"processors": True, "free_bytes": float("nan"), "total_bytes": 10**400}, None),
        ([0.5], None),
        (None, None),
    ],
)
def test_of_a_load_only_its_numbers_are_taken(plain, figures):
    assert figures_in(plain) == figures


def test_a_certificate_is_verified_and_nothing_travels_without(worker, films, small_model, tmp_path):
    key, cert = certificate_for_localhost(tmp_path)
    options = ["--model", str(small_model.path), "--cert", str(cert), "--cert-key", str(key)]
    with serving(tmp_path / "t", *options) as (_, address):
        assert address.startswith("https://localhost:")
        with worker(address) as unknown:
            error = answered(unknown, task="hello")[0]["error"]
            assert (error["kind"], error["field"]) == ("server", "authority")
            assert "certificate that is not to be trusted" in error["message"]
        with worker(address.replace("localhost", "127.0.0.1"), "--ca-file", str(cert)) as elsewhere:
            error = answered(elsewhere, task="hello")[0]["error"]
            assert (error["kind"], error["field"]) == ("server", "address")
        with worker(address, "--ca-file", str(cert)) as client:
            asked = {"views": views(films), "options": {"device": "cpu"}}
            assert "result" in answered(client, task="reconstruct", **asked)[0]
        with worker(address.replace("https", "http")) as plain:
            assert answered(plain, task="hello")[0]["error"]["kind"] == "server"
        host, port = address.partition("//")[2].rsplit(":", 1)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port)), LIMIT_S), socket.create_connection((host, int(port))) as raw:
            assert old.wrap_socket(raw, server_hostname=host).version() in ("TLSv1.2", "TLSv1.3")


def test_nobody_there_and_somebody_else_there_are_told_apart(worker):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        with worker(address) as child:
            say(child, id=1, task="hello")
            with other.accept()[0] as connection, connection.makefile("rb") as request:
                head = http.client.parse_headers(request) if request.readline() else {}
                request.read(int(head["Content-Length"]))  # else closing resets the connection, answer and all
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<html>a router</html>")
            assert "gives no answer of this program" in hear(child)["error"]["message"]
    with worker(address) as child:
        error = answered(child, task="hello")[0]["error"]
    assert error["kind"] == "server"
    assert "cannot be reached" in error["message"]
