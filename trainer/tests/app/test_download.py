"""Downloads, from a real server on this machine: encrypted after every redirection, no larger than allowed, as promised."""

import contextlib
import hashlib
import http.server
import json
import ssl
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import certificate_for_localhost

from clsdm.app import download as module
from clsdm.app.bundle_tasks import fetch, index
from clsdm.app.download import download, fetched
from clsdm.errors import InputError
from clsdm.model.bundle import Bundle
from clsdm.model.index import index_of
from clsdm.progress import silent

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """What the addresses give."""

    files: dict[str, bytes] = {"/model.zip": CONTENT}  # noqa: RUF012 - filled by a test

    def do_GET(self) -> None:
        kind, _, target = self.path[1:].partition("/")
        if kind == "to":  # a redirection
            self.send_response(302)
            self.send_header("Location", target.replace("~", "/"))
            self.end_headers()
            return
        data = self.files["/" + self.path.rpartition("/")[2]]
        self.send_response(200)
        if kind == "slow":  # a byte now and then, for ever
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.02)
            return
        if kind != "unsaid":
            self.send_header("Content-Length", str(10**13 if kind == "huge" else len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if kind == "cut" else data)

    def log_message(self, *words: object) -> None:
        """Nothing on the console."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    return certificate_for_localhost(tmp_path_factory.mktemp("certificate"))


def serving(context: ssl.SSLContext | None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{'http' if context is None else 'https'}://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    yield from serving(context)


@pytest.fixture
def plain_server() -> Iterator[str]:
    yield from serving(None)


def refused(url: str, folder: Path, said: str) -> None:
    with pytest.raises(InputError, match=said):
        download(url, folder / "download.zip", silent)
    assert list(folder.iterdir()) == []


def test_what_was_promised_is_written(server, tmp_path):
    seen: list[tuple[str, int, int]] = []
    for path in ("model.zip", "unsaid/model.zip", "to/~model.zip"):
        download(f"{server}/{path}#sha256={SHA256.upper()}", tmp_path / "x", lambda *words: seen.append(words))
        assert (tmp_path / "x").read_bytes() == CONTENT
    assert seen[0] == ("download", 0, len(CONTENT))
    assert seen[-1] == ("download", len(CONTENT), len(CONTENT))


def test_another_content_than_promised_is_refused(server, tmp_path):
    refused(f"{server}/model.zip#sha256={'0' * 64}", tmp_path, f"SHA-256 is {SHA256}; expected 0000")


def test_a_download_that_ends_early_is_refused(server, tmp_path):
    refused(f"{server}/cut/model.zip#sha256={SHA256}", tmp_path, "ended after 640,000 of 1,280,000 bytes")


@pytest.mark.parametrize("kind", ["huge", "unsaid"])
def test_more_than_any_model_has_is_refused_whether_it_is_said_before_or_not(kind, server, tmp_path, monkeypatch):
    if kind == "unsaid":
        monkeypatch.setattr(module, "DOWNLOAD_BYTES", 1_100_000)
    refused(f"{server}/{kind}/model.zip#sha256={SHA256}", tmp_path, "bytes of a model; expected at most")


def test_no_redirection_leaves_the_encrypted_web(server, plain_server, tmp_path):
    target = f"{plain_server}/model.zip".replace("/", "~")
    refused(f"{server}/to/{target}#sha256={SHA256}", tmp_path, f"{plain_server}/model.zip: expected .* https://")
    refused(f"{server}/to/ftp:~~localhost~m.zip#sha256={SHA256}", tmp_path, "expected .* https://")
    with pytest.raises(OSError, match="not allowed"):  # Python's own rule
        download(f"{server}/to/file:~~~etc~passwd#sha256={SHA256}", tmp_path / "download.zip", silent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["http://example.org/m.zip", "file:///etc/passwd", "ftp://example.org/m.zip", "m.zip", "https://", "https://[1",
     "https://a b/", "https://x\r\nY: z/", "https://\ud800.org/", f"https://{'a' * 70}.org/", "https://x.org/ä",
     "https://x.org:99999999/", "https://x.org:y/"],
)  # fmt: skip
def test_only_encrypted_downloads_are_begun(url, tmp_path):
    refused(url, tmp_path, "expected an address that begins with https://")


@pytest.mark.parametrize("end", ["", "#", "#sha256=", "#sha256=12", "#md5=" + "0" * 64, "#sha256=" + "g" * 64])
def test_an_address_without_the_hash_of_what_it_leads_to_is_refused(end, tmp_path):
    refused(f"https://example.org/model.zip{end}", tmp_path, "ends with #sha256= and the 64 digits")


def test_an_index_comes_encrypted_and_bounded_and_is_one(server, plain_server, tmp_path, monkeypatch):
    offer = {"id": "m", "anatomy": "chests", "voxels": 64, "spacing_mm": 6.0, "licence": "x", "bytes": 1}
    offer |= {"sha256": SHA256, "url": "https://example.org/m.zip"}
    monkeypatch.setitem(Handler.files, "/index.json", json.dumps({"offers": [offer]}).encode())
    answer = index(tmp_path, silent, f"{server}/index.json")
    assert answer == {"models": (), "samples": {}, "offers": (offer | {"version": ""},)}
    for wrong in (
        {"url": "http://example.org/m.zip"},
        {"url": "https://x.org/m.zip#y"},
        {"sha256": "12"},
        {"bytes": 10**400},
        {"voxels": 0},
    ):
        with pytest.raises(InputError, match=r"offers\[0\]: .*expected"):
            index_of(json.dumps({"offers": [offer | wrong]}).encode(), "i")
    for address, said in ((f"{plain_server}/index.json", "https://"), (f"{server}/model.zip", "not JSON")):
        with pytest.raises(InputError, match=said):
            index(tmp_path, silent, address)
    with pytest.raises(InputError, match="bytes of an index; expected at most 5"):
        fetched(f"{server}/index.json", 5)


def test_an_index_that_trickles_in_is_given_up(server, monkeypatch):
    monkeypatch.setattr(module, "SMALL_S", 0.2)
    with pytest.raises(TimeoutError, match=r"not there after 0\.2 s"):
        fetched(f"{server}/slow/model.zip", 200)


def test_a_model_that_is_fetched_is_checked_before_it_is_offered(server, small_model, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        for each in small_model.path.iterdir():
            file.write(each, each.name)
    data = (tmp_path / "m.zip").read_bytes()
    monkeypatch.setitem(Handler.files, "/model.zip", data)
    (tmp_path / "own").mkdir()
    digest = hashlib.sha256(data).hexdigest()
    answer = fetch(tmp_path / "own", silent, f"{server}/model.zip#sha256={digest}")
    assert answer["bytes"] == len(data)
    assert answer["file_sha256"] == digest
    assert Bundle.open(answer["path"]).hash == small_model.hash
    monkeypatch.setitem(Handler.files, "/model.zip", CONTENT)
    with pytest.raises(InputError, match="not a bundle"):
        fetch(tmp_path / "own", silent, f"{server}/model.zip#sha256={SHA256}")
