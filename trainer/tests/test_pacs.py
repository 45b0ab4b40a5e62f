"""``clsdm pacs`` against a real Orthanc on this machine: found, pulled, reconstructed, stored once, told without names."""

import contextlib
import http.server
import json
import logging
import shutil
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pytest
from certificates import certificate_for_localhost
from orthanc import ALICE, NEEDED, Server, orthanc, put_study, requests
from pydicom.uid import generate_uid
from small_bundle import run

import clsdm
from clsdm.errors import InputError
from clsdm.files.digest import sha256_of
from clsdm.pacs import client, transfer
from clsdm.pacs.client import PASSWORD, TOKEN, USER, Pacs

SLICES = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALICE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setattr(client, "WAIT_S", 0.01)


@pytest.fixture
def study(films: Path) -> Callable[..., str]:
    """Put a new study of the two films, or of one, into a PACS; returns its UID."""
    return partial(put_study, films)


def of_it(server: Server, uid: str, what: str = "Series") -> list[dict]:
    return [each["MainDicomTags"] for each in server.names(what, StudyInstanceUID=uid)]


@pytest.fixture
def pacs(small_model, tmp_path, capfd):
    """Call the command: exit code and all that was said."""

    def call(server: Server, *words: str) -> tuple[int, str]:
        given = ("--bundle", small_model.path, "--device", "cpu", "--out", tmp_path / "out", "--url", server.url)
        code, out, error = run(capfd, "pacs", *given, *words)
        return code, out + error

    return call


@NEEDED
def test_a_study_comes_out_and_its_reconstruction_goes_in_once(server, study, pacs, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    uid = study(server, AccessionNumber="A-17", StudyDate="20260131")
    study(server, ("frontal",), AccessionNumber="A-18")
    code, said = pacs(server, "--accession", "A-17", "--no-store")
    assert code == 0, said
    assert {each["Modality"] for each in of_it(server, uid)} == {"DX"}  # not stored
    assert "nothing is stored" in said
    first = sha256_of(*tmp_path.glob("out/*/reconstruction.nii.gz"))
    for new, words in (
        (SLICES + 1, ("--accession", "A-17")), (0, ("--study", uid)), (0, ("--date", "20260130-20260131")),
    ):  # fmt: skip
        code, said = pacs(server, *words)
        assert code == 0, said
        assert f"studies whose result is stored: 1; images sent now: {new}\n" in said
        assert sorted(each["Modality"] for each in of_it(server, uid)) == ["CT", "DX", "DX", "OT"]
        assert len(of_it(server, uid, "Instances")) == 2 + SLICES + 1
        assert sha256_of(*tmp_path.glob("out/*/reconstruction.nii.gz")) == first  # kept
        for secret in ("SECRET", uid, "alice"):
            assert secret not in said + caplog.text
    assert not list(tmp_path.glob("out/.clsdm*"))  # the pulled films are gone

    shutil.rmtree(tmp_path / "out")  # as on another computer: the same result has the same UIDs
    code, said = pacs(server, "--study", uid)
    assert (code, len(of_it(server, uid, "Instances"))) == (0, 2 + SLICES + 1), said
    assert not [path for path in (tmp_path / "out").glob("study-*/*") if b"SECRET" in path.read_bytes()]


@NEEDED
def test_what_is_stored_is_the_volume_in_the_patients_study(server, study, pacs, tmp_path):
    uid = study(server)
    assert pacs(server, "--study", uid)[0] == 0
    web = Pacs(server.url)
    (series,) = [each for each in web.search("series", [uid]) if transfer.values_of(each, "Modality") == ["CT"]]
    number = transfer.uid_of(series, "SeriesInstanceUID")
    (tmp_path / "back").mkdir()
    for at, each in enumerate(web.search("instances", [uid, number])):
        dataset = web.instance(uid, number, transfer.uid_of(each, "SOPInstanceUID"))
        assert (dataset.PatientID, dataset.ContentQualification) == ("SECRET-4711", "RESEARCH")
        dataset.save_as(tmp_path / "back" / f"{at}.dcm")
    (made,) = tmp_path.glob("out/study-*/reconstruction.nii.gz")
    assert (clsdm.read_ct(tmp_path / "back").hu == clsdm.read_ct(made).hu).all()


@NEEDED
def test_a_cut_between_leaves_each_image_once_and_a_failing_study_stops_nobody(
    server, study, pacs, tmp_path, monkeypatch
):
    uids = [study(server), study(server, ("lateral",)), study(server)]
    sent, real = [], Pacs.store

    def cut(self, uid, datasets):
        sent.append((uid, len(datasets)))
        if uid == uids[0] and [study for study, _ in sent].count(uid) == 3:
            raise InputError("the line is cut")
        real(self, uid, datasets)

    monkeypatch.setattr(transfer, "STORE_BYTES", 4000)  # a few slices
    monkeypatch.setattr(Pacs, "store", cut)
    code, said = pacs(server, "--study", *uids)
    assert code == 2
    assert "the line is cut" in said
    there = [len(of_it(server, uid, "Instances")) for uid in uids]
    assert there[1:] == [1, 2 + SLICES + 1]
    assert 2 < there[0] < there[2]
    before = len(sent)
    code, said = pacs(server, "--study", *uids)
    assert code == 0, said
    assert [len(of_it(server, uid, "Instances")) for uid in uids] == [there[2], 1, there[2]]
    assert sum(images for _, images in sent[before:]) == there[2] - there[0]
    summary = next(tmp_path.glob("out/summary.csv")).read_text()
    assert summary.count("done") == 2
    assert "skipped" in summary


@NEEDED
def test_a_line_that_fails_for_a_moment_is_tried_again_and_nothing_sent_twice(server, study, pacs, monkeypatch, caplog):
    uid, sent, real, calls = study(server), [], requests.Session.request, []

    def flaky(self, method, url, **more):
        calls.append(method)
        if len(calls) % 5 == 2:
            raise requests.ConnectionError(f"SECRET {url}")
        answer = real(self, method, url, **more)
        sent.append(method)
        if method == "POST" and sent.count("POST") == 1:
            raise requests.Timeout  # stored, but nobody hears of it
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "request", flaky)
        code, said = pacs(server, "--study", uid)
    assert code == 0, said
    assert (sent.count("POST"), caplog.text, "SECRET" in said) == (1, "", False)
    assert len(of_it(server, uid, "Instances")) == 2 + SLICES + 1


@contextlib.contextmanager
def behind_tls(server: Server, folder: Path) -> Iterator[tuple[str, Path]]:
    """A server behind an encrypted front, as a site's proxy is (Debian's Orthanc dies of its own TLS); and its certificate."""
    key, certificate = certificate_for_localhost(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = urlsplit(server.url).port

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as behind:
                front = context.wrap_socket(self.request, server_side=True)
                threading.Thread(target=self.pass_on, args=(behind, front), daemon=True).start()
                self.pass_on(front, behind)

        def pass_on(self, one: socket.socket, other: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := one.recv(65536):
                    other.sendall(data)
                other.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield f"https://localhost:{relay.server_address[1]}/dicom-web", certificate
        relay.shutdown()


@NEEDED
@pytest.mark.parametrize("named", ["by an option", "in the environment", "no"])
def test_a_certificate_that_nobody_signed_is_trusted_only_when_named(named, server, study, pacs, monkeypatch, tmp_path):
    uid = study(server)
    with behind_tls(server, tmp_path) as (url, certificate):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate) if named == "in the environment" else certifi.where())
        more = ("--ca-bundle", str(certificate)) if named == "by an option" else ()
        code, said = pacs(Server(url, server.process), "--study", uid, *more)
        stored = len(of_it(server, uid, "Instances"))
        assert (code, stored, "--ca-bundle" in said) == ((2, 2, True) if named == "no" else (0, 19, False)), said


@NEEDED
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "refuses the credentials (401)"),
        ({USER: "alice", PASSWORD: "SECRET-wrong"}, "refuses the credentials (401)"),
        ({TOKEN: "SECRET-token"}, "refuses the credentials (401)"),
        ({USER: "alice"}, "expected both, or none"),
    ],
)
def test_credentials_that_do_not_fit_are_told_without_them(environ, said, server, pacs, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in ALICE:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    code, told = pacs(server, "--date", "20260131")
    assert (code, said in told, "SECRET" in told) == (2, True, False), told


@NEEDED
def test_credentials_come_from_netrc(server, study, pacs, monkeypatch, tmp_path):
    uid = study(server)
    for name in ALICE:
        monkeypatch.delenv(name)
    (tmp_path / "netrc").write_text("machine localhost login alice password SECRET-word\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert pacs(server, "--study", uid, "--no-store")[0] == 0


@NEEDED
@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("client.IMAGE_BYTES", 5000, "bytes of one answer; expected at most 5,000"),
        ("transfer.STUDY_XRAYS", 1, "more than 1 instances fit"),
        ("client.PACS_ANSWER_S", -1.0, "no answer within"),
    ],
)
def test_more_than_any_study_holds_is_not_pulled(limit, value, said, server, study, pacs, monkeypatch):
    uid = study(server, SeriesInstanceUID=generate_uid())
    module, name = limit.split(".")
    monkeypatch.setattr({"client": client, "transfer": transfer}[module], name, value)
    code, told = pacs(server, "--study", uid)
    assert (code, said in told) == (2, True), told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://pacs.example.org/dicom-web", "--study", "1.2"), "not encrypted"),
        (("--url", "https://alice:SECRET@pacs.example.org/x", "--study", "1.2"), "holds credentials"),
        (("--url", "ftp://pacs/x", "--study", "1.2"), "expected the address"),
        (("--url", "http://localhost:1/x", "--study", "1.2"), "localhost:1: cannot be reached"),
        (("--url", "http://localhost:1/x", "--study", "1.2*"), "number 1 of 1 is not one StudyInstanceUID"),
        (("--url", "http://localhost:1/x", "--date", "yesterday"), "--date: expected a day"),
        (("--url", "http://localhost:1/x", "--study", "1.2", "--timeout", "0"), "--timeout: 0"),
        (("--url", "http://localhost:1/x", "--study", "1.2", "--timeout", "inf"), "--timeout: inf"),
        (("--url", "http://localhost:1/x", "--study", "1.2", "--ca-bundle", "none.pem"), "none.pem: no such file"),
        (("--url", "https://localhost:1/x", "--study", "1.2", "--ca-bundle", __file__), "holds no certificate"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(words, said, tmp_path, capfd):
    code, out, error = run(capfd, "pacs", "--out", tmp_path / "out", *words)
    assert (code, out, error.count("\n"), "SECRET" in error) == (2, "", 1, False)
    assert said in error
    assert not (tmp_path / "out").exists()


LISTS = "application/dicom+json"
HERE = {
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.3"]},
    "00080018": {"vr": "UI", "Value": ["1.4"]},
    "00080060": {"vr": "CS", "Value": ["DX"]},
}


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on this machine; its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/dicom-web"
        server.shutdown()


@pytest.mark.parametrize(
    ("studies", "series", "said"),
    [
        ((404, "", "SECRET"), None, "found nothing there (404)"),
        ((200, "text/html", "<html>SECRET"), None, "something else than JSON"),
        ((200, LISTS, '{"SECRET": 1}'), None, "truncated or damaged"),
        ((200, LISTS, '["SECRET"]'), None, "something else than a list of studies"),
        (
            (200, LISTS, '[{"00080061": {"Value": [{}]}, "0020000D": {"Value": [["SECRET"]]}}]'),
            None,
            "truncated or damaged",
        ),
        ((200, LISTS, json.dumps([HERE])), (404, "", "SECRET"), "no X-ray is in this study"),
        ((200, LISTS, json.dumps([HERE])), (200, LISTS, json.dumps([HERE])), "found nothing there (404)"),
    ],
)
def test_a_server_that_speaks_otherwise_is_refused_in_one_line(studies, series, said, tmp_path, capfd):
    class Strange(http.server.BaseHTTPRequestHandler):
        """Answers by the length of the path: studies, series, instances, and none of these."""

        def do_GET(self):
            path = self.path.partition("?")[0].split("/")[2:]
            answers = {1: studies, 3: series, 5: (200, LISTS, json.dumps([HERE]))}
            status, kind, text = answers.get(len(path), (404, "", ""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words):
            """Nothing on the console."""

    with serving(Strange) as url:
        code, _, error = run(capfd, "pacs", "--out", tmp_path / "out", "--url", url, "--study", "1.2")
    assert (code, error.count("\n"), said in error, "SECRET" in error) == (2, 1, True, False), error


@NEEDED
def test_what_the_pacs_says_it_took_is_looked_for(server, study, pacs, monkeypatch):
    uid = study(server)
    monkeypatch.setattr(Pacs, "store", lambda *given: None)
    code, said = pacs(server, "--study", uid)
    assert (code, "does not hold all" in said) == (2, True), said


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Leads to an address that is not encrypted."""

    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://pacs.example.org/dicom-web/studies?SECRET")
        self.end_headers()

    def log_message(self, *words):
        """Nothing on the console."""


def test_another_address_is_not_followed(tmp_path, capfd):
    with serving(Elsewhere) as url:
        code, _, error = run(capfd, "pacs", "--out", tmp_path / "out", "--url", url, "--study", "1.2")
    assert (code, "leads to another address" in error, "SECRET" in error) == (2, True, False), error


@pytest.mark.parametrize("secret", ["SECRET\nX: y", "SECRET\u20ac"])
def test_a_token_that_is_none_is_refused_without_it(secret, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv(TOKEN, secret)
    code, _, error = run(capfd, "pacs", "--out", tmp_path / "out", "--url", "https://localhost:1/x", "--study", "1.2")
    assert (code, error.count("\n"), TOKEN in error, "SECRET" in error) == (2, 1, True, False), error


def test_a_password_of_any_letters_is_sent_as_utf_8():
    signed = Pacs("https://localhost:1/x", environ={USER: "alice", PASSWORD: "p\u20ac"})._web._session.auth
    assert signed == (b"alice", "p\u20ac".encode())


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomweb_client.web", None)
    with pytest.raises(InputError, match=r"pip install 'clsdm\[pacs\]'"):
        Pacs("https://pacs.example.org")
